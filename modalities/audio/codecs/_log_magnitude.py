"""Base class of codecs that keep logarithms of magnitudes and estimate the phase when they decode."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from ....core.codecs.base import ChannelStandardizer
from ....core.types import BadInput, Item, MediaSpec
from .. import dsp
from ..phase import phase_from_magnitude
from .base import FrameCodec, check_stft_window, padded_media_batches

_HEADROOM = 20.0  # dB above the reference
InitialPhase = Literal["magnitudes", "random"]
BandLimit = Literal["data", "reference"]


class LogMagnitudeCodec(FrameCodec):
    """y = log(m + floor) of frequency bands m: (B, C, frames) -> (B, C bands, positions); the phase is lost.

    Decoding finds the magnitudes of the STFT, an initial phase, and improves it by iterations of fast Griffin-Lim.

    Padding is digital silence. With a floor far below that of the sounds, silence would dominate the variance of a band
    and inaudible noise would dominate the loss. The floor is therefore relative to the training split (`reference`: the
    median over sounds of a sound's loudest band). It is added, not clamped, so that y is smooth and values at the floor
    decode to exact silence. Each band has its own mean and scale.

    The decoder limits every band, since the exponential of a small error of y is a large error of m: samples would be
    far louder than all training sounds.

    Args:
        spec: Media specification of the sounds.
        bands: Number of bands of one audio channel.
        n_fft: Samples per window.
        hop: Samples between windows, at most n_fft / 2.
        floor: Floor in dB relative to the reference.
        iterations: Iterations of fast Griffin-Lim in the decoder.
        phase: Initial phase: from the derivatives of the magnitudes, or random.
        limit: Upper limit of a decoded band: its maximum in the training split, or 20 dB above the reference.
    """

    reference: Tensor
    highest: Tensor

    def __init__(
        self,
        spec: MediaSpec,
        bands: int,
        n_fft: int,
        hop: int,
        floor: float,
        iterations: int,
        phase: InitialPhase,
        limit: BandLimit,
    ):
        check_stft_window(n_fft, hop)
        if not -120 <= floor <= -20:
            raise BadInput(f"codec.floor is a level in dB from -120 to -20; got {floor}")
        if iterations < 1:
            raise BadInput(f"codec.iterations is 1 or more; got {iterations}")
        super().__init__(spec, hop, reach=(n_fft - hop) // 2, multiple=8)
        self.bands, self.n_fft, self.floor, self.iterations, self.phase = bands, n_fft, floor, iterations, phase
        self.channel_axes = (("channel", spec.channels), ("band", bands))
        self.normal = ChannelStandardizer(spec.channels * bands)
        self.register_buffer("reference", torch.ones(()))
        self.limit = limit
        if limit == "data":
            self.register_buffer(
                "highest", torch.full((spec.channels * bands,), math.log(dsp.db_to_amplitude(_HEADROOM)))
            )

    @abstractmethod
    def to_bands(self, magnitude: Tensor) -> Tensor:
        """Bands of the magnitudes of an STFT, (B, C, bins, positions) -> (B, C, bands, positions)."""

    @abstractmethod
    def to_magnitude(self, bands: Tensor) -> Tensor:
        """Magnitudes with these bands, (B, C, bands, positions) -> (B, C, bins, positions)."""

    def fit(self, items: Iterable[Item]) -> None:
        """Fit the reference on the first 512 sounds, then mean, scale and maximum of every band on the valid frames."""
        source = padded_media_batches(items)
        head = list(islice(source, 8))
        peaks = [self._bands(media).flatten(1).amax(1) for media, _ in head]
        loud = torch.cat(peaks) if peaks else torch.zeros(0)
        loud = loud[loud > dsp.SILENCE]
        if len(loud) == 0:
            raise BadInput("nothing to fit the codec on: every sound of the training split is silent")
        self.reference.copy_(loud.median())
        self.normal.fit(self._valid_logs(chain(head, source)))

    def _valid_logs(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Logarithms and mask of each batch; the maxima of what has been yielded are stored."""
        highest = None
        for media, lengths in batches:
            logs, valid = self._logs(media), self.valid(lengths, media.shape[-1:])
            yield logs, valid
            found = (logs if valid is None else logs.masked_fill(valid == 0, -math.inf)).amax((0, 2))
            highest = found if highest is None else torch.maximum(highest, found)
        if self.limit == "data" and highest is not None:
            self.highest.copy_(highest)

    def _bands(self, media: Tensor, loop: bool = False) -> Tensor:
        magnitude = dsp.stft(self.padded(media, loop), self.n_fft, self.hop, loop).abs()
        return rearrange(self.to_bands(magnitude), "b c m t -> b (c m) t")

    def _level(self, like: Tensor) -> Tensor:
        return self.reference.to(like.dtype) * dsp.db_to_amplitude(self.floor)

    def _logs(self, media: Tensor, loop: bool = False) -> Tensor:
        return torch.log(self._bands(media, loop) + self._level(media))

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, C bands, positions)."""
        return self.normal(self._logs(media, loop))

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C bands, positions) -> (B, C, frames), cut to `length` samples."""
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
        """(B, C bands, positions) -> magnitude of the spectrum, (B, C, bins, positions)."""
        floor = self._level(z)
        bands = torch.relu(torch.exp(torch.minimum(self.normal.inverse(z), self._top(z))) - floor)
        return self.to_magnitude(rearrange(bands, "b (c m) t -> b c m t", m=self.bands))

    def _top(self, z: Tensor) -> Tensor:
        """Upper limit of the logarithms, (C bands, 1) or a scalar."""
        if self.limit == "data":
            return self.highest.to(z.dtype)[:, None]
        return torch.log(self.reference.to(z.dtype) * dsp.db_to_amplitude(_HEADROOM))

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C bands, positions), positions a multiple of 8."""
        return self.spec.channels * self.bands, self.frames(size)
