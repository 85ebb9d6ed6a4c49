"""Linear operators: <A x, y> = <x, A* y>, what each one keeps, and what is refused; planted errors."""

import ast

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.editing.operators.crop import Crop
from sonolux.core.editing.operators.downsample import Downsample
from sonolux.core.editing.operators.low_pass import LowPass
from sonolux.core.editing.operators.mask import MaskOperator
from sonolux.core.editing.operators.mix import Mix
from sonolux.core.testing.mutation import assert_caught, mutated_class, swap_operator
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio.operators.band import Band

SOUND = MediaSpec("audio", 2, ("time",), (240,), (8000.0,), (), (2, 240))
PICTURE = MediaSpec("image", 3, ("height", "width"), (12, 18), (None, None), (), (3, 12, 18))
CASES = [
    *((spec, cls(*args)) for spec in (SOUND, PICTURE) for cls, args in ((Crop, ()), (Crop, (0.0, 0.7)))),
    *((spec, Downsample(spec, factor)) for spec in (SOUND, PICTURE) for factor in (2, 3)),
    (SOUND, LowPass(SOUND, 1500.0)),
    (PICTURE, LowPass(PICTURE, 0.2)),
    *((spec, Mix(spec)) for spec in (SOUND, PICTURE)),
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
    names = registry.builtin_files("operator")
    assert {registry.find_class("operator", name) for name in names} <= tested
    assert {"low_pass", "audio/band"} <= set(names) and "windows" not in names


@pytest.mark.parametrize(
    ("spec", "cls", "method", "options"),
    [
        (PICTURE, Downsample, "adjoint", {"factor": 3}),
        (SOUND, Band, "adjoint", {"low": 500.0, "n_fft": 64}),
        (SOUND, Mix, "adjoint", {}),
    ],
)
def test_a_planted_error_of_an_adjoint_is_caught(spec, cls, method, options):
    wrong = mutated_class(cls, method, swap_operator(ast.Div, ast.Mult))
    assert_caught(check_adjoint, spec, wrong(spec, **options))


def test_what_each_one_keeps():
    n = torch.arange(240, dtype=torch.float64) / 8000
    low, high = torch.cos(2 * torch.pi * 1000 * n), torch.cos(2 * torch.pi * 3000 * n)
    sound = (low + high).expand(1, 2, -1)
    assert torch.allclose(LowPass(SOUND, 1500.0).apply(sound)[0, 0], low, atol=1e-12)
    assert torch.equal(Downsample(PICTURE).apply(torch.ones(1, 3, 12, 18)), torch.ones(1, 3, 6, 9))
    assert torch.equal(Mix(SOUND).apply(torch.stack([low, -low])[None]), torch.zeros(1, 1, 240))
    x = draw((1, 2, 240), 0)
    assert torch.equal(Crop(0.25, 0.75).apply(x), x[..., 60:180])
    assert float(Band(SOUND, n_fft=64).apply(x).norm() / x.norm()) == pytest.approx(1, abs=1e-12)
    kept = Band(SOUND, 500.0, 1500.0, n_fft=64)
    inside, outside = (float(kept.apply(v.expand(1, 2, -1)).norm() / v.norm()) for v in (low, high))
    assert inside > 1.2 > 0.2 > outside


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Downsample(PICTURE, 1), "factor is 2 or more"),
        (
            lambda: Downsample(PICTURE, 5).check(3, (12, 18)),
            r"factor 5 does not divide height 12; factors that do: 2, 3",
        ),
        (lambda: Downsample(PICTURE, 4).check(3, (12, 18)), r"does not divide width 18"),
        (lambda: LowPass(SOUND, 4000.0), "below 4000, half of the rate of time"),
        (lambda: LowPass(PICTURE, 0.5), "below 0.5, half of the rate of height"),
        (lambda: Mix(SOUND).check(1, (240,)), "choose another operator"),
        (lambda: Crop(0.7, 0.2), "begin < end"),
        (lambda: Crop(0.5, 0.51).check(1, (4,)), "keeps nothing"),
        (lambda: Band(PICTURE), "band takes sound, not image"),
        (lambda: Band(SOUND, 100.0, 5000.0), "high <= 4000 Hz"),
        (lambda: Band(SOUND, 1.0, 2.0), "no bin of band"),
        (lambda: Band(SOUND, n_fft=30), "multiple of 4"),
    ],
)
def test_options_that_do_not_fit_are_refused(make, said):
    with pytest.raises(BadInput, match=said):
        make()
