"""The demo: its page names only files that it wrote, says which training is not finished, and shows names as text."""

import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from sonolux.core.training import packaged_models
from sonolux.core.training.model_card import FACTS, ModelCard
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import _demo_models
import _demo_training
import box_model
import demo

TINY = ("train.batch=4", "network.width=32", "network.blocks=1", "sample.steps=2", "train.preview_every=99")
EVIL = "<script>alert(1)</script>"


def sources(text):
    """The files that a page names."""
    found = [unquote(one) for one in re.findall(r"""src="([^"]+)"|url\('([^']+)'\)""", text) for one in one if one]
    return [one for one in found if one != demo.TRAINING]


@pytest.fixture
def box(tiny_run, tmp_path, monkeypatch):
    """Two tiny packaged models, of pictures and of sounds; the working folder is empty."""
    (tmp_path / "figures.md").write_text("None.")
    for name in ("image", "audio"):
        words = [
            str(tiny_run(name, wake=0.1)),
            f"tiny_{name}",
            "--figures",
            str(tmp_path / "figures.md"),
            "--nfe",
            "none",
            "--makes",
            "noise",
        ]
        assert box_model.main([*words, "--out", str(tmp_path / "models"), "--count", "1"]) == 0
    monkeypatch.setattr(packaged_models, "MODELS", tmp_path / "models")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    return tmp_path / "there"


@pytest.mark.slow
def test_the_page_of_packaged_models_names_only_files_it_wrote(box, monkeypatch):
    monkeypatch.setattr(_demo_models, "EDIT_STEPS", 2)
    monkeypatch.setattr(_demo_models, "PROMPTS", 2)
    assert demo.main(["--out", "d", "--minutes", "0", "--seconds", "1000"]) == 0
    text = (box / "d/index.html").read_text()
    found = sources(text)
    assert len(found) > 30 and all((box / "d" / one).is_file() for one in found)
    titles = re.findall("<h3>(.*?)</h3>", text)
    for title in ("Samples", "Variations", "The lower half made anew", "Continued", "From one to the other"):
        assert title in titles
    assert "5 steps (sampler of the recipe" in text and text.count("Loops, which have no edge") == 2
    assert "<iframe" not in text and "location.reload" not in text and "Trained on this machine" not in text
    assert json.loads((box / "d/figures.json").read_text())["models"] == ["tiny_audio", "tiny_image"]


@pytest.mark.slow
def test_models_for_which_there_is_no_time_are_named(box):
    assert demo.main(["--out", "d", "--minutes", "0", "--seconds", "0.001"]) == 0
    text = (box / "d/index.html").read_text()
    assert text.count("Left out, since the time") == 2 and text.count("<h3>") == 2


def test_without_models_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged_models, "MODELS", tmp_path / "none")
    assert demo.main(["--out", str(tmp_path / "d"), "--minutes", "0"]) == 0
    assert "holds no packaged models" in (tmp_path / "d/index.html").read_text()


def test_another_folder_is_not_replaced(tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit) as stop:
        demo.main(["--out", str(tmp_path)])
    assert stop.value.code == 2 and (tmp_path / "mine.txt").exists()


def test_what_a_model_does_not_support_is_said(tmp_path):
    def refuse():
        raise BadInput("no time axis")

    part = _demo_models.ModelPart(ModelCard("m", dict.fromkeys(FACTS, "x"), "y"))
    section = _demo_models.make(part, tmp_path, "Continued", ["edit", "m"], refuse)
    assert part.sections == [section] and section.notes == ["no time axis"] and not section.files
    assert "no time axis" in demo.write_page(tmp_path, [part], None, [], "end").read_text()


# --- training ---


def trained(tmp_path, goal, monkeypatch, limit=1000.0, steps=4):
    monkeypatch.setattr(_demo_training, "GOAL", goal)
    tmp_path.mkdir(exist_ok=True)
    part = _demo_training.TrainingPart(steps, 1000.0, 4)
    states = []
    for _ in _demo_training.LiveTraining(tmp_path, part, (*TINY, "train.save_every=2")).follow():
        states.append(part.state)
        part.limit = limit if part.step else 1000.0
        demo.write_page(tmp_path, [], part, [], "training")
    return part, states


@pytest.mark.slow
def test_a_training_ends_at_its_last_step_or_at_the_goal(tmp_path, monkeypatch):
    part, states = trained(tmp_path, 1.1, monkeypatch)
    assert (part.state, part.step, part.checked) == ("steps", 4, 4) and set(states[:-1]) <= {"runs"}
    text = demo.write_page(tmp_path, [], part, [], "end").read_text()
    assert "The goal is missed" in text and len(sources(text)) == 4
    assert all((tmp_path / one).is_file() for one in sources(text))
    again, _ = trained(tmp_path / "again", 0.0, monkeypatch, steps=2000)
    assert again.state == "goal" and again.step < 2000, "stopped by the goal, long before the last step"


@pytest.mark.slow
def test_a_training_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    part, _ = trained(tmp_path, 1.1, monkeypatch, limit=0.0, steps=100_000)
    assert part.state == "time" and 0 < part.checked < 100_000, "the checkpoint of the stop was checked"
    assert "--resume" in _demo_training.summary(part)[0]


def training_page(tmp_path, **values):
    part = _demo_training.TrainingPart(1200, 600.0, 56)
    part.shown = [("shapes/0.png", "star", "star")]
    for name, value in values.items():
        setattr(part, name, value)
    demo.write_page(tmp_path, [], part, [], "training")
    return (tmp_path / demo.TRAINING).read_text()


@pytest.mark.parametrize("state", ["runs", "time", "stopped", "steps", "failed", "goal"])
def test_only_a_training_that_reached_its_goal_is_shown_as_finished(tmp_path, state):
    hits = 52 if state == "goal" else 20
    text = training_page(
        tmp_path, state=state, step=300, seconds=90.0, checks={300: hits}, resume="sonolux train --resume x"
    )
    assert ("half-trained" in text) == (state in ("runs", "time", "stopped", "failed"))
    assert ("The goal is reached" in text) == (state == "goal")
    assert ("Stopped before its goal" in text) == (state in ("time", "stopped"))
    assert ("--resume" in text) == (state in ("time", "stopped", "steps"))
    assert ('http-equiv="refresh"' in text) == (state == "runs")


def test_a_slow_machine_is_warned(tmp_path):
    text = training_page(tmp_path, state="runs", step=20, seconds=200.0, speed=0.1, checks={}, shown=[])
    assert "would take 200 minutes" in text and "probably before its goal" in text
    assert "would take" not in training_page(tmp_path, state="runs", step=20, seconds=5.0, speed=4.0, shown=[])


def test_names_on_the_page_are_text(tmp_path):
    """A model, a class, what the checker sees and a file's name that hold markup are shown, not run."""
    card = ModelCard(EVIL, dict.fromkeys(FACTS, EVIL), EVIL)
    part = _demo_models.ModelPart(card, [_demo_models.Section(EVIL, EVIL, [('a"><script>.png', EVIL)], [EVIL], [EVIL])])
    training = _demo_training.TrainingPart(
        4, 9.0, 1, "time", 2, 3.0, 1.0, {2: 0}, [('b"><script>', EVIL, "a <b>")], EVIL
    )
    text = demo.write_page(tmp_path, [part], training, [EVIL], "end").read_text()
    assert "<script" not in text and "<b>a" not in text and 'a">' not in text and 'b">' not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "looks like a &lt;b&gt;" in text
