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
from ..stereo import StereoPlanes, split_side, to_left_right
from .base import FrameCodec, check_stft_window, padded_media_batches

_HEADROOM = 20.0  # dB above the reference
InitialPhase = Literal["magnitudes", "random"]
BandLimit = Literal["data", "reference"]


class _BandMaxima:
    """Passes batches of logarithms and masks on, and keeps the maximum of each band over what was passed on."""

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor | None]]):
        self.batches, self.highest = batches, torch.tensor(-math.inf)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        for logs, valid in self.batches:
            known = logs if valid is None else logs.masked_fill(valid == 0, -math.inf)
            self.highest = torch.maximum(self.highest.to(logs), known.amax((0, 2)))
            yield logs, valid


class LogMagnitudeCodec(FrameCodec):
    """y = log(m + floor) of frequency bands m: (B, C, frames) -> (B, C bands, positions); the phase is lost.

    Decoding finds the magnitudes of the STFT, an initial phase, and improves it by iterations of fast Griffin-Lim.

    Left and right of a stereo sound get phases of their own, so that they are decoded as independent signals, whatever
    their correlation was. Mid and side have a third plane, log(left + floor) - log(right + floor) of each band, from
    which level difference and correlation both return: see `stereo.split_side`.

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
        stereo: The signals of a stereo sound that are encoded.
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
        stereo: StereoPlanes,
    ):
        check_stft_window(n_fft, hop)
        if not -120 <= floor <= -20:
            raise BadInput(f"codec.floor is a level in dB from -120 to -20; got {floor}")
        if iterations < 1:
            raise BadInput(f"codec.iterations is 1 or more; got {iterations}")
        super().__init__(spec, hop, reach=(n_fft - hop) // 2, multiple=8, stereo=stereo)
        self.bands, self.n_fft, self.floor, self.iterations, self.phase = bands, n_fft, floor, iterations, phase
        self.planes = 3 if self.mid_side else spec.channels
        self.channel_axes = (("channel", self.planes), ("band", bands))
        self.normal = ChannelStandardizer(self.planes * bands)
        self.register_buffer("reference", torch.ones(()))
        self.limit = limit
        if limit == "data":
            self.register_buffer(
                "highest", torch.full((self.planes * bands,), math.log(dsp.db_to_amplitude(_HEADROOM)))
            )

    @abstractmethod
    def to_bands(self, magnitude: Tensor) -> Tensor:
        """Bands of the magnitudes of an STFT, (B, C, bins, positions) -> (B, C, bands, positions)."""

    @abstractmethod
    def to_magnitude(self, bands: Tensor) -> Tensor:
        """Magnitudes with these bands, (B, C, bands, positions) -> (B, C, bins, positions)."""

    @abstractmethod
    def to_bins(self, values: Tensor) -> Tensor:
        """Interpolate a number of each band, (B, C, bands, positions) -> (B, C, bins, positions)."""

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
        maxima = _BandMaxima(self._valid_logs(chain(head, source)))
        self.normal.fit(maxima)
        if self.limit == "data":
            self.highest.copy_(maxima.highest)

    def _valid_logs(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Logarithms and mask of each batch."""
        for media, lengths in batches:
            yield self._logs(media), self.valid(lengths, media.shape[-1:])

    def _bands(self, media: Tensor, loop: bool = False) -> Tensor:
        """Bands of each channel, (B, C bands, positions); with mid and side those of mid, side, left and right."""
        signals = self.padded(media, loop)
        if self.mid_side:
            signals = torch.cat([self.to_planes(signals), signals], dim=1)
        magnitude = dsp.stft(signals, self.n_fft, self.hop, loop).abs()
        return rearrange(self.to_bands(magnitude), "b c m t -> b (c m) t")

    def _level(self, like: Tensor) -> Tensor:
        return self.reference.to(like.dtype) * dsp.db_to_amplitude(self.floor)

    def _logs(self, media: Tensor, loop: bool = False) -> Tensor:
        logs = torch.log(self._bands(media, loop) + self._level(media))
        if not self.mid_side:
            return logs
        mid, side, left, right = logs.chunk(4, dim=1)
        return torch.cat([mid, side, left - right], dim=1)

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, C bands, positions)."""
        return self.normal(self._logs(media, loop))

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C bands, positions) -> (B, C, frames), cut to `length` samples."""
        return self.cut(self._sound(z, loop), length, loop)

    def fill(self, z: Tensor, media: Tensor, known: Tensor, loop: bool = False) -> Tensor:
        """`media` (B, C, frames) where known (B, 1, frames); the rest is decoded from z with a continuous phase."""
        padded = self.to_planes(self.padded(media, loop)), self.padded(known.float(), loop) > 0
        return self.joined(media, self._sound(z, loop, padded)[..., : media.shape[-1]], known)

    def _sound(self, z: Tensor, loop: bool, known: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Decoded (B, C, frames); `known`: the signals that are encoded, and where they are known."""
        magnitude, share, phase = *self._magnitude_and_share(z), None
        if known is not None and share is not None:  # of mid and of the part of side that is independent of it
            known = self._without_share(known[0], share, loop), known[1]
        if self.phase == "magnitudes":
            phase = phase_from_magnitude(magnitude, self.n_fft, self.hop, loop, self._known_phase(known, loop))
        # The two ends of an unknown part are continued separately, so more iterations are needed to join them.
        iterations = self.iterations * (1 if known is None or phase is None else 4)
        found = dsp.griffin_lim(magnitude, self.n_fft, self.hop, iterations, loop=loop, known=known, phase=phase)
        return found if share is None else to_left_right(self._without_share(found, -share, loop))

    def _known_phase(self, known: tuple[Tensor, Tensor] | None, loop: bool) -> tuple[Tensor, Tensor] | None:
        """Phases (B, C, bins, positions) of known signals, and which frames (B, 1, positions) are known."""
        if known is None:
            return None
        whole = dsp.known_frames(known[1], self.n_fft, self.hop, loop)
        return dsp.stft(known[0], self.n_fft, self.hop, loop).angle(), whole

    def _without_share(self, planes: Tensor, share: Tensor, loop: bool) -> Tensor:
        """(B, 2, frames): mid, and side less `share` times mid in every bin."""
        predicted = dsp.istft(share * dsp.stft(planes[:, :1], self.n_fft, self.hop, loop), self.n_fft, self.hop, loop)
        return torch.cat([planes[:, :1], planes[:, 1:] - predicted], dim=1)

    def _magnitude(self, z: Tensor) -> Tensor:
        """(B, C bands, positions) -> magnitude of the spectra that are decoded, (B, C, bins, positions)."""
        return self._magnitude_and_share(z)[0]

    def _magnitude_and_share(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Magnitudes, and with mid and side the share p of mid in side, (B, 1, bins, positions), else None."""
        logs = rearrange(torch.minimum(self.normal.inverse(z), self._top(z)), "b (c m) t -> b c m t", m=self.bands)
        bands = torch.relu(torch.exp(logs[:, :2] if self.mid_side else logs) - self._level(z))
        if not self.mid_side:
            return self.to_magnitude(bands), None
        share, rest = split_side(bands[:, 0], bands[:, 1], logs[:, 2])
        return self.to_magnitude(torch.stack([bands[:, 0], rest], dim=1)), self.to_bins(share[:, None])

    def _top(self, z: Tensor) -> Tensor:
        """Upper limit of the logarithms, (C bands, 1) or a scalar."""
        if self.limit == "data":
            return self.highest.to(z.dtype)[:, None]
        top = torch.log(self.reference.to(z.dtype) * dsp.db_to_amplitude(_HEADROOM))
        if not self.mid_side:
            return top
        return torch.cat([top.repeat(2 * self.bands), torch.full_like(top, math.inf).repeat(self.bands)])[:, None]

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C bands, positions), positions a multiple of 8."""
        return self.planes * self.bands, self.frames(size)
