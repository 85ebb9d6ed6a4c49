"""Tables of files: one meaning or one message with file and line; manifests of earlier runs that are damaged."""

import json
import os
import unicodedata
import warnings
from pathlib import Path

import pytest
from sonolux.core.data import manifest as manifests
from sonolux.core.data import tables
from sonolux.core.data.tables import read_table, rows_with_paths
from sonolux.core.testing.mutation import (
    assert_caught,
    condition_target,
    drop_call,
    negate_expression,
    planted_error,
    swap_constant,
)
from sonolux.core.types import BadInput
from sonolux.core.util.json_files import StoredRecord


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def table(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def test_tables_hold_labels_captions_and_numbers(tmp_path):
    rows = read_table(
        table(tmp_path, '\ufefffile,label,caption,pitch,note\na.png,3,"red, round",440,x\nb.png,4,,nan,\n')
    )
    assert (rows[0].file, rows[0].label, rows[0].caption) == ("a.png", "3", "red, round")
    assert rows[0].more == {"pitch": 440.0, "note": "x"} and rows[1].more == {"pitch": "nan", "note": ""}
    assert rows[1].caption is None and rows[1].line == 3
    lines = '{"file": "a.png", "label": 3, "pitch": 440}\n\n{"file": "é.png", "label": "4"}\r\n'
    rows = read_table(table(tmp_path, lines, "labels.jsonl"))
    assert [(r.file, r.label, r.line) for r in rows] == [("a.png", "3", 1), ("é.png", "4", 3)]
    assert rows[0].more == {"pitch": 440}


def check_values_as_written(tmp_path):
    """A number in its usual form is a number; any other text stays a text, so that no two labels become one."""
    texts = ("7", "007", "3.10", "3.1", "1e3", "-2", "true", "1_0", " 5", "inf", "9" * 30, "0.5")
    numbers = {"7": 7, "3.1": 3.1, "-2": -2, "0.5": 0.5}
    rows = read_table(table(tmp_path, "file,tag\n" + "".join(f"{i}.png,{text}\n" for i, text in enumerate(texts))))
    assert [row.more["tag"] for row in rows] == [numbers.get(text, text) for text in texts]
    json_texts = ("7", "3.10", "3.1", "1e3", "true", '"007"')
    lines = "".join(f'{{"file": "{i}", "label": {text}, "tag": {text}}}\n' for i, text in enumerate(json_texts))
    rows = read_table(table(tmp_path, lines, "t.jsonl"))
    assert [row.label for row in rows] == ["7", "3.10", "3.1", "1e3", "true", "007"]
    assert [row.more["tag"] for row in rows] == [7, "3.10", 3.1, "1e3", True, "007"]


def test_values_are_read_as_they_are_written(tmp_path):
    check_values_as_written(tmp_path)


def test_planted_conversion_of_every_number_is_caught(tmp_path):
    with planted_error(tables, "_number", swap_constant(2, 2000), negate_expression(condition_target())):
        assert_caught(check_values_as_written, tmp_path)


# --- dialects -------------------------------------------------------------------------------------------------------

HEADERS = (
    "file,label",
    " label , file",
    "\ufeffFile,LABEL",
    "file;label",
    "Label\tfile",
    '"file","label"',
    "\n\nfile,label,",
)


def check_header(tmp_path, header):
    """Spaces, a byte order mark, letter case, separator and order of a header change nothing."""
    separator = next(s for s in ",;\t" if s in header)
    first = "file" if header.strip('\ufeff "\n').casefold().startswith("file") else "label"
    cells = ["a.png", "kick"] if first == "file" else ["kick", "a.png"]
    (row,) = read_table(table(tmp_path, f"{header}\n{separator.join(cells)}\n"))
    assert (row.file, row.label, row.more) == ("a.png", "kick", {})
    assert row.line == header.count("\n") + 2


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_has_one_meaning(tmp_path, header):
    check_header(tmp_path, header)


def test_planted_header_with_spaces_is_caught(tmp_path):
    with planted_error(tables, "_columns", drop_call("strip", at=None)):
        assert_caught(check_header, tmp_path, " label , file", also=(BadInput, KeyError))
    with planted_error(tables, "_columns", drop_call("casefold")):
        assert_caught(check_header, tmp_path, "\ufeffFile,LABEL", also=BadInput)


def test_quoted_line_breaks_keep_the_line_numbers(tmp_path):
    text = 'file,label,caption\r\na.png,x,"two\r\nlines, one cell"\r\n\r\n,,\r\nb.png,y,"z ""q"""\r\n'
    rows = read_table(table(tmp_path, text))
    assert [(r.file, r.caption, r.line) for r in rows] == [
        ("a.png", "two\r\nlines, one cell", 2), ("b.png", 'z "q"', 6),
    ]  # fmt: skip
    with pytest.raises(BadInput, match=r"labels\.csv:5: fewer fields"):
        read_table(table(tmp_path, 'file,caption\na.png,"1\n2\n"\nb.png\n'))


def test_a_column_that_may_be_misspelt_is_noted(tmp_path):
    with pytest.warns(UserWarning, match=r"labels\.csv: the column 'labels' is an attribute, not the label"):
        (row,) = read_table(table(tmp_path, "file,labels\na.png,x\n"))
    assert row.label is None and row.more == {"labels": "x"}
    for column, name in (("class", "label"), ("Category", "label"), ("tag", "label"), ("text", "caption")):
        said = rf"the column '{column}' is an attribute, not the {name}: if it is, rename it to {name}"
        with pytest.warns(UserWarning, match=said):
            (row,) = read_table(table(tmp_path, f"file,{column}\na.png,x\n"))
        assert row.label is None and row.more == {column: "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_table(table(tmp_path, "file,label,class,stage\na.png,x,y,z\n"))  # has its label


def test_names_in_tables_find_their_files(tmp_path):
    make(tmp_path, unicodedata.normalize("NFD", "é.png"), "sub/b.png", "~draft.png")
    rows = rows_with_paths(
        table(tmp_path, "file\né.png\nsub\\b.png\n../elsewhere.png\n~draft.png\n~/x.png\n"), tmp_path
    )
    assert [path.exists() for _, path in rows] == [True, True, False, True, False]
    assert rows[2][1] == tmp_path.parent / "elsewhere.png" and rows[4][1] == Path.home() / "x.png"


BAD = [
    ("name,label\na,b\n", "t.csv", r"t\.csv:1: the header has no column 'file': name, label"),
    ("filename,label\na,b\n", "t.csv", r"no column 'file': filename, label; is it 'filename'\?"),
    ("\n\n", "t.csv", r"t\.csv:1: the header has no column 'file': it is empty"),
    ("file,label\n", "t.csv", "contains no rows"),
    ("file,label\na,b,c\n", "t.csv", r"t\.csv:2: more fields than the header has names \(3, 2\)"),
    ("file,label\na,b\nc\n", "t.csv", r"t\.csv:3: fewer fields than the header has names \(1, 2\)"),
    ("file,label,\na,b,c\n", "t.csv", r"t\.csv:2: more fields"),
    ("file,label, Label\na,x,y\n", "t.csv", r"t\.csv:1: two columns are called 'label'"),
    ("file,pitch,pitch\na,1,2\n", "t.csv", r"t\.csv:1: two columns are called 'pitch'"),
    ("file,label\na,x\na,y\n", "t.csv", r"t\.csv:3: names 'a' again; see line 2"),
    ("file,label\na,x\n./b/../a,y\n", "t.csv", r"t\.csv:3: names './b/../a' again; see line 2"),
    ("file,label\na,x\nb,\n", "t.csv", r"t\.csv:3: no label, though other lines have one"),
    ("file,label\n,x\n", "t.csv", r"t\.csv:2: names no file"),
    ('file,label\na,x\nb,"y\n', "t.csv", r"t\.csv:3: not CSV: unexpected end of data"),
    ('file,label\na,"x"y\n', "t.csv", r"t\.csv:2: not CSV: "),
    ("file,caption\na," + "x" * 200_000 + "\n", "t.csv", r"t\.csv:2: not CSV: field larger"),
    ("file,label\na,x\ny\n", "t.csv", r"t\.csv:3: fewer"),
    ("file\ta;label\nb\n", "t.tsv", r"t\.tsv:1: the column 'a;label' has a separator in its name"),
    ("file,label\na,x\0y\n", "t.csv", r"t\.csv:2: label contains characters that it cannot have: 'x\\x00y'"),
    ('file,label\na,"x\ny"\n', "t.csv", r"t\.csv:2: label contains characters that it cannot have"),
    ("file,label\na\0b,x\n", "t.csv", r"t\.csv:2: file contains characters"),
    ("file,label\na," + "x" * 5000 + "\n", "t.csv", r"t\.csv:2: the label 'x+\.\.\.' has more than 255 characters"),
    ("file\n" + "x" * 5000 + "\n", "t.csv", r"t\.csv:2: x+\.\.\.: too long for the name of a file"),
    ("file\n~no-such-user/a.png\n", "t.csv", r"t\.csv:2: ~no-such-user/a\.png: no such home folder"),
    ('{"file": "a"}\n{"file"\n', "t.jsonl", r"t\.jsonl:2: not JSON"),
    ('["a"]\n', "t.jsonl", r"t\.jsonl:1: not an object with a key 'file'"),
    ('{"name": "a"}\n', "t.jsonl", r"t\.jsonl:1: not an object with a key 'file'"),
    ('{"file": 3}\n', "t.jsonl", r"t\.jsonl:1: names no file"),
    ('{"file": "a", "label": [1]}\n', "t.jsonl", r"t\.jsonl:1: label is not a text"),
    ('{"file": "a", "label": "x", "Label ": "y"}\n', "t.jsonl", r"t\.jsonl:1: two columns are called 'label'"),
    ('{"file": "a", "label": "x", "label": "y"}\n', "t.jsonl", r"t\.jsonl:1: not JSON: the key 'label' occurs twice"),
    ('{"file": "a", "x": NaN}\n', "t.jsonl", r"t\.jsonl:1: not JSON: NaN is not a JSON number"),
    ('{"file": "a", "x": -Infinity}\n', "t.jsonl", "-Infinity is not a JSON number"),
    ('{"file": "a", "x": ' + "9" * 10_000 + "}\n", "t.jsonl", r"t\.jsonl:1: not JSON: the integer 9+\.\.\. has more"),
    ('{"file": "a", "x": ' + "[" * 100_000 + "\n", "t.jsonl", r"t\.jsonl:1: .*(nested too deeply|not JSON)"),
    ('{"file": "a", "x": {"y": 1}}\n', "t.jsonl", r"t\.jsonl:1: 'x' is not a text, a number, or a list of these"),
    ('{"file": "a", "x": [[1]]}\n', "t.jsonl", r"t\.jsonl:1: 'x' is not a text"),
    ('{"file": "a", "x": "\\ud800"}\n', "t.jsonl", r"t\.jsonl:1: 'x' contains NUL or invalid Unicode"),
    ('{"file": "\\ud800"}\n', "t.jsonl", r"t\.jsonl:1: file contains characters"),
    ('{"file": "a\\u0000"}\n', "t.jsonl", r"t\.jsonl:1: file contains characters"),
    ('{"file": "a", "label": "\\u0000"}\n', "t.jsonl", r"t\.jsonl:1: label contains characters"),
    ("file\na\ud800\n", "t.csv", r"t\.csv:2: not a table in UTF-8 text"),
    ("file\n", "t.xlsx", r"not a \.csv, \.tsv or \.jsonl"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("text", "name", "words"), BAD, ids=[f"{n}{i}" for i, (_, n, _) in enumerate(BAD)])
def test_bad_tables_are_named_with_their_line(tmp_path, text, name, words):
    with pytest.raises(BadInput, match=words) as error:
        rows_with_paths(table(tmp_path, text, name), tmp_path)
    said = str(error.value).replace(f"{tmp_path}/", "")
    assert "\n" not in said and len(said) <= 200, said
    said.encode()


def test_one_file_under_two_names_is_refused(tmp_path):
    make(tmp_path, "a.png")
    with pytest.raises(BadInput, match=r"t\.csv:3: names '.*' again; see line 2"):
        rows_with_paths(table(tmp_path, f"file\na.png\n{tmp_path}/a.png\n", "t.csv"), tmp_path)


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(BadInput, match="no such file"):
        read_table(tmp_path)
    (tmp_path / "latin.csv").write_bytes("file\né.png\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"latin\.csv:2: not a table in UTF-8"):
        read_table(tmp_path / "latin.csv")


# --- manifests of earlier runs --------------------------------------------------------------------------------------

HEAD = {"sonolux": "manifest", "modality": "x", "root": "r", "format": 1, "analysis": 1, "complete": True}
HASH = "0123456789abcdef" * 2
LINE = {
    "file": "a", "status": "ok", "reason": None, "label": None, "caption": None, "size": 3, "mtime_ns": 5, "hash": HASH
}  # fmt: skip
DAMAGE = [
    *({**LINE, name: wrong} for name in LINE for wrong in (3.5, [], {}, True)),
    *({k: v for k, v in LINE.items() if k != name} for name in LINE),
    *({**LINE, "hash": wrong} for wrong in ("x", "00", "", "0" * 31 + "G", "0" * 64, "0" * 32 + "\n")),
    *({**LINE, name: wrong} for name in ("size", "mtime_ns") for wrong in (2**63, -(2**63) - 1)),
    {**LINE, "size": -1},
    {**LINE, "file": ""},
    {**LINE, "label": "\ud800"},
    {**LINE, "reason": "is empty"},
    {**LINE, "group": "x"},
    {**LINE, "more": {"a": {}}},
    {**LINE, "more": {"a": 10**400}},
    {**LINE, "raw": "zz"},
    {**LINE, "raw": 3},
    {**LINE, "more": [1]},
    {**LINE, "group": None},
    {**LINE, "status": "skipped"},
    [], 3, None, "ok",
]  # fmt: skip


class Frames(StoredRecord):
    """Measurements of a made-up modality."""

    frames: int


def written(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def check_lines(tmp_path):
    path = written(tmp_path / "manifest.jsonl", HEAD, LINE, *DAMAGE, "[" * 5000, '{"file": NaN}', "", '{"file"')
    header, lines = manifests.read_unfinished_manifest(path)
    assert header.complete and lines == [LINE]


def test_damaged_lines_are_left_out(tmp_path):
    check_lines(tmp_path)
    with pytest.raises(BadInput, match=r"manifest\.jsonl: damaged: run `sonolux prepare r"):
        manifests.read_manifest(tmp_path / "manifest.jsonl")
    whole = written(tmp_path / "whole.jsonl", HEAD, LINE)
    assert manifests.read_manifest(whole).lines == [LINE]
    with pytest.raises(BadInput, match="damaged"):
        manifests.read_manifest(whole, Frames)
    whole = written(tmp_path / "whole.jsonl", HEAD, LINE, {**LINE, "file": "b", "size": 4})
    with pytest.raises(BadInput, match="damaged"):  # one hash, two sizes
        manifests.read_manifest(whole)


def test_a_message_does_not_repeat_a_folder_of_any_length(tmp_path):
    whole = written(tmp_path / "m.jsonl", {**HEAD, "root": "x" * 20_000}, *DAMAGE)
    with pytest.raises(BadInput, match=r"m\.jsonl: damaged: run `sonolux prepare FOLDER --out .{1,200}` again$"):
        manifests.read_manifest(whole)
    more = {"a": 1, "b": 0.5, "c": "x", "d": [True, None]}
    assert manifests.read_manifest(written(whole, HEAD, {**LINE, "more": more})).lines[0]["more"] == more


def test_planted_acceptance_of_damaged_lines_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "_is_line", lambda row: isinstance(row, dict) and "file" in row)
    assert_caught(check_lines, tmp_path)


@pytest.mark.parametrize(
    "head", ["", {**HEAD, "root": 3}, {**HEAD, "analysis": "1"}, {**HEAD, "complete": 1}, {**HEAD, "extra": 1}]
)
def test_a_damaged_head_is_no_manifest_but_one_of_ours(tmp_path, head):
    path = written(tmp_path / "manifest.jsonl", head, LINE)
    assert manifests.read_unfinished_manifest(path) is None and manifests.is_damaged_manifest(path)
    assert not manifests.is_damaged_manifest(written(path, "my notes"))
    assert not manifests.is_damaged_manifest(written(path, {**HEAD, "format": 2}))


def test_a_manifest_that_cannot_be_opened_is_bad_input(tmp_path):
    os.mkdir(tmp_path / "manifest.jsonl")
    with pytest.raises(BadInput, match="cannot be read"):
        manifests.read_unfinished_manifest(tmp_path / "manifest.jsonl")


def test_a_table_whose_files_do_not_exist_is_named(tmp_path):
    path = table(tmp_path, "file\ngone.png\nlost.png\n", "t.csv")
    with pytest.raises(BadInput, match=r"t\.csv: none of its 2 files exists, such as 'gone\.png': names start from"):
        rows_with_paths(path, tmp_path)
    (tmp_path / "lost.png").write_bytes(b"")
    assert len(rows_with_paths(path, tmp_path)) == 2, "one that exists is enough: the reader reports the other"
