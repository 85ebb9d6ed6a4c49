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
from ..training.build import build_model_components
from ..training.checkpoint import check_fits, load_codec, load_weights, newest_checkpoint, read_header
from ..training.header import CheckpointHeader
from ..types import BadInput, MediaSpec
from ..util.device import choose_device
from ..util.fetching import allow_fetching
from ..util.messages import shorten
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
    own = allow_code or trusted >= trust.TrustLevel.PATHS
    with name_checkpoint_in_errors(checkpoint), allow_fetching(own):
        recipe = read_recipe(changes)
        recorded = read_recipe() if changes and header.plans else recipe
        spec = _media_spec(checkpoint, header, recipe)
        parts = build_model_components(recipe, spec, lambda model: check_fits(checkpoint, model, "ema"))
    if header.spec.latent:
        _require_equal(checkpoint, "latent", header.spec.latent, parts.spec.latent)
    parts.clip_lengths = header.clip_lengths
    load_codec(checkpoint, parts.codec)
    load_weights(checkpoint, parts.model, "ema")
    context = ModelContext.of(parts, parts.model, choose_device(str(device)))
    return OpenedCheckpoint(context, header.step, recorded, dict(header.plans))


def _media_spec(checkpoint: Path, header: CheckpointHeader, recipe: Recipe) -> MediaSpec:
    """The media specification of the header, which must be that of the recipe's modality.

    Raises:
        BadInput: They differ; the message names the first difference.
    """
    spec, declared = header.spec, recipe.modality.build().spec()
    if not header.names_axes and len(declared.axes) == len(spec.axes):  # of the first edition
        spec = replace(spec, axes=declared.axes, rates=declared.rates)
    for name in ("modality", "channels", "axes", "size", "rates"):
        _require_equal(checkpoint, name, getattr(spec, name), getattr(declared, name))
    return spec


def _require_equal(checkpoint: Path, name: str, stored: object, expected: object) -> None:
    if stored != expected:
        values = (shorten(str(list(v) if isinstance(v, tuple) else v), 40) for v in (stored, expected))
        found, right = values
        raise BadInput(f"{checkpoint}: damaged: its header has {name} {found}, and its recipe {right}")
