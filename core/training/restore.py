"""Data and trainer of a run that continues, as they were when a checkpoint was saved."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from ..config.recipe import Recipe
from ..data.splits import recorded_training_hashes
from ..types import BadInput, Dataset, MediaSpec
from .build import ModelComponents, build_dataset
from .checkpoint import load_codec, load_optimizer, load_weights
from .distributed import Ranks
from .header import CheckpointHeader
from .run_dir import RunDir
from .step import Trainer


def read_training_data(recipe: Recipe, folder: RunDir, resumed: bool) -> tuple[Dataset, MediaSpec, frozenset[str]]:
    """The training split of a run.

    Args:
        recipe: The recipe.
        folder: The run folder.
        resumed: Whether the run in the folder continues: files that it was trained on stay in this split.

    Returns:
        The dataset, the properties of the media with its classes, and the hashes of the files that the run in the
        folder was trained on.

    Raises:
        BadInput: The data cannot be used; if they were moved, the message names the remedy.
    """
    recorded: frozenset[str] = frozenset()
    if resumed:
        with suppress(BadInput):  # a damaged list is reported with the changes of the data
            recorded = recorded_training_hashes(folder.path / "data.jsonl")
    try:
        return *build_dataset(recipe, recorded=recorded), recorded
    except BadInput as error:
        root = recipe.data.params.get("root")
        if not resumed or not isinstance(root, (str, Path)) or Path(root).expanduser().exists():
            raise
        raise BadInput(f"{error}. If the data was moved: {folder.resume_command} data.root=NEW") from error


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
