"""Every spacing on every schedule; the built-in ones against independent formulas and against what peers use."""

import ast
import sys
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from sonolux.core.config import registry
from sonolux.core.config.spec import ComponentSpec
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.schedulers.cosine import Cosine
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.ve import VE
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import check_timesteps
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    drop_call,
    keep_left_operand,
    keep_right_operand,
    planted_error,
    replace_expression,
    swap_attribute,
    swap_constant,
    swap_operator,
)
from sonolux.core.testing.ode import random_start, solve_ode
from sonolux.core.timesteps import base, uniform_logsnr
from sonolux.core.timesteps.beta import Beta
from sonolux.core.timesteps.explicit import Explicit
from sonolux.core.timesteps.exponential import Exponential
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.leading import Leading
from sonolux.core.timesteps.linspace import Linspace
from sonolux.core.timesteps.polyexponential import PolyExponential
from sonolux.core.timesteps.quadratic_tau import QuadraticTau
from sonolux.core.timesteps.sgm_uniform import SGMUniform
from sonolux.core.timesteps.shifted import Shifted
from sonolux.core.timesteps.simple import Simple
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.timesteps.uniform_logsnr import UniformLogSNR
from sonolux.core.timesteps.uniform_t import UniformT
from sonolux.core.types import BadInput

SCHEDULES = {name: registry.find_class("schedule", name)() for name in registry.builtin_files("schedule")}
SCHEDULES["discrete to zero"] = Discrete(zero_terminal=True)
ARGUMENTS = [n for n in registry.builtin_files("spacing") if n == "explicit"]  # what has no default


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", [n for n in registry.builtin_files("spacing") if n not in ARGUMENTS])
def test_every_spacing_holds_the_contract(name, schedule):
    """With its defaults, on every schedule: those that start at alpha = 0 too."""
    check_timesteps(registry.find_class("spacing", name)(), SCHEDULES[schedule], steps=(2, 3, 5, 20, 50))
    levels = registry.find_class("spacing", name)().levels(SCHEDULES[schedule], 20)
    assert name == "leading" or levels[0].t == SCHEDULES[schedule].t_max, "the noisiest level is visited, exactly"


def rhos(spacing, schedule, steps):
    """sigma / alpha of the levels, the clean one left out."""
    return np.array([float(a.rho) for a in spacing.levels(schedule, steps)[:-1]])


def times(spacing, schedule, steps):
    return np.array([float(a.t) for a in spacing.levels(schedule, steps)[:-1]])


def check_karras(cls):
    levels = cls().levels(EDM(), 18)
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose([float(a.sigma) for a in levels[:-1]], expected, rtol=1e-12)
    rho = rhos(cls(rho_min=0.01, rho_max=20.0), RectifiedFlow(), 5)
    assert rho[0] == pytest.approx(20) and rho[-1] == pytest.approx(0.01)
    for schedule, last in ((RectifiedFlow(), 1e-3 / 0.999), (Cosine(), np.tan(np.pi / 2000))):
        for n in (2, 7, 30):  # from alpha = 0 that level, then the curve from rho = steps
            ramp = np.linspace(0, 1, n - 1)
            expected = (n ** (1 / 7) + ramp * (last ** (1 / 7) - n ** (1 / 7))) ** 7
            np.testing.assert_allclose(rhos(cls(), schedule, n), [np.inf, *expected], rtol=1e-9)


def check_uniform_logsnr(cls):
    lam = [float(a.lam) for a in cls().levels(VPLinear(), 9)[:-1]]
    np.testing.assert_allclose(np.diff(lam), (lam[-1] - lam[0]) / 8, rtol=1e-9)
    assert lam[0] == pytest.approx(float(VPLinear().level(1.0).lam)) and lam[-1] > 5
    np.testing.assert_allclose(rhos(cls(), RectifiedFlow(), 5), [np.inf, *np.geomspace(5, 1e-3 / 0.999, 4)], rtol=1e-9)


def check_exponential(cls):
    """k-diffusion: exp(linspace(log sigma_max, log sigma_min))."""
    np.testing.assert_allclose(rhos(cls(), EDM(), 10), np.exp(np.linspace(np.log(80), np.log(0.002), 10)), rtol=1e-12)


def check_polyexponential(cls):
    """k-diffusion: exp(ramp^p (log sigma_max - log sigma_min) + log sigma_min), the ramp from 1 to 0."""
    for p in (0.5, 1.0, 2.0):
        ramp = np.linspace(1, 0, 10) ** p
        expected = np.exp(ramp * (np.log(80) - np.log(0.002)) + np.log(0.002))
        np.testing.assert_allclose(rhos(cls(exponent=p), EDM(), 10), expected, rtol=1e-12)
    np.testing.assert_allclose(rhos(cls(), EDM(), 9), rhos(Exponential(), EDM(), 9), rtol=1e-12)


def check_beta(cls):
    """Quantiles by scipy; on a grid the indices that ComfyUI's beta_scheduler takes."""
    for a, b in ((0.6, 0.6), (1.0, 1.0), (0.3, 2.0), (5.0, 0.5), (10.0, 0.5)):
        for n in (1, 4, 37):
            u = stats.beta.ppf(1 - np.linspace(0, 1, n, endpoint=False), a, b)
            expected = 1e-3 + u * (1 - 1e-3)
            np.testing.assert_allclose(times(cls(a=a, b=b), RectifiedFlow(), n), expected, rtol=1e-12)
    on_grid = np.rint(stats.beta.ppf(1 - np.linspace(0, 1, 21, endpoint=False), 0.6, 0.6) * 999)
    np.testing.assert_array_equal(times(cls(), Discrete(), 21), on_grid)


def check_uniform_t(cls):
    """DPM-Solver's time_uniform, between the indices of a grid too."""
    for schedule in (Discrete(), EDM(), Cosine()):
        expected = np.linspace(schedule.t_max, schedule.t_min, 7)
        np.testing.assert_allclose(times(cls(), schedule, 7), expected, rtol=1e-12)


def check_quadratic_tau(cls):
    """Second differences of tau are equal, no step is longer than the one before, and the last level is in range."""
    for schedule in (EDM(), RectifiedFlow(), VPLinear(), Cosine()):
        least = float(schedule.level(schedule.t_min).tau)
        for n in (2, 7, 50):
            tau = np.array([float(a.tau) for a in cls().levels(schedule, n)])
            np.testing.assert_allclose(np.diff(tau, 3), 0, atol=1e-9)
            assert np.all(np.diff(tau, 2) >= -1e-9) and tau[-2] >= least * (1 - 1e-6)
        assert tau[-2] == pytest.approx(max(least, tau[0] / n**2), rel=1e-6)
    many = [float(a.tau) for a in cls().levels(VPLinear(), 1000)]
    assert many[-2] == pytest.approx(float(VPLinear().level(VPLinear().t_min).tau))


def check_simple(cls):
    """ComfyUI's simple_scheduler: entries -(1 + int(i S / N)) of the table of a thousand levels."""
    table = np.arange(1000.0)
    for n in (7, 20, 30, 999):
        np.testing.assert_array_equal(
            times(cls(), Discrete(), n), [table[-(1 + int(i * (1000 / n)))] for i in range(n)]
        )
    for schedule in (RectifiedFlow(), VE()):
        np.testing.assert_allclose(times(cls(), schedule, 7), 1 - np.arange(7) / 7, rtol=1e-12)


def check_sgm_uniform(cls):
    """generative-models: linspace(999, 0, N, endpoint=False) as integers."""
    for n in (3, 7, 20, 37, 999):
        expected = [float(Fraction(999 * (n - i), n) // 1) for i in range(n)]
        np.testing.assert_array_equal(times(cls(), Discrete(), n), expected)
    expected = np.linspace(1, 1e-3, 9)[:-1]
    np.testing.assert_allclose(times(cls(), RectifiedFlow(), 8), expected, rtol=1e-12)


def check_shifted(cls):
    """The shift of Esser et al. 2024 on flow: what a shifted schedule gives; elsewhere alpha / sigma from its start."""
    shifted = RectifiedFlow(shift=3.0)
    expected = np.array([float(a.sigma) for a in Trailing().levels(shifted, 8)])
    made = cls(shift=3.0).levels(RectifiedFlow(), 8)
    np.testing.assert_allclose([float(a.sigma) for a in made], expected, rtol=1e-12)
    before, after = (rhos(s, EDM(), 12) for s in (Karras(), cls(timesteps=Karras(), shift=2.5)))
    np.testing.assert_allclose(1 / after[1:] - 1 / 80, (1 / before[1:] - 1 / 80) / 2.5, rtol=1e-9)
    assert after[0] == 80
    built = ComponentSpec("spacing", "shifted", {"timesteps": ComponentSpec("spacing", "simple"), "shift": 2.0}).build()
    np.testing.assert_allclose(rhos(built, Cosine(), 6)[1:], 2 * rhos(Simple(), Cosine(), 6)[1:], rtol=1e-9)


def check_linspace(cls):
    """diffusers' indices at every number of steps (at 1 it has index 0, which is the clean end; here t_max)."""
    for n in range(2, 101):
        np.testing.assert_array_equal(times(cls(), Discrete(), n), np.linspace(0, 999, n).round()[::-1])
    np.testing.assert_array_equal(times(cls(), Discrete(), 1), [999])
    linear = [float(a.t) for a in cls().levels(EDM(), 5)]
    np.testing.assert_allclose(linear, [*np.linspace(80, 0.002, 5), 0], rtol=1e-12)


def check_trailing(cls):
    """diffusers' indices at every number of steps, less the index -1 that its rounding adds at 61."""
    for n in range(1, 101):
        np.testing.assert_array_equal(times(cls(), Discrete(), n), (np.round(np.arange(1000, 0, -1000 / n)) - 1)[:n])
    for schedule, end in ((RectifiedFlow(), 0), (VE(), -1)):
        found = [float(a.t) for a in cls().levels(schedule, 4)]
        np.testing.assert_allclose(found, [1, 0.75, 0.5, 0.25, end], rtol=1e-12)


def check_leading(cls):
    """diffusers' indices at every number of steps but 1, which would start from clean data and is refused."""
    for n in range(2, 101):
        np.testing.assert_array_equal(times(cls(offset=1), Discrete(), n), (np.arange(n) * (1000 // n))[::-1] + 1)
    found = [float(a.t) for a in cls().levels(Cosine(), 4)]
    np.testing.assert_allclose(found, [*(0.001 + 0.999 * np.array([0.75, 0.5, 0.25, 0])), 0], rtol=1e-12)


def check_explicit(cls):
    assert [float(a.t) for a in cls([1.0, 0.6, 0.1]).levels(RectifiedFlow(), 3)] == [1.0, 0.6, 0.1, 0.0]
    assert [float(a.t) for a in cls([1.0, 0.6, 0.0]).levels(RectifiedFlow(), 2)] == [1.0, 0.6, 0.0]


CLOSED_FORMS = [
    (Karras, check_karras),
    (UniformLogSNR, check_uniform_logsnr),
    (Exponential, check_exponential),
    (PolyExponential, check_polyexponential),
    (Beta, check_beta),
    (UniformT, check_uniform_t),
    (QuadraticTau, check_quadratic_tau),
    (Simple, check_simple),
    (SGMUniform, check_sgm_uniform),
    (Shifted, check_shifted),
    (Linspace, check_linspace),
    (Trailing, check_trailing),
    (Leading, check_leading),
    (Explicit, check_explicit),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check"), CLOSED_FORMS)
def test_closed_forms(cls, check):
    check(cls)


def test_every_built_in_spacing_has_a_closed_form_here():
    assert {cls for cls, _ in CLOSED_FORMS} == {
        registry.find_class("spacing", n) for n in registry.builtin_files("spacing")
    }


def check_convergence(cls):
    """From alpha = 0, four times the steps of a method of second order leave a tenth of the error or less."""
    problem, flow, errors = example_mixture(), RectifiedFlow(), []
    start = random_start(problem, flow.level(1.0), 16)
    exact = solve_ode(problem, start, [flow.level(1.0), flow.clean()])[-1]
    for steps in (12, 48):
        made = run_plan(DPMpp2M().plan(flow, cls().levels(flow, steps)), problem, start)
        errors.append(float((made - exact).square().mean().sqrt()))
    assert errors[1] < errors[0] / 10, errors


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Karras, Exponential, PolyExponential, UniformLogSNR, Shifted])
def test_the_error_falls_with_the_steps_from_alpha_0(cls):
    check_convergence(cls)


PLANTED = [
    (Karras, check_karras, "times", (swap_operator(ast.Div, ast.Mult),)),
    (Karras, check_karras, "times_of_curve", (replace_expression(call_target("float"), "80.0"),)),
    (Karras, check_karras, "times_of_curve", (keep_left_operand(ast.Sub, near="steps"),)),
    (Karras, check_convergence, "times_of_curve", (replace_expression(call_target("float"), "3.0"),)),
    (UniformLogSNR, check_uniform_logsnr, "_curve", (swap_operator(ast.Mult, ast.Pow),)),
    (Exponential, check_exponential, "_curve", (swap_operator(ast.Add, ast.Sub),)),
    (PolyExponential, check_polyexponential, "times", (swap_operator(ast.Sub, ast.Add),)),
    (Beta, check_beta, "times", (swap_constant(1, 2),)),
    (Beta, check_beta, "times", (swap_attribute("a", "b"),)),
    (Beta, check_beta, "times", (drop_call("round_to_grid"),)),
    (Beta, check_beta, "times", (swap_attribute("t_min", "t_clean"),)),
    (UniformT, check_uniform_t, "times", (swap_attribute("t_min", "t_clean"),)),
    (QuadraticTau, check_quadratic_tau, "times", (replace_expression(call_target("max"), "0.0"),)),
    (QuadraticTau, check_quadratic_tau, "times", (swap_constant(2, 1),)),
    (Simple, check_simple, "times", (swap_operator(ast.FloorDiv, ast.Sub),)),
    (Simple, check_simple, "times", (replace_expression(call_target("last_time"), "0.1"),)),
    (SGMUniform, check_sgm_uniform, "times", (keep_left_operand(ast.Sub, near="steps"),)),
    (SGMUniform, check_sgm_uniform, "times", (swap_attribute("t_min", "t_clean"),)),
    (Shifted, check_shifted, "times", (keep_right_operand(ast.Mult, near="sigma"),)),
    (Shifted, check_shifted, "times", (keep_left_operand(ast.Sub, near="shift"),)),
    (Linspace, check_linspace, "times", (swap_attribute("t_min", "t_clean"),)),
    (Linspace, check_linspace, "times", (drop_call("round"),)),
    (Trailing, check_trailing, "equal_time_steps", (keep_left_operand(ast.Div),)),
    (Trailing, check_trailing, "last_time", (swap_operator(ast.Eq, ast.NotEq),)),
    (Trailing, check_trailing, "times", (drop_call("round"),)),
    (Leading, check_leading, "times", (swap_operator(ast.FloorDiv, ast.Div),)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, where, errors):
    owner = next(o for o in (cls, sys.modules[cls.__module__], uniform_logsnr, base) if where in vars(o))
    with planted_error(owner, where, *errors):
        assert_caught(check, cls, also=(BadInput, ValueError))
