"""Complex STFT with compressed magnitude, invertible, with bins as channels.

Compression S |S|^(power - 1) as in speech enhancement and in EDMSound (Zhu et al. 2023, arXiv 2311.08667, section 3.1):
spectra have heavy tails (a kurtosis of hundreds), which are difficult for a diffusion model with Gaussian noise.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor

from ....core.codecs.base import ChannelStandardizer
from ....core.types import BadInput, Item, MediaSpec
from .. import dsp
from ..stereo import StereoPlanes
from .base import FrameCodec, check_stft_window, padded_media_batches

_TINY = 1e-20  # power below which the compression is linear, so that gradients are finite for silence


class Stft(FrameCodec):
    """Complex STFT, |S|^power with its phase: (B, C, frames) -> (B, C 2 bins, positions); exact up to rounding.

    Channels are (C, real and imaginary, bins). A bin has one scale for both parts and mean 0, so that a phase rotation
    does not change the statistics. The imaginary parts of bin 0 (and of the last bin where n_fft is even) are always 0.

    Args:
        n_fft: Samples per window; there are n_fft // 2 + 1 bins.
        hop: Samples between windows, at most n_fft / 2; with n_fft / 4 or less, seams are inaudible.
        power: Exponent of the magnitude, above 0 up to 1; smaller values compress more.
        stereo: The two signals of a stereo sound that are encoded: left and right, or mid = (L + R) / 2 and side =
            (L - R) / 2, which suit sounds whose channels are similar.
    """

    def __init__(
        self, spec: MediaSpec, n_fft: int = 254, hop: int = 64, power: float = 0.5, stereo: StereoPlanes = "left_right"
    ):
        check_stft_window(n_fft, hop)
        if not 0 < power <= 1:
            raise BadInput(f"codec.power lies above 0 and up to 1; got {power}")
        super().__init__(spec, hop, reach=(n_fft - hop) // 2, multiple=8, stereo=stereo)
        self.n_fft, self.power = n_fft, power
        self.bins = n_fft // 2 + 1
        self.channel_axes = (("channel", spec.channels), ("part", 2), ("band", self.bins))
        self.normal = ChannelStandardizer(spec.channels * 2 * self.bins)

    def fit(self, items: Iterable[Item]) -> None:
        """Fit one scale per bin and audio channel on the valid frames."""
        self.normal.fit(
            (
                (self._parts(media), self.valid(lengths, media.shape[-1:]))
                for media, lengths in padded_media_batches(items)
            ),
            centre=False,
        )
        power = rearrange(self.normal.scale.square(), "(c r k) -> c r k", r=2, k=self.bins)
        shared = power.mean(1)
        single = [0, self.bins - 1] if self.n_fft % 2 == 0 else [0]
        shared[:, single] = power[:, 0, single]  # bins without an imaginary part
        self.normal.scale.copy_(shared.sqrt()[:, None].expand_as(power).reshape(-1))

    def _parts(self, media: Tensor, loop: bool = False) -> Tensor:
        spectrum = torch.view_as_real(
            dsp.stft(self.to_planes(self.padded(media, loop)), self.n_fft, self.hop, loop)
        )  # (B, C, K, T, 2)
        gain = (spectrum.square().sum(-1, keepdim=True) + _TINY) ** ((self.power - 1) / 2)
        return rearrange(spectrum * gain, "b c k t r -> b (c r k) t")

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, C 2 bins, positions)."""
        return self.normal(self._parts(media, loop))

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C 2 bins, positions) -> (B, C, frames), cut to `length` samples."""
        parts = rearrange(self.normal.inverse(z), "b (c r k) t -> b c k t r", r=2, k=self.bins)
        gain = (parts.square().sum(-1, keepdim=True) + _TINY) ** ((1 / self.power - 1) / 2)
        spectrum = torch.view_as_complex((parts * gain).contiguous())
        return self.cut(self.to_channels(dsp.istft(spectrum, self.n_fft, self.hop, loop)), length, loop)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C 2 bins, positions), positions a multiple of 8."""
        return self.spec.channels * 2 * self.bins, self.frames(size)
