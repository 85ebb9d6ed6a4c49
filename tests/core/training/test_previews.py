"""A training preview and `sample` are one: the same sampler, weights and noise."""

import pytest
import sonolux
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.testing.planted import plant
from sonolux.core.training.run import TrainingRun


def check_previews(text, folder):
    """The sheet of every preview shows what `sample` makes of the checkpoint of that step."""
    (folder / "tiny.yaml").write_text(text)
    often = ["train.steps=4", "train.save_every=2", "train.preview_every=2", "train.keep=9", "train.optimizer.lr=3e-3"]
    recipe = load_recipe(folder / "tiny.yaml", [*often, "train.ema.half_life=3", "sample.precision=float32"])
    job, seen = TrainingRun(recipe, folder / "run", say=lambda _: None, bar=False), {}
    job.prepare()
    job.parts.modality.sheet = lambda path, media, captions=(): seen.update({path.stem: media})
    job.run()
    assert list(seen) == ["step-00000002", "step-00000004"]
    for step, shown in seen.items():
        made = sonolux.load(folder / "run" / "checkpoints" / f"{step}.safetensors", device="cpu").sample().media
        assert len(shown) == len(made) > 3
        for a, b in zip(shown, made, strict=True):
            assert a.dtype == b.dtype == torch.float32 and float((a - b).abs().max()) < 1e-5


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_a_preview_is_what_sample_makes_of_that_checkpoint(modality, tiny_recipe, tmp_path):
    check_previews(tiny_recipe[modality], tmp_path)


@pytest.mark.parametrize("modality", ["image", "audio"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "Pipeline(self.parts, self.trainer.ema.model, self.trainer.step",
            "Pipeline(self.parts, self.trainer.model, self.trainer.step",
        ),
        ("trained.sample(count=", "trained.sample(steps=self.recipe.sample.steps + 1, count="),
        ("trained.sample(count=", "trained.sample(seed=self.trainer.step, count="),
    ],
    ids=["weights not averaged", "one step more", "another seed"],
)
def test_planted_differences_of_previews_are_caught(modality, old, new, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingRun, "_preview", plant(TrainingRun, old, new)._preview)
    with pytest.raises(AssertionError):
        check_previews(tiny_recipe[modality], tmp_path)
