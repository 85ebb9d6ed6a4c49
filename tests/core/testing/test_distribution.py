"""Errors of distributions and the two-sample test against scipy and chance; weak orders of known methods; budgets."""

import ast

import pytest
import torch
from scipy import stats
from sonolux.core.samplers import _coefficients as coefficients
from sonolux.core.samplers.ddpm import DDPM
from sonolux.core.samplers.dpm_adaptive import DPMAdaptive
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.euler_ancestral import EulerAncestral
from sonolux.core.samplers.heun import Heun
from sonolux.core.samplers.rk4 import RK4
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing import orders
from sonolux.core.testing.budget import error_against_nfe, plan_within_nfe
from sonolux.core.testing.conformance import SamplerConformance, check_distribution
from sonolux.core.testing.distribution import (
    energy_distance_test,
    measure_distribution,
    measure_weak_order,
    moment_errors,
)
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    call_target,
    drop_call,
    mutated_class,
    mutated_function,
    planted_error,
    replace_expression,
    scale_expression,
    swap_operator,
)
from sonolux.core.testing.ode import random_start, solve_in_tau
from sonolux.core.testing.orders import even_tau_levels
from sonolux.core.testing.problems import example_problems
from sonolux.core.timesteps.leading import Leading
from sonolux.core.types import NoiseLevel


def normal(count, shift=0.0, scale=1.0, d=3, seed=0):
    return shift + scale * torch.randn(count, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def check_two_sample(test):
    """In 1D the energy distance is scipy's; equal sets give even p-values, unequal ones small ones."""
    a, b = normal(60, d=1, seed=1), normal(45, shift=0.4, d=1, seed=2)
    assert test(a, b, 10)[0] == pytest.approx(stats.energy_distance(a[:, 0], b[:, 0]), rel=1e-9)
    same = [test(normal(50, seed=2 * i), normal(50, seed=2 * i + 1), 60)[1] for i in range(40)]
    assert stats.kstest(same, "uniform").pvalue > 0.001
    for other in (normal(200, shift=0.3, seed=9), normal(200, scale=1.4, seed=9)):
        assert test(normal(200, seed=8), other, 100)[1] < 0.03


def test_two_sample():
    check_two_sample(energy_distance_test)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        swap_operator(ast.USub, ast.UAdd),
        swap_operator(ast.GtE, ast.LtE),
        replace_expression(argument_target("new_full", 1), "1 / len(b)"),
        drop_call("sqrt"),
    ],
)
def test_planted_error_in_the_two_sample_test_is_caught(error):
    assert_caught(check_two_sample, mutated_function(energy_distance_test, error))


@pytest.mark.slow
def test_statistics_in_their_units():
    problem = example_mixture()
    exact = problem.draw(2000)
    shift = float(torch.trace(problem.covariance)) ** 0.5
    assert moment_errors(exact, problem).mean < 0.08 and moment_errors(exact, problem).covariance < 0.1
    moved = exact + 0.5 * shift / exact[0].numel() ** 0.5
    assert moment_errors(moved, problem).mean == pytest.approx(0.5, abs=0.08)
    wide = problem.mean.reshape(problem.shape) + 1.5 * (exact - problem.mean.reshape(problem.shape))
    assert moment_errors(wide, problem).covariance == pytest.approx(1.25, abs=0.15)


def check_distribution_error(cls):
    """Forty steps are enough that a test with 500 samples does not see the difference."""
    found = measure_distribution(cls(), RectifiedFlow(), even_tau_levels(RectifiedFlow(), 60), example_mixture(), 500)
    assert found.p > 0.05 and found.made.covariance < 0.2 and found.made.mean < 0.12
    assert found.chance.mean < 0.1 and found.count == 500


@pytest.mark.slow
@pytest.mark.parametrize("cls", [DDPM, DPMpp2MSDE])
def test_good_samplers_pass_the_two_sample_test(cls):
    check_distribution_error(cls)


@pytest.mark.slow
def test_a_sampler_with_a_wrong_scale_of_noise_is_caught():
    with planted_error(coefficients, "first_order_step", scale_expression(call_target("noise"), 1.3)):
        assert_caught(check_distribution_error, DDPM)


def check_weak_order(cls, order):
    for schedule in (VPLinear(), EDM(), RectifiedFlow()):
        assert abs(measure_weak_order(cls(), schedule, (16, 32, 64)).slope - order) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "order"), [(DDPM, 1), (EulerAncestral, 1), (DPMpp2MSDE, 2)])
def test_weak_orders_of_the_papers(cls, order):
    check_weak_order(cls, order)


@pytest.mark.slow
def test_planted_errors_change_the_weak_order():
    assert_caught(
        check_weak_order,
        mutated_class(DPMpp2MSDE, "draft", scale_expression(call_target("higher_order_terms"), 0.0)),
        2,
    )
    with planted_error(coefficients, "first_order_step", scale_expression(call_target("noise"), 1.1)):
        assert_caught(check_weak_order, EulerAncestral, 1)


@pytest.mark.slow
def test_check_distribution_names_what_is_wrong():
    check_distribution(DDPM())
    check_distribution(Euler())  # nothing to check
    with planted_error(coefficients, "first_order_step", scale_expression(call_target("noise"), 1.2)):
        assert "variance is off" in assert_caught(check_distribution, EulerAncestral())
    with planted_error(coefficients, "first_order_step", scale_expression(ast.Sub, 1.05, at=-1)):
        assert "mean is off" in assert_caught(check_distribution, EulerAncestral())


# --- error against evaluations ---------------------------------------------------------------------------------------


def check_within(find):
    for nfe, steps in ((1, 1), (2, 1), (5, 3), (9, 5), (20, 10)):  # Heun on EDM: two a step, one for the last
        found = find(Heun(), EDM(), nfe)
        assert found is not None and (found[0], found[1].nfe) == (steps, 2 * steps - 1)
    assert find(Euler(), EDM(), 7)[0] == 7
    assert find(RK4(), EDM(), 5, Leading().levels) is None, "one step is all there is for, and leading refuses it"


def test_the_most_steps_that_a_budget_allows():
    check_within(plan_within_nfe)


@pytest.mark.parametrize(
    "error", [swap_operator(ast.LtE, ast.Lt, at=-1), replace_expression(ast.Add, "steps + 2", at=-1)]
)
def test_a_budget_that_is_off_by_one_is_caught(error):
    assert_caught(check_within, mutated_function(plan_within_nfe, error), also=TypeError)


def check_cost(measure):
    """One step of Euler from noise to clean ends at the mean of the data; more evaluations help as the order says."""
    problem, flow = example_mixture(), RectifiedFlow()
    start = random_start(problem, NoiseLevel(1.0, 0.0, 1.0), 64)
    exact = solve_in_tau(problem, start, (1.0, 0.0))[-1]
    one = measure(Euler(), flow, [1], problem, 64)[0]
    away = exact - problem.mean.reshape(problem.shape)
    assert one.error == pytest.approx(float(away.square().mean().sqrt()), rel=1e-9)
    few, many = measure(Euler(), flow, [20, 80], problem, 64)
    assert (few.nfe, few.steps) == (20, 20) and 3 < few.error / many.error < 5
    assert measure(Heun(), flow, [20], problem, 64)[0].error < few.error / 2


@pytest.mark.slow
def test_error_against_evaluations():
    check_cost(error_against_nfe)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [swap_operator(ast.Sub, ast.Add), replace_expression(call_target("float"), "2.0", near="sigma")]
)
def test_planted_error_in_the_comparison_is_caught(error):
    assert_caught(check_cost, mutated_function(error_against_nfe, error))


@pytest.mark.slow
def test_an_adaptive_sampler_is_one_point():
    (cost,) = error_against_nfe(DPMAdaptive(rtol=1e-3, atol=1e-3), EDM(), [5, 10], example_mixture(), 16)
    assert cost.asked == cost.nfe > 10 and cost.error < 1e-2


@pytest.mark.slow
def test_every_example_has_an_exact_solution_to_compare_with():
    for name, problem in example_problems().items():
        few, many = error_against_nfe(Heun(), RectifiedFlow(), [10, 40], problem, 4)
        assert 0 < many.error < few.error, name


def test_levels_are_uneven_and_share_the_interval():
    levels = orders.uneven_levels(EDM(), 4, history=2)
    lam = torch.stack([level.lam for level in levels])
    assert (
        len(levels) == 7
        and float(lam[2]) == pytest.approx(orders.INTERVAL[0])
        and float(lam[-1]) == pytest.approx(orders.INTERVAL[1])
    )
    assert len({round(float(v), 9) for v in torch.diff(lam)}) == 2


# --- the kit as a plugin uses it -------------------------------------------------------------------------------------


class TestEuler(SamplerConformance):
    sampler = Euler()


class TestDDPM(SamplerConformance):
    sampler = DDPM()


def test_the_kit_catches_a_broken_plugin():
    class Claims(Euler):
        """A method of first order that says it is of second."""

        order = 2

    class Broken(SamplerConformance):
        sampler = Claims()

    assert "order 2" in assert_caught(Broken().test_order)
