"""`extends` and overrides: mappings merge, lists replace, a changed `use` drops the parameters of the old component."""

import re
from pathlib import Path
from typing import Any

import pytest
from sonolux.core.config import overrides
from sonolux.core.config import tree as tree_module
from sonolux.core.config import yaml as yaml_reading
from sonolux.core.config.load import load_recipe, load_recipe_text
from sonolux.core.config.overrides import merge_trees, parse_overrides
from sonolux.core.config.tree import ConfigNode
from sonolux.core.config.trust import UnconfirmedPath
from sonolux.core.config.yaml import parse_yaml
from sonolux.core.testing.mutation import assert_caught, attribute_target, planted_error, replace_expression
from sonolux.core.types import BadInput


def merged(parent, child):
    a, b = (parse_yaml(t, name, Path("."), []) for t, name in ((parent, "a"), (child, "b")))
    return merge_trees(a, b).plain()


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
    node = merge_trees(parse_yaml("n: a", "a", Path("."), []), parse_yaml("n: {x: 1}", "b", Path("."), []))
    assert node.plain() == {"n": {"use": "a", "x": 1}}
    again = merge_trees(node, parse_yaml("n: {y: 2}", "c", Path("."), []))
    assert again.plain() == {"n": {"use": "a", "x": 1, "y": 2}}
    assert merge_trees(node, parse_yaml("n: b", "c", Path("."), [])).plain() == {"n": {"use": "b"}}


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
    node = parse_overrides(list(arguments), Path("/cwd"), problems)
    return None if node is None else node.plain(), [str(p) for p in problems]


def test_overrides_split_at_the_first_equals_and_follow_yaml():
    assert tree("a.b=x=y", "a.c=1e-4", "a.d=[1, no]", "e=", "f={g: 2}")[0] == {
        "a": {"b": "x=y", "c": 1e-4, "d": [1, "no"]},
        "e": None,
        "f": {"g": 2},
    }


def test_a_name_and_a_parameter_on_one_command_line_both_count():
    for arguments in (["n=b", "n.x=3"], ["n.x=3", "n=b"]):
        over = parse_overrides(arguments, Path("."), [])
        recipe = parse_yaml("n: {use: a, x: 1, y: 2}", "r", Path("."), [])
        assert merge_trees(recipe, over).plain() == {"n": {"use": "b", "x": 3}}


def test_the_order_of_overrides_matters_only_for_the_same_key():
    assert tree("n.width=3", "n=b")[0] == tree("n=b", "n.width=3")[0]
    assert tree("a=1", "a=2")[0] == {"a": 2}


@pytest.mark.parametrize("argument", ["train.batch", "=3", "a..b=1", ".a=1"])
def test_an_argument_that_is_no_override(argument):
    said = f"command line: {argument}: expected key=value, such as train.batch=64; quote values with spaces"
    (problem,) = tree(argument)[1]
    assert tree(argument)[0] is None and problem.startswith(said)


# --- values that YAML would change ----------------------------------------------------------------------------------

READ = {  # text -> value, where YAML reads all of it
    "3": 3,
    " 3 ": 3,
    "007": 7,
    "1e-4": 1e-4,
    "true": True,
    "null": None,
    "": None,
    "[1, [x]]": [1, ["x"]],
    "{a: 1}": {"a": 1},
    "'kick #2'": "kick #2",
    '"a\\tb"': "a\tb",
    "'null'": "null",
    ".inf": float("inf"),
}
WORD_FOR_WORD = (
    *("kit #2", "# kit", "3 # x", "&amp", "&a 5", "*amp", "!kick", "!!int 5", "a: b", "- a", "a\nb", "[kit] drums"),
    *("[kit", "{a", "[a] # b", "[&amp, b]", "[*a]", "'kit' #2", "'a", " kit", "kit ", "@x", "`x", "%x", "| x", "> x"),
    *("? x", "~", "---", "a #", ", x", "9" * 5000, "[" * 3000, "\x00", "\ud800", "{a: 1, a: 2}", "no", "2020-01-01"),
)  # fmt: skip


def check_values(texts=WORD_FOR_WORD):
    for text, value in READ.items():
        (node,), problems = parse_overrides([f"k={text}"], Path("."), []).value.values(), []
        assert node.plain() == value and type(node.plain()) is type(value), text
    for text in texts:
        problems = []
        (node,) = parse_overrides([f"k={text}"], Path("."), problems).value.values()
        assert node.value == text and not problems, text
        assert node.text == text and bool(node.problem) == (text[0] in "[{"), text


@pytest.mark.slow
def test_what_yaml_would_drop_is_text_word_for_word():
    check_values()


def test_planted_reading_of_every_argument_as_yaml_is_caught(monkeypatch):
    monkeypatch.setattr(yaml_reading, "_is_whole", lambda text: True)
    for text in ("kit #2", "&amp", "a: b"):
        assert_caught(check_values, [text])


def check_texts(folder):
    """Parameters of type text and path receive what is written, in a recipe as on the command line."""
    for text in (
        "2024",
        "007",
        "3.10",
        "1e3",
        "kit #2",
        "&amp",
        "[kit] drums",
        "[kit]",
        "{kit}",
        "a: b",
        ".nan",
        "'2024'",
    ):
        recipe = load_recipe("base.yaml", [f"data.root={text}", f"data.label={text}", f"about={text}"])
        plain = text.strip("'")
        assert recipe.data.params["root"] == folder / plain, text
        assert (recipe.data.params["label"], recipe.about) == (plain, plain)
    assert load_recipe("base.yaml", ["about=true", "data.label=null"]).about == "true"
    for text in ("true", "false", "null", "", "~"):
        recipe = load_recipe("base.yaml", [f"about={text}", f"eval.cache={text}"])
        assert recipe.about == text
        cache = recipe.eval.cache  # null is a value of its own where a key may have none
        assert cache == (None if text in ("null", "") else folder / text if text != "~" else Path.home())
        if text in ("true", "false"):
            assert load_recipe("base.yaml", [f"data.root={text}"]).data.params["root"] == folder / text
    with pytest.raises(BadInput, match=r"needs data\.root: path"):
        load_recipe("base.yaml", ["data.root=null"])
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "r.yaml").write_text(
        "extends: ../base.yaml\nname: 007\nabout: true\ndata: {root: 2024}\n"
        "conditioning: {tags: {use: labels, key: tag, values: [3.10, true, 007]}}\n"
        "sample: {label: [007, 3.10, 3.1, 7, true, null]}\n"
    )
    recipe = load_recipe("sub/r.yaml", allow_code=True)
    assert (recipe.name, recipe.about) == ("007", "true")
    assert recipe.data.params["root"] == folder / "sub" / "2024"
    assert recipe.conditioning["tags"].params["values"] == ["3.10", "true", "007"]
    assert recipe.sample.label == ["007", "3.10", 3.1, 7, True, None]
    assert load_recipe_text(recipe.dump(), base=folder, allow_code=True).sample.label == recipe.sample.label


@pytest.mark.slow
def test_text_keys_take_what_is_written(folder):
    check_texts(folder)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["null", "~", "false", "Null", "no"])
def test_constants_of_yaml_in_a_file_are_texts_for_text_keys(folder, text):
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "r.yaml").write_text(
        f"extends: ../base.yaml\nname: {text}\nabout: {text}\ndata: {{root: true}}\n"
    )
    recipe = load_recipe("sub/r.yaml", allow_code=True)
    assert (recipe.name, recipe.about, recipe.data.params["root"]) == (text, text, folder / "sub" / "true")
    again = load_recipe_text(recipe.dump(), base=folder, allow_code=True)
    assert (again.name, again.about) == (text, text)
    root = load_recipe_text("about: true\n" + recipe.dump().replace("about", "x-about"), allow_code=True)
    assert root.about == "true"


def test_a_path_that_is_true_in_the_recipe_of_others_is_not_used(folder):
    text = load_recipe("base.yaml").dump().replace("root:", "x-root:")
    text = re.sub(r"x-root: [^,}\n]*", "root: true", text)
    path = load_recipe_text(text, base=folder, allow_code=True).data.params["root"]
    assert isinstance(path, UnconfirmedPath) and str(path) == str(folder / "true")


@pytest.mark.slow
def test_planted_value_in_place_of_its_text_is_caught(folder):
    with planted_error(ConfigNode, "data", replace_expression(attribute_target("text"), "str(value)", at=-1)):
        assert_caught(check_texts, folder, also=BadInput)
    with planted_error(tree_module, "text_as_written", replace_expression(attribute_target("text"), "str(value)")):
        assert_caught(check_texts, folder, also=BadInput)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("kick #2", "kick #2"),
        ("&amp", "&amp"),
        ("3.10", "3.10"),
        ("3", 3),
        ("null", None),
        ("'null'", "null"),
        ("[a, 007]", ["a", "007"]),
        ("{a: 0.5, 007: 0.5}", {"a": 0.5, "007": 0.5}),
    ],
)
def test_labels_are_names_lists_or_mixtures(folder, text, label):
    assert load_recipe("base.yaml", [f"sample.label={text}"]).sample.label == label


@pytest.mark.slow
def test_plain_values_are_not_parsed(folder):
    recipe = load_recipe("base.yaml")
    for value in ("kick #2", "null", "[a]", "a\x85b", ["&amp", None], {"a: b": 0.5}):
        assert recipe.with_overrides([("sample.label", value)]).sample.label == value
    with pytest.raises(
        BadInput, match=r"^sample.steps=x: expected integer of at least 1 and at most 10000, got the text 'x'$"
    ):
        recipe.with_overrides([("sample.steps", "x")])


INPAINT = {"use": "reference", "degradation": {"use": "mask", "end": 0.25}}


def check_component_values():
    """A component of a recipe, also with a component inside, gives the same recipe as its mapping."""
    recipe = load_recipe("shapes")
    guidance: Any = recipe.sample.guidance
    other = recipe.with_overrides([("sample.guidance", None), ("conditioning.inpaint", INPAINT)])
    again = other.with_overrides([("sample.guidance", guidance)])
    assert again.sample.guidance == guidance == recipe.sample.guidance
    assert again == other.with_overrides([("sample.guidance", {"use": guidance.use, **guidance.params})])
    nested = recipe.with_overrides([("conditioning.inpaint", other.conditioning["inpaint"])])
    assert nested.conditioning == recipe.with_overrides([("conditioning.inpaint", INPAINT)]).conditioning
    assert nested.conditioning["inpaint"].params["degradation"].params["end"] == 0.25


def test_components_are_values():
    check_component_values()


def test_planted_component_that_is_no_value_is_caught(monkeypatch):
    monkeypatch.setattr(overrides, "ComponentSpec", type("Other", (), {}))
    assert_caught(check_component_values, also=BadInput)
