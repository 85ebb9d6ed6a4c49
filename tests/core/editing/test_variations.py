"""Variations and the way back to noise on Gaussian data, where both have a closed form."""

import ast
import math

import numpy as np
import pytest
import torch
from sonolux.core.editing import vary
from sonolux.core.editing.morph import InversionEdit, ReversedSampler, StartFromStateEdit, slerp
from sonolux.core.editing.vary import VaryEdit
from sonolux.core.pipeline.functional import sample
from sonolux.core.samplers.dpm_adaptive import DPMAdaptive
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.heun import Heun
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.mixture import GaussianMixture, example_mixture
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    keep_left_operand,
    mutated_class,
    mutated_function,
    planted_error,
    replace_expression,
)
from sonolux.core.timesteps.karras import Karras
from sonolux.core.types import BadInput
from sonolux.core.util.rng import KeyedNoise

MEAN, STD = 0.4, 0.7
DATA = GaussianMixture(torch.full((1, 1, 6), MEAN), STD)
Y = torch.linspace(-1, 2, 6)[None, None]


def flow(x, alpha, sigma):
    """The probability flow of N(MEAN, STD^2) data from x at (alpha, sigma) to clean data."""
    return MEAN + STD / math.sqrt(alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)


def check_variation(cls):
    """The flow from alpha y + sigma z at tau = strength tau_max, on schedules of other kinds."""
    for schedule in (EDM(), RectifiedFlow(), Discrete()):
        for strength in (0.2, 0.6, 0.95):
            top = float(schedule.level(schedule.t_max).tau)
            _, levels = cls(Y, strength).sampler_and_levels(Heun(), schedule, Karras().levels(schedule, 60))
            alpha, sigma = float(levels[0].alpha), float(levels[0].sigma)
            assert sigma / (alpha + sigma) == pytest.approx(strength * top, abs=2e-3)  # an index of `discrete` is whole
            made = sample(DATA, (3, 1, 6), schedule, sampler="heun", steps=60, seed=2, edits=[cls(Y, strength)])
            z = KeyedNoise(2, range(3), (1, 6)).normal("start")
            assert torch.allclose(made, flow(alpha * Y + sigma * z, alpha, sigma), atol=2e-2)


@pytest.mark.slow
def test_a_variation_is_the_flow_from_the_noisy_source():
    check_variation(VaryEdit)


@pytest.mark.parametrize(
    ("owner", "function", "error"),
    [
        (VaryEdit, "start", replace_expression(call_target("broadcast_like"), "0.9")),
        (VaryEdit, "_begin", keep_left_operand(ast.Div)),
        (vary, "levels_starting_at", replace_expression(ast.List, "[levels[0]]")),
    ],
)
def test_a_planted_error_of_variation_is_caught(owner, function, error):
    with planted_error(owner, function, error):
        assert_caught(check_variation, VaryEdit, also=BadInput)


def test_strength_0_changes_nothing_and_1_knows_nothing_of_the_source():
    plain = sample(DATA, (3, 1, 6), steps=5, seed=1)
    assert torch.equal(sample(DATA, (3, 1, 6), steps=5, seed=1, edits=[VaryEdit(Y, 1.0)]), plain)
    assert torch.equal(sample(DATA, (3, 1, 6), steps=5, seed=1, edits=[VaryEdit(Y, 0)]), Y.expand(3, -1, -1))


@pytest.mark.slow
@pytest.mark.parametrize("use", ["dpmpp_2m", "dpmpp_2m_sde", "dpm_adaptive", "restart", "unipc"])
def test_any_sampler_varies_and_the_nearer_the_less(use):
    from sonolux.core.config.registry import find_class

    sampler = find_class("sampler", use)()
    away = [
        float((sample(DATA, (64, 1, 6), sampler=sampler, steps=12, edits=[VaryEdit(Y, s)]) - Y).square().mean())
        for s in (0.05, 0.3, 0.7)
    ]
    assert away[0] < away[1] < away[2], away
    one = sample(DATA, (1, 1, 6), sampler=sampler, steps=12, first=5, edits=[VaryEdit(Y, 0.5)])
    assert torch.allclose(
        sample(DATA, (6, 1, 6), sampler=sampler, steps=12, edits=[VaryEdit(Y, 0.5)])[5:], one, atol=1e-5
    )


def test_a_strength_beyond_its_range_is_refused():
    with pytest.raises(BadInput, match="between 0"):
        VaryEdit(Y, 1.2)


# --- back to noise --------------------------------------------------------------------------------------------------


def check_noise(cls):
    """The noise behind y: the flow's inverse; and down again y, off by less the more steps there are."""
    for schedule in (EDM(), Discrete()):
        top = schedule.level(schedule.t_max)
        a, s = float(top.alpha), float(top.sigma)
        noise = sample(DATA, (1, 1, 6), schedule, sampler="heun", steps=60, edits=[cls(Y)])
        wanted = a * MEAN + math.sqrt(a**2 * STD**2 + s**2) / STD * (Y - MEAN)
        assert torch.allclose(noise / s, wanted / s, atol=2e-2)
    mixture, y = example_mixture(shape=(1, 6)), example_mixture(shape=(1, 6)).draw(8, seed=3).float()
    off = []
    for steps in (12, 24, 48):
        noise = sample(mixture, (8, 1, 6), sampler="heun", steps=steps, edits=[cls(y)])
        back = sample(mixture, (8, 1, 6), sampler="heun", steps=steps, edits=[StartFromStateEdit(noise)])
        off.append(float((back - y).square().mean().sqrt()))
    assert off[2] < 0.01 and off[2] < off[1] / 2 < off[0] / 4, off


@pytest.mark.slow
def test_a_file_comes_back_from_its_noise():
    check_noise(InversionEdit)


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("start", replace_expression(ast.Mult, "x + self.source.to(x)")),
        ("sampler_and_levels", replace_expression(ast.ListComp, "_[:-1]")),
    ],
)
def test_a_planted_error_of_the_way_back_is_caught(method, error):
    assert_caught(check_noise, mutated_class(InversionEdit, method, error), also=(BadInput, RuntimeError))


def test_only_deterministic_steps_lead_back():
    for sampler in (DPMpp2MSDE(), DPMAdaptive()):
        with pytest.raises(BadInput, match="deterministic"):
            ReversedSampler(sampler)
    with pytest.raises(BadInput, match="2 steps"):
        sample(DATA, (1, 1, 6), steps=1, edits=[InversionEdit(Y)])


def check_slerp(function):
    """On the arc: the ends are the ends, steps are of equal angle, norms stay; parallel ends do not divide by 0."""
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.standard_normal((1, 2, 9))) for _ in range(2))
    a, b = a / a.norm(), b / b.norm()
    shares = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    path = function(a.expand(5, -1, -1), b.expand(5, -1, -1), shares)
    assert torch.allclose(path[0], a[0]) and torch.allclose(path[4], b[0])
    assert torch.allclose(path.flatten(1).norm(dim=1), torch.ones(5, dtype=torch.float64))
    angles = torch.arccos((path[1:] * path[:-1]).flatten(1).sum(1))
    assert torch.allclose(angles, angles[:1].expand(4), atol=1e-6)
    assert torch.allclose(function(a, a, torch.tensor([0.3])), a)


def test_slerp_goes_along_the_arc():
    check_slerp(slerp)


def test_a_planted_error_of_slerp_is_caught():
    off_the_arc = replace_expression(ast.Mult, "1 - s * angle", near="angle")
    for error in (off_the_arc, replace_expression(call_target("where"), "torch.where(straight, 1.0, angle)")):
        assert_caught(check_slerp, mutated_function(slerp, error))
