"""Multistep samplers: orders of their options, ends, maps, elements that wait, costs; planted errors."""

import ast
import math

import pytest
import torch
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.deis import DEIS
from sonolux.core.samplers.dpmpp_3m import DPMpp3M
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.exp_ab import ExpAB
from sonolux.core.samplers.exp_abm import ExpABM
from sonolux.core.samplers.ipndm import IPNDM
from sonolux.core.samplers.lms import LMS
from sonolux.core.samplers.unipc import UniPC
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.conformance import check_level_maps, check_order, check_plan, even_tau_levels
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    condition_target,
    keep_left_operand,
    replace_expression,
    scale_expression,
    swap_constant,
)
from sonolux.core.testing.ode import random_start, solve_ode
from sonolux.core.testing.orders import MeasuredOrder, PinnedDenoiser, own_start_order, whole_range_order
from sonolux.core.types import BadInput, Estimate, NoiseLevel

MIXTURE = example_mixture()
CLASSES = [DPMpp3M, ExpAB, ExpABM, UniPC, LMS, DEIS, IPNDM]


# --- orders ----------------------------------------------------------------------------------------------------------

# Options other than the defaults, which are measured where all samplers are.
OPTIONS = {
    "exp_ab 1": ExpAB(order=1),
    "exp_ab 3": ExpAB(order=3),
    "exp_ab 4": ExpAB(order=4),
    "exp_abm 2 pec": ExpABM(order=2, mode="pec"),
    "exp_abm 4 pec": ExpABM(order=4, mode="pec"),
    "exp_abm 2 pece": ExpABM(order=2, mode="pece"),
    "exp_abm 3 pece": ExpABM(order=3, mode="pece"),
    "exp_abm 4 pece": ExpABM(order=4, mode="pece"),
    "unipc 1 bh1": UniPC(predictor_order=1, variant="bh1"),
    "unipc 1 bh2": UniPC(predictor_order=1, variant="bh2"),
    "unipc 2 bh1": UniPC(predictor_order=2, variant="bh1"),
    "unipc 3 bh2": UniPC(predictor_order=3, variant="bh2"),
    "unipc 3 lower at the end": UniPC(predictor_order=3, lower_final=True),
    "lms 2": LMS(order=2),
    "lms 3": LMS(order=3),
    "deis 2": DEIS(order=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_order(name):
    """On one schedule: a method is the same on all of them, which its defaults are measured on."""
    check_order(OPTIONS[name], schedules=[RectifiedFlow()])


def test_stated_orders():
    assert [UniPC(predictor_order=p).order for p in (1, 2, 3)] == [2, 3, 4]
    assert [ExpAB(order=k).order for k in (1, 2, 3, 4)] == [LMS(order=k).order for k in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert [DEIS(order=k).order for k in (1, 2, 3)] == [1, 2, 3] and DPMpp3M().order == 3


def on_grid(sampler, lams):
    """Order on levels given by lams(n) of EDM: (lambdas, how many of them are history on the exact solution)."""
    schedule, errors, steps = EDM(), [], (24, 48, 96)
    for n in steps:
        grid, history = lams(n)
        levels = [schedule.level_of_rho(math.exp(-v)) for v in grid]
        first = random_start(MIXTURE, levels[history], 16)
        back = solve_ode(MIXTURE, first, levels[history::-1])[::-1]
        x = run_plan(sampler.plan(schedule, levels), PinnedDenoiser(MIXTURE, levels[: history + 1], back), back[0])
        errors.append(float((x - solve_ode(MIXTURE, first, [levels[history], levels[-1]])[-1]).square().mean().sqrt()))
    return MeasuredOrder(steps, tuple(errors)).slope


def equal_rho(n):
    return [-math.log(1.4 - 0.8 * i / n) for i in range(-4, n + 1)], 4


def even(n):
    return [-0.75 + 1.5 * i / n for i in range(-4, n + 1)], 4


def check_ipndm_orders(cls):
    """The weights belong to equal steps of rho: full order there, order 2 on another smooth grid."""
    for count in (1, 2, 3, 4):
        sampler = cls(estimates=count)
        assert abs(on_grid(sampler, equal_rho) - count) < 0.2, f"order {count} on equal steps of rho"
        assert abs(on_grid(sampler, even) - min(count, 2)) < 0.2, "order 2 on equal steps of lambda"


@pytest.mark.slow
def test_ipndm_orders():
    check_ipndm_orders(IPNDM)


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES)
def test_own_start_and_whole_interval(cls):
    """No offsets at alpha = 0 and sigma = 0: finite there, and orders with the method's own first steps are printed."""
    for schedule in (RectifiedFlow(), Discrete(zero_terminal=True)):
        started, all_ = own_start_order(cls(), schedule), whole_range_order(cls(), schedule, steps=(16, 32, 64))
        print(f"{cls.__name__}: own start {started.slope:.2f}, whole {all_.slope:.2f} {all_.errors[-1]:.1e}")
        assert started.is_finite and all_.is_finite and all_.errors[-1] < all_.errors[0] / 3


# --- ends, maps, _moves, costs ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_plan_and_maps(name):
    for schedule in (EDM(), RectifiedFlow()):
        for steps in (1, 2, 5):
            check_plan(OPTIONS[name], schedule, steps)
        check_level_maps(OPTIONS[name], schedule)


def test_evaluations():
    """One a step; PECE two, but one from alpha = 0 and one to sigma = 0."""
    levels = even_tau_levels(RectifiedFlow(), 6)
    for sampler in (DPMpp3M(), ExpAB(), ExpABM(mode="pec"), UniPC(), LMS(), DEIS(), IPNDM()):
        assert sampler.plan(RectifiedFlow(), levels).nfe == 6
    assert ExpABM(mode="pece").plan(RectifiedFlow(), levels).nfe == 10


def test_terms_are_few():
    """A predictor-corrector step of PEC is one row: one point and the estimates of both, the final step D alone."""
    for p in (1, 2, 3):
        plan = UniPC(predictor_order=p).plan(EDM(), even_tau_levels(EDM(), 8))
        assert len(plan.rows) == 9 and max(len(terms) for terms in plan.terms) == p + 2
        assert plan.terms[-1] == ((("D", 7), 1.0),)


def check_waiting(cls):
    """An element that keeps its level for three steps, then falls, goes the way of a run that starts there."""

    class Elementwise:
        def denoise(self, x, level, conditions):
            return Estimate(torch.tanh(x))

    for schedule in (EDM(), RectifiedFlow()):
        levels = even_tau_levels(schedule, 9)
        for first in (0, 1):
            own = [*[levels[first]] * 3, *levels[first + 1 :]]
            pairs = zip(even_tau_levels(schedule, len(own) - 1), own, strict=True)
            both = [
                NoiseLevel(*(torch.stack([getattr(a, f), getattr(b, f)]) for f in ("t", "alpha", "sigma")))
                for a, b in pairs
            ]
            x = torch.full((2, 1, 1), 0.7, dtype=torch.float64)
            made = run_plan(cls().plan(schedule, both), Elementwise(), x)[1:]
            alone = run_plan(cls().plan(schedule, levels[first:]), Elementwise(), x[1:])
            assert torch.allclose(made, alone, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES)
def test_waiting(cls):
    check_waiting(cls)


@pytest.mark.parametrize("cls", [UniPC, ExpABM, DPMpp3M, ExpAB])
def test_moves(cls):
    """A method that moves the state moves the path: a corrector does not go back to what was there before."""

    class Shifting:
        def denoise(self, x, level, conditions):
            return Estimate(torch.zeros_like(x), x=x + 1)

    levels = even_tau_levels(RectifiedFlow(), 6)[:-1]
    made = [run_plan(s.plan(RectifiedFlow(), levels), Shifting(), torch.zeros(1, 1, 1)) for s in (cls(), Euler())]
    assert torch.allclose(*made)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExpAB(order=5), "1, 2, 3 or 4"),
        (lambda: ExpABM(order=1), "2, 3 or 4"),
        (lambda: ExpABM(mode="pecec"), "pece"),  # type: ignore[arg-type]
        (lambda: UniPC(predictor_order=4), "1, 2 or 3"),
        (lambda: UniPC(variant="bh3"), "bh1 or bh2"),  # type: ignore[arg-type]
        (lambda: LMS(order=0), "1, 2, 3 or 4"),
        (lambda: DEIS(order=4), "1, 2 or 3"),
        (lambda: IPNDM(estimates=5), "1, 2, 3 or 4"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


# --- planted errors --------------------------------------------------------------------------------------------------


def order_of(cls):
    check_order(cls())


HALF_WEIGHT = ("(moment * column[0])", "(moment / k * column[0])")  # the second derivative at half its weight
PLANTED = [
    (DPMpp3M, order_of, "higher_order_terms", (replace_expression(ast.Div, "-1.0"),)),  # steps taken as equal
    (UniPC, order_of, "draft", (replace_expression(condition_target(), "False"),)),
    (UniPC, order_of, "draft", (keep_left_operand(ast.Sub, near="predicted"),)),
    (ExpABM, order_of, "draft", (scale_expression(call_target("_correction"), -1.0),)),
    (LMS, order_of, "draft", (swap_constant(1, 1.5),)),
    (DEIS, order_of, "_gammas", (replace_expression(ast.Add, "k", at=-1),)),
    (IPNDM, check_ipndm_orders, "draft", (swap_constant(1, 2, at=-1),)),
    (ExpAB, check_waiting, "newton_integral", (replace_expression(ast.BitOr, "True"),)),
    (
        UniPC,
        check_waiting,
        "_has_third",
        (replace_expression(ast.Gt, "True", at=0), replace_expression(ast.Gt, "True", at=0)),
    ),
    (IPNDM, check_waiting, "draft", (replace_expression(ast.Gt, "True"),)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check, cls, also=(KeyError, IndexError, BadInput, ZeroDivisionError))
