"""Every spacing on every schedule; the built-in ones against independent formulas and against what peers use."""

import numpy as np
import pytest
import torch
from sonolux.core import registry
from sonolux.core.schedulers.cosine import Cosine
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.ve import VE
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.spacings.base import check_falling
from sonolux.core.spacings.explicit import Explicit
from sonolux.core.spacings.karras import Karras
from sonolux.core.spacings.leading import Leading
from sonolux.core.spacings.linspace import Linspace
from sonolux.core.spacings.trailing import Trailing
from sonolux.core.spacings.uniform_logsnr import UniformLogSNR
from sonolux.core.testing.conformance import check_spacing
from sonolux.core.testing.planted import plant
from sonolux.core.types import BadInput, Level

SCHEDULES = {name: registry.find("schedule", name)() for name in registry.builtins("schedule")}
FINITE = {"rho_max": 50.0}  # what some need where a schedule starts at alpha = 0
PARAMETERS = {"explicit": None, "karras": FINITE, "uniform_logsnr": FINITE}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", [n for n in registry.builtins("spacing") if PARAMETERS.get(n, {}) is not None])
def test_every_spacing_holds_the_contract(name, schedule):
    check_spacing(registry.find("spacing", name)(**PARAMETERS.get(name, {})), SCHEDULES[schedule])


def check_karras(cls):
    levels = cls().levels(EDM(), 18)
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose([float(a.sigma) for a in levels[:-1]], expected, rtol=1e-12)
    rho = [float(a.rho) for a in cls(rho_min=0.01, rho_max=20.0).levels(RectifiedFlow(), 5)[:-1]]
    assert rho[0] == pytest.approx(20) and rho[-1] == pytest.approx(0.01)


def check_uniform_logsnr(cls):
    lam = [float(a.lam) for a in cls().levels(VPLinear(), 9)[:-1]]
    np.testing.assert_allclose(np.diff(lam), (lam[-1] - lam[0]) / 8, rtol=1e-9)
    assert lam[0] == pytest.approx(float(VPLinear().level(1.0).lam)) and lam[-1] > 5


def check_linspace(cls):
    on_grid = [float(a.t) for a in cls().levels(Discrete(), 20)]
    np.testing.assert_array_equal(on_grid, [*np.linspace(0, 999, 20).round()[::-1], -1])
    linear = [float(a.t) for a in cls().levels(EDM(), 5)]
    np.testing.assert_allclose(linear, [*np.linspace(80, 0.002, 5), 0], rtol=1e-12)


def check_trailing(cls):
    for n in (7, 16, 20, 50):
        on_grid = [float(a.t) for a in cls().levels(Discrete(), n)]
        np.testing.assert_array_equal(on_grid, [*(np.round(np.arange(1000, 0, -1000 / n)) - 1), -1])
    for schedule, end in ((RectifiedFlow(), 0), (VE(), -1)):
        times = [float(a.t) for a in cls().levels(schedule, 4)]
        np.testing.assert_allclose(times, [1, 0.75, 0.5, 0.25, end], rtol=1e-12)


def check_leading(cls):
    for n in (7, 20, 50):
        on_grid = [float(a.t) for a in cls(offset=1).levels(Discrete(), n)]
        np.testing.assert_array_equal(on_grid, [*((np.arange(n) * (1000 // n))[::-1] + 1), -1])
    times = [float(a.t) for a in cls().levels(Cosine(), 4)]
    np.testing.assert_allclose(times, [*(0.001 + 0.999 * np.array([0.75, 0.5, 0.25, 0])), 0], rtol=1e-12)


def check_explicit(cls):
    assert [float(a.t) for a in cls([1.0, 0.6, 0.1]).levels(RectifiedFlow(), 3)] == [1.0, 0.6, 0.1, 0.0]
    assert [float(a.t) for a in cls([1.0, 0.6, 0.0]).levels(RectifiedFlow(), 2)] == [1.0, 0.6, 0.0]


CLOSED_FORMS = [
    (Karras, check_karras),
    (UniformLogSNR, check_uniform_logsnr),
    (Linspace, check_linspace),
    (Trailing, check_trailing),
    (Leading, check_leading),
    (Explicit, check_explicit),
]


@pytest.mark.parametrize(("cls", "check"), CLOSED_FORMS)
def test_closed_forms(cls, check):
    check(cls)


PLANTED = [
    (Karras, check_karras, "** p)", "** (p + 1))"),
    (UniformLogSNR, check_uniform_logsnr, "ramp * torch.log(last / first)", "ramp**2 * torch.log(last / first)"),
    (Linspace, check_linspace, "schedule.t_min, steps", "schedule.t_min, steps + 1"),
    (Trailing, check_trailing, "/ steps", "/ (steps - 1)"),
    (Leading, check_leading, "schedule.steps // steps", "schedule.steps / steps"),
]


@pytest.mark.parametrize(("cls", "check", "old", "new"), PLANTED)
def test_planted_error_is_caught(cls, check, old, new):
    with pytest.raises((AssertionError, BadInput)):
        check(plant(cls, old, new))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (lambda: Karras().levels(RectifiedFlow(), 5), "set rho_max"),
        (lambda: UniformLogSNR().levels(Cosine(), 5), "starts at alpha = 0"),
        (lambda: Karras(rho_max=200.0).levels(EDM(), 5), "<= 80"),
        (lambda: Karras(rho_min=3.0, rho_max=2.0).levels(EDM(), 5), "rho_min < rho_max"),
        (lambda: Karras(exponent=0), "exponent"),
        (lambda: Linspace().levels(Discrete(), 1200), "repeats the level before it; ask for fewer steps"),
        (lambda: Linspace().levels(EDM(), 0), "at least 1"),
        (lambda: Leading().levels(Discrete(), 1), "use trailing"),
        (lambda: Leading(offset=100).levels(Discrete(), 20), "offset"),
        (lambda: Explicit([]), "at least one"),
        (lambda: Explicit([1.0, 0.5]).levels(RectifiedFlow(), 20), "set steps to 2"),
        (lambda: Explicit([1.5, 0.5]).levels(RectifiedFlow(), 2), "at most 1"),
        (lambda: Explicit([0.5, 0.7]).levels(RectifiedFlow(), 2), r"level 1 of 2 \(t = 0.7\) is noisier"),
        (lambda: Explicit([0.5, 0.5]).levels(RectifiedFlow(), 2), "repeats"),
        (lambda: Explicit([0.5, float("nan")]).levels(RectifiedFlow(), 2), "not in the schedule"),
        (lambda: check_falling([Level(1.0, 0.0, 1.0)]), "at least two levels"),
        (lambda: check_falling([Level(1.0, 0.0, 1.0), Level(0.5, float("nan"), 0.5)]), "finite"),
    ],
)
def test_bad_lists_are_refused(levels, message):
    with pytest.raises(BadInput, match=message):
        levels()


def test_single_elements_of_a_map_may_stay_but_not_rise():
    def level(*tau):
        tau = torch.tensor(tau, dtype=torch.float64).reshape(1, 1, -1)
        return Level(tau, 1 - tau, tau)

    check_falling([level(0.9, 0.5), level(0.4, 0.5), level(0.4, 0.2)])
    with pytest.raises(BadInput, match="noisier"):
        check_falling([level(0.9, 0.5), level(0.4, 0.6)])
    with pytest.raises(BadInput, match="repeats"):
        check_falling([level(0.9, 0.5), level(0.9, 0.5)])
