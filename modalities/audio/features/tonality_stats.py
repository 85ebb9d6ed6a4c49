"""About twenty features of a sound that change when noise takes the place of its tones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....core.types import BadInput, MediaSpec
from ..tonal_statistics import tonal_statistics

_TOGETHER = 16  # sounds of similar lengths, padded to one length


class TonalityStats:
    """Harmonic-to-noise ratio, steadiness, detail and crest of spectra in windows of 20 and 64 ms.

    Band levels, on which `audio/logmel_stats` is based, are the same for a tone and for noise in its band. See
    `tonal_statistics`. Level and padding have no effect.

    Args:
        spec: Media specification; its rate is used where a call gives none.
    """

    def __init__(self, spec: MediaSpec | None = None):
        self.rate = None if spec is None else spec.rate

    def __call__(self, sounds: Sequence[Tensor], rate: float | None = None) -> np.ndarray:
        """Sounds (C, frames) of any lengths at `rate` Hz -> (N, d) float64.

        Raises:
            BadInput: For non-finite samples.
        """
        rate = rate or self.rate
        if rate is None:
            raise BadInput("tonality_stats needs the sounds' rate in Hz")
        waves = [sound.detach().float().cpu().mean(0) for sound in sounds]
        if not all(bool(torch.isfinite(wave).all()) for wave in waves):
            raise BadInput("a sound has non-finite samples, so it has no features")
        rows: dict[int, np.ndarray] = {}
        order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
        for start in range(0, len(order), _TOGETHER):
            part = order[start : start + _TOGETHER]
            longest = max(1, len(waves[part[-1]]))
            padded = torch.stack([functional.pad(waves[i], (0, longest - len(waves[i]))) for i in part])
            rows.update(zip(part, tonal_statistics(padded, rate).double().numpy(), strict=True))
        return np.stack([rows[i] for i in range(len(waves))]) if rows else np.zeros((0, self._size(rate)))

    @staticmethod
    def _size(rate: float) -> int:
        return tonal_statistics(torch.zeros(1, 1), rate).shape[1]
