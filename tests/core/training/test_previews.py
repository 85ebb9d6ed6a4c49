"""A training preview and `sample` are one: the same sampler, weights and noise."""

import pytest
import sonolux
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.pipeline.preview import PreviewCallback
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.run import TrainingRun
from sonolux.core.util import progress


def check_previews(text, folder):
    """The sheet of every preview shows what `sample` makes of the checkpoint of that step."""
    (folder / "tiny.yaml").write_text(text)
    often = ["train.steps=4", "train.save_every=2", "train.preview_every=2", "train.keep=9", "train.optimizer.lr=3e-3"]
    recipe = load_recipe(folder / "tiny.yaml", [*often, "train.ema.half_life=3", "sample.precision=float32"])
    job, seen = TrainingRun(recipe, folder / "run", lambda _: None, False, [PreviewCallback(recipe)]), {}
    job.prepare()
    job.parts.modality.sheet = lambda path, media, captions=(): seen.update({path.stem: media})
    job.run()
    assert list(seen) == ["step-00000002", "step-00000004"]
    for step, shown in seen.items():
        made = sonolux.load(folder / "run" / "checkpoints" / f"{step}.safetensors", device="cpu").sample().media
        assert len(shown) == len(made) > 3
        for a, b in zip(shown, made, strict=True):
            assert a.dtype == b.dtype == torch.float32
            assert float((a - b).abs().max()) < 1e-5, f"what is shown of {step} is not what sample makes"


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["image", "audio"])
def test_a_preview_is_what_sample_makes_of_that_checkpoint(modality, tiny_recipe, tmp_path):
    check_previews(tiny_recipe[modality], tmp_path)


def weights_not_averaged(monkeypatch):
    act = PreviewCallback.act

    def planted(self, run):
        ema, run.trainer.ema.model = run.trainer.ema.model, run.trainer.model
        act(self, run)
        run.trainer.ema.model = ema
        run.trainer.model.train()

    monkeypatch.setattr(PreviewCallback, "act", planted)


def one_step_more(monkeypatch):
    sample = Pipeline.sample
    monkeypatch.setattr(Pipeline, "sample", lambda self, **k: sample(self, **changed(self, k)))


def changed(trained, changes):
    """The arguments of a preview, told by its one argument, with a step more."""
    return {**changes, "steps": trained.recipe.sample.steps + 1} if changes else changes


def another_seed(monkeypatch):
    sample = Pipeline.sample
    monkeypatch.setattr(Pipeline, "sample", lambda self, **k: sample(self, **({**k, "seed": self.step} if k else k)))


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["image", "audio"])
@pytest.mark.parametrize("error", [weights_not_averaged, one_step_more, another_seed], ids=lambda e: e.__name__)
def test_planted_differences_of_previews_are_caught(modality, error, tiny_recipe, tmp_path, monkeypatch):
    error(monkeypatch)
    with pytest.raises(AssertionError, match="shown"):
        check_previews(tiny_recipe[modality], tmp_path)


def check_bar(recipes, folder, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0)
    (folder / "tiny.yaml").write_text(recipes["image"])
    recipe = load_recipe(folder / "tiny.yaml", ["train.steps=2", "train.preview_every=1"])
    run = TrainingRun(recipe, folder / "run", lambda _: None, True, [PreviewCallback(recipe)])
    run.prepare()
    run.run()
    lines = [line for line in capsys.readouterr().err.splitlines() if "step " in line]
    assert any(line.startswith("preview: step 1 of 2") for line in lines), lines
    assert any(line.startswith("step 2 of 2") for line in lines), "the word is gone when training goes on"


@pytest.mark.slow
def test_the_bar_says_when_a_preview_is_made(tiny_recipe, tmp_path, monkeypatch, capsys):
    check_bar(tiny_recipe, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_a_bar_that_does_not_say_it_is_caught(tiny_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(PreviewCallback, "about", "")
    assert_caught(check_bar, tiny_recipe, tmp_path, monkeypatch, capsys)
