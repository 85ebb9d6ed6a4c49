"""Files that edits start from, read as training would have read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.files import shown
from ..types import BadInput

if TYPE_CHECKING:
    from .pipeline import Pipeline


@dataclass(frozen=True)
class Source:
    """One file.

    path:   where it is
    given:  (C, *media), what the file holds at the recipe's rate, channels and size
    media:  the same at the level of the training data: gain (given - offset)
    label:  the class that its folder names, or None
    """

    path: Path
    given: Tensor
    gain: float
    offset: Tensor
    label: str | None

    @property
    def media(self) -> Tensor:
        """What is encoded."""
        return self.gain * (self.given - self.offset)

    @property
    def length(self) -> int:
        """Media elements along the last axis."""
        return self.given.shape[-1]

    def back(self, media: Tensor) -> Tensor:
        """Media at the training data's level -> at the file's own."""
        return media / self.gain + self.offset

    def taken(self, length: int) -> Source:
        """Its first `length` elements along the last axis."""
        return Source(self.path, self.given[..., :length], self.gain, self.offset, self.label)


def read_source(trained: Pipeline, path: str | Path, fit: bool = True) -> Source:
    """A file by the modality's own reader, and how training would level it.

    fit: pictures are resized and cropped to the recipe's size

    Raises BadInput, which names the file, for one that cannot be read or is silent.
    """
    modality: Any = trained.parts.modality
    path = Path(path)
    if not hasattr(modality, "read"):
        raise BadInput(f"modality {modality.name} reads no files: it needs `read(path)` for edits")
    given = modality.read(path) if fit or trained.parts.spec.rate is not None else modality.read(path, fit=False)
    gain, offset = 1.0, given.new_zeros(given.shape[0], *[1] * (given.ndim - 1))
    if hasattr(modality, "levelled"):
        gain, offset = modality.levelled(given, trained.recipe.data.params)
    if not given.numel() or not bool(torch.isfinite(given).all()):
        raise BadInput(f"{shown(path)}: holds nothing that can be edited")
    folder = path.resolve().parent.name
    return Source(path, given, gain, offset, folder if folder in trained.classes else None)


def encoded(trained: Pipeline, media: Tensor, size: Sequence[int], loop: bool = False) -> Tensor:
    """(1, C', *spatial) of media (C, *media), brought to `size`."""
    room = sized(media, size, loop)[None].to(trained.device)
    with torch.no_grad():
        return trained.codec.encode(room, loop=True) if loop else trained.codec.encode(room)


def sized(media: Tensor, size: Sequence[int], loop: bool = False) -> Tensor:
    """(C, *media) -> (C, *size): cut; or continued, by zeros (silence) or, as a loop, from its beginning."""
    for axis, n in enumerate(size):
        own = media.shape[1 + axis]
        if own >= n or loop:
            media = media.index_select(1 + axis, torch.arange(n, device=media.device) % own)
        else:
            rest = list(media.shape)
            rest[1 + axis] = n - own
            media = torch.cat([media, media.new_zeros(rest)], dim=1 + axis)
    return media
