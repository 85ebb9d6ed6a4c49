"""Densities of training times: the contract, the distribution functions, stratification."""

import math

import pytest
import torch
from scipy import stats
from sonolux.core.config import registry
from sonolux.core.objectives.timestep_sampling.logit_normal import LogitNormal
from sonolux.core.objectives.timestep_sampling.lognormal import LogNormal
from sonolux.core.objectives.timestep_sampling.uniform import Uniform
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import check_timestep_sampling
from sonolux.core.testing.mutation import (
    assert_caught,
    attribute_target,
    call_target,
    mutated_class,
    negate_expression,
    replace_expression,
    swap_call,
)
from sonolux.core.types import BadInput
from sonolux.core.util.rng import stratified_uniforms

SCHEDULES = {name: registry.find_class("schedule", name)() for name in registry.builtin_files("schedule")}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", registry.builtin_files("times"))
def test_every_density_holds_the_contract(name, schedule):
    check_timestep_sampling(registry.find_class("times", name)(), SCHEDULES[schedule])


U = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000  # one number in each stratum: exact quantiles


def distance(values, cdf):
    """Kolmogorov's distance between an empirical distribution and a distribution function."""
    return stats.kstest(values.numpy(), cdf).statistic


def check_uniform(cls):
    assert distance(cls().sample(U, VPLinear()), stats.uniform(1e-4, 1 - 1e-4).cdf) < 1e-3
    on_grid = cls().sample(U, Discrete())
    assert torch.equal(on_grid, torch.arange(1000).double().repeat_interleave(4))


def check_lognormal(cls):
    for schedule in (EDM(), VPLinear()):
        rho = schedule.level(cls().sample(U, schedule)).rho
        assert distance(torch.log(rho), stats.norm(-1.2, 1.2).cdf) < 2e-3
    rho = EDM().level(cls(mean=0.3, std=0.5).sample(U, EDM())).rho
    assert distance(torch.log(rho), stats.norm(0.3, 0.5).cdf) < 1e-3


def check_logit_normal(cls):
    """On rectified flow t is tau; the shift moves t, not the density of levels."""
    cdf = lambda t: stats.norm(0.2, 0.8).cdf(torch.logit(torch.as_tensor(t)).numpy())  # noqa: E731
    times = cls(mean=0.2, std=0.8)
    assert distance(times.sample(U, RectifiedFlow()), cdf) < 1e-3
    shifted = RectifiedFlow(shift=3.0)
    assert distance(shifted.level(times.sample(U, shifted)).tau, cdf) < 1e-3


DENSITIES = [(Uniform, check_uniform), (LogNormal, check_lognormal), (LogitNormal, check_logit_normal)]


@pytest.mark.parametrize(("cls", "check"), DENSITIES)
def test_densities(cls, check):
    check(cls)


def test_every_density_is_compared_with_its_distribution_function():
    assert {cls for cls, _ in DENSITIES} == {registry.find_class("times", n) for n in registry.builtin_files("times")}


@pytest.mark.parametrize("total", [8, 64])
def test_a_batch_holds_one_time_in_each_stratum_whatever_the_ranks(total):
    u = stratified_uniforms(seed=3, step=5, total=total, rows=range(total))
    assert torch.equal(torch.floor(u * total).sort().values, torch.arange(total).double())
    halves = [stratified_uniforms(3, 5, total, rows) for rows in (range(total // 2), range(total // 2, total))]
    assert torch.equal(torch.cat(halves), u)
    t = LogNormal().sample(u, EDM())
    edges = torch.exp(-1.2 + 1.2 * torch.special.ndtri(torch.arange(1, total).double() / total))
    assert torch.bincount(torch.searchsorted(edges, t), minlength=total).tolist() == [1] * total


def test_the_ends_are_finite():
    u = torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64)
    for times in (LogNormal(), LogitNormal(std=9.0), Uniform()):
        for schedule in SCHEDULES.values():
            level = schedule.level(times.sample(u, schedule))
            assert torch.isfinite(level.alpha).all() and torch.isfinite(level.sigma).all()


@pytest.mark.parametrize(
    ("cls", "check", "error"),
    [
        (Uniform, check_uniform, swap_call("floor", "round")),
        (Uniform, check_uniform, replace_expression(call_target("double"), "_ ** 2")),
        (LogNormal, check_lognormal, replace_expression(attribute_target("std"), "_ ** 2")),
        (LogitNormal, check_logit_normal, negate_expression(attribute_target("mean"))),
    ],
)
def test_planted_error_is_caught(cls, check, error):
    assert_caught(check, mutated_class(cls, "sample", error))


@pytest.mark.parametrize("cls", [LogNormal, LogitNormal])
def test_a_density_without_width_is_refused(cls):
    with pytest.raises(BadInput, match="std is positive"):
        cls(std=-math.e)
