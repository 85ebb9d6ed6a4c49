"""Single-step deterministic samplers against plain implementations in their papers' own variables; orders; costs."""

import ast
import itertools
import math

import pytest
import torch
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.dpm_2 import DPM2
from sonolux.core.samplers.dpm_adaptive import DPMAdaptive
from sonolux.core.samplers.dpmpp_2s import DPMpp2S
from sonolux.core.samplers.heun import Heun
from sonolux.core.samplers.heun_exp import HeunExp
from sonolux.core.samplers.heun_flow import HeunFlow
from sonolux.core.samplers.midpoint import Midpoint
from sonolux.core.samplers.rk4 import RK4
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import check_level_maps, check_order, check_plan, even_tau_levels
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    assert_caught,
    attribute_target,
    call_target,
    keep_left_operand,
    keep_right_operand,
    replace_expression,
    scale_expression,
    set_argument,
    swap_constant,
    swap_operands,
    swap_operator,
    variable_target,
)
from sonolux.core.testing.ode import random_start, solve_in_tau
from sonolux.core.testing.orders import whole_range_order
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.timesteps.uniform_logsnr import UniformLogSNR
from sonolux.core.types import BadInput, NoiseLevel

MIXTURE = example_mixture()
FLOW = RectifiedFlow()
SIGMAS = [float(a.sigma) for a in Karras().levels(EDM(), 12)]
VP_LEVELS = UniformLogSNR().levels(VPLinear(), 12)


def randn(scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(3, *MIXTURE.shape, generator=generator, dtype=torch.float64)


def D(x, alpha, sigma):
    return MIXTURE.denoise(x, NoiseLevel(0.0, alpha, sigma)).x0


def compare(sampler, schedule, levels, expected, scale=1.0):
    """`expected(x)` against the plan, from the same start."""
    made = run_plan(sampler.plan(schedule, levels), MIXTURE, randn(scale))
    assert torch.allclose(made, expected(randn(scale)), atol=1e-9, rtol=1e-9)


# --- flow: x = (1 - t) x0 + t eps, from t = 1 exactly to t = 0 ------------------------------------------------------


def v(x, t):
    """The velocity of rectified flow from the mixture's own formula, not from its denoiser."""
    return MIXTURE.flow(x, NoiseLevel(t, 1 - t, t))


def heun_step(x, t, r):
    trial = x + (r - t) * v(x, t)
    return trial if r == 0 else x + (r - t) * (v(x, t) + v(trial, r)) / 2


def midpoint_step(x, t, r):
    m = (t + r) / 2
    return x + (r - t) * v(x + (m - t) * v(x, t), m)


def rk4_step(x, t, r):
    h, k1 = r - t, v(x, t)
    k2 = v(x + h / 2 * k1, t + h / 2)
    if r == 0:  # Ralston's method of third order
        k3 = v(x + 3 * h / 4 * k2, t + 3 * h / 4)
        return x + h * (2 * k1 + 3 * k2 + 4 * k3) / 9
    k3 = v(x + h / 2 * k2, t + h / 2)
    return x + h * (k1 + 2 * k2 + 2 * k3 + v(x + h * k3, r)) / 6


ON_FLOW = {"HeunFlow": heun_step, "Midpoint": midpoint_step, "RK4": rk4_step}


def check_flow(cls):
    """On rectified flow's own time; on EDM the same curve, times alpha + sigma."""
    step = ON_FLOW[cls.__name__]
    levels = Trailing().levels(FLOW, 7)

    def expected(x):
        for t, r in itertools.pairwise([1 - i / 7 for i in range(7)] + [0]):
            x = step(x, t, r)
        return x

    compare(cls(), FLOW, levels, expected)
    tau = [s / (1 + s) for s in SIGMAS]

    def on_edm(x):
        u = x * (1 - tau[0])  # 1 / (alpha + sigma)
        for t, r in itertools.pairwise(tau):
            u = step(u, t, r)
        return u

    compare(cls(), EDM(), Karras().levels(EDM(), 12), on_edm, scale=80.0)


@pytest.mark.parametrize("cls", [HeunFlow, Midpoint, RK4])
def test_flow(cls):
    check_flow(cls)


# --- data plus noise: x = x0 + sigma eps ----------------------------------------------------------------------------


def check_dpm_2(cls):
    """The midpoint in log sigma, the step in sigma."""

    def expected(x):
        for now, then in itertools.pairwise(SIGMAS):
            slope = (x - D(x, 1.0, now)) / now
            if then == 0:
                return x - now * slope
            mid = math.exp((math.log(now) + math.log(then)) / 2)
            inner = x + (mid - now) * slope
            x = x + (then - now) * (inner - D(inner, 1.0, mid)) / mid
        raise AssertionError("the list ends at 0")

    compare(cls(), EDM(), Karras().levels(EDM(), 12), expected, scale=80.0)


def test_dpm_2():
    check_dpm_2(DPM2)


# --- variance preserving, in lambda ---------------------------------------------------------------------------------


def vp_at(lam):
    """alpha and sigma of a variance-preserving process."""
    return math.sqrt(1 / (1 + math.exp(-2 * lam))), math.sqrt(1 / (1 + math.exp(2 * lam)))


def lambdas(levels):
    return [math.log(float(a.alpha) / float(a.sigma)) for a in levels if a.sigma > 0]


def to(x, s, t, estimate):
    """The first-order step of DPM-Solver++ between two lambdas."""
    (_, sigma_s), (alpha_t, sigma_t) = vp_at(s), vp_at(t)
    return sigma_t / sigma_s * x - alpha_t * math.expm1(-(t - s)) * estimate


def two_s(x, s, t, r, exact):
    """Algorithm 1 of DPM-Solver++, and the same with the integral of the line."""
    h, (alpha, _) = t - s, vp_at(t)
    D_s = D(x, *vp_at(s))
    D_m = D(to(x, s, s + r * h, D_s), *vp_at(s + r * h))
    if exact:
        return to(x, s, t, D_s) + alpha * ((math.exp(-h) - 1) / h + 1) / r * (D_m - D_s)
    return to(x, s, t, (1 - 1 / (2 * r)) * D_s + 1 / (2 * r) * D_m)


def three_s(x, s, t):
    """Singlestep DPM-Solver++ of third order with its estimates at a third and two thirds."""
    h, (alpha, _) = t - s, vp_at(t)
    m, n = s + h / 3, s + 2 * h / 3
    D_s = D(x, *vp_at(s))
    D_m = D(to(x, s, m, D_s), *vp_at(m))
    bend = vp_at(n)[0] * 2 * ((math.exp(-2 * h / 3) - 1) / (2 * h / 3) + 1)
    D_n = D(to(x, s, n, D_s) + bend * (D_m - D_s), *vp_at(n))
    return to(x, s, t, D_s) + alpha * ((math.exp(-h) - 1) / h + 1) * 1.5 * (D_n - D_s)


def heun_exponential(x, s, t):
    """The line through D_s and D_t times e^(lambda - lambda_t), integrated over lambda."""
    h, (alpha, _) = t - s, vp_at(t)
    D_s = D(x, *vp_at(s))
    D_t = D(to(x, s, t, D_s), *vp_at(t))
    growing = (h - 1 + math.exp(-h)) / h
    return vp_at(t)[1] / vp_at(s)[1] * x + alpha * ((1 - math.exp(-h) - growing) * D_s + growing * D_t)


def compare_in_lambda(sampler, step, ends_clean=True):
    levels = VP_LEVELS if ends_clean else VP_LEVELS[:-1]

    def expected(x):
        lam = lambdas(levels)
        for s, t in itertools.pairwise(lam):
            x = step(x, s, t)
        return D(x, *vp_at(lam[-1])) if ends_clean else x

    compare(sampler, VPLinear(), levels, expected)


def check_two_s(cls):
    for r, exact in ((0.5, False), (0.5, True), (0.3, False), (0.7, True)):
        compare_in_lambda(cls(r=r, exact=exact), lambda x, s, t, r=r, exact=exact: two_s(x, s, t, r, exact))


def check_heun_exp(cls):
    compare_in_lambda(cls(), heun_exponential)


def low(cls, order):
    """The lower of an adaptive method's two solutions, as a sampler."""

    class Low(cls):
        def draft(self, draft):
            x = draft.start()
            for s, t in draft.pairs():
                x = draft.step(self.pair(draft, x, s, t)[0], t)

    return Low(order=order)


def check_pairs(cls):
    for sampler, step in (
        (cls(order=2), lambda x, s, t: two_s(x, s, t, 0.5, False)),
        (cls(order=3), three_s),
        (low(cls, 2), lambda x, s, t: to(x, s, t, D(x, *vp_at(s)))),
        (low(cls, 3), lambda x, s, t: two_s(x, s, t, 1 / 3, False)),
    ):
        compare_in_lambda(sampler, step, ends_clean=False)


def check_pairs_at_the_ends(cls):
    """From alpha = 0 to sigma = 0 in one step, where lambda is infinite: Runge-Kutta methods in tau."""
    levels = [FLOW.level(1.0), FLOW.clean()]
    compare(low(cls, 2), FLOW, levels, lambda x: x - v(x, 1.0))
    compare(cls(order=2), FLOW, levels, lambda x: midpoint_step(x, 1.0, 0.0))
    compare(low(cls, 3), FLOW, levels, lambda x: midpoint_step(x, 1.0, 0.0))
    compare(cls(order=3), FLOW, levels, lambda x: rk4_step(x, 1.0, 0.0))


def test_two_s():
    check_two_s(DPMpp2S)


def test_heun_exponential():
    check_heun_exp(HeunExp)


def test_adaptive_pairs():
    check_pairs(DPMAdaptive)
    check_pairs_at_the_ends(DPMAdaptive)


# --- from alpha = 0 -------------------------------------------------------------------------------------------------


def local_order(sampler):
    """The power of the step in the error of one step from pure noise, alpha = 0."""
    start = random_start(MIXTURE, NoiseLevel(1.0, 0.0, 1.0), 3)
    error = []
    for h in (0.02, 0.01):
        made = run_plan(sampler.plan(FLOW, [FLOW.level(1.0), FLOW.level(1 - h)]), MIXTURE, start)
        error.append(float((made - solve_in_tau(MIXTURE, start, (1.0, 1 - h))[-1]).norm()))
    return math.log2(error[0] / error[1])


FIRST_STEP = [
    (Heun, {}, 2),
    (DPM2, {}, 2),
    (HeunExp, {}, 3),
    (HeunFlow, {}, 3),
    (Midpoint, {}, 3),
    (DPMpp2S, {}, 3),
    (DPMpp2S, {"r": 0.3, "exact": True}, 3),
    (RK4, {}, 5),
    (DPMAdaptive, {"order": 2}, 3),
    (DPMAdaptive, {"order": 3}, 4),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "options", "power"), FIRST_STEP)
def test_order_of_the_first_step(cls, options, power):
    assert local_order(cls(**options)) == pytest.approx(power, abs=0.25)


def check_first_step(cls):
    assert local_order(cls()) == pytest.approx(
        next(n for c, _, n in FIRST_STEP if c.__name__ == cls.__name__), abs=0.25
    )


@pytest.mark.slow
def test_a_last_step_of_third_order_keeps_the_fourth():
    assert whole_range_order(RK4(), FLOW, steps=(16, 32, 64)).slope > 3.8


# --- what holds for all ---------------------------------------------------------------------------------------------


ORDERS = {Heun: 2, HeunExp: 2, HeunFlow: 2, Midpoint: 2, DPM2: 2, DPMpp2S: 2, RK4: 4, DPMAdaptive: 3}


def test_orders_of_the_papers():
    assert {cls: cls().order for cls in ORDERS} == ORDERS and DPMAdaptive(order=2).order == 2


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [DPMpp2S(r=0.3), DPMpp2S(exact=True), DPMAdaptive(order=2)])
def test_options_hold_the_contracts(sampler):
    for schedule in (VPLinear(), EDM(), FLOW):
        for steps in (1, 2, 9):
            check_plan(sampler, schedule, steps)
        check_level_maps(sampler, schedule)
    check_order(sampler)


@pytest.mark.parametrize(
    ("sampler", "inside", "from_noise", "to_clean"),
    [
        (Heun(), 2, 1, 1),
        (HeunExp(), 2, 2, 1),
        (HeunFlow(), 2, 2, 1),
        (Midpoint(), 2, 2, 2),
        (DPM2(), 2, 1, 1),
        (DPMpp2S(), 2, 2, 1),
        (RK4(), 4, 4, 3),
        (DPMAdaptive(order=2), 2, 2, 2),
        (DPMAdaptive(), 3, 3, 3),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else None,
)
def test_evaluations_a_step(sampler, inside, from_noise, to_clean):
    levels = even_tau_levels(FLOW, 6)
    assert sampler.plan(FLOW, levels[:2]).nfe == from_noise
    assert sampler.plan(FLOW, levels[1:3]).nfe == inside
    assert sampler.plan(FLOW, levels[-2:]).nfe == to_clean
    assert sampler.plan(FLOW, levels).nfe == from_noise + 4 * inside + to_clean


def test_the_three_heuns_differ():
    made = [run_plan(cls().plan(FLOW, even_tau_levels(FLOW, 5)), MIXTURE, randn()) for cls in (Heun, HeunExp, HeunFlow)]
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in itertools.combinations(made, 2))


@pytest.mark.parametrize("r", [0.0, 1.0, -0.5])
def test_an_estimate_outside_the_step_is_refused(r):
    with pytest.raises(BadInput, match="inside the step"):
        DPMpp2S(r=r)


def check_staying(cls):
    check_level_maps(cls(), FLOW)


PLANTED = [
    (HeunFlow, check_flow, "draft", (swap_operator(ast.Sub, ast.Add, near="flow_velocity"),)),  # sign
    (HeunFlow, check_flow, "draft", (swap_constant(2, 1),)),  # whole weight
    (HeunFlow, check_flow, "draft", (set_argument("flow_velocity", 2, "s", at=1),)),  # level of the stage
    (Midpoint, check_flow, "draft", (swap_constant(0.5, 0.4),)),
    (Midpoint, check_flow, "draft", (set_argument("flow_velocity", 2, "s"),)),
    (Midpoint, check_flow, "velocity_step", (swap_operands(ast.Sub),)),
    (RK4, check_flow, "draft", (swap_constant(3, 2),)),
    (RK4, check_flow, "draft", (keep_left_operand(ast.Mult, near="v_3"),)),
    (RK4, check_flow, "draft", (set_argument("velocity_step", 3, "v_1"),)),
    (RK4, check_flow, "draft", (swap_constant(0.75, 0.5),)),
    (DPM2, check_dpm_2, "draft", (swap_constant(0.5, 0.4),)),
    (DPM2, check_dpm_2, "draft", (swap_operands(ast.Sub, near="eps_m"),)),
    (DPM2, check_dpm_2, "draft", (replace_expression(attribute_target("sigma"), "t.sigma", at=-1),)),
    (DPMpp2S, check_two_s, "draft", (swap_constant(2, 1, at=-1),)),  # half weight
    (DPMpp2S, check_two_s, "draft", (swap_operator(ast.Gt, ast.Lt, at=-1),)),
    (DPMpp2S, check_two_s, "draft", (swap_operands(ast.Sub, near="D_m"),)),
    (
        DPMpp2S,
        check_two_s,
        "stage_levels_in_lambda",
        (keep_right_operand(ast.Sub, near="share"),),
    ),  # r taken from the wrong end
    (HeunExp, check_heun_exp, "draft", (swap_constant(1, 0),)),
    (HeunExp, check_heun_exp, "draft", (swap_operands(ast.Sub, near="D_t"),)),
    (HeunExp, check_heun_exp, "lambda_step", (swap_operands(ast.Div),)),
    (DPMAdaptive, check_pairs, "_pair_23", (swap_constant(1.5, 3.0),)),
    (DPMAdaptive, check_pairs, "_pair_23", (replace_expression(variable_target("D_n"), "D_m", at=1),)),
    (DPMAdaptive, check_pairs, "_pair_23", (swap_constant(2.0, 1.0),)),
    (DPMAdaptive, check_pairs_at_the_ends, "_pair_23", (swap_constant(3, 2, at=-1),)),
    (
        DPMAdaptive,
        check_pairs_at_the_ends,
        "_pair_12",
        (set_argument("stage_levels_in_lambda", "else_on_tau", "1 / 3"),),
    ),
    (HeunExp, check_first_step, "draft", (swap_constant(0.5, 1.0),)),  # the limit of the exponential weight
    (DPMpp2S, check_first_step, "draft", (swap_constant(2, 1, at=-1),)),
    (
        Midpoint,
        check_staying,
        "_between",
        (replace_expression(call_target("where"), "m", at=-1),),
    ),  # an element that stays is moved
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check, cls, also=(KeyError, IndexError, BadInput))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "errors"),
    [
        (RK4, (replace_expression(variable_target("v_3"), "v_2", at=-1),)),
        (Midpoint, (swap_constant(0.5, 0.4),)),
        (DPM2, (scale_expression(variable_target("eps_m"), 0.5),)),
        (DPMpp2S, (swap_constant(2, 1, at=-1),)),
    ],
)
def test_an_error_is_seen_in_the_order(cls, errors):
    with faulty_sampler(cls, "draft", *errors):
        assert_caught(check_order, cls())
