"""Trains the arms of an ablation with one seed, and measures them on the same held-out examples with the same noise.

The figure is the held-out error of the averaged weights, which does not depend on how an arm weights its loss:

    error = mean over levels of (1 + 1 / rho^2) E |D(alpha x0 + sigma eps) - x0|^2 / d,    rho = sigma / alpha,

at the fixed levels logsnr = -2 log rho = -6, -4, ..., 6, in units of the diffused tensor, whose variance is 1; d is the
number of its valid elements. The factor is the weight of EDM (Karras et al. 2022, arXiv:2206.00364, table 1) at
sigma_data = 1. With it, the best linear denoiser of white data of unit variance, whose error is rho^2 / (1 + rho^2),
has the value 1 at each level. Smaller is better; the best possible value is above 0 and depends on the data only.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...config.recipe import Recipe
from ...data.loader import Batch, check_item_finite
from ...pipeline.pipeline import Pipeline
from ...training.build import build_dataset, build_model_components, check_conditions, fit_codec, fit_conditions
from ...training.data_changes import hash_examples
from ...training.held_out import LOGSNR, error_weight, reachable_levels
from ...training.step import Trainer
from ...types import BadInput, Dataset
from ...util.device import choose_device
from ..evaluate import evaluate
from ..evaluation_input import EvaluationInput
from .arms import Arm
from .interleave import InterleavedRun

HELD_OUT = 256  # largest number of held-out examples
ROWS = 64  # examples in a batch
ERROR = "held-out error"
MEASURED = {"mmd": "MMD x 1000", "frechet": "Frechet distance"}  # distances of `sonolux eval`, smaller is better


@dataclass
class SeedRuns:
    """The runs of all arms with one seed, before their first step.

    Attributes:
        runs: One for each arm.
        held_out: The held-out examples of the first arm.
        levels: The values of LOGSNR that the noise schedules of all arms reach.
        data: Hash of the training and held-out examples of each arm.
    """

    runs: list[InterleavedRun]
    held_out: Dataset
    levels: list[float]
    data: list[str]


def prepare_seed(arms: Sequence[Arm], number: int) -> SeedRuns:
    """Read the data and build the models of all arms for seed `number`.

    Raises:
        BadInput: An arm cannot be trained, or arms cannot be compared.
    """
    recipes = [arm.with_seed(number) for arm in arms]
    held_out, _ = build_dataset(recipes[0], "valid")
    trainers: list[Trainer] = []
    for arm, recipe in zip(arms, recipes, strict=True):
        try:
            trainers.append(_trainer(recipe, trainers[0] if trainers else None, held_out))
        except BadInput as error:
            raise BadInput(f"arm {arm.name}: {error}") from error
    reached = [reachable_levels(trainer.parts.process.schedule) for trainer in trainers]
    levels = [level for level in LOGSNR if all(level in one for one in reached)]
    if not levels:
        raise BadInput("the noise schedules of the arms have no level in common from logsnr -6 to 6")
    runs = [InterleavedRun(t, t.train.steps, 60 * t.train.minutes if t.train.minutes else None) for t in trainers]
    return SeedRuns(runs, held_out, levels, [hash_examples(trainer.data, held_out) for trainer in trainers])


def hash_data(arms: Sequence[Arm], number: int) -> list[str]:
    """The hashes of the data of all arms for seed `number` as it is now, see `SeedRuns`."""
    recipes = [arm.with_seed(number) for arm in arms]
    held_out, _ = build_dataset(recipes[0], "valid")
    first, _ = build_dataset(recipes[0])
    same = [recipe.data == recipes[0].data for recipe in recipes]
    return [
        hash_examples(first if equal else build_dataset(recipe)[0], held_out)
        for recipe, equal in zip(recipes, same, strict=True)
    ]


def _trainer(recipe: Recipe, first: Trainer | None, held_out: Dataset) -> Trainer:
    """A trainer at step 0; the data of the first arm is shared where it is the same.

    Its fitted codec is shared in any case: errors of different latent tensors could not be compared.
    """
    if first is not None and recipe.data == first.parts.recipe.data:
        data, spec = first.data, first.parts.spec
    else:
        data, spec = build_dataset(recipe)
        if first is not None and build_dataset(recipe, "valid")[0].manifest() != held_out.manifest():
            raise BadInput("its held-out examples are not those of the first arm, so errors cannot be compared")
    parts = build_model_components(recipe, spec)
    check_conditions(parts, data)
    device = choose_device(recipe.train.device)
    if first is not None:
        parts.codec.load_state_dict(first.parts.codec.state_dict())
    parts.clip_lengths = fit_codec(parts.codec, data, device, fitted=first is not None)
    fit_conditions(parts.model, data)
    return Trainer(parts, data, device)


def held_out_errors(trainer: Trainer, held_out: Dataset, levels: Sequence[float]) -> list[float]:
    """The weighted error of the averaged weights at each level; their mean is the figure (see the module)."""
    count = min(HELD_OUT, len(held_out))
    chosen = [i * len(held_out) // count for i in range(count)]
    rhos, parts = [math.exp(-level / 2) for level in levels], []
    for first in range(0, count, ROWS):
        rows = chosen[first : first + ROWS]
        items = [check_item_finite(held_out.item(i, None)) for i in rows]
        parts.append(trainer.x0_errors(Batch(0, tuple(rows), items, torch.stack([i.media for i in items])), rhos))
    errors = torch.cat(parts, 1).double().mean(1).tolist()
    return [error_weight(level) * error for level, error in zip(levels, errors, strict=True)]


def sample_distances(trainer: Trainer, count: int) -> dict[str, float]:
    """Distances of `count` samples to the real data, as `sonolux eval` measures them."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = trainer.parts.recipe.with_overrides([("eval.count", count), ("eval.memorization", False)])
        pipeline = Pipeline(trainer.parts, trainer.ema.model, trainer.step, trainer.device)
        report = evaluate(EvaluationInput(recipe.name, recipe, pipeline), Path(folder))
    found = {line.key: line.value for lines in report.measurements.values() for line in lines}
    return {name: found.get(key, math.nan) for key, name in MEASURED.items() if key in found}
