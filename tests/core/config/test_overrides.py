"""`extends` and overrides: mappings merge, lists replace, a changed `use` drops the parameters of the old component."""

from pathlib import Path

import pytest
from sonolux.core.config import overrides
from sonolux.core.config.overrides import merge, overrides_tree
from sonolux.core.config.yaml import parse


def merged(parent, child):
    a, b = (parse(t, name, Path("."), []) for t, name in ((parent, "a"), (child, "b")))
    return merge(a, b).plain()


def check_changed_use():
    assert merged("n: {use: a, x: 1}", "n: {use: b, y: 2}") == {"n": {"use": "b", "y": 2}}
    assert merged("n: {use: a, x: 1}", "n: b") == {"n": {"use": "b"}}
    assert merged("n: {use: a, m: {use: c, x: 1}}", "n: {m: d}") == {"n": {"use": "a", "m": {"use": "d"}}}


def test_a_changed_use_drops_the_old_parameters():
    check_changed_use()


def test_parameters_that_outlive_their_component_are_caught(monkeypatch):
    monkeypatch.setattr(
        overrides, "SHARED_KEYS", {(): frozenset("nmx"), ("n",): frozenset("mx"), ("n", "m"): frozenset("x")}
    )
    with pytest.raises(AssertionError):
        check_changed_use()


def test_mappings_merge_and_lists_replace():
    assert merged("n: {use: a, x: 1, l: [1, 2]}", "n: {y: 2, l: [3]}") == {"n": {"use": "a", "x": 1, "l": [3], "y": 2}}
    assert merged("n: {use: a, x: 1}", "n: {use: a, y: 2}") == {"n": {"use": "a", "x": 1, "y": 2}}
    assert merged("n: {use: a, x: 1}", "n: a") == {"n": {"use": "a", "x": 1}}
    assert merged("n: {use: a}", "n: null") == {"n": None}


def test_a_bare_name_is_a_component_that_may_be_extended():
    node = merge(parse("n: a", "a", Path("."), []), parse("n: {x: 1}", "b", Path("."), []))
    assert node.plain() == {"n": {"use": "a", "x": 1}}
    again = merge(node, parse("n: {y: 2}", "c", Path("."), []))
    assert again.plain() == {"n": {"use": "a", "x": 1, "y": 2}}
    assert merge(node, parse("n: b", "c", Path("."), [])).plain() == {"n": {"use": "b"}}


def test_keys_of_the_section_stay_when_the_sampler_or_dataset_changes():
    assert merged("sample: {use: ddim, eta: 1, steps: 9}", "sample: {use: heun}") == {
        "sample": {"steps": 9, "use": "heun"}
    }
    assert merged("data: {use: a, root: x, split: {valid: 0.2}}", "data: {use: b}") == {
        "data": {"split": {"valid": 0.2}, "use": "b"}
    }


def test_steps_and_minutes_replace_each_other():
    assert merged("train: {steps: 5, batch: 2}", "train: {minutes: 1}") == {"train": {"batch": 2, "minutes": 1}}
    assert merged("train: {steps: 5}", "train: {minutes: null}") == {"train": {"steps": 5, "minutes": None}}


def tree(*arguments):
    problems = []
    node = overrides_tree(list(arguments), Path("/cwd"), problems)
    return None if node is None else node.plain(), [str(p) for p in problems]


def test_overrides_split_at_the_first_equals_and_follow_yaml():
    assert tree("a.b=x=y", "a.c=1e-4", "a.d=[1, no]", "e=", "f={g: 2}")[0] == {
        "a": {"b": "x=y", "c": 1e-4, "d": [1, "no"]},
        "e": None,
        "f": {"g": 2},
    }


def test_a_name_and_a_parameter_on_one_command_line_both_count():
    for arguments in (["n=b", "n.x=3"], ["n.x=3", "n=b"]):
        over = overrides_tree(arguments, Path("."), [])
        recipe = parse("n: {use: a, x: 1, y: 2}", "r", Path("."), [])
        assert merge(recipe, over).plain() == {"n": {"use": "b", "x": 3}}


def test_the_order_of_overrides_matters_only_for_the_same_key():
    assert tree("n.width=3", "n=b")[0] == tree("n=b", "n.width=3")[0]
    assert tree("a=1", "a=2")[0] == {"a": 2}


@pytest.mark.parametrize("argument", ["train.batch", "=3", "a..b=1", ".a=1"])
def test_an_argument_that_is_no_override(argument):
    assert tree(argument) == (None, [f"command line: {argument}: expected key=value, such as train.batch=64"])


def test_an_override_that_is_no_yaml():
    assert "command line: a=[1: not valid YAML" in tree("a=[1")[1][0]
