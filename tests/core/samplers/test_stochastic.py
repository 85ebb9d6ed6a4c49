"""Stochastic samplers make the right distribution: exact moments on Gaussian data, and drawn ones on a mixture."""

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.samplers import _coefficients as coefficients
from sonolux.core.samplers import _moves as moves
from sonolux.core.samplers.base import run
from sonolux.core.samplers.ddim import DDIM
from sonolux.core.samplers.ddpm import DDPM
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.euler_ancestral import EulerAncestral
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import falling
from sonolux.core.testing.mixture import GaussianMixture
from sonolux.core.testing.moments import moments
from sonolux.core.testing.mutation import caught
from sonolux.core.testing.planted import plant

SAMPLERS = {name: registry.find("sampler", name)() for name in registry.builtins("sampler")}
STOCHASTIC = {
    **{name: sampler for name, sampler in SAMPLERS.items() if sampler.stochastic and sampler.converges},
    "ddim eta 0.5": DDIM(eta=0.5),
    "ddpm large": DDPM(variance="large"),
    "dpmpp_2m_sde eta 0.5": DPMpp2MSDE(eta=0.5),
}
MEAN, STD = 0.7, 0.4


def errors(sampler, schedule, steps):
    found = moments(sampler, schedule, falling(schedule, steps), MEAN, STD)
    return abs(found.mean - MEAN) / STD, abs(found.variance / STD**2 - 1)


def check_weak(sampler):
    """Mean and variance of the result tend to those of the data, at least as fast as the step."""
    for schedule in (VPLinear(), EDM(), RectifiedFlow()):
        (_, coarse), (mean, fine) = (errors(sampler, schedule, n) for n in (32, 128))
        assert mean < 0.01, f"mean off by {mean:.3f} standard deviations on {type(schedule).__name__}"
        assert fine < 0.08 and fine < coarse / 3, f"variance off by {coarse:.4f}, then {fine:.4f}"


@pytest.mark.parametrize("name", STOCHASTIC)
def test_weak_convergence(name):
    check_weak(STOCHASTIC[name])


def check_drawn(sampler, count=3000):
    """Mean and covariance of drawn samples of correlated data, against the data's, within what chance allows."""
    along = torch.tensor([[[0.6], [0.8]]], dtype=torch.float64).reshape(1, 1, 2, 1)
    data = GaussianMixture(torch.tensor([[[0.5], [-0.3]]]), 0.5, basis=along, spread=torch.tensor([[1.0]]))
    schedule = RectifiedFlow()
    plan, generator = sampler.plan(schedule, falling(schedule, 60)), torch.Generator().manual_seed(1)
    start, *drawn = torch.randn(1 + len(plan.noises), count, *data.shape, generator=generator, dtype=torch.float64)
    x = run(plan, data, start, noise=dict(zip(plan.noises, drawn, strict=True))).reshape(count, 2)
    allowed = 4.5 / count**0.5
    assert float((x.mean(0) - data.mean).abs().max()) < allowed * 1.2
    assert float((torch.cov(x.T) - data.covariance).abs().max()) < allowed * 2 + 0.03


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m_sde", "euler_ancestral"])
def test_drawn_samples(name):
    check_drawn(SAMPLERS[name])


@pytest.mark.parametrize(
    ("cls", "check", "old", "new", "helper"),
    [
        (EulerAncestral, check_weak, "t, t.alpha * down", "t, down", None),  # noise of VE on flow
        (EulerAncestral, check_weak, "+ fresh * draft", "+ 1.2 * fresh * draft", coefficients),
        (DDPM, check_weak, "(t.alpha * s.sigma))", "(t.alpha * t.sigma))", None),
        (DPMpp2MSDE, check_weak, "made + higher", "made - 8 * higher", None),
        (DPMpp2MSDE, check_weak, "torch.exp(-eta * h)", "torch.exp(eta * h)", moves),
        (EulerAncestral, check_drawn, '("step", i)', '("step", 0)', None),  # the same noise at every step
    ],
)
def test_planted_error_is_caught(cls, check, old, new, helper):
    caught(check, plant(cls, old, new, helper)())


def test_the_same_key_is_the_same_noise():
    plan = EulerAncestral().plan(EDM(), falling(EDM(), 5))
    assert plan.noises == [("step", i) for i in range(4)]
