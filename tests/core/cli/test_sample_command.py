"""The words of a `sonolux sample` command: prompts, negative prompts, and changes of the recipe."""

import pytest
from sonolux.core.cli.sample import _sorted


@pytest.mark.parametrize(
    "words, prompt",
    [
        (["a red circle"], "a red circle"),
        (["a", "b"], ["a", "b"]),
        (["prompt=x=3"], "x=3"),
        (['prompt=["a", "b, c"]'], ["a", "b, c"]),
        (["prompt=[a, b]", "c"], ["a", "b", "c"]),
        (["[a, b]"], "[a, b]"),  # a prompt is taken as it is written
        (["prompt=[a"], "[a"),  # no list
        (["prompt=[]"], "[]"),
        (["prompt=[1, 2]"], "[1, 2]"),
        (["prompt=[a]"], "a"),
    ],
)
def test_prompts(words, prompt):
    assert _sorted(words) == ({"prompt": prompt}, [])


def test_changes_and_negative_prompts():
    assert _sorted(["a", "negative=[b]", "sample.count=3"]) == ({"prompt": "a", "negative": "[b]"}, ["sample.count=3"])


def test_prompts_of_a_file(tmp_path):
    (tmp_path / "list.txt").write_text("a b\n\n[c, d]\n")
    assert _sorted(["x", f"prompts={tmp_path / 'list.txt'}"]) == ({"prompt": ["x", "a b", "[c, d]"]}, [])
