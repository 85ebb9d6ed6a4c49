"""Conditions: what users write, what data carries, and unconditional rows."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sonolux.core.conditioning import base as base_module
from sonolux.core.conditioning import class_ as class_module
from sonolux.core.conditioning.base import build_conditioning, unknown_label_error
from sonolux.core.conditioning.class_ import Class
from sonolux.core.conditioning.labels import Labels
from sonolux.core.conditioning.scalar import Scalar
from sonolux.core.config.yaml import parse_argument
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Item, MediaSpec

DIGITS = MediaSpec("image", 1, ("height", "width"), (8, 8), classes=("zero", "one", "7", "three"))
COLOURS = ["red", "green", "blue"]


def item(**options) -> Item:
    return Item(torch.zeros(1, 8, 8), source="a.png", **options)


def made() -> torch.nn.ModuleDict:
    return torch.nn.ModuleDict(
        {
            "label": Class(DIGITS, 6),
            "colours": Labels(6, "colour", COLOURS),
            "seconds": Scalar(6, "seconds", [0.1, 4.0], log=True),
        }
    )


def test_class_parses_names_and_indices_and_names_the_valid_ones():
    label = Class(DIGITS, 6)
    assert [label.parse(v) for v in ("one", 1, "1", "7", 7, 0)] == [1, 1, 1, 2, 2, 0]
    for wrong in ("four", 4, -1, True, None, 1.5):
        with pytest.raises(BadInput, match="zero, one, 7, three"):
            label.parse(wrong)
    assert label.from_item(item(label=3)) == 3 and label.from_item(item()) is None
    assert [label.format_value(label.parse(c)) for c in label.choices()] == list(DIGITS.classes)


def check_labels_as_text():
    """Names are compared as text in NFC; an index is a number in its usual form, and a name has priority over it."""
    names = ("007", "3.1", "true", "caf\u00e9", "7", "null")
    label = Class(replace(DIGITS, classes=names), 6)
    for value, index in (
        ("007", 0),
        (3.1, 1),
        ("3.1", 1),
        (True, 2),
        ("cafe\u0301", 3),
        (7, 4),
        ("7", 4),
        ("5", 5),
        (2, 2),
    ):
        assert label.parse(value) == index, value
    assert label.parse({"007": 1, 3.1: 1}) == ((0, 0.5), (1, 0.5))
    labels = Labels(6, "tag", list(names))
    for value in ("007", 3.1, True, "cafe\u0301", [7]):
        assert labels.parse(value) == labels.from_item(item(attributes={"tag": value})) != ()
    for wrong in ("07", "8", "3.10", "True", False, "00", "1" * 5000, [1]):
        with pytest.raises(BadInput, match="there is no class") as error:
            label.parse(wrong)
        assert len(str(error.value)) <= 200


def test_labels_are_compared_as_text():
    check_labels_as_text()


def test_planted_comparison_of_values_is_caught(monkeypatch):
    for wrong in (str, lambda value: value):
        monkeypatch.setattr(class_module, "normalise_label", wrong)
        assert_caught(check_labels_as_text, also=(BadInput, TypeError))


def test_numbers_of_tables_may_be_texts():
    pitch = Scalar(6, "pitch", [1.0, 500.0])
    assert [pitch.from_item(item(attributes={"pitch": v})) for v in ("3.10", "007", 440, "1e2")] == [3.1, 7, 440, 100]
    for wrong in ("", "x", "nan", True, [1], 10**400):
        with pytest.raises(BadInput, match="not a finite number"):
            pitch.from_item(item(attributes={"pitch": wrong}))


def test_class_needs_classes():
    with pytest.raises(BadInput, match="remove"):
        Class(MediaSpec("image", 1, ("height", "width"), (8, 8)), 6)


def test_labels_parse_texts_lists_and_none_of_them():
    labels = Labels(6, "colour", COLOURS)
    assert labels.parse("blue, red") == labels.parse(["red", "blue", "red"]) == (0, 2)
    assert labels.parse("green") == (1,) and labels.parse("") == labels.parse([]) == ()
    for value in ((), (1,), (0, 2)):
        assert labels.parse(labels.format_value(value)) == value
    with pytest.raises(BadInput, match=r"'pink' for `colour`: there are red, green, blue"):
        labels.parse("red, pink")
    assert labels.from_item(item(attributes={"colour": "red"})) == (0,)
    assert labels.from_item(item(attributes={"colour": ["blue", "green"]})) == (1, 2)
    assert labels.from_item(item()) is None
    with pytest.raises(BadInput, match=r"a\.png"):
        labels.from_item(item(attributes={"colour": "pink"}))


@pytest.mark.parametrize("values", [[], ["a", "a"], ["a,b"], [" "]])
def test_labels_refuse_ambiguous_lists(values):
    with pytest.raises(BadInput):
        Labels(6, "colour", values)


def check_sum_of_labels() -> None:
    """Rows add up: f(a, b) - f() = (f(a) - f()) + (f(b) - f())."""
    labels = Labels(6, "colour", COLOURS)
    neither, a, b, both = labels.embed([(), (0,), (2,), (0, 2)])
    torch.testing.assert_close(both - neither, (a - neither) + (b - neither))
    torch.testing.assert_close(labels.embed(torch.tensor([[1.0, 0.0, 1.0]]))[0], both)
    assert not torch.allclose(neither, labels.null)


def test_labels_add_up():
    check_sum_of_labels()


def test_planted_error_in_the_sum_of_labels_is_caught(monkeypatch):
    monkeypatch.setattr(
        Labels, "embed", lambda self, v: torch.stack([self.rows.weight[list(i)].prod(0) + self.given for i in v])
    )
    assert_caught(check_sum_of_labels)


def test_scalar_parses_within_its_range():
    seconds = Scalar(6, "seconds", [0.1, 4.0])
    assert seconds.parse("0.5") == 0.5 and seconds.parse(4) == 4.0
    for wrong in (0.05, 5, "long", float("nan"), True, None, [1]):
        with pytest.raises(BadInput, match=r"seconds is a number from 0\.1 to 4"):
            seconds.parse(wrong)
    found = [seconds.from_item(item(attributes={"seconds": s})) for s in (0.5, 9, 0.01)]
    assert found == [0.5, 4.0, 0.1] and seconds.from_item(item()) is None
    for wrong in ("long", float("inf"), True):
        with pytest.raises(BadInput, match=r"a\.png"):
            seconds.from_item(item(attributes={"seconds": wrong}))


@pytest.mark.parametrize(
    "options", [{"range": [1, 1]}, {"range": [1]}, {"range": [0, 2], "log": True}, {"range": [0, float("inf")]}]
)
def test_scalar_refuses_bad_ranges(options):
    with pytest.raises(BadInput, match="range"):
        Scalar(6, "seconds", **options)


def check_log_scale() -> None:
    """On a logarithmic scale [0.1, 10] places 1 where a linear scale [-1, 1] places 0."""
    log, linear = Scalar(6, "s", [0.1, 10.0], log=True), Scalar(6, "s", [-1.0, 1.0])
    torch.testing.assert_close(log.embed([0.1, 1.0, 10.0]), linear.embed([-1.0, 0.0, 1.0]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(log.embed([0.1]), log.embed([10.0]), atol=1e-2)


def test_numbers_are_placed_by_their_logarithm():
    check_log_scale()


def test_planted_error_in_the_range_is_caught(monkeypatch):
    embed = Scalar.embed
    monkeypatch.setattr(Scalar, "embed", lambda self, v: embed(self, [2 * x for x in v]))
    assert_caught(check_log_scale)


def check_gather() -> None:
    """Told rows are embedded in their places, the others are null rows, and `without` makes all of them null rows."""
    conditions = made()
    record = build_conditioning(
        conditions, {"label": [2, None, 0], "colours": [None, (1,), ()], "seconds": [1.0, 2.0, 3.0]}
    )
    label = conditions["label"]
    torch.testing.assert_close(
        record.vector["label"], torch.stack([label.rows.weight[2], label.null, label.rows.weight[0]])
    )
    torch.testing.assert_close(record.vector["colours"][1:], conditions["colours"].embed([(1,), ()]))
    torch.testing.assert_close(record.vector["colours"][0], conditions["colours"].null)
    for name, own in record.without().vector.items():
        torch.testing.assert_close(own, conditions[name].null.expand(3, -1))


def test_gather_places_rows():
    check_gather()


def test_planted_error_in_the_places_is_caught(monkeypatch):
    right = base_module._embedded
    monkeypatch.setattr(base_module, "_embedded", lambda condition, *values: right(condition, *values).flip(0))
    assert_caught(check_gather)


def test_gather_without_values_is_unconditional_and_its_rows_learn():
    conditions = made()
    record = build_conditioning(conditions, {"label": [None, None]})
    assert all(rows.shape == (2, 6) for rows in record.vector.values())
    sum(rows.sum() for rows in record.vector.values()).backward()
    assert all(c.null.grad is not None for c in conditions.values())


def test_gather_refuses_unknown_names_and_unequal_lists():
    with pytest.raises(BadInput, match="label, colours, seconds"):
        build_conditioning(made(), {"labels": [1]})
    with pytest.raises(BadInput, match="lengths"):
        build_conditioning(made(), {"label": [1], "seconds": [1.0, 2.0]})


def test_drop_is_a_probability():
    with pytest.raises(BadInput, match="probability"):
        Class(DIGITS, 6, drop=1.5)


@pytest.mark.parametrize("name", ["'q'", '"q"', "'it's'", '"\\"'])
def test_a_class_whose_name_has_quotes_has_a_remedy(name):
    with pytest.raises(BadInput, match="the quotes belong to the name of") as error:
        raise unknown_label_error("class", name[1:-1], ["kick", name])
    (word,) = shlex.split(str(error.value).rpartition("write ")[2])
    assert parse_argument(word.removeprefix("label="), Path(), word).plain() == name
