"""Log-magnitude spectrogram on a linear frequency scale: all partials of a tone are kept apart."""

from __future__ import annotations

from torch import Tensor

from ....core.types import MediaSpec
from ..stereo import StereoPlanes
from ._log_magnitude import BandLimit, InitialPhase, LogMagnitudeCodec


class LogSpectrum(LogMagnitudeCodec):
    """Logarithm of the magnitude of every STFT bin, y = log(|S| + floor): (B, C, frames) -> (B, C bins, positions).

    Only the phase is lost, so it suits tonal sounds, and it needs two to four times as many numbers as log-mel. The
    phase can be estimated well with a hop of at most n_fft / 4. Networks with patches need no padding if the number of
    bins is a multiple of the patch: n_fft 254 has 128 bins, n_fft 510 has 256. See `LogMagnitudeCodec` for the floor
    and the decoder.

    Args:
        n_fft: Samples per window; there are n_fft // 2 + 1 bins.
        hop: Samples between windows, at most n_fft / 2.
        floor: Floor in dB relative to the reference.
        iterations: Iterations of fast Griffin-Lim in the decoder.
        phase: Initial phase: from the derivatives of the magnitudes, or random.
        limit: Upper limit of a decoded band: its maximum in the training split, or 20 dB above the reference.
        stereo: The signals of a stereo sound that are encoded. `left_right`: each channel; they are decoded as
            independent. `mid_side`: (L + R) / 2, (L - R) / 2 and the level difference, which keep the correlation too.
    """

    def __init__(
        self,
        spec: MediaSpec,
        n_fft: int = 254,
        hop: int = 64,
        floor: float = -60.0,
        iterations: int = 16,
        phase: InitialPhase = "magnitudes",
        limit: BandLimit = "data",
        stereo: StereoPlanes = "left_right",
    ):
        super().__init__(spec, n_fft // 2 + 1, n_fft, hop, floor, iterations, phase, limit, stereo)

    def to_bands(self, magnitude: Tensor) -> Tensor:
        """The magnitudes themselves."""
        return magnitude

    def to_magnitude(self, bands: Tensor) -> Tensor:
        """The bands themselves."""
        return bands

    def to_bins(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values
