"""Seams of loops: a circle has none, a cut has one."""

import pytest
import torch
from sonolux.core.evaluation import seams as module
from sonolux.core.evaluation.seams import seams
from sonolux.core.noise import generator
from sonolux.core.testing import planted
from sonolux.core.types import BadInput


def circles(count=300, n=512, seed=0):
    """Smooth noise on a circle: a circular moving mean of white noise."""
    white = torch.from_numpy(generator(seed, 0, "circles").standard_normal((count, 1, n)))
    return list(sum(white.roll(k, -1) for k in range(6)) / 6**0.5)


def check(measure):
    whole = measure(circles(), 16)
    assert abs(whole.jump - 1) < 0.2 and abs(float(whole.chance.mean()) - 1) < 0.05
    assert whole.chance.quantile(0.01) <= whole.jump <= whole.chance.quantile(0.99)
    cut = measure([x[..., :300] for x in circles()], 16)
    assert cut.jump > 1.5
    faded = torch.ones(512, dtype=torch.float64)
    faded[:8] = faded[-8:] = 0.1
    dull = measure([x * faded for x in circles()], 16)
    assert float(dull.level.median()) < -12 and abs(float(dull.inside.median())) < 1
    assert dull.within()[0] < 0.1 < dull.within()[1]
    picture = torch.stack(circles(64, 128))[:, 0][None]  # rows are circles, columns are strangers
    assert measure([picture], 8).jump < 1.6


def test_seams_tell_circles_from_cuts_and_fades():
    check(seams)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x[:, 0] - x[:, -1]", "x[:, 0] - x[:, 1]"),
        ("x.roll(part // 2, -1)", "x.roll(-n // 4, -1)"),
        ("/ usual)", "* usual)"),
    ],
)
def test_a_planted_error_of_seams_is_caught(old, new):
    with pytest.raises(AssertionError):
        check(planted._changed(module, old, new).seams)


def test_what_is_too_short_is_refused():
    with pytest.raises(BadInput, match="four parts"):
        seams([torch.zeros(1, 10)], 8)
