"""Arguments of the command line that hypothesis makes up: a recipe, or BadInput in one line for each problem."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sonolux.core.config.load import load_recipe
from sonolux.core.config.yaml import parse_argument
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).parents[2]))
from _fuzz import fuzzed

WORDS = (
    *(
        "#",
        "&a",
        "*a",
        "!x",
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        "'",
        '"',
        "|",
        ">",
        "-",
        "?",
        "%",
        "@",
        "`",
        "~",
        "=",
        ".",
        "/",
    ),
    *(
        "null",
        "true",
        "no",
        "3",
        "007",
        "1e400",
        "-1",
        ".inf",
        ".nan",
        "0x10",
        "a",
        "use",
        "heun",
        "cfg",
        " ",
        "\n",
        "\t",
    ),
    *("é", "\u0301", "\x85", "\u2028", "\ud800", "\udcff", "\x00", "\U0001f600", "9" * 5000, "x" * 300, "~nobody/x"),
)
TEXT = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=8).map("".join), st.text(max_size=20), st.integers().map(str)
)


def keys(values, path=""):
    """Every key path of a resolved recipe."""
    for name, value in values.items():
        yield f"{path}{name}"
        yield from keys(value, f"{path}{name}.") if isinstance(value, dict) else ()


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("image/shapes")


KEYS = sorted({*keys(load_recipe("image/shapes").resolved()), "data.root", "x-note", "sample.conditions.label", "nmae"})


@given(TEXT)
@fuzzed
def test_a_text_is_kept_and_never_refused(text):
    node = parse_argument(text, Path("."), f"k={text}")
    assert node.text == text or (node.value == node.text and text.strip()[:1] in ("'", '"'))
    if isinstance(node.value, str) and text.strip()[:1] not in ("'", '"'):
        assert node.value == text


@given(st.lists(st.tuples(st.one_of(st.sampled_from(KEYS), TEXT), TEXT), min_size=1, max_size=3))
@fuzzed
@pytest.mark.slow
def test_a_recipe_or_bad_input(recipe, changes):
    try:
        changed = recipe.with_overrides([f"{key}={text}" for key, text in changes], bare_section=None)
    except BadInput as error:
        said = str(error).splitlines()
        assert said and all(line.strip() for line in said)
        return
    assert load_recipe_again(changed) == changed.resolved()


def load_recipe_again(recipe):
    from sonolux.core.config.load import load_recipe_text

    return load_recipe_text(recipe.dump(), allow_code=True).resolved()
