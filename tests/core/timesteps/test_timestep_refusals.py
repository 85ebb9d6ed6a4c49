"""Lists of levels that are refused, with the spacing, the level and the remedy named."""

import numpy as np
import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.schedulers.cosine import Cosine
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.timesteps import base
from sonolux.core.timesteps.base import TimestepSpacing, check_levels_decrease
from sonolux.core.timesteps.beta import Beta
from sonolux.core.timesteps.explicit import Explicit
from sonolux.core.timesteps.exponential import Exponential
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.leading import Leading
from sonolux.core.timesteps.linspace import Linspace
from sonolux.core.timesteps.polyexponential import PolyExponential
from sonolux.core.timesteps.shifted import Shifted
from sonolux.core.timesteps.simple import Simple
from sonolux.core.timesteps.uniform_logsnr import UniformLogSNR
from sonolux.core.types import BadInput, NoiseLevel


@pytest.mark.slow
@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (lambda: Karras(rho_max=np.inf).levels(RectifiedFlow(), 5), "finite number, not inf; leave it out"),
        (lambda: UniformLogSNR(rho_min=9.0, rho_max=5.0).levels(Cosine(), 5), "uniform_logsnr needs 0 < rho_min"),
        (lambda: Karras(rho_min=30.0).levels(RectifiedFlow(), 20), "karras's rho_min 30 is above rho = 20"),
        (lambda: PolyExponential(exponent=-1), "exponent"),
        (lambda: Exponential(rho_max=100.0).levels(EDM(), 5), "exponential needs .* <= 80"),
        (lambda: Beta(a=0), "between 0.1 and 10"),
        (lambda: Beta().levels(Discrete(), 400), r"beta: level 1 of 400 \(t = 999\) repeats the level before it"),
        (lambda: Shifted(shift=0), "shift is positive"),
        (lambda: Karras().levels(EDM(), 0), "steps must be at least 1"),
        (lambda: Karras().levels(EDM(), 2.5), "at least 1, and whole, not 2.5"),
        (lambda: Karras().levels(EDM(), "5"), "at least 1, and whole, not '5'"),
        (lambda: Shifted(timesteps=Shifted()), "not shifted itself"),
        (lambda: Shifted(timesteps="karras"), r"an object, such as Karras\(\)"),
        (
            lambda: Shifted().levels(RectifiedFlow(shift=3.0), 5),
            "shifted by 3 itself, .* would shift it twice",
        ),
        (lambda: Shifted(Karras()).levels(Cosine(shift=4.0), 5), "twice"),
        (lambda: Simple().levels(Discrete(steps=10), 12), "simple: level 1 of 12"),
        (lambda: Karras(rho_max=200.0).levels(EDM(), 5), "<= 80"),
        (lambda: Karras(rho_min=3.0, rho_max=2.0).levels(EDM(), 5), "rho_min < rho_max"),
        (lambda: Karras(exponent=0), "exponent"),
        (lambda: Linspace().levels(Discrete(), 1200), "linspace: level 3 of 1200 .t = 997. repeats .* fewer steps"),
        (lambda: Linspace().levels(EDM(), 0), "at least 1"),
        (lambda: Leading().levels(Discrete(), 1), "use trailing"),
        (lambda: Leading(offset=100).levels(Discrete(), 20), "offset"),
        (lambda: Explicit([]), "at least one"),
        (lambda: Explicit([1.0, 0.5]).levels(RectifiedFlow(), 20), "set steps to 2"),
        (lambda: Explicit([1.5, 0.5]).levels(RectifiedFlow(), 2), "at most 1"),
        (lambda: Explicit([0.5, 0.7]).levels(RectifiedFlow(), 2), r"explicit: level 1 of 2 \(t = 0.7\) is noisier"),
        (lambda: Explicit([0.5, 0.5]).levels(RectifiedFlow(), 2), "repeats"),
        (lambda: Explicit([0.5, float("nan")]).levels(RectifiedFlow(), 2), "not in the schedule"),
        (lambda: check_levels_decrease([NoiseLevel(1.0, 0.0, 1.0)]), "at least two levels"),
        (lambda: check_levels_decrease([NoiseLevel(1.0, 0.0, 1.0), NoiseLevel(0.5, float("nan"), 0.5)]), "finite"),
    ],
)
def test_bad_lists_are_refused(levels, message):
    with pytest.raises(BadInput, match=message):
        levels()


def test_messages_call_a_spacing_by_its_name():
    class Mine(TimestepSpacing):
        def times(self, schedule, steps):
            return torch.full((steps,), 0.5)

    with pytest.raises(BadInput, match=r"Mine: level 1 of 3 \(t = 0.5\) repeats"):
        Mine().levels(RectifiedFlow(), 3)
    for name in registry.builtin_files("spacing"):
        cls = registry.find_class("spacing", name)
        assert base.timestep_spacing_name(cls.__new__(cls)) == name


def test_single_elements_of_a_map_may_stay_but_not_rise():
    def level(*tau):
        tau = torch.tensor(tau, dtype=torch.float64).reshape(1, 1, -1)
        return NoiseLevel(tau, 1 - tau, tau)

    check_levels_decrease([level(0.9, 0.5), level(0.4, 0.5), level(0.4, 0.2)])
    with pytest.raises(BadInput, match="noisier"):
        check_levels_decrease([level(0.9, 0.5), level(0.4, 0.6)])
    with pytest.raises(BadInput, match="repeats"):
        check_levels_decrease([level(0.9, 0.5), level(0.9, 0.5)])
