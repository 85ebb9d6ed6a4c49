"""The waveform itself: `patch` neighbouring samples become channels, scaled to unit variance."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from ....core.codecs.base import ChannelStandardizer
from ....core.types import BadInput, Item, MediaSpec
from ..stereo import StereoPlanes
from .base import MOST_SAMPLES, FrameCodec, leading_mask, padded_media_batches


class Waveform(FrameCodec):
    """Samples of the waveform, patched to channels: (B, C, frames) -> (B, C patch, frames / patch); exact.

    z[b, c patch + i, k] = x[b, c, k patch + i] / scale, with one scale for all samples and mean 0 (a constant offset of
    sound carries no information). One to one if the length is a multiple of `patch` and there is no overlap. A loop
    remains a loop with circular frames.

    Args:
        patch: Samples that become the channels of one position; 16 is a good value for 8 to 16 kHz.
        overlap: Samples that a position shares with each of its neighbours, 0 to patch. A position then has patch +
            overlap channels, and shared samples are cross-faded. This removes the quiet tones at multiples of
            rate / patch that remain after short trainings, but training is slower.
        stereo: The two signals of a stereo sound that are encoded: left and right, or mid = (L + R) / 2 and side =
            (L - R) / 2, each with its own scale.
    """

    fade: Tensor

    def __init__(self, spec: MediaSpec, patch: int = 16, overlap: int = 0, stereo: StereoPlanes = "left_right"):
        if not 1 <= patch <= MOST_SAMPLES:
            raise BadInput(f"codec.patch is a number of samples, 1 to {MOST_SAMPLES}; got {patch}")
        if not 0 <= overlap <= patch:
            raise BadInput(f"codec.overlap lies between 0 and codec.patch = {patch} samples; got {overlap}")
        super().__init__(spec, hop=patch, reach=overlap // 2, stereo=stereo)
        self.patch, self.overlap = patch, overlap
        self.channel_axes = (("channel", spec.channels), ("sample", patch + overlap))
        self.normal = ChannelStandardizer(2 if self.mid_side else 1)
        # sin^2 up, 1, cos^2 down: copies shifted by `patch` sum to 1.
        rise = torch.sin(torch.pi / 2 * (torch.arange(overlap) + 0.5) / max(1, overlap)).square()
        self.register_buffer("fade", torch.cat([rise, torch.ones(patch - overlap), rise.flip(0)]), persistent=False)

    def fit(self, items: Iterable[Item]) -> None:
        """Fit one scale on the valid samples, or those of mid and side."""

        def pairs():
            for media, lengths in padded_media_batches(items):
                mask = leading_mask(lengths, media.shape[-1])
                if self.mid_side:
                    yield self.to_planes(media), mask
                else:
                    yield rearrange(media, "b c n -> b 1 (c n)"), mask.repeat(1, 1, media.shape[1])

        self.normal.fit(pairs(), centre=False)

    @property
    def _margins(self) -> tuple[int, int]:
        return self.overlap // 2, self.overlap - self.overlap // 2

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, C (patch + overlap), positions); the last position is padded with silence."""
        media = self.to_planes(self.padded(media, loop))
        left, right = self._margins
        if loop:
            n = media.shape[-1]
            media = media[..., torch.arange(-left, n + right, device=media.device) % n]
        else:
            media = functional.pad(media, (left, right))
        patches = media.unfold(-1, self.patch + self.overlap, self.patch) / self._scales(media)
        return rearrange(patches, "b c k p -> b (c p) k")

    def _scales(self, like: Tensor) -> Tensor:
        """The scales as (1, 1, 1), or as (2, 1, 1) of mid and side."""
        return self.normal.scale.to(like.dtype)[:, None, None]

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, C (patch + overlap), positions) -> (B, C, frames), cut to `length` samples."""
        scaled = rearrange(z, "b (c p) k -> b c p k", p=self.patch + self.overlap) * self._scales(z)
        weights = self.fade.to(z.dtype)[:, None].expand(1, 1, -1, z.shape[-1])
        total, weight = (self._joined(v, loop) for v in (scaled * weights[0, 0], weights))
        return self.cut(self.to_channels(total / weight), length, loop)

    def _joined(self, pieces: Tensor, loop: bool) -> Tensor:
        """Overlap-add, (B, C, patch + overlap, positions) -> (B, C, frames)."""
        (left, _), size = self._margins, pieces.shape[-1] * self.patch
        flat = rearrange(pieces, "b c p k -> (b c) p k")
        whole = size + self.overlap
        out = functional.fold(flat, (1, whole), (1, flat.shape[1]), stride=(1, self.patch))[:, 0, 0]
        if loop:
            around = functional.pad(out[:, size:], (0, max(0, size - self.overlap)))[:, :size]
            out = (out[:, :size] + around).roll(-left, 1)
        else:
            out = out[:, left : left + size]
        return rearrange(out, "(b c) n -> b c n", b=pieces.shape[0])

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(C (patch + overlap), positions)."""
        return self.spec.channels * (self.patch + self.overlap), self.frames(size)

    def log_det(self, size: tuple[int, ...]) -> float | None:
        """-N log(scale) for N media elements, less log 2 for each frame of mid and side.

        None where the last position is padded or positions overlap.
        """
        if size[-1] % self.patch or self.overlap:
            return None
        if self.mid_side:
            return -size[-1] * (math.log(2) + float(self.normal.scale.double().log().sum()))
        return -self.spec.channels * size[-1] * math.log(float(self.normal.scale))
