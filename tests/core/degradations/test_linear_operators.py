"""Linear operators: <A x, y> = <x, A* y>, what each one keeps, and what is refused; planted errors."""

import ast

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.degradations.base import LinearOperator
from sonolux.core.degradations.channel_mean import ChannelMean
from sonolux.core.degradations.crop import Crop
from sonolux.core.degradations.downsample import Downsample
from sonolux.core.degradations.low_pass import LowPass
from sonolux.core.editing.known_elements import MaskOperator
from sonolux.core.testing.mutation import assert_caught, mutated_class, swap_operator
from sonolux.core.types import MediaSpec
from sonolux.modalities.audio.degradations.band import Band

SOUND = MediaSpec("audio", 2, ("time",), (240,), (8000.0,), (), (2, 240))
PICTURE = MediaSpec("image", 3, ("height", "width"), (12, 18), (None, None), (), (3, 12, 18))
CASES = [
    *((spec, cls(*args)) for spec in (SOUND, PICTURE) for cls, args in ((Crop, ()), (Crop, (0.0, 0.7)))),
    *((spec, Downsample(spec, factor)) for spec in (SOUND, PICTURE) for factor in (2, 3, 5)),
    (SOUND, LowPass(SOUND, 1500.0)),
    (PICTURE, LowPass(PICTURE, 0.2)),
    *((spec, ChannelMean(spec)) for spec in (SOUND, PICTURE)),
    (SOUND, Band(SOUND, 500.0, 2000.0, n_fft=64)),
    (SOUND, Band(SOUND, n_fft=32)),
    (PICTURE, MaskOperator(torch.rand(1, 1, 12, 18, generator=torch.Generator().manual_seed(1)) > 0.4)),
]


def draw(shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def check_adjoint(spec, operator):
    x = draw((3, spec.channels, *spec.size), 0)
    made = operator.apply(x)
    y = draw(made.shape, 1)
    back = operator.adjoint(y, spec.size)
    assert back.shape == x.shape
    left, right = (made * y).flatten(1).sum(1), (x * back).flatten(1).sum(1)
    assert torch.allclose(left, right, rtol=1e-10, atol=1e-10), "<A x, y> = <x, A* y>"
    assert torch.allclose(operator.apply(2 * x), 2 * made), "linear"
    assert torch.allclose(operator.apply(x[1:2]), made[1:2]), "the same for each sample"


@pytest.mark.parametrize(("spec", "operator"), CASES, ids=lambda v: type(v).__name__)
def test_adjoint(spec, operator):
    check_adjoint(spec, operator)


def test_every_registered_operator_is_tested():
    tested = {type(operator) for _, operator in CASES}
    classes = {name: registry.find_class("degradation", name) for name in registry.builtin_files("degradation")}
    assert {cls for cls in classes.values() if issubclass(cls, LinearOperator)} <= tested
    assert {name for name, cls in classes.items() if not issubclass(cls, LinearOperator)} == {"mask", "noise"}


@pytest.mark.parametrize(
    ("spec", "cls", "method", "options"),
    [
        (PICTURE, Downsample, "adjoint", {"factor": 3}),
        (SOUND, Band, "adjoint", {"low": 500.0, "n_fft": 64}),
        (SOUND, ChannelMean, "adjoint", {}),
    ],
)
def test_a_planted_error_of_an_adjoint_is_caught(spec, cls, method, options):
    wrong = mutated_class(cls, method, swap_operator(ast.Div, ast.Mult))
    assert_caught(check_adjoint, spec, wrong(spec, **options))


def check_shown(spec, operator):
    """What shows a measurement has the same measurement, A A^+ A = A, where A^+ is the pseudo-inverse."""
    x = draw((2, spec.channels, *spec.size), 0)
    made = operator.apply(x)
    shown = operator.to_media(made, spec.size)
    assert shown.shape == x.shape
    assert torch.allclose(operator.apply(shown), made, atol=1e-12)


INVERTED = [case for case in CASES if isinstance(case[1], (Crop, Downsample, ChannelMean, MaskOperator))]


@pytest.mark.parametrize(("spec", "operator"), INVERTED, ids=lambda v: type(v).__name__)
def test_what_is_shown_of_a_measurement(spec, operator):
    check_shown(spec, operator)


def test_a_planted_error_of_what_is_shown_is_caught(monkeypatch):
    monkeypatch.setattr(ChannelMean, "to_media", lambda self, y, size: (y / 3).expand(-1, 3, *size))
    assert_caught(check_shown, PICTURE, ChannelMean(PICTURE))


def test_what_each_one_keeps():
    n = torch.arange(240, dtype=torch.float64) / 8000
    low, high = torch.cos(2 * torch.pi * 1000 * n), torch.cos(2 * torch.pi * 3000 * n)
    sound = (low + high).expand(1, 2, -1)
    assert float((LowPass(SOUND, 1500.0).apply(sound)[0, 0] - low)[60:180].abs().max()) < 0.02
    assert torch.equal(Downsample(PICTURE).apply(torch.ones(1, 3, 12, 18)), torch.ones(1, 3, 3, 5))
    assert torch.equal(ChannelMean(SOUND).apply(torch.stack([low, -low])[None]), torch.zeros(1, 1, 240))
    x = draw((1, 2, 240), 0)
    assert torch.equal(Crop(0.25, 0.75).apply(x), x[..., 60:180])
    assert float(Band(SOUND, n_fft=64).apply(x).norm() / x.norm()) == pytest.approx(1, abs=1e-12)
    kept = Band(SOUND, 500.0, 1500.0, n_fft=64)
    inside, outside = (float(kept.apply(v.expand(1, 2, -1)).norm() / v.norm()) for v in (low, high))
    assert inside > 1.2 > 0.2 > outside
