"""When a held-out loss is flat: synthetic losses with a known flat point, and rules that look at noise instead."""

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.training import plateau as plateau_module
from sonolux.core.training.held_out import (
    HELD_OUT,
    LOGSNR,
    SHARE,
    TRAINED,
    error_weight,
    evaluation_interval,
    stratified_gap,
)
from sonolux.core.training.plateau import PATIENCE, Interval, Plateau
from sonolux.core.util.rng import keyed_generator

FLAT_AT = 20  # evaluation from which the mean of the synthetic losses no longer changes
EXAMPLES = 128


def losses(evaluation, seed, falls=0.03, noise=0.05):
    """Losses of the examples: very different ones, that fall together until FLAT_AT, and noise of each evaluation."""
    level = keyed_generator(seed, 0, "example").lognormal(0.0, 0.8, EXAMPLES)
    own = keyed_generator(seed, evaluation, "evaluation").normal(0.0, noise, EXAMPLES)
    return torch.tensor(level * (1 - falls * min(evaluation, FLAT_AT)) + own)


def stopped_at(seed, **options):
    """(evaluation after which the rule ends the run, the best evaluation)."""
    state = Plateau(EXAMPLES)
    for evaluation in range(200):
        state.add(evaluation, losses(evaluation, seed, **options))
        if state.is_flat:
            return evaluation, int(state.best_step)
    return 200, int(state.best_step)


def check_flat_point():
    """All runs end a few evaluations after the flat point and not before it; the best one is at the flat point."""
    found = [stopped_at(seed) for seed in range(40)]
    assert all(FLAT_AT + PATIENCE - 1 <= end <= FLAT_AT + 4 * PATIENCE for end, _ in found), found
    assert all(FLAT_AT - 1 <= best <= FLAT_AT + 3 * PATIENCE for _, best in found), found
    assert sum(best <= FLAT_AT + 1 for _, best in found) >= 30


def test_the_flat_point_is_found():
    check_flat_point()


def unpaired(best, now):
    """The interval of the examples, which differ far more than two evaluations."""
    return Interval(now).mean < Interval(best).low


def any_decrease(best, now):
    """Every decrease of the mean, however small."""
    return bool(now.mean() < best.mean())


@pytest.mark.parametrize("rule", [unpaired, any_decrease])
def test_rules_that_look_at_noise_are_caught(rule):
    with planted_error(plateau_module, "is_improvement", rule):
        assert_caught(check_many)


def check_many():
    """As `check_flat_point`, with losses that fall slowly and losses that are noisier."""
    check_flat_point()
    slow = [stopped_at(seed, falls=0.004, noise=0.01) for seed in range(20)]
    assert all(end >= FLAT_AT for end, _ in slow), slow
    noisy = [stopped_at(seed, falls=0.0, noise=0.5) for seed in range(40)]
    assert sum(best > 0 for _, best in noisy) <= 12, "at most 2.5 % false improvements in each of about 5 evaluations"


def test_slow_and_noisy_losses():
    check_many()


def test_a_rising_loss_is_no_improvement_and_the_state_is_restored():
    state, other = Plateau(8), Plateau(8)
    falling = torch.arange(8.0)
    assert state.add(10, falling) and not state.add(20, falling + 1) and int(state.waited) == 1
    other.load_state_dict(state.state_dict())
    assert (int(other.best_step), int(other.waited)) == (10, 1)
    for step in range(30, 30 + 10 * (PATIENCE - 1), 10):
        assert not other.is_flat
        other.add(step, falling)
    assert other.is_flat
    assert other.add(100, falling - 1) and not other.is_flat and int(other.best_step) == 100
    assert other.add(110, falling[:5]), "other examples: compared anew"


def check_interval():
    values = torch.tensor([1.0, 2.0, 4.0, 5.0], dtype=torch.float64)
    found = Interval(values)  # t(0.975, 3) = 3.182446, s = sqrt(10 / 3)
    assert found.mean == 3.0 and found.half == pytest.approx(3.182446 * (10 / 3) ** 0.5 / 2, rel=1e-6)


def test_the_interval_is_students():
    check_interval()
    with planted_error(plateau_module, "stdtrit", lambda df, p: 1.96):
        assert_caught(check_interval)


def test_the_gap_of_levels():
    """Closed form, and its coverage: with equal means 95 % of the intervals contain 0."""
    held_out, trained = [torch.tensor([2.0, 4.0]), torch.tensor([10.0, 14.0])], [torch.tensor([1.0, 3.0])] * 2
    gap, half = stratified_gap(held_out, trained)
    assert gap == pytest.approx((1 + 10) / 2)
    assert half == pytest.approx(1.959964 * (2 / 2 + 2 / 2 + 8 / 2 + 2 / 2) ** 0.5 / 2, rel=1e-6)
    inside = 0
    for seed in range(400):
        rng = keyed_generator(seed, 0, "gap")
        sets = [[torch.tensor(rng.normal(k, 1 + k, n)) for k in range(7)] for n in (18, 9)]
        gap, half = stratified_gap(*sets)
        inside += abs(gap) < half
    assert 0.91 <= inside / 400 <= 0.98


def test_an_evaluation_is_a_small_share_of_the_time():
    for batch in (1, 8, 32, 256):
        passes, steps = HELD_OUT + TRAINED, evaluation_interval(batch)
        assert passes / (3 * batch * steps) <= SHARE + 1e-12
    assert [error_weight(level) for level in LOGSNR][3] == 2
