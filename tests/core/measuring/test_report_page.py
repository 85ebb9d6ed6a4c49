"""The page and the table: nothing of a name becomes markup, no number becomes NaN, a report is whole or absent."""

import html.parser
import json
import math

import pytest
import torch
from sonolux.core.measuring import page, table
from sonolux.core.measuring.types import Beside, Exhibit, Figure, Report, Shown
from sonolux.core.types import BadInput

EVIL = '<script>alert("x")</script>'


class Tags(html.parser.HTMLParser):
    """Names of the tags, and whether they close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "img", "br", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag


def report(values=(0.1, 0.5), **more):
    figures = {
        f"Distances {EVIL}": [
            Figure("a", f"name {EVIL}", 1.25, "{:.2f}", (1.0, 1.5), (Beside("real", -0.0001, -1, 1),), EVIL),
            Figure("b", "unknown", math.nan, "{:.1%}", None, (Beside("real", math.nan),)),
        ]
    }
    shown = [Shown("image/png", b"picture"), Shown("audio/wav", b"sound")]
    exhibits = {"Samples": ("all", [Exhibit(shown, EVIL, True)])}
    likeness = {"samples": list(values), "held out": [0.2, 0.3], "limit": [0.9]}
    counts = torch.tensor([[3, 1], [0, 0]])
    return Report(
        EVIL, {"real": {}}, figures, [EVIL], exhibits, ("one", EVIL), counts, likeness, [{"file": "a"}], **more
    )


@pytest.mark.parametrize("values", [(0.1, 0.5), (0.2, 0.2), (1.0, 1.0), (-0.1, 1.0)])
def test_the_page_is_sound(values):
    text = page.page(report(values))
    tags = Tags()
    tags.feed(text)
    assert tags.open == [] and "script" not in tags.seen and ">nan" not in text.lower()
    assert tags.seen.count("audio") == 1 and tags.seen.count("img") == 1


def test_unescaped_text_is_caught(monkeypatch):
    monkeypatch.setattr(page, "_text", str)
    with pytest.raises(AssertionError):
        test_the_page_is_sound((0.1, 0.5))


def test_files_beside_the_page(tmp_path):
    path = page.write(report(), tmp_path / "r", cap=0)
    assert "base64" not in path.read_text() and f'src="{page.BESIDE}/0/0.wav"' in path.read_text()
    assert sorted(p.name for p in (tmp_path / "r").rglob("0.*")) == ["0.png", "0.wav"]
    page.write(report(), tmp_path / "r", cap=1)
    assert not (tmp_path / "r" / page.BESIDE).exists()


def test_numbers_that_are_not_known_are_null():
    found = json.loads(json.dumps(table.plain(report()), allow_nan=False))
    group = next(iter(found["figures"].values()))
    assert group["b"]["value"] is None and group["b"]["beside"]["real"]["value"] is None
    beside = {"real": {"value": -0.0001, "low": -1, "high": 1}}
    assert group["a"] == {"value": 1.25, "low": 1.0, "high": 1.5, "means": EVIL, "beside": beside}
    assert found["confusion"] == [[3, 1], [0, 0]]


def test_the_table():
    text = table.text(report())
    assert "1.25  1.00 to 1.50  real -0.00 (-1.00 to 1.00)" in text and "nan" not in text


def test_a_report_is_whole_or_absent(tmp_path):
    out = tmp_path / "r"
    with page.whole(out) as part:
        page.write(report(), part, 1)
        (part / "samples").mkdir()
    before = (out / page.NAME).read_bytes()
    with pytest.raises(KeyboardInterrupt), page.whole(out) as part:
        (part / page.NAME).write_text("half")
        raise KeyboardInterrupt
    assert (out / page.NAME).read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["r"]
    (out / "notes.txt").write_text("the user's own")
    with page.whole(out) as part:
        page.write(report(), part, 1)
    assert not (out / "samples").exists() and (out / "notes.txt").exists()


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    for overwrite in (False, True):
        with pytest.raises(BadInput, match="is no report"):
            page.refuse_if_used(tmp_path / "mine", overwrite)
    (tmp_path / "mine" / page.METRICS).write_text("{}")
    with pytest.raises(BadInput, match="--overwrite"):
        page.refuse_if_used(tmp_path / "mine", False)
    page.refuse_if_used(tmp_path / "mine", True)
    with pytest.raises(BadInput, match="real data's folder"):
        page.refuse_among_data(tmp_path / "data" / "deep" / "r", tmp_path / "data")
    page.refuse_among_data(tmp_path / "r", tmp_path / "data")
