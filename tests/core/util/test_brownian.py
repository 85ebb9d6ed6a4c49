"""The Brownian path behind noise keyed by intervals of tau: its law, and that it is a function of the point alone."""

import itertools
import math

import numpy as np
import pytest
import torch
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.util import brownian
from sonolux.core.util.brownian import BrownianIncrementKey, BrownianPath, is_same_cell
from sonolux.core.util.rng import KeyedNoise

UNEVEN = (1.0, 0.98, 0.77, 0.5, 0.31, 0.3, 0.1, 0.05, 0.049, 0.002, 0.0)


def noise(seed=0, samples=(0,), shapes=(100_000,)):
    return KeyedNoise(seed, samples, shapes, dtype=torch.float64)


def check_law(taus=UNEVEN, count=100_000):
    """Normalised gains over neighbouring intervals are independent and standard normal."""
    made = noise(shapes=(count,))
    z = torch.stack([made.normal("law", BrownianIncrementKey(a, b))[0] for a, b in itertools.pairwise(taus)])
    allowed = 4.5 / count**0.5
    assert float(z.mean(1).abs().max()) < allowed
    assert float((torch.cov(z) - torch.eye(len(z))).abs().max()) < allowed * 1.5
    assert float((z**4).mean(1).sub(3).abs().max()) < allowed * 12  # the kurtosis of a normal number


def check_sums():
    """W(a, c) = W(a, b) + W(b, c), whatever was asked before."""
    for a, b, c in ((1.0, 0.6, 0.2), (0.7, 0.69, 0.0), (0.31, 0.3, 0.299), (0.004, 0.003, 0.002)):
        whole = noise(shapes=(50,)).normal("sum", BrownianIncrementKey(a, c)) * math.sqrt(a - c)
        made = noise(shapes=(50,))
        made.normal("sum", BrownianIncrementKey(0.9, 0.1234))
        parts = [made.normal("sum", BrownianIncrementKey(u, v)) * math.sqrt(u - v) for u, v in ((a, b), (b, c))]
        assert torch.allclose(parts[0] + parts[1], whole, atol=1e-6)


def test_law():
    check_law()


def test_gains_add_up():
    check_sums()


def check_near():
    """Levels made in two ways, which differ in their last digit, are one point."""
    path = BrownianPath(noise(shapes=(1000,)).arrays("near"))
    assert float((path.increment(0.9, 0.3571) - path.increment(0.9, 0.3571 * (1 + 1e-15))).abs().max()) < 1e-6


def test_levels_made_in_two_ways_are_one_point(monkeypatch):
    check_near()
    monkeypatch.setattr(brownian, "_SAME", 2.0**60)
    assert_caught(check_near)


def test_a_row_depends_on_its_sample_alone():
    together = noise(samples=range(4), shapes=[(2, 3), (2, 3), (2, 5), (2, 3)])
    for interval in (BrownianIncrementKey(0.9, 0.5), BrownianIncrementKey(0.5, 0.2), BrownianIncrementKey(0.95, 0.7)):
        rows = together.normal("row", interval)
        for i, shape in enumerate(together.shapes):
            alone = noise(samples=[i], shapes=shape).normal("row", interval)[0]
            assert torch.equal(rows[i][..., : shape[1]], alone)
        assert bool((rows[0, :, 3:] == 0).all()) and not torch.equal(rows[0], rows[1])


def test_every_sample_may_have_its_own_interval():
    rows = noise(samples=(3, 4), shapes=(5,)).normal("own", BrownianIncrementKey((0.9, 0.5), (0.4, 0.5)))
    assert torch.equal(rows[0], noise(samples=(3,), shapes=(5,)).normal("own", BrownianIncrementKey(0.9, 0.4))[0])
    assert bool((rows[1] == 0).all()), "a sample that stays gains nothing"


def test_seed_sample_and_purpose_name_the_path():
    one = noise(shapes=(9,)).normal("a", BrownianIncrementKey(0.8, 0.3))
    for other in (noise(seed=1, shapes=(9,)), noise(samples=(1,), shapes=(9,))):
        assert not torch.equal(one, other.normal("a", BrownianIncrementKey(0.8, 0.3)))
    assert not torch.equal(one, noise(shapes=(9,)).normal("b", BrownianIncrementKey(0.8, 0.3)))


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_levels_of_a_thousand_steps_share_no_cell(steps):
    for levels in (
        Karras().levels(EDM(), steps),
        Trailing().levels(Discrete(), steps),
        Trailing().levels(RectifiedFlow(), steps),
    ):
        taus = [float(a.tau) for a in levels]
        assert not any(is_same_cell(a, b) for a, b in itertools.pairwise(taus))
    assert is_same_cell(0.3, 0.3001) and not is_same_cell(0.3, 0.301)


def check_costs(count=20):
    """A step draws about twelve arrays, all in one call, since it keeps those that the step before has drawn."""
    drawn, made = [], noise(shapes=(3,))
    draw = made.arrays("cost")
    path = BrownianPath(lambda keys: drawn.append(len(keys)) or draw(keys))
    for a, b in itertools.pairwise(float(level.tau) for level in Karras().levels(EDM(), count)):
        path.increment(a, b)
    assert len(drawn) == count and sum(drawn) / count < 12


def test_a_step_costs_a_few_draws():
    check_costs()


def test_planted_path_that_keeps_no_arrays_is_caught(monkeypatch):
    true = BrownianPath.increment
    monkeypatch.setattr(BrownianPath, "increment", lambda self, a, b: self._kept.clear() or true(self, a, b))
    with pytest.raises(AssertionError, match="< 12"):
        check_costs()


def test_points_that_share_a_cell_would_break_the_law():
    assert_caught(check_law, (0.3004, 0.3003, 0.3002))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("_is_cell", lambda left, width: width < 0.3),  # cells too large: points share them
        ("FINE", 1),
    ],
)
def test_planted_error_is_caught(monkeypatch, name, make):
    monkeypatch.setattr(brownian, name, make)
    with pytest.raises(AssertionError):
        check_law(tuple(np.linspace(1, 0, 41)))


@pytest.mark.slow
def test_a_wrong_tent_or_norm_is_caught(monkeypatch):
    true = brownian._tent
    monkeypatch.setattr(brownian, "_tent", lambda inside, width: 1.1 * true(inside, width))
    with pytest.raises(AssertionError, match="cov"):
        check_law()
    monkeypatch.setattr(brownian, "_tent", true)
    gains = brownian.increment_terms
    scaled = lambda high, low: {k: w * (high - low) ** -0.5 for k, w in gains(high, low).items()}  # noqa: E731
    monkeypatch.setattr(brownian, "increment_terms", scaled)
    with pytest.raises(AssertionError, match=r"< 0\."):
        check_law()


def test_a_path_that_forgets_is_caught(monkeypatch):
    true, count = KeyedNoise._drawn, itertools.count()
    monkeypatch.setattr(
        KeyedNoise, "_drawn", lambda self, purpose, keys: true(self, purpose, [("fresh", next(count)) for _ in keys])
    )
    with pytest.raises(AssertionError, match="allclose"):
        check_sums()


def check_own(high=(0.9, 0.5, 0.3), low=(0.4, 0.5, 0.299)):
    """Samples with intervals of their own get what each gets alone, to the last bit."""
    shape = (2, 7, 5)
    rows = noise(samples=(3, 4, 9), shapes=shape).normal("own", BrownianIncrementKey(high, low))
    for row, sample, a, b in zip(rows, (3, 4, 9), high, low, strict=True):
        assert torch.equal(row, noise(samples=(sample,), shapes=shape).normal("own", BrownianIncrementKey(a, b))[0])


def test_intervals_of_their_own_are_exact():
    check_own()


def test_planted_own_interval_of_another_row_is_caught(monkeypatch):
    true = brownian.weights_on_device
    monkeypatch.setattr(brownian, "weights_on_device", lambda columns, drawn: true(columns, drawn).flip(1))
    with pytest.raises(AssertionError, match="equal"):
        check_own()
