"""Log-mel spectrogram: small and easy to learn; the phase is estimated when it is decoded."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ....core.types import BadInput, MediaSpec
from .. import dsp
from ..stereo import StereoPlanes
from ._log_magnitude import BandLimit, InitialPhase, LogMagnitudeCodec


class Logmel(LogMagnitudeCodec):
    """Logarithm of mel bands, y = log(m + floor): (B, C, frames) -> (B, C mels, positions); the phase is lost.

    A band is m = (sum_k w_k |S_k|^power)^(1 / power), with the STFT S and triangular weights w. See
    `LogMagnitudeCodec` for the floor and the decoder.

    Args:
        n_fft: Samples per window.
        hop: Samples between windows, at most n_fft / 2.
        mels: Bands from 0 Hz to half the rate, on Slaney's mel scale.
        floor: Floor in dB relative to the reference.
        iterations: Iterations of fast Griffin-Lim in the decoder.
        power: Exponent of the magnitudes in a band: 1: bands of amplitude; 2: bands of power.
        phase: Initial phase: from the derivatives of the magnitudes, or random.
        limit: Upper limit of a decoded band: its maximum in the training split, or 20 dB above the reference.
        stereo: The signals of a stereo sound that are encoded. `left_right`: each channel; they are decoded as
            independent. `mid_side`: (L + R) / 2, (L - R) / 2 and the level difference, which keep the correlation too.
    """

    stored_defaults: ClassVar = {"power": 1.0, "phase": "random", "limit": "reference"}

    filters: Tensor

    def __init__(
        self,
        spec: MediaSpec,
        n_fft: int = 256,
        hop: int = 64,
        mels: int = 64,
        floor: float = -60.0,
        iterations: int = 16,
        power: float = 1.0,
        phase: InitialPhase = "magnitudes",
        limit: BandLimit = "data",
        stereo: StereoPlanes = "left_right",
    ):
        if not 4 <= mels <= 1024:
            raise BadInput(f"codec.mels is 4 to 1024; got {mels}")
        if not 1 <= power <= 4:
            raise BadInput(f"codec.power lies between 1 and 4; got {power}")
        super().__init__(spec, mels, n_fft, hop, floor, iterations, phase, limit, stereo)
        self.power = power
        self.register_buffer("filters", dsp.mel_filters(n_fft, float(spec.rate or 0), mels).clone(), persistent=False)

    def to_bands(self, magnitude: Tensor) -> Tensor:
        """Mel bands, (B, C, bins, positions) -> (B, C, mels, positions)."""
        return _root(self.filters.to(magnitude.dtype) @ magnitude**self.power, self.power)

    def to_magnitude(self, bands: Tensor) -> Tensor:
        """Non-negative magnitudes with about these mel bands, (B, C, mels, positions) -> (B, C, bins, positions)."""
        return _root(dsp.mel_to_spectrum(bands**self.power, self.filters), self.power)

    def to_bins(self, values: Tensor) -> Tensor:
        """Weighted by the filters, (B, C, mels, positions) -> (B, C, bins, positions); 0 where no filter is."""
        weights = self.filters.to(values.dtype).T
        return weights @ values / weights.sum(1, keepdim=True).clamp(min=1e-12)


def _root(x: Tensor, power: float) -> Tensor:
    """x^(1 / power) of x >= 0, with the derivative 0 at 0."""
    return x if power == 1 else torch.where(x > 0, x.clamp(min=torch.finfo(x.dtype).tiny) ** (1 / power), 0)
