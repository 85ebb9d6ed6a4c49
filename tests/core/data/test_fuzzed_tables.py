"""Tables and manifests that hypothesis makes up: rows, or BadInput in one line that names the file."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sonolux.core.data import manifest as manifests
from sonolux.core.data.tables import rows_with_paths
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).parents[2]))
from _fuzz import fuzzed

CELLS = (
    *(
        "file",
        "label",
        "caption",
        "Label",
        " file ",
        "pitch",
        "a.png",
        "b.png",
        "./a.png",
        "~nobody/x",
        "x" * 5000,
        "007",
    ),
    *(
        ",",
        ";",
        "\t",
        "\n",
        "\r\n",
        "\r",
        '"',
        '""',
        "'",
        "\\",
        "/",
        " ",
        "é",
        "e\u0301",
        "\x00",
        "\ufeff",
        "\u2028",
        "nan",
    ),
    *("1e400", "9" * 5000, "\udcff", "\ud800", "..", "C:\\x", "#"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(CELLS) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(CELLS), inner, max_size=3),
    max_leaves=6,
)
CSV = st.lists(st.sampled_from(CELLS), max_size=30).map("".join)
BODY = st.one_of(CSV, CSV.map("file,label\n{}".format), st.text(max_size=40))
OBJECT = st.dictionaries(st.sampled_from(CELLS), JSON, max_size=4)
LINES = st.one_of(
    st.lists(OBJECT.map(lambda row: json.dumps({"file": "a.png", **row}))).map("\n".join),
    st.lists(JSON.map(json.dumps)).map("\n".join),
    st.lists(st.sampled_from(("{", "}", "[", ":", '"file"', '"a"', ",", "NaN", "1", "\n"))).map("".join),
)


def check(folder, name, text):
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        rows = rows_with_paths(path, folder)
    except BadInput as error:
        said = str(error)
        assert said.startswith(f"{path}") and len(said.splitlines()) == 1 and len(said) - len(str(folder)) <= 220, said
        said.encode()
        return
    assert rows and len({path for _, path in rows}) == len(rows)
    for row, _ in rows:
        manifests.format_manifest_line(
            {"file": row.file, "label": row.label, "caption": row.caption, "more": row.more}
        ).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.sampled_from(("t.csv", "t.tsv")), BODY)
@fuzzed
def test_csv_is_rows_or_bad_input(folder, name, text):
    check(folder, name, text)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(LINES)
@fuzzed
def test_jsonl_is_rows_or_bad_input(folder, text):
    check(folder, "t.jsonl", text)


@given(st.lists(st.one_of(JSON, OBJECT), max_size=4), st.binary(max_size=20), st.booleans())
@fuzzed
def test_a_manifest_is_read_or_bad_input(folder, rows, tail, headed):
    head = {"sonolux": "manifest", "modality": "x", "root": "r", "format": 1, "analysis": 1, "complete": True}
    path = folder / "manifest.jsonl"
    path.write_bytes("\n".join(json.dumps(row) for row in [head] * headed + rows).encode() + tail)
    started = manifests.read_unfinished_manifest(path)
    for line in started[1] if started else ():
        assert isinstance(line["file"], str) and manifests.format_manifest_line(line)
        manifests.media_path(line, folder)
    try:
        manifests.read_manifest(path)
    except BadInput as error:
        assert str(error).startswith(f"{path}")
