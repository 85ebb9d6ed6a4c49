"""Conditions of edits: those that the user gives, or the file's own, and never those that the recipe's samples have."""

import pytest
import sonolux
import torch
from PIL import Image
from sonolux.core.config import overrides
from sonolux.core.config.load import load_recipe
from sonolux.core.config.overrides import changed_conditions
from sonolux.core.pipeline import conditions, loaded_model
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.types import BadInput

TWO = (
    "conditioning.first={use: scalar, key: count, range: [0, 9], drop: 0.2}",
    "conditioning.second={use: scalar, key: count, range: [0, 9], drop: 0.2}",
    "sample.conditions={first: 0.25, second: 0.75}",
    "sample.guidance=null",
    "train.steps=1",
)


@pytest.fixture(scope="module")
def run(tiny_run):
    return tiny_run("image", *TWO, wake=0.1)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "circle").mkdir()
    path = tmp_path / "circle" / "a.png"
    Image.new("RGB", (16, 16), (200, 30, 30)).save(path)
    return path


def used(made):
    return [made.conditions[0][name] for name in ("label", "first", "second")]


def check_only_given(run, file):
    opened = sonolux.load(run, device="cpu")
    assert used(opened.sample(count=1, steps=1))[1:] == [0.25, 0.75], "samples have the conditions of the recipe"
    assert used(opened.vary(file, steps=1)) == ["circle", None, None]
    for given in ({"conditions.first": 0.5}, {"conditions": {"first": 0.5}}):
        assert used(opened.vary(file, steps=1, **given)) == ["circle", 0.5, None]
    assert used(opened.vary(file, steps=1, conditions={"label": "square"})) == ["square", None, None]
    for argument in ("sample.conditions.first=0.5", "conditions.first=0.5", "conditions={first: 0.5}"):
        changed = sonolux.load(run, device="cpu", changes=[argument])
        assert used(changed.vary(file, steps=1)) == ["circle", 0.5, None], argument
        assert used(changed.vary(file, steps=1, **{"conditions.second": 0.1})) == ["circle", 0.5, 0.1]


@pytest.mark.slow
def test_edits_use_the_conditions_that_are_given(run, file):
    check_only_given(run, file)
    with planted_error(
        loaded_model, "changed_conditions", lambda changes: {"first", "second"} if [*changes] else set()
    ):
        assert_caught(check_only_given, run, file)
    with planted_error(overrides, "_plain_value", lambda argument: None):
        assert_caught(check_only_given, run, file)


def test_names_of_changed_conditions():
    changes = ["sample.conditions.a=1", "conditions.b=[1, 2]", "conditions={c: 1, d: x}", "steps=3", "sample.where.e=1"]
    assert changed_conditions(changes) == {*"abcde"}
    assert changed_conditions([("conditions", {"a": 1}), ("conditions.b", 2), ("label", "x")]) == {"a", "b"}
    assert changed_conditions(["conditions=null", ("conditions", None)]) == frozenset()


def check_null_removes(opened):
    assert used(opened.sample(count=1, steps=1, **{"conditions.first": None}))[1:] == [None, 0.75]
    plain = opened.sample(count=2, steps=2, conditions={"first": None, "second": None})
    assert used(plain)[1:] == [None, None]
    assert not torch.equal(plain.media[0], opened.sample(count=2, steps=2).media[0])


@pytest.mark.slow
def test_null_makes_a_sample_unconditional(run, opened):
    pipeline = opened(run)
    check_null_removes(pipeline)
    with planted_error(conditions, "_readable", lambda condition, value: "1"):
        assert_caught(check_null_removes, pipeline)


CHILD = "recipe: 1\nextends: ./tiny.yaml\nname: child\n"
BASE = ("conditioning:", "conditioning: {label: {use: class}, size: {use: scalar, key: count, range: [0, 9]}}\nx-old:")


@pytest.fixture
def child(tiny_recipe, tmp_path):
    """child(text): the recipe `text` over one with two conditions, of which it sets one for samples."""
    text = tiny_recipe["image"].replace(*BASE).replace("guidance:", "conditions: {size: 0.5, label: square}, guidance:")
    (tmp_path / "tiny.yaml").write_text(text)

    def loaded(more, *changes):
        (tmp_path / "child.yaml").write_text(CHILD + more)
        return load_recipe(tmp_path / "child.yaml", changes)

    return loaded


def test_null_in_recipes(child, tmp_path):
    assert child("").sample.conditions == {"size": 0.5, "label": "square"}
    assert child("sample: {conditions: {size: null}}").sample.conditions == {"size": None, "label": "square"}
    assert child("sample: {conditions: null}").sample.conditions == {}
    both = child("conditioning: {size: null}\nsample: {conditions: {size: null}}")
    assert both.sample.conditions == {"label": "square"} and list(both.conditioning) == ["label"]
    (tmp_path / "again.yaml").write_text(both.dump())
    assert load_recipe(tmp_path / "again.yaml") == both
    assert child("sample: {conditions: {label: null}, label: circle}").sample.label == "circle"
    with pytest.raises(
        BadInput, match=r"sample\.conditions\.size: is not a condition.*size=null removes this value too"
    ):
        child("conditioning: {size: null}")
    with pytest.raises(BadInput, match="did you mean 'size'"):
        child("", "sample.conditions.siez=null")
