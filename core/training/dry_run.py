"""What a training would do: everything is checked, and nothing is written."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..codecs.base import LearnedCodec
from ..types import BadInput
from ..util.device import uses_bf16
from ..util.folders import check_kinds
from ..util.locks import LOCK, LockOwner
from ..util.messages import format_count
from .build import EmptySplit, build_dataset, check_conditions, outline_model_components
from .checkpoint import load_weights, read_header
from .restore import read_training_data
from .run import TrainingRun
from .run_dir import RUN_FILES, RUN_FOLDERS
from .run_view import is_training
from .sharding import find_divided_weights


@dataclass(frozen=True)
class DryRun:
    """What would be trained.

    Attributes:
        recipe: Name of the recipe.
        folder: The run folder.
        action: `start`, `replace` (an earlier run in the folder) or `continue`.
        checkpoint: Where the run would continue from, or take its first weights from; None: from nothing.
        step: Optimizer steps made before.
        examples: Number of training examples.
        held_out: Number of examples for validation.
        classes: Names of the classes.
        latent: Shape of the diffused tensor of one example.
        parameters: Number of weights.
        trains_codec: Whether a codec would be trained first.
        batch: Samples per step.
        processes: Number of processes.
        steps: Limit in steps.
        minutes: Limit in minutes.
        device: Training device.
        precision: `bf16` or `float32`.
        log: Loggers, in addition to metrics.jsonl.
    """

    recipe: str
    folder: str
    action: str
    checkpoint: str | None
    step: int
    examples: int
    held_out: int
    classes: tuple[str, ...]
    latent: tuple[int, ...]
    parameters: int
    trains_codec: bool
    batch: int
    processes: int
    steps: int | None
    minutes: float | None
    device: str
    precision: str
    log: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same as text."""
        length = format_count(self.minutes or 0, "minute") if self.steps is None else format_count(self.steps, "step")
        classes = f" of {len(self.classes)} classes" if self.classes else ""
        where = self.device if self.processes == 1 else f"{self.processes} processes, {self.device}"
        codec = "; its codec is trained first" if self.trains_codec else ""
        origin = f" from {self.checkpoint}" if self.checkpoint else ""
        action = {
            "start": f"a new run{origin} in {self.folder}",
            "replace": f"a new run{origin} that replaces the one in {self.folder}",
            "continue": f"the run in {self.folder} goes on{origin}, after step {self.step}",
        }[self.action]
        return [
            "dry run: nothing is trained or written",
            f"recipe    {self.recipe}: {format_count(self.examples, 'example')}{classes}, {self.held_out} held out",
            f"network   {self.parameters / 1e6:.2f} M weights, diffuses {self.latent}{codec}",
            f"training  {length} in batches of {self.batch}, {where} in {self.precision}",
            f"writes    {action}",
            f"log       {', '.join(('metrics.jsonl', *self.log))}",
        ]


def plan_training(
    run: TrainingRun,
    resume: Path | None = None,
    weights: Path | None = None,
    overwrite: bool = False,
    moved: bool = False,
) -> DryRun:
    """Check a training run as `TrainingRun.prepare` does, without its folder, its codec and its initial weights.

    Args:
        run: The run, which is not prepared.
        resume: See `TrainingRun.prepare`, like the following arguments.
        weights: Checkpoint for initial weights.
        overwrite: Replace the run in the folder.
        moved: The recipe names another place of the data.

    Raises:
        BadInput: The run cannot be started.
    """
    recipe, train, folder = run.recipe, run.recipe.train, run.folder.path
    run.ranks.check_batch(train.batch)
    _check_folder(run, resume is not None, overwrite)
    data, spec, recorded = read_training_data(recipe, run.folder, resume is not None)
    run.parts = parts = outline_model_components(recipe, spec)
    check_conditions(parts, data)
    if train.shard != "none" and run.ranks.world > 1:
        train.optimizer.build().check_can_shard()
        find_divided_weights(parts.model)
    for callback in run.callbacks:
        callback.check(run)
    step = 0
    if resume is not None:
        header = read_header(resume)
        step, changes = header.step, run.folder.data_changes(data)
        if header.spec.classes != parts.spec.classes:
            raise BadInput(f"the data's classes are {parts.spec.classes}, and the run's are {header.spec.classes}")
        if changes and moved:
            raise BadInput(f"this is not the data of the run: {changes}. --from {resume} starts a new run with it")
        load_weights(resume, parts.model, "model")
    elif weights is not None:
        read_header(weights)
        load_weights(weights, parts.model, "ema")
    try:
        held_out = len(build_dataset(recipe, "valid", recorded)[0])
    except EmptySplit:
        held_out = 0
    replaces = (folder / "resolved.yaml").is_file()
    return DryRun(
        recipe=recipe.name,
        folder=str(folder),
        action="continue" if resume is not None else "replace" if replaces else "start",
        checkpoint=str(resume or weights) if resume or weights else None,
        step=step,
        examples=len(data),
        held_out=held_out,
        classes=tuple(parts.spec.classes),
        latent=tuple(parts.spec.latent),
        parameters=sum(p.numel() for p in parts.model.parameters()),
        trains_codec=isinstance(parts.codec, LearnedCodec) and resume is None and weights is None,
        batch=train.batch,
        processes=run.ranks.world,
        steps=train.steps,
        minutes=train.minutes,
        device=run.device.type,
        precision="bf16" if uses_bf16(run.device, train.precision) else "float32",
        log=tuple(component.use for component in train.log),
    )


def _check_folder(run: TrainingRun, resumed: bool, overwrite: bool) -> None:
    """Raise BadInput if the folder cannot be used; unlike in `RunDir.lock`, nothing is written for a test."""
    folder = run.folder.path
    above = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))
    if not above.is_dir():
        raise BadInput(f"{above} is a file: name another folder with --out")
    if not os.access(above, os.W_OK | os.X_OK):
        raise BadInput(f"{folder} cannot be written to: name another folder with --out, or change its rights")
    check_kinds(folder, RUN_FILES, RUN_FOLDERS)
    if is_training(folder):
        raise BadInput(f"{folder} is being written by {LockOwner.read(folder / LOCK)}: name another folder")
    if not resumed:
        run.folder.check_unused(overwrite)
