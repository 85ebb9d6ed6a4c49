"""Degradation: only low frequencies along time, for bandwidth extension."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from ..types import BadInput, MediaSpec
from ..util.annotations import Range
from .base import Degradation, DegradedMedia


class LowPass(Degradation):
    """Frequencies along time above `cutoff` are removed.

    Args:
        spec: Media specification with the rate along time.
        cutoff: Highest frequency that is left, in cycles per second.

    Raises:
        BadInput: The media have no rate along time, or the cutoff is above half of it.
    """

    def __init__(self, spec: MediaSpec, cutoff: Annotated[float, Range(above=0)]):
        if spec.rate is None or spec.time_axis is None:
            raise BadInput(f"low_pass acts along time, and {spec.modality} has no such axis: use downsample")
        if cutoff >= spec.rate / 2:
            raise BadInput(f"low_pass.cutoff is below half of the rate, {spec.rate / 2:g}, not {cutoff:g}")
        self.cutoff, self.rate, self.axis = float(cutoff), spec.rate, 1 + spec.time_axis

    def degrade(self, media: Tensor, rng: np.random.Generator) -> DegradedMedia:
        return DegradedMedia(self.of_file(media))

    def of_file(self, media: Tensor) -> Tensor:
        n = media.shape[self.axis]
        # Zeros follow the end, so that it does not leak into the beginning: the transform is circular.
        spectrum = torch.fft.rfft(media.movedim(self.axis, -1), 2 * n)
        spectrum[..., torch.fft.rfftfreq(2 * n, 1 / self.rate) > self.cutoff] = 0
        return torch.fft.irfft(spectrum, 2 * n)[..., :n].movedim(-1, self.axis)
