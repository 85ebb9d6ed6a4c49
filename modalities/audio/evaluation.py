"""What `sonolux eval` needs to know of sounds."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...core.evaluation.adapter import Alike, Defect, Shown
from ...core.evaluation.classifier import Settings
from . import defects
from . import io as files
from . import visualize as draw
from .features import likeness, pictures


class SoundJudge:
    """Looks at sounds (C, frames) of one rate in Hz."""

    nouns: tuple[str, str] = ("sound", "sounds")
    feature = "audio/logmel_stats"
    suffixes: Collection[str] = files.SUFFIXES
    limit = likeness.COPY
    settings = Settings(widths=(16, 48, 96), rows=4, epochs=25, batch=32)

    def __init__(self, rate: float):
        self.rate = rate

    def pictures(self, media: Sequence[Tensor]) -> Tensor:
        """Log-mel pictures (N, 1, 32, columns), in dB below each sound's loudest point."""
        parts = [torch.stack(list(media[i : i + 64])) for i in range(0, len(media), 64)]
        return torch.cat([pictures.mel_pictures(part, self.rate) for part in parts])

    def vary(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Faster, later, higher, on noise, with parts missing."""
        return pictures.vary(x, rng)

    def alike(self, media: Sequence[Tensor], training: Sequence[Tensor]) -> Alike:
        """Whatever the gain, polarity and place, and where a sound is a part of one: see features/likeness.py."""
        return Alike(*likeness.nearest(media, training, self.rate))

    def planted(self, media: Sequence[Tensor], seed: int) -> dict[str, list[Tensor]]:
        """Copies with another gain, a shift as well, or a cut."""
        return {kind: likeness.planted(media, self.rate, kind, seed) for kind in ("gain", "shift", "crop")}

    def defects(self, media: Sequence[Tensor], real: Sequence[Tensor], loop: bool) -> list[Defect]:
        """See defects.py."""
        return defects.of(media, real, self.rate, loop)

    def exhibit(self, media: Tensor) -> list[Shown]:
        """A spectrogram under a waveform, and a player."""
        wave = torch.nan_to_num(media.detach().float().cpu())
        data = io.BytesIO()
        draw.sheet([wave], self.rate).save(data, "PNG", optimize=True)
        shortest = round(0.05 * self.rate)  # some browsers refuse to play less
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sound.wav"
            files.write(path, functional.pad(wave, (0, max(0, shortest - wave.shape[-1]))), self.rate)
            return [Shown("image/png", data.getvalue()), Shown("audio/wav", path.read_bytes())]
