"""The run folder as ranks other than 0 see it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from ..config.recipe import Recipe
from ..types import Dataset
from .run_dir import RunDir


class UnwrittenRunDir(RunDir):
    """The run folder of a rank that reads checkpoints from it, and writes nothing.

    Examples that it encodes are kept in a temporary folder of its own until the end.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def latents(self) -> Path:
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="sonolux-")
        return Path(self._temporary.name) / super().latents.name

    def lock(self) -> None:
        """Nothing: rank 0 locks it."""

    def check_unused(self, overwrite: bool) -> None:
        """Nothing: rank 0 checks it."""

    def create(self, recipe: Recipe, data: Dataset, device: torch.device) -> None:
        """Nothing: rank 0 creates it."""

    def resume(self, recipe: Recipe, step: int, data: Dataset | None = None) -> None:
        """Nothing: rank 0 prepares it."""

    def write_rest(self) -> Path | None:
        """Nothing: rank 0 writes the log."""
        return None

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
