"""Loads a run folder or a checkpoint as a `Pipeline`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config.legacy import upgrade_key_name
from ..config.overrides import changed_conditions
from .open_checkpoint import open_checkpoint
from .pipeline import Pipeline


def load(path: str | Path, device: str = "auto", changes: Sequence[str] = (), allow_code: bool = False) -> Pipeline:
    """Load a run folder (its newest checkpoint) or a checkpoint file, with the averaged weights.

    Args:
        path: The run folder or the file.
        device: auto, cpu, cuda or mps.
        changes: Changes of the recipe's `sample` section, as key=value; in other sections paths may change.
        allow_code: Run code that the checkpoint's recipe names by file or module; otherwise only registered components
            are allowed.

    Raises:
        BadInput: The file is missing, damaged or of another format, or needs code or a path that its recipe names and
            that is not trusted.
    """
    opened = open_checkpoint(path, device, changes, allow_code)
    context = opened.context
    pipeline = Pipeline(context.parts, context.model, opened.step, context.device)
    pipeline.plans, pipeline.recorded = opened.plans, opened.recorded
    pipeline.changed_keys = frozenset(upgrade_key_name("sample", change.partition("=")[0]) for change in changes)
    pipeline.changed_conditions = changed_conditions(changes)
    return pipeline
