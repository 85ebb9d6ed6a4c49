"""Previews during training: samples of the averaged weights, generated as by `sonolux sample`."""

from __future__ import annotations

import torch

from ..config.recipe import Recipe
from ..training.callbacks import PeriodicCallback, RunState
from ..types import Dataset
from .examples import example_request, find_references
from .pipeline import Pipeline
from .result import SHOWN, Samples


class PreviewCallback(PeriodicCallback):
    """Samples with the recipe's settings every `train.preview_every` steps, by default five times per run.

    Args:
        recipe: The recipe of the run.
    """

    about = "preview"

    def __init__(self, recipe: Recipe):
        super().__init__(recipe.train.preview_every, 5)
        self.count = min(recipe.sample.count, SHOWN)
        self._failed = False  # a preview could not be written, and this was said

    def check(self, run: RunState) -> None:
        """Raise BadInput before training starts if the sample settings are invalid; needs values of the network."""
        if any(parameter.is_meta for parameter in run.parts.model.parameters()):
            return
        Pipeline(run.parts, run.parts.model, 0, torch.device("cpu")).check()

    def _samples(self, pipeline: Pipeline, data: Dataset) -> Samples:
        """New samples; of a model that takes a reference, those of the first examples, which are shown before them."""
        if not find_references(pipeline.model):
            return pipeline.sample(count=self.count)
        items = [data.item(i, None) for i in range(min(self.count, SHOWN // 2, len(data)))]
        recipe, spec = pipeline.recipe, pipeline.context.spec
        return pipeline.generate(
            recipe, example_request(pipeline.model, pipeline.codec, spec, items, recipe.sample_seed)
        )

    def act(self, run: RunState) -> None:
        samples = self._samples(Pipeline(run.parts, run.trainer.ema.model, run.step, run.device), run.trainer.data)
        media, captions = samples.shown()
        for callback in run.callbacks:
            callback.on_preview(run, media, captions)
        target = run.folder.previews / f"step-{run.step:08d}.png"
        try:
            run.folder.need_intact()
            target.parent.mkdir(exist_ok=True)
            run.parts.modality.sheet(target, media, captions)
        except OSError as error:
            if not self._failed:
                run.say(f"{target} cannot be written ({error.strerror}): the training continues without it")
            self._failed = True
