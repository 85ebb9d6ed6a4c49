"""What `sonolux eval` needs to know of pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...core.evaluation.adapter import Alike, Defect, Shown
from ...core.evaluation.classifier import Settings, warp
from . import defects, likeness
from . import io as files


class PictureJudge:
    """Looks at pictures (C, H, W) of one size."""

    nouns: tuple[str, str] = ("picture", "pictures")
    feature = "image/learned"
    suffixes: Collection[str] = files.SUFFIXES
    limit = likeness.COPY
    settings = Settings(widths=(16, 48, 96), epochs=25, lr=4e-3, dropout=0.4, smoothing=0.1, budget=4.2e7)

    def pictures(self, media: Sequence[Tensor]) -> Tensor:
        """The pictures, made smaller to 48 pixels at the most: (N, C, h, w)."""
        return likeness.scaled(media, 48)

    def vary(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Turned, moved, scaled and slanted a little. Not mirrored: a mirrored letter is another one."""
        return warp(x, rng, turn=8, zoom=0.12, shift=0.12, shear=0.08)

    def alike(self, media: Sequence[Tensor], training: Sequence[Tensor]) -> Alike:
        """Whatever the brightness and contrast, shifted, mirrored or cut: see likeness.py."""
        return Alike(*likeness.nearest(media, training))

    def planted(self, media: Sequence[Tensor], seed: int) -> dict[str, list[Tensor]]:
        """Copies with another contrast, a shift, or a cut."""
        return {kind: likeness.planted(media, kind, seed) for kind in ("gain", "shift", "crop")}

    def defects(self, media: Sequence[Tensor], real: Sequence[Tensor], loop: bool) -> list[Defect]:
        """See defects.py."""
        return defects.of(media, real, loop)

    def exhibit(self, media: Tensor) -> list[Shown]:
        """The picture."""
        with tempfile.TemporaryDirectory() as folder:
            path = files.write(Path(folder) / "picture.png", torch.nan_to_num(media.detach().float().cpu()))
            return [Shown("image/png", path.read_bytes())]
