"""Exact inversion: the round trip has an error of rounding only, for any number of steps, schedule and strength."""

import pytest
import sonolux
import torch
from sonolux.core.editing.exact_inversion import ExactInversionEdit, StartFromPairEdit
from sonolux.core.samplers import belm
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import assert_caught, planted_error, scale_expression, variable_target
from sonolux.core.types import BadInput

MIXTURE = example_mixture()
SOURCE, LABELS = MIXTURE.sample(16, seed=3)


def run(edit, schedule="edm", timesteps="karras", steps=20, conditions=None):
    """(B, C, *spatial), or a pair of points if the edit inverts."""
    return sonolux.sample(
        MIXTURE,
        SOURCE.shape,
        schedule=schedule,
        timesteps=timesteps,
        steps=steps,
        edits=[edit],
        conditioning=conditions,
        dtype=torch.float64,
    )


def check_round_trip(schedule, timesteps, steps, strength=1.0, tolerance=1e-9):
    pair = run(ExactInversionEdit(SOURCE, strength), schedule, timesteps, steps)
    back = run(StartFromPairEdit(pair, strength), schedule, timesteps, steps)
    error = float((back - SOURCE).abs().max())
    assert error < tolerance, f"{schedule}, {timesteps}, {steps} steps: {error:.1e}"
    return pair


@pytest.mark.parametrize("steps", [2, 3, 10, 25, 100])
@pytest.mark.parametrize(
    ("schedule", "timesteps"),
    [("edm", "karras"), ("vp_linear", "trailing"), ("rectified_flow", "trailing"), ("vp_linear", "uniform_logsnr")],
)
def test_the_round_trip_is_exact(schedule, timesteps, steps):
    check_round_trip(schedule, timesteps, steps)


@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_a_partial_inversion_is_exact_too(strength):
    check_round_trip("rectified_flow", "trailing", 20, strength)


def test_a_planted_method_that_its_own_formula_does_not_invert_is_caught():
    with planted_error(belm, "two_step_point", scale_expression(variable_target("r"), 0.99)):
        assert_caught(check_round_trip, "edm", "karras", 10)


def test_the_noise_is_that_of_the_ode():
    """Sampling from the noisy end alone, with many steps of another method, returns the source nearly."""
    pair = check_round_trip("rectified_flow", "trailing", 200)
    noise = pair.chunk(2, dim=1)[0]
    made = sonolux.sample(
        MIXTURE,
        SOURCE.shape,
        schedule="rectified_flow",
        timesteps="trailing",
        sampler="heun_flow",
        steps=200,
        x=noise,
        dtype=torch.float64,
    )
    assert float((made - SOURCE).square().mean().sqrt()) < 0.02
    assert 0.8 < float(noise.std()) < 1.2


def check_second_point_has_little_weight(timesteps, schedule, most=2.0):
    """An error of the second point alone excites the method's second solution: the result changes about as much."""
    pair = run(ExactInversionEdit(SOURCE), schedule, timesteps, 50)
    error = 1e-6 * torch.randn(SOURCE.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = pair + torch.cat([torch.zeros_like(error), error * pair.chunk(2, dim=1)[0].std()], dim=1)
    change = run(StartFromPairEdit(moved), schedule, timesteps, 50) - run(
        StartFromPairEdit(pair), schedule, timesteps, 50
    )
    factor = float(change.square().mean().sqrt()) / 1e-6
    assert factor < most, f"{schedule}: {factor:.3g} times the error"


@pytest.mark.parametrize("schedule", ["edm", "rectified_flow", "vp_linear", "ve", "cosine"])
def test_steps_that_shrink_do_not_amplify_errors(schedule):
    check_second_point_has_little_weight("quadratic_tau", schedule)


@pytest.mark.parametrize(("timesteps", "schedule"), [("trailing", "edm"), ("karras", "vp_linear")])
def test_steps_that_grow_do(timesteps, schedule):
    assert_caught(check_second_point_has_little_weight, timesteps, schedule)


def test_other_conditions_give_samples_of_these():
    """Inverted as their own component and sampled as another: samples of that component."""
    own, other = (MIXTURE.conditions(labels) for labels in (LABELS, (LABELS + 1) % 3))
    pair = run(ExactInversionEdit(SOURCE), "rectified_flow", "trailing", 50, own)
    assert torch.allclose(run(StartFromPairEdit(pair), "rectified_flow", "trailing", 50, own), SOURCE, atol=1e-9)
    made = run(StartFromPairEdit(pair), "rectified_flow", "trailing", 50, other)
    away = (made.flatten(1) - MIXTURE.means[(LABELS + 1) % 3]).norm(dim=1) / MIXTURE.std[(LABELS + 1) % 3]
    before = (SOURCE.flatten(1) - MIXTURE.means[(LABELS + 1) % 3]).norm(dim=1) / MIXTURE.std[(LABELS + 1) % 3]
    assert float(away.mean()) < 3 < float(before.mean()), "6 elements: about sqrt(6) standard deviations from the mean"


@pytest.mark.parametrize(("steps", "strength"), [(1, 1.0), (4, 0.1)])
def test_too_few_steps_are_refused(steps, strength):
    with pytest.raises(BadInput, match="exact inversion takes 2 steps or more"):
        run(ExactInversionEdit(SOURCE, strength), steps=steps)
