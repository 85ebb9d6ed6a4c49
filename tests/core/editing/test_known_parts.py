"""Inpainting on exact mixtures against the exact conditional; resampling as rows of a plan."""

import ast
import itertools

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.editing import inpaint
from sonolux.core.editing import repaint as jumps
from sonolux.core.editing.inpaint import InpaintEdit
from sonolux.core.editing.known_elements import MaskOperator, encode_partly_known
from sonolux.core.editing.repaint import RePaintSampler
from sonolux.core.guidance.cfgpp import CFGpp
from sonolux.core.pipeline.functional import sample
from sonolux.core.samplers._noises import iterate_noises
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.dpm_adaptive import DPMAdaptive
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.heun import Heun
from sonolux.core.samplers.plan import RepeatedNoiseKey
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.dense import ar1_sequences
from sonolux.core.testing.distribution import moment_errors
from sonolux.core.testing.invariants import largest_deviation
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    keep_right_operand,
    mutated_class,
    planted_error,
    replace_expression,
    swap_arguments,
    swap_operands,
    swap_operator,
)
from sonolux.core.types import BadInput
from sonolux.core.util.rng import KeyedNoise

PROBLEMS = {"sequence": ar1_sequences(8, 0.9), "mixture": example_mixture(shape=(1, 6)).dense()}
SCHEDULES = {"edm": EDM(), "vp_linear": VPLinear(), "rectified_flow": RectifiedFlow()}


def asked(name):
    """(problem, y, where it is known, the exact conditional)."""
    problem = PROBLEMS[name]
    y = problem.draw(1, seed=5)[0]
    known = torch.zeros(1, 1, *problem.shape[1:], dtype=torch.bool)
    known[..., : problem.shape[-1] // 2] = True
    return problem, y, known, problem.conditioned_on(known[0], y)


def errors(cls, name, count=1500, schedule="edm", sampler="heun", steps=20, **options):
    """Errors of mean and covariance of `count` fillings, which hold y where it is known."""
    problem, y, known, exact = asked(name)
    edit = cls(y.float()[None], known, **options)
    x = sample(problem, (count, *problem.shape), schedule, sampler=sampler, steps=steps, edits=[edit])
    assert torch.equal(x[:, :, known[0, 0]], y.float()[None, :, known[0, 0]].expand(count, -1, -1))
    return moment_errors(x, exact)


def check_levels(cls):
    """By levels the law is the conditional one, up to the solver and chance (0.03 to 0.05 for 1500 samples)."""
    for name in PROBLEMS:
        found = errors(cls, name, method="levels", steps=32)
        assert found.mean < 0.06 and found.covariance < 0.1, (name, found)


@pytest.mark.slow
def test_by_levels_a_filling_follows_the_exact_conditional():
    check_levels(InpaintEdit)


@pytest.mark.slow
def test_replacement_is_a_rough_conditional_and_resampling_improves_it():
    """What replacement costs: the covariance of the rest is off by 0.5 on a correlated sequence, 0.3 with 6 walks."""
    once, often = (errors(InpaintEdit, "sequence", 600, resample=times, jump=2) for times in (1, 6))
    assert once.covariance > 0.3 and often.covariance < 0.7 * once.covariance, (once, often)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_levels_on_every_schedule_and_a_stochastic_sampler(schedule):
    found = errors(InpaintEdit, "sequence", 800, schedule, "ddpm" if schedule == "edm" else "heun", 40, method="levels")
    assert found.mean < 0.1 and found.covariance < 0.25, found


PLANTED = [
    ("start", replace_expression(argument_target("fill_known", 0), "self.source.to(x) * 2")),
    ("_map", swap_arguments("where", 1, 2)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "error"), PLANTED)
def test_a_planted_error_of_levels_is_caught(method, error):
    assert_caught(check_levels, mutated_class(InpaintEdit, method, error), also=BadInput)


def check_state(cls):
    """Where y is known the state is alpha y plus noise of deviation sigma, with the run's own keyed noise."""
    _, y, known, _ = asked("sequence")
    seen = []

    class Sees:
        def denoise(self, x, level, conditions):
            seen.append((x.clone(), float(level.alpha), float(level.sigma)))
            return PROBLEMS["sequence"].denoise(x, level, conditions)

    edit = cls(y.float()[None], known)
    sample(Sees(), (3, 1, 8), "vp_linear", sampler="heun", steps=6, seed=4, edits=[edit])
    z = KeyedNoise(4, range(3), (1, 8)).normal("start")
    for x, alpha, sigma in seen:
        wanted = alpha * y.float()[None] + sigma * z
        assert torch.allclose(x[..., :4], wanted[..., :4], atol=1e-4)


def test_the_known_part_carries_its_own_forward_noise():
    check_state(InpaintEdit)


def test_a_planted_known_part_that_drifts_is_caught():
    with planted_error(
        inpaint._KnownDenoiser, "denoise", replace_expression(argument_target("Estimate", 0), "found.x0")
    ):
        assert_caught(check_state, InpaintEdit)


def test_a_guidance_that_moves_the_state_leaves_the_known_part():
    problem, y, known, _ = asked("mixture")
    conditions = problem.conditions(torch.tensor([0, 1]))
    edit = InpaintEdit(y.float()[None], known)
    x = sample(problem, (2, *problem.shape), guidance=CFGpp(0.8), conditions=conditions, edits=[edit])
    assert torch.equal(x[..., :3], y.float()[None, :, :3].expand(2, -1, -1)) and torch.isfinite(x).all()


@pytest.mark.slow
def test_the_batch_does_not_change_a_filling():
    problem, y, known, _ = asked("sequence")
    for sampler in ("heun", "dpmpp_2m_sde"):
        edit = InpaintEdit(y.float()[None], known, resample=3, jump=2)
        made = [sample(problem, (n, 1, 8), sampler=sampler, steps=8, seed=1, edits=[edit]) for n in (4, 2)]
        last = sample(problem, (1, 1, 8), sampler=sampler, steps=8, seed=1, first=3, edits=[edit])
        assert torch.allclose(made[0][:2], made[1], atol=1e-5) and torch.allclose(made[0][3:], last, atol=1e-5)


# --- resampling ------------------------------------------------------------------------------------------------------


def check_plan(cls):
    """Every point of a resampled plan keeps its level's share of data and noise; it ends clean; walks are counted."""
    for sampler, schedule in itertools.product((Heun(), DPMpp2MSDE()), SCHEDULES.values()):
        levels = registry.find_class("spacing", "karras")().levels(schedule, 9)
        plan = cls(sampler, 4, 3).plan(schedule, levels)
        found = largest_deviation(plan)
        assert found.data < 1e-9 and found.noise < 1e-9
        steps = [row for row in plan.rows if row.step]
        assert len(steps) == 4 * 3 + 4 * 3 + 1 and float(plan.rows[-1].level.sigma) == 0
        rises = [float(b.level.tau) > float(a.level.tau) for a, b in itertools.pairwise(steps)]
        assert sum(rises) == 4
        assert plan.nfe >= len(steps)
    problem, levels = PROBLEMS["sequence"], registry.find_class("spacing", "karras")().levels(EDM(), 9)
    x = 80 * torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))
    once, plain = (
        run_plan(plan, problem, x) for plan in (cls(Heun(), 2, 1).plan(EDM(), levels), Heun().plan(EDM(), levels))
    )
    assert torch.allclose(once, plain, atol=1e-5)


def test_resampling_joins_plans_that_keep_marginals():
    check_plan(RePaintSampler)


@pytest.mark.parametrize(
    ("owner", "where", "error"),
    [
        (jumps, "_up", keep_right_operand(ast.Mult, near="ratio")),
        (jumps, "_up", swap_operands(ast.Div)),
        (RePaintSampler, "plan", swap_operator(ast.Lt, ast.LtE)),
        (jumps, "_appended", keep_right_operand(ast.Add, at=1)),
    ],
)
def test_a_planted_error_of_resampling_is_caught(owner, where, error):
    with planted_error(owner, where, error):
        assert_caught(check_plan, RePaintSampler, also=(KeyError, IndexError, RuntimeError, BadInput))


def test_repeated_stretches_draw_noise_of_their_own():
    noise = KeyedNoise(0, [0], (1, 64))
    keys = [RepeatedNoiseKey(n, repeat, key) for n in (0, 1) for repeat in (0, 1) for key in ("up", ("step", 0))]
    found = torch.cat(list(iterate_noises(noise, keys))).flatten(1)
    assert torch.allclose(torch.corrcoef(found), torch.eye(8), atol=0.5)
    assert torch.equal(found[0], next(iterate_noises(noise, keys[:1])).flatten())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RePaintSampler(Heun(), 0, 2), "1 step"),
        (lambda: RePaintSampler(DPMAdaptive(), 2, 2), "adaptive"),
        (lambda: InpaintEdit(torch.zeros(1, 1, 4), torch.ones(1, 1, 4)), "bool"),
        (lambda: InpaintEdit(torch.zeros(1, 1, 4), torch.ones(1, 1, 4).bool(), method="guess"), "levels"),  # type: ignore[arg-type]
    ],
)
def test_bad_wishes_are_refused(make, said):
    with pytest.raises(BadInput, match=said):
        make()


def test_what_a_codec_reaches_is_found_by_asking_it():
    kernel = torch.tensor([[[0.25, 0.5, 0.25]]])

    def encode(media):
        return torch.nn.functional.conv1d(media, kernel, padding=1)

    media, known = torch.ones(1, 1, 10), torch.ones(1, 1, 10, dtype=torch.bool)
    known[..., 4:6] = False
    z, places = encode_partly_known(encode, media, known)
    assert places[0, 0].tolist() == [True] * 3 + [False] * 4 + [True] * 3
    assert torch.equal(z[0, 0, :3], encode(media)[0, 0, :3])
    for none_or_all in (torch.ones_like(known), torch.zeros_like(known)):
        with pytest.raises(BadInput, match="regenerate"):
            encode_partly_known(encode, media, none_or_all)


def test_a_mask_is_a_projection():
    mask = MaskOperator(torch.tensor([[[True, False, True]]]))
    x, y = torch.arange(3.0)[None, None], torch.full((1, 1, 3), 9.0)
    assert mask.fill_known(y, x).tolist() == [[[9.0, 1.0, 9.0]]]
    assert torch.equal(mask.fill_known(y, mask.fill_known(y, x)), mask.fill_known(y, x))
