"""Every schedule: range, ends, inverse, derivative; the built-in ones against independent formulas."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from sonolux.core import registry
from sonolux.core.schedulers.cosine import Cosine
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.ve import VE
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import check_schedule
from sonolux.core.testing.planted import plant
from sonolux.core.types import BadInput

BUILT_IN = {name: registry.find("schedule", name)() for name in registry.builtins("schedule")}
OTHERS = {
    "scaled_linear": Discrete("scaled_linear"),
    "cosine betas": Discrete("cosine"),
    "few steps": Discrete(steps=10, beta_max=0.5),
    "shifted flow": RectifiedFlow(shift=3.0),
    "odd shift": RectifiedFlow(shift=1.15),
    "constant beta": VPLinear(beta_min=5.0, beta_max=5.0),
}


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


def check_discrete(cls):
    grid = {
        "linear": np.linspace(1e-4, 0.02, 1000),
        "scaled_linear": np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2,
    }
    for kind, betas in grid.items():
        level = cls(kind).level(torch.arange(1000))
        np.testing.assert_allclose(level.alpha**2, products(betas), rtol=1e-9)
        np.testing.assert_allclose(level.sigma**2, 1 - products(betas), rtol=1e-6)
    f = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(1001)]
    betas = [min(1 - f[i + 1] / f[i], 0.999) for i in range(1000)]
    np.testing.assert_allclose(cls("cosine").level(torch.arange(1000)).alpha ** 2, products(betas), rtol=1e-9)
    one, two, between = (math.log(float(cls().alpha(torch.tensor(t)))) for t in (400.0, 401.0, 400.25))
    assert between == pytest.approx(0.75 * one + 0.25 * two, rel=1e-12)


def check_cosine(cls):
    t = torch.tensor([0.0, 1 / 3, 0.5, 1.0], dtype=torch.float64)
    level = cls().level(t)
    torch.testing.assert_close(level.alpha, torch.tensor([1, 3**0.5 / 2, 0.5**0.5, 0]).double(), rtol=1e-7, atol=0)
    torch.testing.assert_close(level.sigma, torch.tensor([0, 0.5, 0.5**0.5, 1]).double(), rtol=1e-7, atol=0)


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


CLOSED_FORMS = [
    (VPLinear, check_vp_linear),
    (Discrete, check_discrete),
    (Cosine, check_cosine),
    (VE, check_ve),
    (EDM, check_edm),
    (RectifiedFlow, check_rectified_flow),
]


@pytest.mark.parametrize(("cls", "check"), CLOSED_FORMS)
def test_closed_forms(cls, check):
    check(cls)


def test_every_built_in_schedule_has_a_closed_form_here():
    assert {cls for cls, _ in CLOSED_FORMS} == {type(s) for s in BUILT_IN.values()}


PLANTED = [
    (VPLinear, check_vp_linear, "/ 4) - t", "/ 2) - t"),
    (VPLinear, lambda cls: check_schedule(cls()), "/ 2 * falls", "* falls"),
    (Discrete, check_discrete, "torch.log1p(-values)", "torch.log1p(values)"),
    (Discrete, check_discrete, "t.detach() + 2", "t.detach() + 1"),
    (Discrete, lambda cls: check_schedule(cls()), "(k - 2 + inside)", "(k - 1 + inside)"),
    (Cosine, lambda cls: check_schedule(cls()), "torch.sin((1 - t) * (math.pi / 2))", "torch.cos(t * (math.pi / 2))"),
    (Cosine, check_cosine, "torch.sin(t * (math.pi / 2))", "torch.sin(t * math.pi)"),
    (VE, check_ve, "torch.exp(t *", "torch.exp(2 * t *"),
    (EDM, check_edm, "return t\n", "return t**2\n"),
    (RectifiedFlow, check_rectified_flow, "return self.shift * t / (", "return t / ("),
    (RectifiedFlow, lambda cls: check_schedule(cls(shift=3.0)), "self.shift / rho", "1 / rho"),
]


@pytest.mark.parametrize(("cls", "check", "old", "new"), PLANTED)
def test_planted_error_is_caught(cls, check, old, new):
    with pytest.raises(AssertionError):
        check(plant(cls, old, new))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discrete("quadratic"), "linear, scaled_linear, cosine"),
        (lambda: Discrete(steps=1), "at least 2"),
        (lambda: Discrete("cosine", beta_max=0.5), "leave out"),
        (lambda: Discrete(beta_min=0.5, beta_max=0.1), "beta_min"),
        (lambda: VPLinear(beta_min=-1), "beta_min"),
        (lambda: VPLinear(t_min=2), "t_min"),
        (lambda: Cosine(t_min=0), "t_min"),
        (lambda: VE(sigma_min=0), "sigma_min"),
        (lambda: EDM(sigma_min=90), "sigma_min"),
        (lambda: RectifiedFlow(shift=0), "shift"),
        (lambda: RectifiedFlow(t_min=0), "t_min"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()
