"""One training loss: from a batch of media to a number a sample, every random draw keyed by (seed, row, step)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..conditioning.base import gather
from ..data.loader import Batch
from ..nn.layers.dropout import keyed_dropout
from ..nn.model import Model
from ..types import Conditioning, NoiseLevel, sent
from ..util.device import autocast
from ..util.rng import Noise, stratified
from .build import Parts, condition_values


@dataclass(frozen=True)
class Losses:
    """per_sample (B,) and the level (B,) at which each was measured; where elements differ, the first drawn."""

    per_sample: Tensor
    level: NoiseLevel


def batch_losses(parts: Parts, model: Model, batch: Batch, step: int, device: torch.device) -> Losses:
    """Encode, make noisy, denoise, compare."""
    recipe = parts.recipe
    noise = Noise(recipe.seed, batch.rows, parts.spec.latent, device)
    with torch.no_grad():
        eps = noise.normal("train", step)
        x0 = parts.codec.encode(sent(batch.media, eps))
        u = stratified(recipe.seed, step, recipe.train.batch, batch.rows)
        level = parts.process.level(u)
        seen = parts.process.mixed(level, x0.shape[2:], recipe.seed, batch.rows, step)
        lengths = batch.lengths(parts.spec)
        valid = None if lengths is None else parts.codec.valid(lengths, parts.spec.size)
    # Drops are read on the host: numbers that were on the device would make every step wait for it.
    drops = Noise(recipe.seed, batch.rows, parts.spec.latent)
    conditions = _conditions(model, batch, drops, step, None if valid is None else sent(valid, x0))
    with autocast(device, recipe.train.precision), keyed_dropout(recipe.seed, batch.rows, step):
        return Losses(parts.process.losses(model, x0, eps, seen, conditions), level)


def _conditions(model: Model, batch: Batch, noise: Noise, step: int, valid: Tensor | None) -> Conditioning:
    values = condition_values(model, batch.items)
    for name, condition in model.conditions.items():
        dropped = noise.uniform(f"drop {name}", step) < condition.drop  # type: ignore[operator]
        values[name] = [None if d else v for v, d in zip(values[name], dropped.tolist(), strict=True)]
    return replace(gather(model.conditions, values), valid=valid)
