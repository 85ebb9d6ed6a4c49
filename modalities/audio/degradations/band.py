"""A band of the short-time Fourier transform."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ....core.degradations.base import LinearOperator
from ....core.types import BadInput, MediaSpec
from ..codecs.base import check_stft_window


class Band(LinearOperator):
    """The bins of the STFT between two frequencies.

    (A x)_(k, j) = sqrt(c_k / W) sum_n w_n x_(j hop + n) e^(-2 pi i k n / n_fft) / sqrt(n_fft), hop = n_fft / 4

    with the Hann window w, W = sum_j w_(n + j hop)^2 = 3 / 2, and c_k = 2 for bins that stand for two frequencies, else
    1: the whole band would keep the norm, |A x| = |x|. Real and imaginary parts are the last axis.

    Args:
        spec: Media specification.
        low: Lowest frequency in Hz.
        high: Highest frequency in Hz; null: half of the rate.
        n_fft: Samples per window, a multiple of 4.

    Raises:
        BadInput: The media are no sounds, or no bin is in the band.
    """

    def __init__(self, spec: MediaSpec, low: float = 0.0, high: float | None = None, n_fft: int = 512):
        if spec.rate is None:
            raise BadInput(f"band takes sound, not {spec.modality}")
        if n_fft % 4:
            raise BadInput(f"band's n_fft is a multiple of 4, not {n_fft}")
        check_stft_window(n_fft, n_fft // 4)
        top = spec.rate / 2 if high is None else high
        if not 0 <= low < top <= spec.rate / 2:
            raise BadInput(
                f"band keeps low to high, with 0 <= low < high <= {spec.rate / 2:g} Hz; got {low:g} to {top:g}"
            )
        frequency = torch.fft.rfftfreq(n_fft, 1 / spec.rate, dtype=torch.float64)
        kept = (frequency >= low) & (frequency <= top)
        if not bool(kept.any()):
            raise BadInput(f"no bin of band lies in {low:g} to {top:g} Hz: give a wider band, or a larger n_fft")
        twice = torch.full_like(frequency, 2.0)
        twice[0] = twice[-1] = 1.0
        self.n_fft, self.hop, self.bins = n_fft, n_fft // 4, kept.nonzero()[:, 0]
        self.gain = (twice / 1.5).sqrt()[self.bins]
        self.twice = twice[self.bins]

    def apply(self, x: Tensor) -> Tensor:
        """(B, C, frames) -> (B, C, bins, windows, 2)."""
        windows = functional.pad(x, self._margins(x.shape[-1])).unfold(-1, self.n_fft, self.hop) * self._window(x)
        spectrum = torch.fft.rfft(windows, norm="ortho").movedim(-1, 2)  # (B, C, all bins, windows)
        return torch.view_as_real(spectrum[:, :, self.bins] * self._column(self.gain, x))

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """(B, C, bins, windows, 2) -> (B, C, frames): inverse DFT, window, overlap-add."""
        values = torch.view_as_complex(y.contiguous()) * self._column(self.gain / self.twice, y)
        spectrum = values.new_zeros(*y.shape[:2], self.n_fft // 2 + 1, y.shape[3])
        spectrum[:, :, self.bins] = values
        windows = torch.fft.irfft(spectrum.movedim(2, -1), self.n_fft, norm="ortho") * self._window(y)
        left, right = self._margins(size[-1])
        whole = left + size[-1] + right
        pieces = windows.flatten(0, 1).mT  # (B C, n_fft, windows)
        total = functional.fold(pieces, (1, whole), (1, self.n_fft), stride=(1, self.hop))
        return total.reshape(*y.shape[:2], whole)[..., left : left + size[-1]]

    def _margins(self, length: int) -> tuple[int, int]:
        """Padding, so that 4 windows cover each sample."""
        left = self.n_fft - self.hop
        count = math.ceil((left + length) / self.hop)
        return left, (count - 1) * self.hop + self.n_fft - left - length

    def _window(self, x: Tensor) -> Tensor:
        return torch.hann_window(self.n_fft, dtype=x.dtype, device=x.device)

    @staticmethod
    def _column(values: Tensor, x: Tensor) -> Tensor:
        return values.to(x)[:, None]
