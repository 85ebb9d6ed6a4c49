"""Captions of files: text files, names, lists, and which of several is drawn."""

import json

import pytest
import torch
from sonolux.core.data import captions
from sonolux.core.data.captions import (
    caption_from_name,
    choose_caption,
    clean_captions,
    draw_caption,
    format_caption_share,
    read_sidecar,
)
from sonolux.core.data.loader import StepBatchDataset
from sonolux.core.data.manifest import read_unfinished_manifest
from sonolux.core.data.tables import read_table
from sonolux.core.testing.mutation import assert_caught, call_target, planted_error, replace_expression
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.core.util.rng import keyed_generator


def test_a_text_file_of_something_else_is_left_out_by_auto(tmp_path):
    (tmp_path / "a.txt").write_bytes("é".encode("latin-1"))
    with pytest.warns(UserWarning, match=r"a\.txt: no captions in UTF-8 text .* it is left out"):
        assert choose_caption("auto", tmp_path / "a.png", None) is None
    with pytest.raises(BadInput, match="no captions in UTF-8 text"):
        choose_caption("sidecar", tmp_path / "a.png", None)


def test_text_files(tmp_path):
    file = tmp_path / "a.b.png"
    assert read_sidecar(file) is None
    text = tmp_path / "a.b.txt"
    text.write_text("\n", encoding="utf-8")
    assert read_sidecar(file) is None
    text.write_text("\ufeff a cat \n", encoding="utf-8")
    assert read_sidecar(file) == "a cat"
    text.write_text("a cat\r\n\r\nun chat\na cat\n", encoding="utf-8")
    assert read_sidecar(file) == ["a cat", "un chat"]
    assert read_sidecar(text) is None, "a text file is not its own caption"
    text.write_bytes("é".encode("latin-1"))
    with pytest.raises(BadInput, match=r"a\.b\.txt: no captions in UTF-8 text"):
        read_sidecar(file)
    text.write_bytes(b"a\0b")
    with pytest.raises(BadInput, match="NUL"):
        read_sidecar(file)
    text.write_bytes(b"a" * (captions.MOST_BYTES + 1))
    with pytest.raises(BadInput, match=r"too large for captions .* remove it"):
        read_sidecar(file)
    text.unlink()
    text.mkdir()
    assert read_sidecar(file) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("red-circle_012.png", "red circle"),
        ("RedCircle.wav", "Red Circle"),
        ("grüne Tür (2).wav", "grüne Tür"),
        ("0001.png", None),
        ("kick808.wav", "kick808"),
        ("赤い丸.png", "赤い丸"),
    ],
)
def test_words_of_names(tmp_path, name, words):
    assert caption_from_name(tmp_path / name) == words


def test_where_captions_are_from(tmp_path):
    file = tmp_path / "a_cat.png"
    (tmp_path / "a_cat.txt").write_text("from the text file")
    expected = {"auto": "listed", "table": "listed", "sidecar": "from the text file", "name": "a cat", "none": None}
    assert {source: choose_caption(source, file, "listed") for source in expected} == expected  # type: ignore[arg-type]
    assert choose_caption("auto", file, None) == "from the text file" and choose_caption("table", file, None) is None


def test_several_captions():
    assert (
        clean_captions([]) is None
        and clean_captions([" ", "a", "a "]) == "a"
        and clean_captions([1, "b"]) == ["1", "b"]
    )
    assert format_caption_share(["a", None, ["b", "c"], None], "files") == "2 of 4 files (50 %), 1 of them several"


def check_draws():
    """One of several captions is drawn by the generator, each as often; a single one draws no number."""
    several = ["a", "b", "c"]
    drawn = [draw_caption(several, keyed_generator(0, i, "augment")) for i in range(600)]
    assert all(150 < drawn.count(name) < 250 for name in several), "each is drawn as often"
    assert drawn == [draw_caption(several, keyed_generator(0, i, "augment")) for i in range(600)]
    assert draw_caption(several) == "a" and draw_caption("x", None) == "x" and draw_caption(None) is None
    one, other = keyed_generator(0, 0, "k"), keyed_generator(0, 0, "k")
    draw_caption("x", one)
    assert one.random() == other.random()


def test_draws():
    check_draws()


def test_a_planted_constant_draw_is_caught():
    with planted_error(captions, "draw_caption", replace_expression(call_target("int"), "0")):
        assert_caught(check_draws)


def test_a_list_in_jsonl_and_texts_in_csv(tmp_path):
    table = tmp_path / "t.jsonl"
    rows = [
        {"file": "a", "caption": ["x", " y ", "x", ""]},
        {"file": "b", "caption": ["z"]},
        {"file": "c", "caption": []},
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    assert [row.caption for row in read_table(table)] == [["x", "y"], "z", None]
    table.write_text(json.dumps({"file": "a", "caption": [["x"]]}))
    with pytest.raises(BadInput, match=r"t\.jsonl:1: caption is not a text"):
        read_table(table)


def test_a_manifest_holds_several(tmp_path):
    from sonolux.core.data.manifest import ManifestHeader, write_manifest

    line = {"file": "a", "status": "ok", "reason": None, "label": None, "caption": ["x", "y"]}
    line |= {"size": 1, "mtime_ns": 1, "hash": "0" * 32}
    write_manifest(
        tmp_path / "m.jsonl", ManifestHeader("manifest", "image", "/x"), [line, {**line, "caption": ["x", 3]}]
    )
    _, lines = read_unfinished_manifest(tmp_path / "m.jsonl")
    assert lines == [line], "a line with a caption that is no text is left out"


class Listed:
    """Ten examples with three captions each."""

    classes = ()

    def __len__(self):
        return 10

    def item(self, index, rng=None):
        return Item(torch.zeros(1, 2), caption=draw_caption([f"{index} {c}" for c in "abc"], rng))

    def manifest(self):
        return []


def test_the_captions_of_a_step_do_not_depend_on_those_before():
    data = StepBatchDataset(Listed(), 3, 8)
    first = [[item.caption for item in data[step].items] for step in range(6)]
    again = [[item.caption for item in StepBatchDataset(Listed(), 3, 8)[step].items] for step in (5, 2)]
    assert again == [first[5], first[2]]
    assert len({caption for step in first for caption in step}) > 15, "epochs draw other captions"


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_both_kinds_of_folders(tmp_path, kind):
    if kind == "image":
        from PIL import Image
        from sonolux.modalities.image.datasets.folder import Folder

        spec = MediaSpec("image", 3, ("height", "width"), (8, 8))
        for i in range(4):
            Image.new("RGB", (8, 8), (i * 40, 0, 0)).save(tmp_path / f"red_{i}.png")
    else:
        import numpy as np
        import soundfile
        from sonolux.modalities.audio.datasets.folder import Folder

        spec = MediaSpec("audio", 1, ("time",), (800,), (4000.0,))
        for i in range(4):
            wave = np.random.default_rng(i).normal(size=800) * 0.1
            soundfile.write(tmp_path / f"red_{i}.wav", wave, 4000)
    (tmp_path / "red_1.txt").write_text("one\nuno\n")

    def made(**options):
        data = Folder(spec, tmp_path, label="none", valid=0.0, **options)
        return data, [data.item(i).caption for i in range(4)]

    data, found = made()
    assert found == [None, "one", None, None]
    assert {data.item(1, keyed_generator(0, i, "augment")).caption for i in range(20)} == {"one", "uno"}
    assert [row.get("caption") for row in data.manifest()] == [None, ["one", "uno"], None, None]
    assert made(captions="name")[1] == ["red"] * 4
    assert made(captions="table")[1] == made(captions="none")[1] == [None] * 4
    assert Folder.stored_defaults == {"captions": "table"}, "an earlier run reads no text files when it is resumed"
