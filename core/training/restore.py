"""A trainer as it was when a checkpoint was saved."""

from __future__ import annotations

from pathlib import Path

import torch

from ..types import BadInput, Dataset
from .build import ModelComponents
from .checkpoint import load_codec, load_optimizer, load_weights
from .distributed import Ranks
from .header import CheckpointHeader
from .step import Trainer


def restore_trainer(
    checkpoint: Path,
    header: CheckpointHeader,
    parts: ModelComponents,
    data: Dataset,
    device: torch.device,
    ranks: Ranks,
) -> Trainer:
    """The trainer of a run that continues; the number of ranks may differ from that of the run before.

    Args:
        checkpoint: The checkpoint.
        header: Its header.
        parts: The objects that the recipe describes, whose weights are replaced.
        data: The training split.
        device: Training device.
        ranks: The processes that share the batch.

    Raises:
        BadInput: The checkpoint does not fit the recipe, or holds no state of the optimizer.
    """
    load_codec(checkpoint, parts.codec)
    load_weights(checkpoint, parts.model, "model")
    trainer = Trainer(parts, data, device, ranks)
    load_weights(checkpoint, trainer.ema.model, "ema")
    for name, module in parts.objective.state().items():
        load_weights(checkpoint, module, f"objective_{name}")
    restored = load_optimizer(checkpoint, trainer.optimizer)
    if header.step and not restored and trainer.rule.keeps_state():
        raise BadInput(
            f"{checkpoint} holds no state of the optimizer, so the run cannot continue as if it was not stopped: "
            f"start a new one with --from {checkpoint}"
        )
    trainer.step, parts.clip_lengths = header.step, header.clip_lengths
    trainer.shard()
    return trainer
