"""The page and the table: nothing of a name becomes markup, no number becomes NaN, a report is whole or absent."""

import html.parser
import json
import math

import pytest
import torch
from sonolux.core.evaluation.adapter import Beside, EvaluationReport, Exhibit, Figure, Shown
from sonolux.core.evaluation.report import page, place, table
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
    return EvaluationReport(
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
    assert "base64" not in path.read_text() and f'src="{place.BESIDE}/0/0.wav"' in path.read_text()
    assert sorted(p.name for p in (tmp_path / "r").rglob("0.*")) == ["0.png", "0.wav"]
    page.write(report(), tmp_path / "r", cap=1)
    assert not (tmp_path / "r" / place.BESIDE).exists()


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
    with place.whole(out) as part:
        page.write(report(), part, 1)
        (part / "samples").mkdir()
    before = (out / place.NAME).read_bytes()
    with pytest.raises(KeyboardInterrupt), place.whole(out) as part:
        (part / place.NAME).write_text("half")
        raise KeyboardInterrupt
    assert (out / place.NAME).read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["r"]
    (out / "notes.txt").write_text("the user's own")
    with place.whole(out) as part:
        page.write(report(), part, 1)
    assert not (out / "samples").exists() and (out / "notes.txt").exists()


def report_in(folder):
    """A folder with a report and two samples that it lists."""
    page.write(report(), folder, 50)
    samples = folder / "samples"
    samples.mkdir()
    (samples / "samples.json").write_text(json.dumps({"samples": [{"file": "0.wav"}, {"file": "1.wav"}]}))
    for name in ("0.wav", "1.wav", "sheet.png"):
        (samples / name).write_text("made")
    return folder


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    (tmp_path / "mine" / place.METRICS).write_text("{}")  # somebody else's
    for overwrite in (False, True):
        with pytest.raises(BadInput, match="is no report"):
            place.refuse_if_used(tmp_path / "mine", overwrite)
    ours = report_in(tmp_path / "ours")
    with pytest.raises(BadInput, match="--overwrite"):
        place.refuse_if_used(ours, False)
    place.refuse_if_used(ours, True)
    place.refuse_if_used(tmp_path / "new", False)


def test_only_what_a_report_made_is_replaced(tmp_path):
    ours = report_in(tmp_path / "ours")
    (ours / "notes.txt").write_text("mine")
    with place.whole(ours) as part:
        (part / place.NAME).write_text("new")
    assert sorted(p.name for p in ours.iterdir()) == ["notes.txt", place.NAME]
    ours = report_in(tmp_path / "again")
    (ours / "samples" / "take.wav").write_text("a recording")
    with pytest.raises(BadInput, match=r"holds take\.wav, which no report made"):
        place.refuse_if_used(ours, True)
    (tmp_path / "project/samples").mkdir(parents=True)  # no report at all
    (tmp_path / "project/samples/take.wav").write_text("a recording")
    with pytest.raises(BadInput, match="is no report"):
        place.refuse_if_used(tmp_path / "project", True)


@pytest.mark.parametrize("read", ["data", "data/deep", "r/samples", "r/samples/deep", "r/report_files"])
def test_a_report_lies_apart_from_what_is_read(tmp_path, read):
    out = tmp_path / ("data/deep/r" if read.startswith("data") else "r")
    with pytest.raises(BadInput, match=r"data\.root"):
        place.refuse_among(out, {"--folder": None, "data.root": tmp_path / read})
    place.refuse_among(out, {"data.root": tmp_path / "other", "the run": out / "runs"})
