"""JSON that is read back: the value, or one message that names the file and the first wrong value."""

import os

import pytest
from pydantic import TypeAdapter
from sonolux.core.types import BadInput
from sonolux.core.util import json_files
from sonolux.core.util.json_files import StoredRecord, parse_json, read_json, read_json_lines


class Sample(StoredRecord):
    name: str
    sizes: tuple[int, ...] = ()


KIND = TypeAdapter(Sample)
DAMAGES = {
    "": "JSON",
    "{": "JSON",
    "[]": "object",
    "3": "object",
    "null": "object",
    "{}": "name: it is missing",
    '{"name": 3}': "name: .*string",
    '{"name": "a", "sizes": 3}': "sizes: .*array",
    '{"name": "a", "sizes": [1, 2.5]}': "sizes.1: .*integer",
    '{"name": "a", "sizes": [1, "2"]}': "sizes.1: .*integer",
    '{"name": "a", "sizes": [1, true]}': "sizes.1: .*integer",
    '{"name": "\\ud800"}': "JSON",
    '{"name": "a", "x": ' + "[" * 10_000: "recursion limit",
    '{"name": "a", "x": ' + "9" * 10_000 + "}": "out of range",
}


def check_damage(text, said):
    with pytest.raises(BadInput, match=f"^file: damaged: .*{said}") as error:
        parse_json(text, KIND, "file")
    assert len(str(error.value)) < 250 and "\n" not in str(error.value)


@pytest.mark.parametrize("text", DAMAGES, ids=lambda text: text[:30])
def test_damages(text):
    check_damage(text, DAMAGES[text])


def test_what_is_whole_is_read(tmp_path):
    text = '{"name": "ä\\u202e", "sizes": [1, 2], "more": NaN}'
    assert parse_json(text, KIND, "file") == Sample(name="ä\u202e", sizes=(1, 2))
    (tmp_path / "x.jsonl").write_text(f"{text}\n\n{text}\n", encoding="utf-8")
    assert len(read_json_lines(tmp_path / "x.jsonl", KIND)) == 2
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    assert read_json(tmp_path / "x.json", KIND).name == "ä\u202e"


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_bytes(b'{"name": "\xff"}')
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "cannot be read: not a file"),
        (tmp_path / "x.json", "damaged"),
        (tmp_path, "cannot be read"),
        (tmp_path / "y", "No such file"),
    ):
        with pytest.raises(BadInput, match=said):
            read_json(path, KIND)
    with pytest.raises(BadInput, match=r"x\.json:1: damaged"):
        read_json_lines(tmp_path / "x.json", KIND)
    monkeypatch.setattr(json_files, "MOST_MEGABYTES", 0)
    with pytest.raises(BadInput, match="larger than 0 MB"):
        read_json(tmp_path / "x.json", KIND)


def test_a_reader_that_converts_types_is_caught(monkeypatch):
    monkeypatch.setitem(globals(), "KIND", TypeAdapter(dict))
    with pytest.raises(pytest.fail.Exception):
        check_damage('{"name": 3}', "name")
