"""Log-mel spectrogram: small and easy to learn; the phase is estimated when it is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import ClassVar, Literal

import torch
from einops import rearrange
from torch import Tensor

from ....core.codecs.base import ChannelStandardizer
from ....core.types import BadInput, Item, MediaSpec
from .. import dsp
from ..phase import phase_from_magnitude
from .base import FrameCodec, check_stft_window, padded_media_batches

_HEADROOM = 20.0  # dB above the reference; upper limit of a decoded band, so that an outlier does not explode


class Logmel(FrameCodec):
    """Logarithm of mel bands, y = log(m + floor): (B, C, frames) -> (B, C mels, positions); the phase is lost.

    A band is m = (sum_k w_k |S_k|^power)^(1 / power), with the STFT S and triangular weights w. Decoding finds
    magnitudes with these bands, an initial phase, and improves it by iterations of fast Griffin-Lim.

    Padding is digital silence. With a floor far below that of the sounds, silence would dominate the variance of a band
    and inaudible noise would dominate the loss. The floor is therefore relative to the training split (`reference`: the
    median over sounds of a sound's loudest band). It is added, not clamped, so that y is smooth and values at the floor
    decode to exact silence. Each band has its own mean and scale.

    Args:
        n_fft: Samples per window.
        hop: Samples between windows, at most n_fft / 2.
        mels: Bands from 0 Hz to half the rate, on Slaney's mel scale.
        floor: Floor in dB relative to the reference.
        iterations: Iterations of fast Griffin-Lim in the decoder.
        power: Exponent of the magnitudes in a band: 1: bands of amplitude; 2: bands of power.
        phase: Initial phase: from the derivatives of the magnitudes, or random.
    """

    stored_defaults: ClassVar = {"power": 1.0, "phase": "random"}

    reference: Tensor
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
        phase: Literal["magnitudes", "random"] = "magnitudes",
    ):
        check_stft_window(n_fft, hop)
        if not -120 <= floor <= -20:
            raise BadInput(f"codec.floor is a level in dB from -120 to -20; got {floor}")
        if not 4 <= mels <= 1024 or iterations < 1:
            raise BadInput(f"codec.mels is 4 to 1024 and codec.iterations 1 or more; got {mels} and {iterations}")
        if not 1 <= power <= 4:
            raise BadInput(f"codec.power lies between 1 and 4; got {power}")
        super().__init__(spec, hop, reach=(n_fft - hop) // 2, multiple=8)
        self.n_fft, self.mels, self.floor, self.iterations = n_fft, mels, floor, iterations
        self.power, self.phase = power, phase
        self.channel_axes = (("channel", spec.channels), ("band", mels))
        self.normal = ChannelStandardizer(spec.channels * mels)
        self.register_buffer("reference", torch.ones(()))
        self.register_buffer("filters", dsp.mel_filters(n_fft, float(spec.rate or 0), mels).clone(), persistent=False)

    def fit(self, items: Iterable[Item]) -> None:
        """Fit the reference on the first 512 sounds, then mean and scale of every band on the valid frames."""
        source = padded_media_batches(items)
        head = list(islice(source, 8))
        peaks = [self._bands(media).flatten(1).amax(1) for media, _ in head]
        loud = torch.cat(peaks) if peaks else torch.zeros(0)
        loud = loud[loud > dsp.SILENCE]
        if len(loud) == 0:
            raise BadInput("nothing to fit the codec on: every sound of the training split is silent")
        self.reference.copy_(loud.median())
        self.normal.fit((self._logs(media), self.valid(n, media.shape[-1:])) for media, n in chain(head, source))

    def _bands(self, media: Tensor, loop: bool = False) -> Tensor:
        magnitude = dsp.stft(self.padded(media, loop), self.n_fft, self.hop, loop).abs()
        bands = _root(self.filters.to(media.dtype) @ magnitude**self.power, self.power)
        return rearrange(bands, "b c m t -> b (c m) t")

    def _level(self, like: Tensor) -> Tensor:
        return self.reference.to(like.dtype) * dsp.db_to_amplitude(self.floor)

    def _logs(self, media: Tensor, loop: bool = False) -> Tensor:
        return torch.log(self._bands(media, loop) + self._level(media))

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, C mels, positions)."""
        return self.normal(self._logs(media, loop))

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C mels, positions) -> (B, C, frames), cut to `length` samples."""
        return self.cut(self._sound(z, loop), length, loop)

    def fill(self, z: Tensor, media: Tensor, known: Tensor, loop: bool = False) -> Tensor:
        """`media` (B, C, frames) where known (B, 1, frames); the rest is decoded from z with a continuous phase."""
        padded = self.padded(media, loop), self.padded(known.float(), loop) > 0
        return self.joined(media, self._sound(z, loop, padded)[..., : media.shape[-1]], known)

    def _sound(self, z: Tensor, loop: bool, known: tuple[Tensor, Tensor] | None = None) -> Tensor:
        magnitude, phase = self._magnitude(z), None
        if self.phase == "magnitudes":
            phase = phase_from_magnitude(magnitude, self.n_fft, self.hop, loop)
        # Estimated phases start apart from those of known samples, so more iterations are needed there.
        iterations = self.iterations * (1 if known is None or phase is None else 4)
        return dsp.griffin_lim(magnitude, self.n_fft, self.hop, iterations, loop=loop, known=known, phase=phase)

    def _magnitude(self, z: Tensor) -> Tensor:
        """(B, C mels, positions) -> magnitude of the spectrum, (B, C, bins, positions)."""
        floor = self._level(z)
        top = torch.log(self.reference.to(z.dtype) * dsp.db_to_amplitude(_HEADROOM))
        bands = torch.relu(torch.exp(torch.minimum(self.normal.inverse(z), top)) - floor)
        bands = rearrange(bands, "b (c m) t -> b c m t", m=self.mels)
        return _root(dsp.mel_to_spectrum(bands**self.power, self.filters), self.power)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C mels, positions), positions a multiple of 8."""
        return self.spec.channels * self.mels, self.frames(size)


def _root(x: Tensor, power: float) -> Tensor:
    """x^(1 / power) of x >= 0, with the derivative 0 at 0."""
    return x if power == 1 else torch.where(x > 0, x.clamp(min=torch.finfo(x.dtype).tiny) ** (1 / power), 0)
