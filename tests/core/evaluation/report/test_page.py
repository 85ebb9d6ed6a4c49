"""The page and the table: nothing of a name becomes markup, no number becomes NaN, a report is whole or absent."""

import html
import html.parser
import json
import math

import jinja2
import pytest
import torch
from sonolux.core.evaluation.adapter import MediaFile
from sonolux.core.evaluation.report import folder as report_folder
from sonolux.core.evaluation.report import page, table
from sonolux.core.evaluation.report.contents import (
    DistributionRow,
    DistributionTable,
    EvaluationReport,
    GalleryItem,
    GalleryRow,
    Measurement,
    Quartiles,
    ReferenceValue,
    SimilarityHistogram,
)
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.core.util import html_templates
from sonolux.core.util.messages import escape_control_characters

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


def report(values=(0.1, 0.5)):
    lines = {
        f"Distances {EVIL}": [
            Measurement(
                "a", f"name {EVIL}", 1.25, "{:.2f}", (1.0, 1.5), (ReferenceValue(f"real {EVIL}", -0.0001, -1, 1),), EVIL
            ),
            Measurement("b", "unknown", math.nan, "{:.1%}", None, (ReferenceValue("real", math.nan),)),
        ]
    }
    some = Quartiles(4, 1.0, (0.0, 1.0, 2.0, 3.0, 4.0))
    none = Quartiles(4, 0.0, (math.nan,) * 5)
    shown = DistributionRow("", some, some, 1.0, (0.1, 0.0, 0.2))
    missing = DistributionRow(EVIL, none, some, math.nan, (math.nan,) * 3)
    files = [MediaFile("image/png", b"picture"), MediaFile("audio/wav", b"sound")]
    gallery = [GalleryRow(f"Samples {EVIL}", f"all {EVIL}", [GalleryItem(files, f"{EVIL} · {EVIL}.png", True)])]
    return EvaluationReport(
        title=EVIL,
        facts={"real": {}, "folder": EVIL},
        measurements=lines,
        remarks=[EVIL],
        gallery=gallery,
        classes=("one", EVIL),
        confusion=torch.tensor([[3, 1], [0, 0]]),
        similarity=SimilarityHistogram(list(values), [0.2, 0.3], 0.9),
        samples=[{"file": EVIL, "label": EVIL}],
        distributions=[DistributionTable("m", f"measure {EVIL}", "{:.1f}", [shown, missing])],
    )


@pytest.mark.parametrize("values", [(0.1, 0.5), (0.2, 0.2), (1.0, 1.0), (-0.1, 1.0)])
def test_the_page_is_sound(values):
    text = page.render_report(report(values))
    tags = Tags()
    tags.feed(text)
    assert tags.open == [] and "script" not in tags.seen and ">nan" not in text.lower()
    assert tags.seen.count("audio") == 1 and tags.seen.count("img") == 1
    places = ("title", "remark", "facts", "heading of lines", "line", "reference", "meaning", "class twice", "caption")
    assert text.count("&lt;script&gt;") >= len(places), "shown as text wherever it stands"
    assert EVIL not in text and 'alert("x")' not in text


def test_unescaped_text_is_caught(monkeypatch):
    """Planted: a template engine that does not escape."""
    true = html_templates.Environment
    monkeypatch.setattr(html_templates, "Environment", lambda **options: true(**{**options, "autoescape": False}))
    assert_caught(test_the_page_is_sound, (0.1, 0.5))


def test_the_page_has_no_hidden_character():
    hidden = "a\x1b[2Jb\x9bc\x00d\u202ee\u2066f\u200bg\ufeffh\nä中👍🏽"
    named = report()
    named.title, named.remarks, named.facts = hidden, [hidden], {"real": {}, hidden: hidden}
    named.gallery[0].items[0] = GalleryItem([MediaFile("image/png", b"picture")], hidden)
    text = page.render_report(named)
    assert all(c == "\n" or escape_control_characters(c) == c for c in text)
    assert text.count(r"a\x1b[2Jb\x9bc\x00d\u202ee\u2066f\u200bg\ufeffh\nä中👍🏽") == 5
    facts = html.unescape(text.split("<pre>")[1].split("</pre>")[0])
    assert json.loads(facts)[hidden] == hidden, "shown as JSON, which keeps the text"


def test_a_template_that_names_what_there_is_not_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "report.html.j2").write_text("{{ report.title }} {{ reprot }}")
    monkeypatch.setattr(page, "TEMPLATES", tmp_path)
    with pytest.raises(jinja2.UndefinedError, match="reprot"):
        page.render_report(report())


def test_files_next_to_the_page(tmp_path):
    path = page.write_report(report(), tmp_path / "r", embed=0)
    assert "base64" not in path.read_text() and f'src="{report_folder.FILES}/0/0.wav"' in path.read_text()
    assert sorted(p.name for p in (tmp_path / "r").rglob("0.*")) == ["0.png", "0.wav"]
    page.write_report(report(), tmp_path / "r", embed=1)
    assert not (tmp_path / "r" / report_folder.FILES).exists()


def test_numbers_that_are_not_known_are_null():
    found = json.loads(json.dumps(table.report_to_dict(report()), allow_nan=False))
    group = next(iter(found["figures"].values()))
    assert group["b"]["value"] is None and group["b"]["references"]["real"]["value"] is None
    references = {f"real {EVIL}": {"value": -0.0001, "low": -1, "high": 1}}
    assert group["a"] == {"value": 1.25, "low": 1.0, "high": 1.5, "meaning": EVIL, "references": references}
    assert found["confusion"] == [[3, 1], [0, 0]]


def test_the_table():
    text = "\n".join(table.table_lines(report()))
    assert f"1.25  1.00 to 1.50  real {EVIL} -0.00 (-1.00 to 1.00)" in text and "nan" not in text


def test_a_report_is_whole_or_absent(tmp_path):
    out = tmp_path / "r"
    with report_folder.replace_atomically(out) as part:
        page.write_report(report(), part, 1)
        (part / "samples").mkdir()
    before = (out / report_folder.PAGE).read_bytes()
    with pytest.raises(KeyboardInterrupt), report_folder.replace_atomically(out) as part:
        (part / report_folder.PAGE).write_text("half")
        raise KeyboardInterrupt
    assert (out / report_folder.PAGE).read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["r"]
    (out / "notes.txt").write_text("the user's own")
    with report_folder.replace_atomically(out) as part:
        page.write_report(report(), part, 1)
    assert not (out / "samples").exists() and (out / "notes.txt").exists()


def report_in(folder):
    """A folder with a report and two samples that it lists."""
    page.write_report(report(), folder, 50)
    samples = folder / "samples"
    samples.mkdir()
    (samples / "samples.json").write_text(json.dumps({"samples": [{"file": "0000.wav"}, {"file": "0001.wav"}]}))
    for name in ("0000.wav", "0001.wav", "sheet.png"):
        (samples / name).write_text("made")
    return folder


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    (tmp_path / "mine" / report_folder.METRICS).write_text("{}")  # somebody else's
    for overwrite in (False, True):
        with pytest.raises(BadInput, match="is no report"):
            report_folder.check_report_folder(tmp_path / "mine", overwrite)
    ours = report_in(tmp_path / "ours")
    with pytest.raises(BadInput, match="--overwrite"):
        report_folder.check_report_folder(ours, False)
    report_folder.check_report_folder(ours, True)
    report_folder.check_report_folder(tmp_path / "new", False)


def test_only_what_a_report_made_is_replaced(tmp_path):
    ours = report_in(tmp_path / "ours")
    (ours / "notes.txt").write_text("mine")
    with report_folder.replace_atomically(ours) as part:
        (part / report_folder.PAGE).write_text("new")
    assert sorted(p.name for p in ours.iterdir()) == ["notes.txt", report_folder.PAGE]
    ours = report_in(tmp_path / "again")
    (ours / "samples" / "take.wav").write_text("a recording")
    with pytest.raises(BadInput, match=r"holds take\.wav, which no report made"):
        report_folder.check_report_folder(ours, True)
    (tmp_path / "project/samples").mkdir(parents=True)  # no report at all
    (tmp_path / "project/samples/take.wav").write_text("a recording")
    with pytest.raises(BadInput, match="is no report"):
        report_folder.check_report_folder(tmp_path / "project", True)


@pytest.mark.parametrize("read", ["data", "data/deep", "r/samples", "r/samples/deep", "r/report_files"])
def test_a_report_lies_apart_from_what_is_read(tmp_path, read):
    out = tmp_path / ("data/deep/r" if read.startswith("data") else "r")
    with pytest.raises(BadInput, match=r"data\.root"):
        report_folder.check_no_overlap(out, {"--folder": None, "data.root": tmp_path / read})
    report_folder.check_no_overlap(out, {"data.root": tmp_path / "other", "the run": out / "runs"})
