"""Source files of edits, read as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.files import format_path
from ...types import BadInput, MediaSpec
from ...util.labels import normalise_label
from ...util.messages import format_count
from ...util.paths import check_path
from ..context import ModelContext

Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class SourceFile:
    """One source file.

    Attributes:
        path: The file.
        given: (C, *size), its content with the rate, channels and size of the recipe.
        gain: Level adjustment of training: media = gain (given - offset).
        offset: Offset of each channel, (C, 1, ...).
        label: The class that the name of its folder gives, or None.
        original: Channels, sizes and rates of the file as it is; None: the modality does not state them.
    """

    path: Path
    given: Tensor
    gain: float
    offset: Tensor
    label: str | None
    original: MediaSpec | None = None

    @property
    def media(self) -> Tensor:
        """The content at the level of the training data, gain (given - offset); this is encoded."""
        return self.gain * (self.given - self.offset)

    @property
    def size(self) -> tuple[int, ...]:
        """Number of media elements along each axis."""
        return tuple(self.given.shape[1:])

    def to_file_level(self, media: Tensor) -> Tensor:
        """Invert the level adjustment: from the level of the training data to that of the file."""
        return media / self.gain + self.offset


def as_path_list(files: Files) -> list[Path]:
    """One file or several as a list.

    Raises:
        BadInput: The list is empty.
    """
    found = [Path(files)] if isinstance(files, (str, Path)) else [Path(file) for file in files]
    if not found:
        raise BadInput("name a file to edit")
    return [check_path(path) for path in found]


def read_source_file(model: ModelContext, path: str | Path, fit: bool = True) -> SourceFile:
    """Read a file with the reader of the modality, and determine its level adjustment.

    Args:
        model: Its modality reads the file.
        path: The file.
        fit: Resize and crop to the recipe's size along the axes that are not time.

    Raises:
        BadInput: The file cannot be read, is empty or contains non-finite values; the message names it.
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
        raise BadInput(f"{format_path(path)}: contains nothing that can be edited")
    classes = {normalise_label(name): name for name in model.classes}
    original = modality.file_spec(path) if hasattr(modality, "file_spec") else None
    return SourceFile(path, given, gain, offset, classes.get(normalise_label(path.resolve().parent.name)), original)


def describe_conversion(source: SourceFile, spec: MediaSpec) -> str:
    """What reading has changed of a file, in words: "from rate 22050 to rate 11025; the result has ..."; "" if nothing.

    Args:
        source: The file as it was read.
        spec: The media specification of the data.
    """
    before = source.original
    if before is None:
        return ""
    pairs = [(format_count(before.channels, "channel"), format_count(source.given.shape[0], "channel"))]
    if before.rate is not None and spec.rate is not None:
        pairs.append((f"rate {before.rate:g}", f"rate {spec.rate:g}"))
    pairs += [(f"{spec.axes[i]} {before.size[i]}", f"{spec.axes[i]} {source.size[i]}") for i in spec.other_axes]
    changed = [pair for pair in pairs if pair[0] != pair[1]]
    if not changed:
        return ""
    old, new = (", ".join(side) for side in zip(*changed, strict=True))
    return f"from {old} to {new}; the result has {new}"


def trim_source(source: SourceFile, model: ModelContext, length: int) -> SourceFile:
    """The first `length` elements of a source along the time axis."""
    return replace(source, given=model.spec.trim(source.given, length))


def cut_or_pad(media: Tensor, size: Sequence[int], loop: bool = False) -> Tensor:
    """Cut or extend (C, *media) to (C, *size): with zeros, or for a loop periodically."""
    for axis, n in enumerate(size):
        length = media.shape[1 + axis]
        if length >= n or loop:
            media = media.index_select(1 + axis, torch.arange(n, device=media.device) % length)
        else:
            rest = list(media.shape)
            rest[1 + axis] = n - length
            media = torch.cat([media, media.new_zeros(rest)], dim=1 + axis)
    return media
