"""Stochastic samplers make the right distribution: exact moments on Gaussian data, and drawn ones on a mixture."""

import ast

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.ddim import DDIM
from sonolux.core.samplers.ddpm import DDPM
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.euler_ancestral import EulerAncestral
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import even_tau_levels
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mixture import GaussianMixture
from sonolux.core.testing.moments import sampler_moments
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    keep_right_operand,
    replace_expression,
    scale_expression,
    swap_attribute,
)

SAMPLERS = {name: registry.find_class("sampler", name)() for name in registry.builtin_files("sampler")}
STOCHASTIC = {
    **{name: sampler for name, sampler in SAMPLERS.items() if sampler.stochastic and sampler.converges},
    "ddim eta 0.5": DDIM(eta=0.5),
    "ddpm large": DDPM(variance="large"),
    "dpmpp_2m_sde eta 0.5": DPMpp2MSDE(eta=0.5),
}
MEAN, STD = 0.7, 0.4


def errors(sampler, schedule, steps):
    found = sampler_moments(sampler, schedule, even_tau_levels(schedule, steps), MEAN, STD)
    return abs(found.mean - MEAN) / STD, abs(found.variance / STD**2 - 1)


def check_weak(sampler):
    """Mean and variance of the result tend to those of the data, at least as fast as the step."""
    for schedule in (VPLinear(), EDM(), RectifiedFlow()):
        (_, coarse), (mean, fine) = (errors(sampler, schedule, n) for n in (32, 128))
        assert mean < 0.01, f"mean off by {mean:.3f} standard deviations on {type(schedule).__name__}"
        assert fine < 0.08 and fine < coarse / 3, f"variance off by {coarse:.4f}, then {fine:.4f}"


@pytest.mark.slow
@pytest.mark.parametrize("name", STOCHASTIC)
def test_weak_convergence(name):
    check_weak(STOCHASTIC[name])


def check_drawn(sampler, count=3000):
    """Mean and covariance of drawn samples of correlated data, against the data's, within what chance allows."""
    along = torch.tensor([[[0.6], [0.8]]], dtype=torch.float64).reshape(1, 1, 2, 1)
    data = GaussianMixture(torch.tensor([[[0.5], [-0.3]]]), 0.5, basis=along, spread=torch.tensor([[1.0]]))
    schedule = RectifiedFlow()
    plan, generator = sampler.plan(schedule, even_tau_levels(schedule, 60)), torch.Generator().manual_seed(1)
    start, *drawn = torch.randn(1 + len(plan.noises), count, *data.shape, generator=generator, dtype=torch.float64)
    x = run_plan(plan, data, start, noise=dict(zip(plan.noises, drawn, strict=True))).reshape(count, 2)
    allowed = 4.5 / count**0.5
    assert float((x.mean(0) - data.mean).abs().max()) < allowed * 1.2
    assert float((torch.cov(x.T) - data.covariance).abs().max()) < allowed * 2 + 0.03


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m_sde", "euler_ancestral"])
def test_drawn_samples(name):
    check_drawn(SAMPLERS[name])


PLANTED = [
    (EulerAncestral, check_weak, "draft", (keep_right_operand(ast.Mult, near="down"),)),  # noise of VE on flow
    (EulerAncestral, check_weak, "first_order_step", (scale_expression(call_target("noise"), 1.2),)),
    (DDPM, check_weak, "draft", (swap_attribute("sigma", "alpha"),)),
    (DPMpp2MSDE, check_weak, "draft", (scale_expression(call_target("higher_order_terms"), -8.0),)),
    (DPMpp2MSDE, check_weak, "kept_noise_share", (replace_expression(ast.USub, "eta"),)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check, cls())
