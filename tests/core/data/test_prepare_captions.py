"""Captions that `prepare` finds: in the manifest and the report, and what they add to the proposed recipe."""

import json

import pytest
from sonolux.core.data.captions import format_caption_share
from sonolux.core.data.prepare.captions import propose_text


class Attending:
    """A network that attends to tokens in some stages."""

    accepts = frozenset({"vector"})
    kinds_by_option = {"tokens": ("cross_attention", "[1]")}  # noqa: RUF012


class Whole:
    """A network that attends to tokens everywhere."""

    kinds_by_option = {"tokens": ("attends", "true")}  # noqa: RUF012


class Pooling:
    """A network that always takes tokens."""

    accepts = frozenset({"vector", "tokens"})


class Deaf:
    """A network without text."""

    accepts = frozenset({"vector"})


def lines(captions):
    return [{"caption": caption} for caption in captions]


def test_what_captions_add():
    reasons = []
    found = propose_text(lines(["a: cat", None, ["one", "two"], 'a "dog"']), Attending, 3, reasons)
    assert found.condition == "caption: {use: text, encoder: {use: bytes}, drop: 0.1}"
    assert found.network == ", cross_attention: [2]"
    assert found.sample == ', prompt: ["a: cat", "one", "a \\"dog\\""]'
    assert "from captions (3 of 4 files (75 %), 1 of them several)" in reasons[0]
    assert propose_text(lines(["a"]), Pooling, 3, []).network == ""
    assert propose_text(lines(["a"]), Whole, 3, []).network == ", attends: true"
    assert "length: 256" in propose_text(lines(["x"] * 5 + ["x" * 200] * 5), Attending, 3, []).condition
    assert propose_text(lines(["a"] + [None] * 9), Attending, 3, []).condition, "a tenth of the files is enough"


@pytest.mark.parametrize(
    ("captions", "network", "reason"),
    [
        ([None, None], Attending, None),
        (["a"], Deaf, "this network takes no captions (1 of 1 files (100 %))"),
        (["a"] + [None] * 10, Attending, "no text: too few captions (1 of 11 files (9 %))"),
    ],
)
def test_where_nothing_is_added(captions, network, reason):
    reasons = []
    found = propose_text(lines(captions), network, 2, reasons)
    assert not (found.condition or found.network or found.sample)
    assert (reason is None and not reasons) or reason in reasons[0]


def test_a_folder_with_text_files(tmp_path, monkeypatch, capsys):
    import numpy as np
    from PIL import Image
    from sonolux.core.cli.main import main
    from sonolux.core.config.load import load_recipe_text
    from sonolux.core.data.manifest import read_manifest
    from sonolux.core.data.prepare import prepare as preparing

    monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path)
    root, out = tmp_path / "data", tmp_path / "out"
    root.mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
    (root / "2.txt").write_text("first\nsecond\n")
    (root / "4.txt").write_text("third\n")
    (root / "notes.txt").write_text("not a caption\n")
    assert main(["prepare", str(root), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"captions    {format_caption_share([None, None, ['a', 'b'], None, 'c', None], 'files')}" in said
    assert "not read    1 .txt" in said, "captions are no files that are not read"
    assert [line["caption"] for line in read_manifest(out / "manifest.jsonl").lines][2:5] == [
        ["first", "second"],
        None,
        "third",
    ]
    assert json.loads((out / "summary.json").read_text())["captions"] == 2
    recipe = load_recipe_text((out / "recipe.yaml").read_text(), out)
    assert recipe.conditioning["caption"].use == "text" and recipe.sample.prompt == ["first", "third"]
    assert recipe.network.params["cross_attention"] == [len(recipe.network.params["stages"]) - 1]
