"""The report in a real browser: no errors, every player knows its duration, every picture is drawn."""

import html
import http.server
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from sonolux.core.cli.main import main
from sonolux.core.config.registry import ROOT
from sonolux.core.evaluation.adapter import MediaFile
from sonolux.core.evaluation.report import page as report_page
from sonolux.core.evaluation.report.contents import (
    EvaluationReport,
    GalleryItem,
    GalleryRow,
    Measurement,
    ReferenceValue,
)
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.model_card import FACTS, ModelCard
from sonolux.core.util import html_templates
from sonolux.core.util.messages import escape_control_characters

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
# Put into a copy of the page: what went wrong, and what was loaded, as text that --dump-dom prints.
EARS = """<script>
window.faults = [];
window.addEventListener("error", e => window.faults.push(String(e.message || e.target.src || e)), true);
const say = console.error; console.error = (...a) => { window.faults.push(a.join(" ")); say(...a) };
</script>"""
LOOK = """<script>
const players = [...document.querySelectorAll("audio")], pictures = [...document.querySelectorAll("img")];
const look = () => {
  const found = {
    faults: window.faults, durations: players.map(p => Number.isFinite(p.duration) ? p.duration : 0),
    widths: pictures.map(p => p.naturalWidth), svg: document.querySelectorAll("svg rect").length };
  document.body.innerHTML = "<pre id=found>" + JSON.stringify(found) + "</pre>";
};
const ready = () => players.every(p => p.readyState >= 1 || p.error) && pictures.every(p => p.complete);
let tries = 0;
const wait = () => (ready() || ++tries > 300) ? look() : setTimeout(wait, 100);
window.addEventListener("load", wait);
</script></body>"""


def browser():
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a browser: one of {', '.join(NAMES)}")
    return found


def looked_at(page, profile):
    """What a browser finds in report.html: faults, durations in s, widths in pixels."""
    text = page.read_text(encoding="utf-8")
    assert text.count("</body>") == 1 and text.count("<head>") == 1
    copy = page.with_name("looked-at.html")
    copy.write_text(text.replace("<head>", f"<head>{EARS}").replace("</body>", LOOK), encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(page.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", f"--user-data-dir={profile}"]
        address = f"http://127.0.0.1:{server.server_address[1]}/{copy.name}"
        told = subprocess.run(
            [browser(), *flags, "--virtual-time-budget=40000", "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=240,
        )
    finally:
        server.shutdown()
        copy.unlink()
    assert '<pre id="found">' in told.stdout, told.stderr[-2000:]
    return json.loads(told.stdout.split('<pre id="found">')[1].split("</pre>")[0])


PAYLOADS = (
    '<img src=x onerror="owned()">',
    '"><script>owned()</script>',
    "' onmouseover='owned()' x='",
    '" onerror="owned()" autofocus onfocus="owned()',
    "</title></style></pre></script><svg onload=owned()>",
    "<!-- --!><iframe srcdoc='<script>parent.owned()</script>'>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#60;script&#62;",
    "\x00\x1b]0;x\x07\u202e\u2028\n",
)
COUNT = """<script>
window.addEventListener("load", () => setTimeout(() => {
  const found = {owned: window.ownedBy || 0, title: document.title,
    elements: [...document.querySelectorAll("*")].map(e => e.tagName + "[" + [...e.attributes].map(a => a.name) + "]")};
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
}, 300));
</script></body>"""


def opened(name):
    """An example as a module, with those that it imports from its folder."""
    if str(ROOT / "examples") not in sys.path:
        sys.path.insert(0, str(ROOT / "examples"))
    spec = importlib.util.spec_from_file_location(f"browser_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def named_page(name, folder):
    """A report and a demo page in which every name is the same text."""
    picture = Path(folder) / "picture.png"
    Image.new("RGB", (2, 2)).save(picture)
    files = [MediaFile("image/png", picture.read_bytes())]
    lines = [Measurement("a", name, 1.0, references=(ReferenceValue(name, 1.0),), meaning=name)]
    items = [GalleryItem(files, name, True), GalleryItem(files, f"{name} · {name}.png")]
    facts, gallery = {"real": {}, name: name, "sampling": {"use": name}}, [GalleryRow(name, name, items)]
    confusion = torch.tensor([[1, 0], [0, 1]])
    contents = EvaluationReport(name, facts, {name: lines}, [name], gallery, (name, "b"), confusion)
    demo = opened("demo")
    models, card = sys.modules["_demo_models"], ModelCard(name, dict.fromkeys(FACTS, name), name)
    shown = models.Section(name, name, [(f"{name.replace('/', '').replace(chr(0), '')}.png", name)], [name], [name])
    page = demo.write_page(Path(folder), [models.ModelPart(card, [shown])], None, [name], "end")
    return report_page.render_report(contents), page.read_text(encoding="utf-8")


def elements_of(text, folder):
    """What a browser makes of a page: its elements with the names of their attributes, and whether a script ran."""
    page = Path(folder) / "page.html"
    ears = "<head><script>window.owned = () => { window.ownedBy = (window.ownedBy || 0) + 1 }</script>"
    page.write_text(text.replace("<head>", ears).replace("</body>", COUNT), encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={Path(folder) / 'profile'}"]
    said = subprocess.run(
        [browser(), *flags, "--virtual-time-budget=5000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
    ).stdout
    return json.loads(html.unescape(said.split('<pre id="found">')[1].split("</pre>")[0]))


def check_names_are_text(folder):
    """All hostile names in one text: a page has the same elements as with a harmless name, and no script ran."""
    hostile = "".join(PAYLOADS)
    for text, plain in zip(named_page(hostile, folder), named_page("harmless", folder), strict=True):
        found, expected = elements_of(text, folder), elements_of(plain, folder)
        assert found["owned"] == 0 and found["elements"] == expected["elements"]
        assert found["title"] in (escape_control_characters(hostile), expected["title"]), (
            "the report's title is the text itself"
        )


@pytest.mark.slow
def test_names_open_no_element_and_run_no_script(tmp_path):
    browser()
    check_names_are_text(tmp_path)


@pytest.mark.slow
def test_an_engine_that_does_not_escape_is_caught(tmp_path, monkeypatch):
    browser()
    true = html_templates.Environment
    monkeypatch.setattr(html_templates, "Environment", lambda **options: true(**{**options, "autoescape": False}))
    assert_caught(check_names_are_text, tmp_path)


WIDTHS = """<script>
window.addEventListener("load", () => {
  const table = document.querySelector(".scroll");
  document.body.innerHTML = "<pre id=found>" + JSON.stringify([table.scrollWidth, table.clientWidth]) + "</pre>";
});
</script></body>"""


def check_table_fits(folder):
    """The table of measurements needs no sideways scrolling in a window of 1100 pixels."""
    references = (
        ReferenceValue("real pictures", -33.4, -38.1, -23.6),
        ReferenceValue("real pictures through the codec", 0.0132, -0.185, 0.387),
    )
    meaning = "above chance by 55.6 times the variation of real pictures; the expected value does not depend on N"
    lines = [
        Measurement("mmd", "MMD x 1000", 509.0, "{:.3g}", (487.0, 532.0), references, meaning),
        Measurement(
            "rate", "samples recognised", 0.1, "{:.1%}", (0.028, 0.301), (ReferenceValue("held-out", 0.99),), meaning
        ),
    ]
    page = Path(folder) / "wide.html"
    text = report_page.render_report(EvaluationReport("digits", {"real": {}, "sampling": {}}, {"Distances": lines}))
    page.write_text(text.replace("</body>", WIDTHS), encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={Path(folder) / 'profile'}"]
    told = subprocess.run(
        [browser(), *flags, "--window-size=1100,900", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
    ).stdout
    needed, shown = json.loads(told.split('<pre id="found">')[1].split("</pre>")[0])
    assert shown > 900 and needed <= shown


@pytest.mark.slow
def test_the_table_needs_no_sideways_scrolling(tmp_path):
    check_table_fits(tmp_path)


@pytest.mark.slow
def test_planted_references_that_do_not_wrap_are_caught(tmp_path, monkeypatch):
    browser()
    true = report_page.render_report
    style = "<style>td.reference { white-space: nowrap }</style></head>"
    monkeypatch.setattr(report_page, "render_report", lambda report: true(report).replace("</head>", style))
    assert_caught(check_table_fits, tmp_path)


def check_page(found, players, pictures):
    assert found["faults"] == []
    assert len(found["durations"]) == players and min(found["durations"], default=1) > 0
    assert len(found["widths"]) == pictures and min(found["widths"]) > 0


@pytest.fixture(scope="module")
def report(tiny_sounds, tmp_path_factory):
    """A report of sounds, its files beside the page."""
    browser()
    out = tmp_path_factory.mktemp("report") / "report"
    assert main(["eval", str(tiny_sounds), "embed=0", "shown=6", "--out", str(out)]) == 0
    return out / "report.html"


@pytest.mark.slow
def test_every_player_and_picture_loads(report, tmp_path):
    text = report.read_text(encoding="utf-8")
    players, pictures = text.count("<audio "), text.count("<img ")
    assert players >= 6 and pictures == players
    found = looked_at(report, tmp_path / "profile")
    check_page(found, players, pictures)
    assert found["svg"] > 2, "the histogram of likeness"


@pytest.mark.slow
def test_a_damaged_sound_and_a_missing_picture_are_caught(report, tmp_path):
    """Planted: the first player's file is no sound, the first picture's is gone."""
    folder = tmp_path / "copy"
    shutil.copytree(report.parent, folder)
    sources = sorted((folder / "report_files" / "0").iterdir())
    next(p for p in sources if p.suffix == ".wav").write_bytes(b"no sound")
    next(p for p in sources if p.suffix == ".png").unlink()
    found = looked_at(folder / "report.html", tmp_path / "profile")
    assert found["faults"] and min(found["durations"]) == 0 and min(found["widths"]) == 0
    assert_caught(check_page, found, len(found["durations"]), len(found["widths"]))


@pytest.mark.slow
def test_a_page_that_holds_everything_loads_from_a_file(tiny_pictures, tmp_path):
    """Pictures inside the page; opened from the disk, as a user does."""
    path = browser()
    assert main(["eval", str(tiny_pictures), "novelty=false", "--out", str(tmp_path / "r")]) == 0
    page = tmp_path / "r" / "report.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<head>", f"<head>{EARS}").replace("</body>", LOOK), encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    told = subprocess.run(
        [path, *flags, "--virtual-time-budget=20000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
    ).stdout
    check_page(json.loads(told.split('<pre id="found">')[1].split("</pre>")[0]), 0, text.count("<img "))
