"""Builds a model from a checkpoint: recipe, network with the averaged weights, fitted codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..config import trust
from ..config.load import load_recipe_text
from ..config.recipe import Recipe
from ..training.build import build_parts
from ..training.checkpoint import newest, read, read_header
from ..util.device import choose_device
from .context import ModelContext


@dataclass
class OpenedCheckpoint:
    """The model and the metadata of a checkpoint.

    Attributes:
        context: The model.
        step: Number of optimizer steps after which its weights were saved.
        recorded: The recipe as the checkpoint stores it, without changes.
        plans: Number of evaluations -> calibrated plan.
    """

    context: ModelContext
    step: int
    recorded: Recipe
    plans: dict[int, dict[str, Any]]


def open_checkpoint(
    path: str | Path, device: str | torch.device = "auto", changes: Sequence[str] = (), allow_code: bool = False
) -> OpenedCheckpoint:
    """Build the model of a run folder (its newest checkpoint) or of a checkpoint file; arguments as in `load`."""
    checkpoint = newest(Path(path))
    header = read_header(checkpoint)
    trusted = trust.of_checkpoint(checkpoint, header.recipe)
    read_recipe = partial(load_recipe_text, header.recipe, checkpoint.parent, allow_code=allow_code, trusted=trusted)
    recipe = read_recipe(changes)
    recorded = read_recipe() if changes and header.plans else recipe
    # A checkpoint of the first edition does not name its axes; the modality does.
    declared = recipe.modality.build().spec()
    spec = header.spec
    if len(declared.axes) == len(spec.axes):
        spec = replace(spec, axes=declared.axes, rates=declared.rates)
    parts = build_parts(recipe, spec)
    parts.clip_lengths = header.clip_lengths
    read(checkpoint, parts.codec, "codec")
    read(checkpoint, parts.model, "ema")
    context = ModelContext.of(parts, parts.model, choose_device(str(device)))
    return OpenedCheckpoint(context, header.step, recorded, dict(header.plans))
