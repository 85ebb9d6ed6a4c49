"""Every schedule: range, ends, inverse, derivative; the built-in ones against independent formulas."""

import ast
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from sonolux.core.config import registry
from sonolux.core.config.spec import ComponentSpec
from sonolux.core.schedulers import discrete, rectified_flow
from sonolux.core.schedulers.cosine import Cosine
from sonolux.core.schedulers.custom import Custom
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.table import Table
from sonolux.core.schedulers.trig_flow import TrigFlow
from sonolux.core.schedulers.ve import VE
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import check_schedule
from sonolux.core.testing.mutation import (
    assert_caught,
    attribute_target,
    call_target,
    keep_left_operand,
    keep_right_operand,
    negate_expression,
    planted_error,
    replace_expression,
    scale_expression,
    set_argument,
    swap_arguments,
    swap_constant,
    swap_operator,
    variable_target,
)
from sonolux.core.types import MediaSpec

BUILT_IN = {name: registry.find_class("schedule", name)() for name in registry.builtin_files("schedule")}
KINDS = ("linear", "scaled_linear", "sigmoid", "cosine", "exponential", "laplace")


def curve(t):
    """A VP pair that no built-in schedule has: the angle grows as a square."""
    return t**2 * (math.pi / 2)


ROWS = np.linspace(0, 1, 17)
OTHERS = {
    **{f"{kind} betas": Discrete(kind) for kind in KINDS},
    **{f"{kind} betas to zero": Discrete(kind, zero_terminal=True) for kind in KINDS},
    "few steps": Discrete(steps=10, beta_max=0.5),
    "few steps to zero": Discrete(steps=3, beta_max=0.5, zero_terminal=True),
    "cosine for large pictures": Cosine(shift=256 / 64),
    "cosine for small pictures": Cosine(shift=0.3),
    "flow for a length": RectifiedFlow(shift="auto"),
    "functions": Custom(lambda t: torch.cos(curve(t)), lambda t: torch.sin(curve(t))),
    "functions off clean": Custom(torch.ones_like, lambda t: 0.01 * 10 ** (4 * t), t_min=0.0, t_clean=-1.0),
    "table from clean": Table(tuple(ROWS), tuple(np.cos(ROWS**2)), tuple(np.sin(ROWS**2))),
    "table off clean": Table((1.0, 2.0, 5.0), (1.0, 0.9, 0.2), (0.01, 0.3, 1.0)),
    "table to noise": Table((-3.0, 2.0, 5.0), (0.99, 0.9, 0.0), (0.01, 0.3, 1.0)),
    "shifted flow": RectifiedFlow(shift=3.0),
    "odd shift": RectifiedFlow(shift=1.15),
    "constant beta": VPLinear(beta_min=5.0, beta_max=5.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BUILT_IN, *OTHERS])
def test_every_schedule_holds_the_contract(name):
    check_schedule({**BUILT_IN, **OTHERS}[name])


def log_alpha_by_integration(t):
    return -quad(lambda s: 0.1 + s * 19.9, 0, t)[0] / 2


def products(betas):
    return np.array([math.prod(1 - b for b in betas[: i + 1]) for i in range(len(betas))])


def check_vp_linear(cls):
    for t in (0.01, 0.3, 1.0):
        level = cls().level(t)
        assert float(level.alpha) == pytest.approx(math.exp(log_alpha_by_integration(t)), rel=1e-9)
        assert float(level.alpha**2 + level.sigma**2) == pytest.approx(1, rel=1e-12)


def betas_of(kind, n=1000):
    """The betas of each kind by a loop over indices, in plain Python."""
    between = {"linear": (1e-4, 0.02), "sigmoid": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}

    def grown(i):
        low, high = between[kind]
        if kind == "scaled_linear":
            return (low**0.5 + i / (n - 1) * (high**0.5 - low**0.5)) ** 2
        return low + (high - low) * (i / (n - 1) if kind == "linear" else 1 / (1 + math.exp(6 - 12 * i / (n - 1))))

    def alpha_bar(u):
        if kind == "cosine":
            return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        if kind == "exponential":
            return math.exp(-12 * u)
        if u in (0, 1):
            return 1.0 - u
        snr = math.exp(-0.5 * math.copysign(1, 0.5 - u) * math.log(1 - 2 * abs(0.5 - u)))
        return snr / (1 + snr)

    if kind in between:
        return [grown(i) for i in range(n)]
    return [min(1 - alpha_bar((i + 1) / n) / alpha_bar(i / n), 0.999) for i in range(n)]


def check_discrete(cls):
    for kind in KINDS:
        level, alpha_bar = cls(kind).level(torch.arange(1000)), products(betas_of(kind))
        np.testing.assert_allclose(level.alpha**2, alpha_bar, rtol=1e-9)
        np.testing.assert_allclose(level.sigma**2, 1 - alpha_bar, rtol=1e-6)
    one, two, between = (math.log(float(cls().alpha(torch.tensor(t)))) for t in (400.0, 401.0, 400.25))
    assert between == pytest.approx(0.75 * one + 0.25 * two, rel=1e-12)


def check_zero_terminal(cls):
    """Lin et al. 2024, algorithm 1, as they write it, on square roots of alpha_bar."""
    for kind in ("linear", "scaled_linear", "cosine"):
        root = np.sqrt(products(betas_of(kind)))
        first, last = root[0], root[-1]
        root = (root - last) * first / (first - last)
        level = cls(kind, zero_terminal=True).level(torch.arange(1000))
        np.testing.assert_allclose(level.alpha, root, rtol=1e-7, atol=1e-12)
        assert float(level.alpha[0]) == pytest.approx(first, rel=1e-12)
        assert (float(level.alpha[-1]), float(level.sigma[-1])) == (0, 1) and float(level.alpha[-2]) > 0
        inside = cls(kind, zero_terminal=True).level(torch.tensor([998.0, 998.25, 998.5, 999.0]))
        np.testing.assert_allclose(inside.alpha, float(level.alpha[-2]) * np.array([1, 0.75, 0.5, 0]), rtol=1e-12)
        np.testing.assert_allclose(inside.alpha**2 + inside.sigma**2, 1, rtol=1e-12)
    schedule = cls(zero_terminal=True)
    t = torch.tensor([998.0, 998.3, 998.999999, 999.0], dtype=torch.float64)
    np.testing.assert_allclose(schedule.t_of_rho(schedule.level(t).rho), t, rtol=1e-12)
    for slope in schedule.derivative(torch.tensor([0.5, 997.5, 998.5, 999.0])):
        assert torch.isfinite(slope).all(), "the interpolation that is not used must not spoil the derivative"


def check_cosine(cls):
    t = torch.tensor([0.0, 1 / 3, 0.5, 1.0], dtype=torch.float64)
    level = cls().level(t)
    torch.testing.assert_close(level.alpha, torch.tensor([1, 3**0.5 / 2, 0.5**0.5, 0]).double(), rtol=1e-7, atol=0)
    torch.testing.assert_close(level.sigma, torch.tensor([0, 0.5, 0.5**0.5, 1]).double(), rtol=1e-7, atol=0)
    t = t[1:-1]
    for d in (32, 64, 256):  # log signal-to-noise ratio, moved by 2 log(64 / d)
        shifted = cls(shift=d / 64).level(t)
        expected = -2 * torch.log(torch.tan(math.pi * t / 2)) + 2 * math.log(64 / d)
        torch.testing.assert_close(2 * shifted.lam, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(shifted.alpha**2 + shifted.sigma**2, torch.ones(2).double(), rtol=1e-14, atol=0)


def check_trig_flow(cls):
    t = torch.tensor([0.0, math.pi / 6, math.pi / 4, 1.2, math.pi / 2], dtype=torch.float64)
    level = cls().level(t)
    np.testing.assert_allclose(level.alpha, np.cos(t.numpy()), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(level.sigma, np.sin(t.numpy()), rtol=1e-14)
    assert float(level.alpha[-1]) == 0 == float(cls().level(torch.tensor(math.pi / 2)).alpha)  # a rounded float32 too
    slope = cls().derivative(t)
    np.testing.assert_allclose(slope[0], -np.sin(t.numpy()), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(slope[1], np.cos(t.numpy()), rtol=1e-14, atol=1e-16)


def check_custom(cls):
    """A pair of functions with a known inverse: rho = tan(pi t^2 / 2)."""
    schedule = cls(lambda t: torch.cos(curve(t)), lambda t: torch.sin(curve(t)), t_min=1e-3)
    t = torch.tensor([0.01, 0.3, 0.77, 0.999, 1.0], dtype=torch.float64)
    level = schedule.level(t)
    np.testing.assert_allclose(level.alpha, np.cos(curve(t.numpy())), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(level.sigma, np.sin(curve(t.numpy())), rtol=1e-14)
    assert float(level.alpha[-1]) == 0, "the cosine of a rounded pi / 2 counts as 0"
    rho = torch.tensor([0.0, 1e-4, 0.5, 40.0, math.inf], dtype=torch.float64)
    np.testing.assert_allclose(schedule.t_of_rho(rho), np.sqrt(np.arctan(rho.numpy()) / (np.pi / 2)), rtol=1e-12)
    assert torch.equal(cls().level(t).sigma, RectifiedFlow().level(t).sigma), "straight lines, without functions"


def check_table(cls):
    """Linear between the rows: numpy's interpolation forwards, a root search backwards; two rows are flow, or EDM."""
    schedule = cls(tuple(ROWS), tuple(np.cos(ROWS**2)), tuple(np.sin(ROWS**2)))
    t = np.linspace(0.01, 1, 57)
    level = schedule.level(torch.from_numpy(t))
    np.testing.assert_allclose(level.alpha, np.interp(t, ROWS, np.cos(ROWS**2)), rtol=1e-14)
    np.testing.assert_allclose(level.sigma, np.interp(t, ROWS, np.sin(ROWS**2)), rtol=1e-14)
    slope = schedule.derivative(torch.from_numpy(t[:-1] + 1e-3))[1]
    steps = np.diff(np.sin(ROWS**2)) / np.diff(ROWS)
    np.testing.assert_allclose(slope, steps[np.searchsorted(ROWS, t[:-1] + 1e-3) - 1], rtol=1e-9)
    rho = 0.8
    root = brentq(lambda v: np.interp(v, ROWS, np.sin(ROWS**2)) - rho * np.interp(v, ROWS, np.cos(ROWS**2)), 0, 1)
    assert float(schedule.t_of_rho(torch.tensor(rho, dtype=torch.float64))) == pytest.approx(root, rel=1e-9)
    t = torch.linspace(0.01, 1, 9, dtype=torch.float64)
    for made, same in ((cls(), RectifiedFlow()), (cls((0.0, 80.0), (1.0, 1.0), (0.0, 80.0)), EDM())):
        a, b = made.level(t), same.level(t)
        torch.testing.assert_close((a.alpha, a.sigma), (b.alpha, b.sigma), rtol=1e-14, atol=1e-16)
    off = cls((1.0, 2.0, 5.0), (1.0, 0.9, 0.0), (0.01, 0.3, 1.0))
    assert (off.t_clean, off.t_min, off.t_max) == (0.0, 1.0, 5.0)
    assert float(off.t_of_rho(torch.tensor(math.inf).double())) == 5.0


def check_ve(cls):
    level = cls(sigma_min=0.01, sigma_max=100.0).level(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(level.sigma, torch.tensor([0.01, 1.0, 100.0]).double(), rtol=1e-7, atol=0)
    assert bool((level.alpha == 1).all())


def check_edm(cls):
    level = cls().level(torch.tensor([0.002, 1.0, 80.0], dtype=torch.float64))
    assert level.sigma.tolist() == [0.002, 1.0, 80.0] and bool((level.alpha == 1).all())


def check_rectified_flow(cls):
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    straight, shifted = cls().level(t), cls(shift=3.0).level(t)
    torch.testing.assert_close(straight.alpha, 1 - t, rtol=0, atol=1e-15)
    torch.testing.assert_close(straight.sigma, t, rtol=0, atol=1e-15)
    torch.testing.assert_close(shifted.sigma, 3 * t / (1 + 2 * t), rtol=1e-14, atol=0)
    torch.testing.assert_close(shifted.alpha + shifted.sigma, torch.ones(11).double(), rtol=1e-14, atol=0)
    for level in (straight, shifted):
        assert (float(level.alpha[-1]), float(level.sigma[-1])) == (0, 1)
    for latent, mu in (((16, 16, 16), 0.5), ((4, 64, 64), 1.15), ((256, 1000), 0.5 + 744 / 3840 * 0.65)):
        made = cls(shift="auto", spec=MediaSpec("image", 3, ("height", "width"), (1, 1), latent=latent)).level(t[1:])
        torch.testing.assert_close(made.sigma, math.exp(mu) / (math.exp(mu) + (1 / t[1:] - 1)), rtol=1e-14, atol=0)


CLOSED_FORMS = [
    (VPLinear, check_vp_linear),
    (Discrete, check_discrete),
    (Discrete, check_zero_terminal),
    (Cosine, check_cosine),
    (TrigFlow, check_trig_flow),
    (Custom, check_custom),
    (Table, check_table),
    (VE, check_ve),
    (EDM, check_edm),
    (RectifiedFlow, check_rectified_flow),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check"), CLOSED_FORMS)
def test_closed_forms(cls, check):
    check(cls)


def test_every_built_in_schedule_has_a_closed_form_here():
    assert {cls for cls, _ in CLOSED_FORMS} == {type(s) for s in BUILT_IN.values()}


EXPONENTIAL = {**discrete._ALPHA_BAR, "exponential": lambda u: torch.exp(-6 * u)}


def check_contract(cls):
    check_schedule(cls())


def check_shifted(cls):
    check_schedule(cls(shift=4.0 if cls is Cosine else 3.0))


PLANTED = [  # class, its check, owner and name of what changes, error
    (VPLinear, check_vp_linear, VPLinear, "_log_alpha", swap_constant(4, 2)),
    (VPLinear, check_contract, VPLinear, "t_of_rho", keep_left_operand(ast.Div, at=-1)),
    (Discrete, check_discrete, Discrete, "__init__", negate_expression(call_target("_betas"))),
    (Discrete, check_discrete, discrete, "_betas", swap_arguments("linspace", at=1)),
    (Discrete, check_discrete, discrete, "_ALPHA_BAR", EXPONENTIAL),
    (Discrete, check_discrete, discrete, "_laplace", keep_left_operand(ast.Div)),
    (Discrete, check_discrete, discrete, "_laplace", swap_arguments("where", 1, 2)),
    (Discrete, check_discrete, discrete, "_betas", swap_constant(0.999, 0.99)),
    (Discrete, check_zero_terminal, discrete, "_to_zero", replace_expression(variable_target("first"), "1", at=None)),
    (Discrete, check_zero_terminal, discrete, "_to_zero", scale_expression(variable_target("last"), 0.999)),
    (Discrete, check_zero_terminal, Discrete, "t_of_rho", replace_expression(ast.USub, "1 - _", near="expm1")),
    (
        Discrete,
        check_zero_terminal,
        Discrete,
        "_log_alpha",
        replace_expression(ast.IfExp, "knots"),
    ),  # log 0 in a derivative
    (Discrete, check_zero_terminal, Discrete, "sigma", keep_left_operand(ast.Mult, near="alpha")),
    (Cosine, check_cosine, Cosine, "_turn", keep_right_operand(ast.Mult, near="shift")),
    (Cosine, check_shifted, Cosine, "t_of_rho", swap_operator(ast.Div, ast.Mult, near="shift")),
    (TrigFlow, check_trig_flow, TrigFlow, "alpha", replace_expression(call_target("sin"), "torch.cos(t)")),
    (TrigFlow, check_contract, TrigFlow, "t_of_rho", scale_expression(call_target("atan"), 2 / math.pi)),
    (Custom, check_custom, Custom, "alpha", keep_left_operand(ast.Sub)),
    (Custom, check_custom, Custom, "t_of_rho", swap_constant(80, 20)),
    (Custom, check_contract, Custom, "t_of_rho", swap_arguments("where", 1, 2)),
    (Table, check_table, Table, "_between", keep_right_operand(ast.Sub, near="inside")),
    (Table, check_contract, Table, "t_of_rho", keep_right_operand(ast.Mult, near="noise")),
    (Table, check_contract, Table, "t_of_rho", set_argument("where", 1, "0.9")),
    (RectifiedFlow, check_rectified_flow, rectified_flow, "_shift", keep_left_operand(ast.Sub, near="positions")),
    (
        RectifiedFlow,
        check_rectified_flow,
        RectifiedFlow,
        "__init__",
        replace_expression(ast.Subscript, "latent", near="latent"),
    ),
    (Discrete, check_discrete, Discrete, "_log_alpha", swap_constant(2, 1)),
    (Discrete, check_contract, Discrete, "t_of_rho", swap_constant(2, 1, at=-1)),
    (Cosine, check_contract, Cosine, "_turn", replace_expression(call_target("sin"), "torch.cos(t * (math.pi / 2))")),
    (Cosine, check_cosine, Cosine, "_turn", keep_left_operand(ast.Div, at=-1)),
    (VE, check_ve, VE, "sigma", scale_expression(variable_target("t"), 2)),
    (EDM, check_edm, EDM, "sigma", replace_expression(variable_target("t"), "_**2")),
    (RectifiedFlow, check_rectified_flow, RectifiedFlow, "sigma", keep_right_operand(ast.Mult, near="shift")),
    (RectifiedFlow, check_shifted, RectifiedFlow, "t_of_rho", replace_expression(attribute_target("shift"), "1")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "owner", "function", "error"), PLANTED)
def test_planted_error_is_caught(cls, check, owner, function, error):
    with planted_error(owner, function, error):
        assert_caught(check, cls)


def test_the_shift_follows_the_signal_that_the_builder_hands_in():
    spec = MediaSpec("image", 3, ("height", "width"), (512, 512), latent=(4, 64, 64))
    auto = ComponentSpec("schedule", "rectified_flow", {"shift": "auto"})
    assert auto.build(spec=spec).shift == pytest.approx(math.exp(1.15))
    assert auto.build().shift == pytest.approx(math.exp(0.5)), "while a recipe is read the shape is not known yet"
