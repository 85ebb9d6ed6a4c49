"""YAML as people expect it: numbers, words, truth values, keys that stand twice, places, and text that reads back."""

import math
from pathlib import Path

import pytest
import yaml
from sonolux.core.config import yaml as reading
from sonolux.core.config.tree import ConfigNode
from sonolux.core.config.yaml import dump_yaml, parse_yaml

EXPECTED = {
    "1e-4": 1e-4,
    "5.0e-4": 5e-4,
    "3E5": 3e5,
    ".5": 0.5,
    "-2": -2,
    "0x1F": 31,
    "0o17": 15,
    "007": 7,
    "1_000": "1_000",
    "1:30": "1:30",
    "no": "no",
    "yes": "yes",
    "on": "on",
    "off": "off",
    "True": "True",
    "true": True,
    "false": False,
    "null": None,
    "~": None,
    "'4'": "4",
    "2020-01-01": "2020-01-01",
    ".inf": math.inf,
    "-.inf": -math.inf,
    "=": "=",
}


def read(text):
    """(values, problems) of a text."""
    problems = []
    node = parse_yaml(text, "r.yaml", Path("."), problems)
    return None if node is None else node.plain(), [str(p) for p in problems]


def check_scalars():
    for text, value in EXPECTED.items():
        got, problems = read(f"a: {text}")
        assert not problems and got["a"] == value and type(got["a"]) is type(value), text


def check_keys_are_text():
    assert read("no: 1\n2: x\ntrue: y")[0] == {"no": 1, "2": "x", "true": "y"}


def check_duplicates():
    _, problems = read("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n")
    assert [p.splitlines()[0] for p in problems] == [
        "r.yaml:5:3: b.c: duplicate key, first given at line 3",
        "r.yaml:6:1: a: duplicate key, first given at line 1",
    ]


def test_scalars_follow_yaml_1_2():
    check_scalars()


def test_keys_are_always_text():
    check_keys_are_text()


def test_a_key_that_stands_twice_is_an_error():
    check_duplicates()


def test_pyyamls_own_rules_are_caught(monkeypatch):
    monkeypatch.setattr(reading.YamlLoader, "yaml_implicit_resolvers", yaml.SafeLoader.yaml_implicit_resolvers)
    with pytest.raises(AssertionError):
        check_scalars()


def test_pyyamls_mappings_are_caught(monkeypatch):
    def as_pyyaml(self, tree, path):
        at = self.mark(tree.start_mark)
        plain = yaml.SafeLoader("").construct_mapping(tree, deep=True)
        return {key: ConfigNode(value, at, at) for key, value in plain.items()}

    monkeypatch.setattr(reading._Composer, "_mapping", as_pyyaml)
    monkeypatch.setattr(ConfigNode, "plain", lambda self: None)
    with pytest.raises(AssertionError):
        check_duplicates()


def test_every_value_knows_its_place():
    node = parse_yaml("a:\n  b: [1, x]\n", "r.yaml", Path("."), [])
    inner = node.value["a"].value["b"]
    assert (inner.key.line, inner.key.column) == (2, 3)
    assert [(n.mark.line, n.mark.column) for n in inner.value] == [(2, 7), (2, 10)]
    assert str(inner.value[1].mark) == "r.yaml:2:10" and inner.mark.text == "  b: [1, x]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "r.yaml:1:6: not valid YAML"),
        ("a: 1\n\tb: 2", "r.yaml:2:1: not valid YAML"),
        ("a: &x [*x]", "an alias that contains itself"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: \x00", "not valid YAML"),
        ("{" * 3000, "nested more than 40 levels deep"),
        ("a: *b", "undefined alias 'b'"),
        ("a: !!python/object:os.system x", "has no meaning in a recipe"),
        ("a: !!int x", "'x' is not a valid int"),
        ("? [1, 2]\n: x", "a key must be a plain word"),
    ],
)
def test_a_file_that_is_no_recipe_is_reported_with_its_place(text, said):
    problems = read(text)[1]
    assert len(problems) == 1 and said in problems[0]


def test_aliases_that_grow_without_end_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "values, aliases counted in full" in read("\n".join(lines))[1][0]


@pytest.mark.parametrize(
    "value",
    [
        "1e-4",
        "no",
        "true",
        "True",
        "4",
        "0x1",
        "a: b",
        "",
        None,
        1e-5,
        1e300,
        5e-324,
        math.inf,
        "~",
        "null",
        "1:20",
        " s",
        "2020-01-01",
        "é\nx",
        "0o7",
        "<<",
        "-",
        "!x",
        "&a",
        "# c",
        2**63 - 1,
        True,
        [1, [2.5]],
        {"a": {}},
        "x" * 300,
        "'",
        '"',
        "a\x85b",
        "\u2028",
        "\x00\x07\t\x7f",
        "\ufeffx",
    ],
)
def test_what_is_written_reads_back_here_and_elsewhere(value):
    text = dump_yaml({"v": [value]})
    got, problems = read(text)
    assert not problems and got["v"] == [value] and type(got["v"][0]) is type(value)
    assert yaml.safe_load(text)["v"] == [value]
