"""Previews of a training run: samples of the averaged weights, as `sonolux sample` makes them."""

from __future__ import annotations

import torch

from ..config.recipe import Recipe
from ..training.callbacks import Periodic
from ..training.run import TrainingRun
from .pipeline import Pipeline

SHOWN = 64  # samples in a preview at most, as many as a sheet shows


class Previews(Periodic):
    """Draws samples with the recipe's own settings: every `train.preview_every` steps or five times a run.

    Args:
        recipe: the recipe of the run.
    """

    def __init__(self, recipe: Recipe):
        super().__init__(recipe.train.preview_every, 5)
        self.count = min(recipe.sample.count, SHOWN)

    def check(self, run: TrainingRun) -> None:
        """Raise BadInput for sample settings that cannot be followed, before training instead of at a preview."""
        Pipeline(run.parts, run.parts.model, 0, torch.device("cpu")).check()

    def act(self, run: TrainingRun) -> None:
        samples = Pipeline(run.parts, run.trainer.ema.model, run.step, run.device).sample(count=self.count)
        target = run.folder.previews / f"step-{run.step:08d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        run.parts.modality.sheet(target, samples.media, samples.captions)
