"""Defects planted in good media are counted, good media are not, and broken counters are noticed."""

import math

import pytest
import torch
from sonolux.core.evaluation import defects
from sonolux.core.evaluation.defects import contrast
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput


def pictures(n=12):
    return (0.3 * torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))).clamp(-0.95, 0.95)


def blank(made, real):
    found = defects.contrast(made)
    return (found < 0.5 * defects.contrast(real).min()) | (found == 0)


def saturated(made, real, margin=0.05):
    return defects.extreme_share(made) > defects.extreme_share(real).max() + margin


def check_pictures():
    real, made = pictures(), pictures()
    assert not blank(made, real).any() and not saturated(made, real).any()
    made[2] = torch.tensor([0.7, -0.2, 0.1])[:, None, None]  # one colour, not grey: each channel has its own mean
    made[5] *= 0.1
    made[7] = torch.where(made[7] > 0, 1.0, -1.0)
    assert blank(made, real).nonzero().flatten().tolist() == [2, 5]
    assert saturated(made, real).nonzero().flatten().tolist() == [7]
    assert float(contrast(made)[2]) == pytest.approx(0, abs=1e-6) and float(defects.extreme_share(made)[7]) == 1


def test_counts():
    check_pictures()


@pytest.mark.parametrize(
    ("check", "name", "planted"),
    [
        (check_pictures, "contrast", lambda m: m.flatten(1).std(1)),  # one mean for all channels: a colour looks varied
        (check_pictures, "extreme_share", lambda m, limit=0.999: (m >= limit).flatten(1).double().mean(1)),
    ],
)
def test_planted_errors_are_caught(check, name, planted, monkeypatch):
    monkeypatch.setattr(defects, name, planted)
    assert_caught(check)


def test_bad_media():
    with pytest.raises(BadInput, match="1 examples hold NaN"):
        contrast(torch.tensor([[[0.0, math.nan]], [[0.0, 1.0]]]))
    with pytest.raises(BadInput, match="give"):
        contrast(torch.zeros(4, 100))
