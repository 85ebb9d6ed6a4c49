"""Seeds, sample numbers and labels: integers of any kind are one, and nothing else is taken for one."""

import numpy as np
import pytest
import sonolux
import torch
from sonolux.core.conditioning.class_ import Class
from sonolux.core.conditioning.labels import Labels
from sonolux.core.nn.layers.dropout import keyed_dropout
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util import integers
from sonolux.core.util.integers import as_integer, as_sample_numbers, as_seed
from sonolux.core.util.rng import KeyedNoise, keyed_generator, stratified_uniforms

KINDS = [3, np.int64(3), np.uint8(3), np.int32(3), np.array(3), torch.tensor(3), torch.tensor(3, dtype=torch.int16)]
LISTS = [[3, 5], (3, 5), np.array([3, 5]), torch.tensor([3, 5]), [np.int64(3), torch.tensor(5)], range(3, 7, 2)]
NONE = [3.0, np.float64(3), torch.tensor(3.0), "3", b"3", True, np.bool_(1), torch.tensor(True), [3], np.array([3]), 1j]
USUAL = {"schedule": "discrete", "prediction": "eps", "clock": "time", "spacing": "trailing", "steps": 2}


def made(**changes):
    return sonolux.sample(lambda x, t: x / 2, (1, 1, 2, 2), **USUAL, **changes)


def check_kinds():
    """Every entry gives for an integer of any kind what it gives for Python's."""
    for kind in KINDS:
        assert as_integer(kind) == 3 and type(as_integer(kind)) is int
        assert keyed_generator(kind, kind, "a", (kind, "b")).random() == keyed_generator(3, 3, "a", (3, "b")).random()
        assert torch.equal(KeyedNoise(kind, [kind], (kind,)).normal("a", kind), KeyedNoise(3, [3], (3,)).normal("a", 3))
        assert torch.equal(stratified_uniforms(kind, kind, 8, [kind]), stratified_uniforms(3, 3, 8, [3]))
        assert torch.equal(made(seed=kind, samples=[kind]), made(seed=3, samples=[3]))
        assert Class(MediaSpec("", 1, ("time",), (4,), classes=tuple("abcd")), 8).parse(kind) == 3
        assert Labels(8, "key", ["2", "3"]).parse(kind) == (1,)
        assert Labels(8, "key", ["2", "3"]).parse([kind, 2]) == (0, 1)


def test_integers_of_any_kind_are_one():
    check_kinds()
    assert not torch.equal(made(seed=3), made(seed=4))


def test_planted_key_by_the_value_as_written_is_caught(monkeypatch):
    from sonolux.core.util import rng as noise

    monkeypatch.setattr(noise, "as_seed", lambda seed: seed)
    with pytest.raises(AssertionError, match="generator"):
        check_kinds()


def test_lists_of_any_kind_are_one():
    for numbers in LISTS:
        assert as_sample_numbers(numbers) == [3, 5]
        assert torch.equal(KeyedNoise(0, numbers, (2,)).normal("a"), KeyedNoise(0, [3, 5], (2,)).normal("a"))
    assert torch.equal(made(samples=np.array([3])), made(samples=[3]))


@pytest.mark.parametrize("value", NONE)
def test_what_is_no_integer(value):
    with pytest.raises(BadInput, match="the value is an integer, not"):
        as_integer(value)
    with pytest.raises(BadInput, match="the seed is an integer, not"):
        made(seed=value)
    with pytest.raises(BadInput, match="the seed is an integer, not"), keyed_dropout(value, [0], 0):
        pass


def test_planted_bool_as_an_integer_is_caught(monkeypatch):
    monkeypatch.setattr(integers, "is_integer", lambda value: hasattr(value, "__index__"))
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_what_is_no_integer(True)


def test_none_is_no_random_seed():
    for call in (as_seed, lambda seed: made(seed=seed), lambda seed: keyed_generator(seed, 0, "a")):
        with pytest.raises(BadInput, match=r"not None: for new samples at every call give random\.randrange"):
            call(None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "one integer per row"),
        ("35", "one integer per row"),
        (None, "one integer per row"),
        ([3.0], r"every entry of samples is an integer, not 3\.0"),
        (np.array([3.0]), r"every entry of samples is an integer, not 3\.0"),
        ([True], "an integer, not True"),
        (torch.tensor([True]), "an integer, not True"),
        (np.array([[3]]), r"one axis, \(B,\), not the shape \(1, 1\)"),
        (torch.tensor(3), r"one axis, \(B,\), not the shape \(\)"),
        ([-1], "at least 0"),
        ([2**64], r"below 2\*\*64"),
    ],
)
def test_what_are_no_sample_numbers(value, said):
    with pytest.raises(BadInput, match=said):
        as_sample_numbers(value)
    with pytest.raises(BadInput, match=said):
        KeyedNoise(0, value, (2,))


def test_labels_that_are_none():
    label = Class(MediaSpec("", 1, ("time",), (4,), classes=tuple("abcd")), 8)
    for value in (True, 3.0, np.array([3]), 4, -1, torch.tensor(4)):
        with pytest.raises(BadInput, match="there is no class"):
            label.parse(value)
    with pytest.raises(BadInput, match="there is no label"):
        Labels(8, "key", ["2", "3"]).parse(3.0)


def test_rows_and_shapes_that_differ_in_number():
    with pytest.raises(BadInput, match="`samples` numbers 3 rows, and `shapes` gives 2"):
        KeyedNoise(0, range(3), [(1, 4), (1, 5)])


def test_a_counter_that_is_none():
    with pytest.raises(BadInput, match="a counter of random numbers is"):
        keyed_generator(0, 0, "a", None)
