"""The search for copies: the limit, the shares, and what is said where they mean little."""

import math

import numpy as np
import pytest
import torch
from sonolux.core.evaluation import memorization
from sonolux.core.evaluation.examples import ExampleSet
from sonolux.core.evaluation.memorization import measure_memorization, memorization_measurements, reliability_remarks
from sonolux.core.evaluation.near_copies import NearestMatches
from sonolux.core.testing.mutation import assert_caught


class Adapter:
    """Likeness of vectors: exp(-distance); copies are as they are, or wholly other."""

    copy_threshold = 0.9

    def __init__(self, faithful=True):
        self.faithful = faithful

    def nearest(self, media, training):
        apart = torch.cdist(torch.stack(list(media)), torch.stack(list(training)))
        return NearestMatches(*torch.exp(-apart).max(1))

    def planted_copies(self, media, seed):
        copies = [m + 1e-4 if self.faithful else m + 5 for m in media]
        return {"gain": copies, "crop": list(media)}


def side(n, seed, spread=1.0):
    rng = torch.Generator().manual_seed(seed)
    return ExampleSet(list(spread * torch.randn(n, 3, generator=rng)), torch.full((n,), -1), [str(i) for i in range(n)])


def found(copies=10, held=200, **more):
    train = side(300, 0)
    made = side(90, 1)
    made.media = [*made.media, *(train.media[i].clone() for i in range(copies))]
    return measure_memorization(Adapter(**more), made, train, side(held, 2) if held else None)


def check_copies(held):
    result = found(held=held)
    values = Adapter().nearest(side(90, 1).media, side(300, 0).media).similarity
    assert result.samples.nearest[-10:].tolist() == list(range(10))
    assert result.recall == {"gain": 1.0, "crop": 1.0}
    copies, caught = memorization_measurements(result, "sounds")[:2]
    assert copies.value == pytest.approx((10 + sum(float(v) > result.threshold for v in values)) / 100)
    assert caught.value == 1.0


@pytest.mark.parametrize("held", [200, 30, 0])
def test_copies_are_counted(held):
    check_copies(held)


def test_likeness_read_upside_down_is_caught(monkeypatch):
    """Planted, in what counts both the samples and the planted copies above the limit."""
    monkeypatch.setattr(
        memorization, "share_above", lambda similarity, threshold: float((similarity < threshold).double().mean())
    )
    assert_caught(check_copies, 200)


def test_a_limit_below_which_copies_lie_is_caught(monkeypatch):
    """Planted: the share is of what lies far above the limit."""
    true = memorization.share_above
    monkeypatch.setattr(memorization, "share_above", lambda similarity, threshold: true(similarity, threshold + 0.2))
    assert_caught(check_copies, 200)


def test_the_limit_is_that_of_held_out_examples_where_they_are_enough():
    result = found()
    assert result.measured and result.threshold == pytest.approx(
        float(np.quantile(result.held_out.numpy(), 0.99)), abs=1e-6
    )
    assert result.false_alarms == pytest.approx(0.01, abs=0.006)
    few = found(held=30)
    assert not few.measured and few.threshold == 0.9 and len(few.held_out) == 30
    none = found(held=0)
    assert (
        none.threshold == 0.9
        and math.isnan(none.false_alarms)
        and memorization_measurements(none, "sounds")[0].references == ()
    )


def test_a_search_that_misses_says_so():
    assert reliability_remarks(found(), "sounds") == []
    missed = found(faithful=False)
    assert missed.recall == {"gain": 0.0, "crop": 1.0}
    assert "only 50% of planted copies" in reliability_remarks(missed, "sounds")[0]


def test_data_that_is_all_alike_says_so():
    """Smooth things of one kind: held-out ones lie above a fixed limit too."""
    result = measure_memorization(Adapter(), side(20, 1, 0.01), side(80, 0, 0.01), side(30, 2, 0.01))
    assert (
        result.false_alarms == 1.0
        and "100% of the held-out sounds lie above" in reliability_remarks(result, "sounds")[0]
    )
