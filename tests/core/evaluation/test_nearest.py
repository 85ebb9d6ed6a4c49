"""Novelty: exact ratios by hand, planted copies among real samples, planted errors."""

import numpy as np
import pytest
from sonolux.core.evaluation import nearest
from sonolux.core.evaluation.nearest import Nearest
from sonolux.core.types import BadInput


def check_by_hand():
    train = np.array([[0.0], [10.0], [30.0]])
    held_out = np.array([[1.0], [12.0], [33.0]])  # at 1, 2, 3 from the nearest: median 2
    generated = np.array([[-4.0], [26.0], [31.0]])  # at 4, 4, 1 from the first, third, third: median 4
    assert Nearest()(generated, train, held_out) == 2.0
    assert Nearest()(generated, train) == 4.0 / 10.0  # the training rows are at 10, 10 and 20 from each other
    distance, index = Nearest().to_train(generated, train)
    assert distance.tolist() == [4, 4, 1] and index.tolist() == [0, 2, 2]
    # half of the held-out median is 1: only the third sample is that close
    assert Nearest(quantile=0.5, closeness=0.5).copies(generated, train, held_out).tolist() == [2]


def check_copies():
    """Among 200 new samples 5 noisy copies are found, and nothing else; the ratio of new samples is 1."""
    rng = np.random.default_rng(0)
    train, held_out, new = (rng.standard_normal((n, 16)) for n in (400, 200, 200))
    assert Nearest()(new, train, held_out) == pytest.approx(1, abs=0.05)
    assert Nearest()(new, train) == pytest.approx(1, abs=0.05)
    assert len(Nearest().copies(new, train, held_out)) == 0
    mixed = new.copy()
    mixed[10:15] = train[:5] + 0.1 * rng.standard_normal((5, 16))
    assert Nearest().copies(mixed, train, held_out).tolist() == [10, 11, 12, 13, 14]
    copied = train[:200] + 0.01 * rng.standard_normal((200, 16))
    assert Nearest()(copied, train, held_out) < 0.05


CHECKS = [check_by_hand, check_copies]


@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


@pytest.mark.parametrize("check", CHECKS)
def test_planted_farthest_neighbour_is_caught(check, monkeypatch):
    true = nearest.distances
    monkeypatch.setattr(nearest, "distances", lambda a, b: -true(a, b))
    with pytest.raises(AssertionError):
        check()


def test_planted_swap_of_the_sets_is_caught(monkeypatch):
    true = nearest.as_pair
    monkeypatch.setattr(nearest, "as_pair", lambda g, r, least: true(g, r, least)[::-1])
    with pytest.raises(AssertionError):
        check_by_hand()


def test_planted_self_match_is_caught(monkeypatch):
    """Without held-out data the row itself must not count as its neighbour."""
    monkeypatch.setattr(nearest, "neighbour", lambda a, k: np.zeros(len(a)))
    with pytest.raises((AssertionError, BadInput)):
        check_by_hand()


def test_duplicates_between_the_splits_are_refused():
    rows = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(BadInput, match="also occur in the training data"):
        Nearest()(rows, rows, rows[:5])


def test_bad_settings():
    with pytest.raises(BadInput, match="quantile"):
        Nearest(quantile=1)
    with pytest.raises(BadInput, match="closeness"):
        Nearest(closeness=0)
