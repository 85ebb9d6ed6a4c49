"""Files that edits start from, read as training reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.files import shown
from ...types import BadInput
from ..context import ModelContext

Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Source:
    """One file.

    Attributes:
        path: Where it is.
        given: (C, *size), what the file holds at the recipe's rate, channels and size.
        gain: With `offset`, what training does to the level of the file: gain (given - offset).
        offset: Of each channel, (C, 1, ...).
        label: The class that its folder names, or None.
    """

    path: Path
    given: Tensor
    gain: float
    offset: Tensor
    label: str | None

    @property
    def media(self) -> Tensor:
        """What is encoded: the file at the level of the training data."""
        return self.gain * (self.given - self.offset)

    @property
    def size(self) -> tuple[int, ...]:
        """Media elements along each axis."""
        return tuple(self.given.shape[1:])

    def back(self, media: Tensor) -> Tensor:
        """Media at the training data's level -> at the file's own."""
        return media / self.gain + self.offset


def listed(files: Files) -> list[Path]:
    """One file or several as a list.

    Raises:
        BadInput: If there is none.
    """
    found = [Path(files)] if isinstance(files, (str, Path)) else [Path(file) for file in files]
    if not found:
        raise BadInput("name a file to edit")
    return found


def read_source(model: ModelContext, path: str | Path, fit: bool = True) -> Source:
    """A file by the modality's own reader, and how training would level it.

    Args:
        model: Its modality reads the file.
        path: The file.
        fit: Resize and crop it to the recipe's size along the axes that are not time.

    Raises:
        BadInput: The file cannot be read, or holds nothing that can be edited; the message names it.
    """
    modality: Any = model.parts.modality
    path = Path(path)
    if not hasattr(modality, "read"):
        raise BadInput(f"modality {modality.name} reads no files: it needs `read(path)` for edits")
    given = modality.read(path) if fit or not model.spec.other_axes else modality.read(path, fit=False)
    gain, offset = 1.0, given.new_zeros(given.shape[0], *[1] * (given.ndim - 1))
    if hasattr(modality, "levelled"):
        gain, offset = modality.levelled(given, model.recipe.data.params)
    if not given.numel() or not bool(torch.isfinite(given).all()):
        raise BadInput(f"{shown(path)}: holds nothing that can be edited")
    folder = path.resolve().parent.name
    return Source(path, given, gain, offset, folder if folder in model.classes else None)


def trimmed(source: Source, model: ModelContext, length: int) -> Source:
    """The first `length` elements of a source along the time axis."""
    return replace(source, given=model.spec.trim(source.given, length))


def resized(media: Tensor, size: Sequence[int], loop: bool = False) -> Tensor:
    """(C, *media) -> (C, *size): cut; or continued, by zeros or, as a loop, from its beginning."""
    for axis, n in enumerate(size):
        own = media.shape[1 + axis]
        if own >= n or loop:
            media = media.index_select(1 + axis, torch.arange(n, device=media.device) % own)
        else:
            rest = list(media.shape)
            rest[1 + axis] = n - own
            media = torch.cat([media, media.new_zeros(rest)], dim=1 + axis)
    return media
