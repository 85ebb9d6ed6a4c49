"""The tabs Training and Data in a real browser: a run that trains, stop and resume; captions, faults, near copies."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live_run(tiny_recipe, tmp_path_factory):
    """The folder of a run that trains in a process of its own."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "tiny.yaml").write_text(tiny_recipe["image"])
    words = ["train", str(folder / "tiny.yaml"), "--out", str(folder / "live"), "--quiet"]
    changes = ["train.steps=1000000", "train.log_every=5"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sonolux.core.cli", *words, *changes], stdout=log, stderr=log, env=os.environ
        )
    yield folder / "live", process, folder / "log"
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared folder of pictures: two copies, a damaged file, no captions."""
    from sonolux.core.cli.prepare import folder_analyzers
    from sonolux.core.data.prepare.prepare import prepare_folder

    folder = tmp_path_factory.mktemp("data")
    (folder / "raw").mkdir()
    rng = np.random.default_rng(0)
    for n in range(6):
        patches = Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8))
        patches.resize((32, 32), Image.Resampling.NEAREST).save(folder / "raw" / f"p{n}.png")
    shutil.copy(folder / "raw/p1.png", folder / "raw/p1-again.png")
    (folder / "raw/broken.png").write_bytes((folder / "raw/p2.png").read_bytes()[:60])
    prepare_folder(folder / "raw", folder / "patches", folder_analyzers()["image"], None, False)
    return folder / "patches"


@pytest.fixture(scope="module")
def served_data(serve, named_runs, prepared, tmp_path_factory):
    """A studio with a prepared folder."""
    return serve(tmp_path_factory.mktemp("studio"), named_runs[:1], [prepared])


def test_run_is_watched_stopped_and_resumed(serve, live_run, open_page, expect, tmp_path):
    folder, process, log = live_run
    for _ in range(1200):
        if (folder / "metrics.jsonl").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None, log.read_text()
    served = serve(tmp_path / "studio", [folder])
    page = open_page(served, "#training")
    state = page.locator("#panel-training .facts dd").nth(0)
    step = page.locator("#panel-training .facts dd").nth(1)
    expect(state).to_have_text("running")
    first = step.inner_text()
    expect(step).not_to_have_text(first)  # it goes on while it is watched
    charts = page.locator("#panel-training .chart")
    expect(charts.nth(0).locator("path").nth(1)).to_be_attached()  # as logged, smoothed, and perhaps held out
    expect(charts.nth(1).locator("path")).not_to_have_count(0)
    page.get_by_role("button", name="Stop").click()
    expect(state).to_have_text("stopped")
    assert process.wait(60) is not None
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("running")
    [watcher] = served.studio.runs.values()
    watcher._process.kill()
    watcher._process.wait()


def test_previews_by_slider(serve, tiny_run, open_page, expect, tmp_path):
    run = tmp_path / "watched"
    shutil.copytree(tiny_run("image"), run)
    (run / "previews").mkdir(exist_ok=True)
    for step, colour in ((2, "red"), (4, "blue")):
        Image.new("RGB", (40, 40), colour).save(run / "previews" / f"step-{step:08d}.png")
    page = open_page(serve(tmp_path / "studio", [run]), "#training")
    view = page.locator("#panel-training .live img")
    expect(view).to_have_attribute("alt", "Preview at step 4")
    page.get_by_label("Preview at step").press("Home")
    expect(view).to_have_attribute("alt", "Preview at step 2")
    with open(run / "metrics.jsonl", "a") as file:  # new rows and previews appear by themselves
        file.write(json.dumps({"step": 6, "loss": 0.5, "held_out": {"loss": 0.625}}) + "\n")
    expect(page.locator("#panel-training .legend .second")).to_have_text("held out")
    expect(view).to_have_attribute("alt", "Preview at step 2")  # and the slider stays where it is


def test_captions_faults_and_near_copies(served_data, prepared, open_page, expect, check_layout):
    page = open_page(served_data, "#data")
    cards = page.locator("#panel-data .card")
    expect(cards).to_have_count(8)
    caption = page.get_by_label("Caption of p3.png")
    caption.fill("a white square")
    caption.blur()
    expect(page.locator(".card:has([aria-label='Caption of p3.png']) [role=status]")).to_have_text("saved")
    assert "a white square" in (prepared / "manifest.jsonl").read_text()
    page.get_by_label("Find").fill("white square")
    expect(cards).to_have_count(1)
    page.reload()
    expect(cards).to_have_count(1)
    expect(page.get_by_label("Caption of p3.png")).to_have_value("a white square")
    page.get_by_label("Find").fill("")
    page.get_by_label("Show").select_option("faults")
    expect(cards.filter(has_text="Fault:").filter(has_text="broken.png")).to_have_count(1)
    page.get_by_label("Show").select_option("near")
    copy = cards.filter(has_text="p1-again.png").first
    copy.get_by_text("Near copies: 1").click()
    expect(copy.get_by_text("100 % alike")).to_be_visible()
    check_layout(page)
