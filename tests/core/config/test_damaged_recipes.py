"""Recipes with too much of something: refused within two seconds, and nothing else."""

import sys
import time
from pathlib import Path

import pytest
from sonolux.core.config.load import load_recipe, load_recipe_text
from sonolux.core.config.yaml import DEEPEST, MOST_CHARACTERS, MOST_VALUES, dump_yaml, parse_yaml
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.core.util.messages import LONGEST_LINE

sys.path.insert(0, str(Path(__file__).parents[2]))
from _damage import SECONDS


def check_opened(text, overrides=()):
    """Read a recipe: accepted ("") or refused, within the time, and without another error."""
    began = time.process_time()
    try:
        recipe, said = load_recipe_text(text, overrides=overrides, bare_section=None), ""
        assert load_recipe_text(recipe.dump()) == recipe, "what is accepted can be written"
    except BadInput as error:
        said = str(error)
        assert said and all(len(line) <= LONGEST_LINE for line in error.lines()) and len(error.lines()) < 120
    assert time.process_time() - began < SECONDS
    return said


TOO_MUCH = {
    "a text of one character": ("a" * 10**6, "1000000 characters"),
    "brackets": ("[" * MOST_CHARACTERS, "nested more than"),
    "dashes": ("- " * (MOST_CHARACTERS // 2), "nested more than"),
    "items": (f"x: [{'a,' * (MOST_CHARACTERS // 2 - 10)}]", "keys and values"),
    "items of one line each": ("- a\n" * (MOST_CHARACTERS // 4), "keys and values"),
    "empty lists": (f"x: [{'[],' * (MOST_CHARACTERS // 3 - 10)}]", "keys and values"),
    "repeated keys": ("a: 1\n" * (MOST_VALUES // 2 - 10), "duplicate key, first given at line 1"),
    "unknown keys": ("".join(f"k{i}: 1\n" for i in range(MOST_VALUES // 2 - 10)), "unknown key"),
    "components": ("conditioning: {" + ", ".join(f"k{i}: x" for i in range(4000)) + "}", "there is no condition"),
    "a list of components": (f"eval: {{metrics: [{'x, ' * 4000}]}}", "there is no metric"),
    "a list of lists": (f"sample: {{guidance: {{use: cfg, scale: [{'[], ' * 4000}]}}}}", "expected number"),
    "a long key": (f"? {'a' * 5000}\n: 1", "a key must be a plain word"),
    "aliases": ("a: &a [1, 2]\nb: [" + "*a," * 9000 + "]", "aliases counted in full"),
    "a chain of aliases": ("a: &a0 [1]\n" + "\n".join(f"b{i}: &a{i + 1} [*a{i}]" for i in range(300)), "nested more"),
    "an alias of itself": ("x: &a [*a]", "an alias that contains itself"),
    "a long text as a number": ("seed: " + "9" * 5000, "is not a valid int"),
    "a large number": ("seed: 9223372036854775808", "is not an integer of 64 bits"),
    "half a character": ('name: "\\ud800"', "is not Unicode text"),
    "a path that is not Unicode": ('about: "\\udcff"', "is not Unicode text"),
    "comments": ("#\n" * (MOST_CHARACTERS // 2), "is a mapping that starts with"),
    "line ends": ("\n" * (MOST_CHARACTERS - 1) + "a", "is a mapping that starts with"),
    "one long text": ("name: " + "a" * (MOST_CHARACTERS - 10), "is missing"),
    "a long name of a component": (f"network: {'a' * 50_000}", "there is no network 'aaa"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_of_anything_is_refused(name):
    text, expected = TOO_MUCH[name]
    assert expected in check_opened(text)


@pytest.mark.slow
def test_limits_leave_room():
    """A list of thousands of names, and deep nesting, are read."""
    problems = []
    names = dump_yaml({"values": [f"class {i}" for i in range(MOST_VALUES - 10)]})
    deep = "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)
    assert parse_yaml(names, "x", Path(), problems) is not None and parse_yaml(deep, "x", Path(), problems) is not None
    assert problems == []


def test_a_long_chain_of_recipes(tmp_path):
    (tmp_path / "0.yaml").write_text("recipe: 1\n")
    for i in range(1, 40):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i - 1}.yaml\n")
    with pytest.raises(BadInput, match="more than 20 recipes extend each other"):
        load_recipe(tmp_path / "39.yaml")


def test_hidden_characters_are_written_with_escapes():
    text = "a\x1b\u202e\x85 ä 中\nb"
    assert "\x1b" not in (written := dump_yaml({"about": text})) and "\u202e" not in written
    problems = []
    assert parse_yaml(written, "x", Path(), problems).plain() == {"about": text} and problems == []
    assert dump_yaml({"about": "ä 中"}) == "{about: ä 中}\n"


@pytest.mark.slow
def test_a_reader_without_limits_is_caught(monkeypatch):
    monkeypatch.setattr("sonolux.core.config.yaml.MOST_VALUES", 10**9)
    assert_caught(test_too_much_of_anything_is_refused, "items")
