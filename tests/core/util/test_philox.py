"""Philox4x32-10: its published vectors, and that numpy's way and the tensors' way give the same integers."""

import numpy as np
import pytest
import torch
from sonolux.core.util import philox

# Random123's tests/kat_vectors, "philox4x32 10": counter, key, result.
KNOWN = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
CPU = torch.device("cpu")


def by_tensors(named, blocks, device=CPU, first=0):
    """What every device but the CPU computes."""
    keys = philox._round_keys(named)
    return philox.random_words_torch(
        philox.copy_to_device(named.astype(np.int64), device),
        philox.copy_to_device(keys.astype(np.int64), device),
        blocks,
        first,
    )


def computed(way, named, blocks, first=0):
    return philox.random_words(named, blocks, CPU, first) if way == "numpy" else by_tensors(named, blocks, first=first)


def check_known(way):
    for counter, key, result in KNOWN:
        c, k = ([int(word, 16) for word in text.split()] for text in (counter, key))
        named = philox.philox_inputs([k[0] | k[1] << 32], [c[1]], [c[2] | c[3] << 32])
        made = computed(way, named, 1, first=c[0])
        assert " ".join(f"{word & 0xFFFFFFFF:08x}" for word in made[0, :, 0].tolist()) == result


def check_high_halves():
    """Keys that differ in their high half only give other words, in every way of computing them."""
    keys, samples = [5, 5 | 7 << 32], [3, 3]
    whole = philox.philox_inputs(keys, [0, 0], samples)
    for row, key in enumerate(keys):
        alone = philox.philox_inputs([key], [0], [3])
        for way in ("numpy", "tensors"):
            assert torch.equal(computed(way, whole, 4)[row], computed(way, alone, 4)[0])
    assert not torch.equal(computed("tensors", whole, 4)[0], computed("tensors", whole, 4)[1])


def test_both_halves_of_a_key_count(monkeypatch):
    check_high_halves()
    right = philox._round_keys
    monkeypatch.setattr(philox, "_round_keys", lambda named: right(named[:, :1]))  # as if the low halves were enough
    with pytest.raises(AssertionError):
        check_high_halves()


@pytest.mark.parametrize("way", ["numpy", "tensors"])
def test_known_answers(way):
    check_known(way)


@pytest.mark.parametrize("way", ["numpy", "tensors"])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ROUNDS", 9),
        ("_MULTIPLIERS", philox._MULTIPLIERS[::-1]),
        ("_KEY_STEPS", philox._KEY_STEPS[::-1]),
    ],
)
def test_planted_error_misses_the_known_answers(monkeypatch, way, name, wrong):
    monkeypatch.setattr(philox, name, wrong)
    with pytest.raises(AssertionError, match="- 6627e8d5"):
        check_known(way)


def named(count, keys=None, seed=0):
    """Rows of any numbers: all 64 bits of keys and samples, all 32 of steps."""
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.integers(0, 2**64, n, dtype=np.uint64).tolist()  # noqa: E731
    return philox.philox_inputs(draw(keys or count), [s >> 32 for s in draw(keys or count)], draw(count))


def check_ways():
    """Rows and blocks fewer and more than a piece holds, one key for all and one for each, threads and none."""
    for count, blocks, keys in ((1, 1, 1), (3, 0, 1), (5, 7, 5), (40, 13, 1), (40, 13, 40), (2, 1000, 2), (3, 300, 3)):
        rows = named(count, keys)
        assert torch.equal(philox.random_words(rows, blocks, CPU), by_tensors(rows, blocks))
        assert philox.random_words(rows, blocks, CPU).shape == (count, 4, blocks)


def test_numpy_and_tensors_give_the_same_integers(monkeypatch):
    check_ways()
    monkeypatch.setattr(philox, "PIECE", 64)
    check_ways()
    monkeypatch.setattr(philox, "WORTH_THREADS", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    check_ways()


def test_planted_difference_between_the_ways_is_caught(monkeypatch):
    true = philox._half
    monkeypatch.setattr(philox, "PIECE", 64)
    monkeypatch.setattr(philox, "_half", lambda array, high: true(array, 1 - high))
    with pytest.raises(AssertionError, match="equal"):
        check_ways()


def test_planted_piece_that_starts_anew_is_caught(monkeypatch):
    true = philox._Space.filled
    monkeypatch.setattr(philox, "PIECE", 64)
    monkeypatch.setattr(philox._Space, "filled", lambda self, rows, keys, first, n: true(self, rows, keys, 0, n))
    with pytest.raises(AssertionError, match="equal"):
        check_ways()


def test_a_block_does_not_depend_on_what_else_is_computed():
    rows = named(6, 6)
    whole = philox.random_words(rows, 50, CPU)
    assert torch.equal(whole[2:4, :, 10:30], philox.random_words(rows[:, 2:4], 20, CPU, first=10))
    assert torch.equal(whole[:, :, :9], philox.random_words(rows, 9, CPU))
