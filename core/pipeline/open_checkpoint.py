"""Builds a model from a checkpoint: recipe, network with the averaged weights, fitted codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..config import trust
from ..config.load import load_recipe_text, name_checkpoint_in_errors
from ..config.recipe import Recipe
from ..training.build import build_components
from ..training.checkpoint import check_fits, load_weights, newest_checkpoint, read_header
from ..training.header import CheckpointHeader
from ..types import BadInput, MediaSpec
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
    checkpoint = newest_checkpoint(Path(path))
    header = read_header(checkpoint)
    trusted = trust.trust_of_checkpoint(checkpoint, header.recipe)
    read_recipe = partial(load_recipe_text, header.recipe, checkpoint.parent, allow_code=allow_code, trusted=trusted)
    with name_checkpoint_in_errors(checkpoint):
        recipe = read_recipe(changes)
        recorded = read_recipe() if changes and header.plans else recipe
        spec = _media_spec(checkpoint, header, recipe)
        parts = build_components(recipe, spec, lambda model: check_fits(checkpoint, model, "ema"))
    parts.clip_lengths = header.clip_lengths
    load_weights(checkpoint, parts.codec, "codec")
    load_weights(checkpoint, parts.model, "ema")
    context = ModelContext.of(parts, parts.model, choose_device(str(device)))
    return OpenedCheckpoint(context, header.step, recorded, dict(header.plans))


def _media_spec(checkpoint: Path, header: CheckpointHeader, recipe: Recipe) -> MediaSpec:
    """The media specification of the header, with the axes of the modality: the first edition does not name them."""
    spec, declared = header.spec, recipe.modality.build().spec()
    if len(declared.axes) == len(spec.axes):
        spec = replace(spec, axes=declared.axes, rates=declared.rates)
    if (spec.channels, spec.size) != (declared.channels, declared.size):
        stored, written = (f"{s.channels} channels of size {list(s.size)}" for s in (spec, declared))
        raise BadInput(f"{checkpoint}: damaged: its header has {stored}, and its recipe {written}")
    return spec
