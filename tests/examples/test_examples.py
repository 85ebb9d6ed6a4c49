"""The examples run as they are, with fewer steps."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def opened(name: str):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_from_scratch_trains_and_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened("from_scratch").main(steps=2)
    written = {p.suffix for p in (tmp_path / "out/from_scratch").iterdir()}
    assert written == {".png", ".wav"}
    assert len((EXAMPLES / "from_scratch.py").read_text().splitlines()) <= 120


@pytest.mark.slow
def test_the_demo_makes_a_page_that_names_only_files_it_wrote(tmp_path):
    import re

    from sonolux.core.config.load import load_recipe
    from sonolux.core.training.run import TrainingRun

    demo = opened("demo")
    few = ["train.minutes=null", "train.steps=2", "train.batch=4", "sample.steps=2", "train.preview_every=9"]
    job = TrainingRun(load_recipe("shapes", few), tmp_path / "runs/shapes", say=lambda _: None, bar=False)
    job.prepare()
    job.run()
    made = demo.make("shapes", tmp_path, 4, demo.recognise_main_shape)
    text = demo.page(tmp_path, [made]).read_text()
    sources = re.findall(r'src="([^"]+)"', text)
    assert len(sources) == 5 and all((tmp_path / s).exists() for s in sources)
    assert made.shortfall is None and "Not trained to the end" not in text, "a run of so many steps as asked"


def test_the_demo_says_that_a_training_was_too_short(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from sonolux.core.config.load import load_recipe

    demo = opened("demo")
    recipe = load_recipe("shapes", ["train.minutes=3.6"])
    samples = SimpleNamespace(
        save=lambda *_, **__: [tmp_path / "a.png"], media=[0], conditions=[{"label": "star"}],
        modality=SimpleNamespace(suffix=".png"),
    )  # fmt: skip
    for step, expected in ((187, True), (recipe.train.measured_steps, False)):
        run = SimpleNamespace(recipe=recipe, step=step, sample=lambda **_: samples)
        monkeypatch.setattr(demo.sonolux, "load", lambda _, run=run: run)
        made = demo.make("shapes", tmp_path, 1, lambda _: "star")
        text = demo.page(tmp_path, [made]).read_text()
        assert ("Not trained to the end" in text) == expected
        assert ("187 steps were made" in text and "--resume" in text) == expected


def test_names_on_the_demo_page_are_text(tmp_path):
    """A class, what the checker sees and a file's name that hold markup are shown, not run."""
    from types import SimpleNamespace

    demo, evil = opened("demo"), "<script>alert(1)</script>"
    samples = SimpleNamespace(conditions=[{"label": evil}], modality=SimpleNamespace(suffix=".png"))
    path = tmp_path / 'a"><script>.png'
    text = demo.page(tmp_path, [demo.Result(evil, samples, [path], ["a <b>"], 1.0, 2)]).read_text()
    assert "<script" not in text and "<b>" not in text and 'a"' not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "looks like a &lt;b&gt;" in text
