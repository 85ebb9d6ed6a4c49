"""Base class of audio codecs: batches of media, padding to whole frames, masks of valid frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional

from ....core.codecs.base import Codec
from ....core.types import BadInput, Item, MediaSpec
from .. import dsp
from ..stereo import StereoPlanes, to_left_right, to_mid_side

_FADE = 0.005  # seconds
MOST_SAMPLES = 2**15  # of a window, or of a position


def padded_media_batches(items: Iterable[Item], size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
    """Items as (media (B, C, frames), lengths (B,)), in batches of `size`."""
    source = iter(items)
    while chunk := list(islice(source, size)):
        media = torch.stack([item.media for item in chunk])
        yield media, torch.tensor([media.shape[-1] if item.length is None else item.length for item in chunk])


def leading_mask(counts: Tensor, total: int) -> Tensor:
    """(B,) counts -> (B, 1, total) with ones at the first `count` positions of each row."""
    return (torch.arange(total, device=counts.device) < counts[:, None])[:, None].float()


def check_stft_window(n_fft: int, hop: int) -> None:
    """Raise BadInput for a hop or a window that does not allow reconstruction."""
    if not 4 <= n_fft <= MOST_SAMPLES:
        raise BadInput(f"codec.n_fft is a number of samples, 4 to {MOST_SAMPLES}; got {n_fft}")
    if not 1 <= hop <= n_fft // 2:
        raise BadInput(
            f"codec.hop lies between 1 and n_fft / 2 = {n_fft // 2}, else samples fall between windows; got {hop}"
        )


class FrameCodec(Codec):
    """A codec whose tensor has one position for every `hop` samples: (B, C, frames) -> (B, C', ceil(frames / hop)).

    Args:
        spec: Media specification of the sounds.
        hop: Samples between positions.
        reach: Samples before its hop that still affect a position (half of the overlap of windows).
        multiple: The number of positions is rounded up to a multiple of this, so that a U-Net does not pad.
        stereo: The signals of a stereo sound that are encoded.
    """

    wrap = (0,)

    def __init__(
        self, spec: MediaSpec, hop: int, reach: int = 0, multiple: int = 1, stereo: StereoPlanes = "left_right"
    ):
        super().__init__(spec)
        if len(spec.size) != 1 or spec.rate is None:
            raise BadInput(f"the codecs of sound take sound, not {spec.modality} of size {spec.size}")
        if stereo == "mid_side" and spec.channels != 2:
            raise BadInput(
                f"codec.stereo=mid_side is for two channels, and modality.channels is {spec.channels}: leave it out"
            )
        self.hop, self.reach, self.multiple, self.mid_side = hop, reach, multiple, stereo == "mid_side"

    @property
    def unit(self) -> int:  # type: ignore[override]
        """The length of a loop must be a multiple of this number of samples."""
        return self.hop * self.multiple

    def frames(self, size: tuple[int, ...]) -> int:
        """Number of positions along the spatial axis for media of this size."""
        return dsp.frame_count(size[-1], self.hop, self.multiple)

    def to_planes(self, media: Tensor) -> Tensor:
        """(B, C, frames) -> the signals that are encoded, (B, C, frames): mid and side, or the channels themselves."""
        return to_mid_side(media) if self.mid_side else media

    def to_channels(self, planes: Tensor) -> Tensor:
        """The inverse of `to_planes`."""
        return to_left_right(planes) if self.mid_side else planes

    def padded(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) padded with silence to whole positions; a loop must fill them exactly."""
        padded_length = self.frames(media.shape[-1:]) * self.hop
        if loop and padded_length != media.shape[-1]:
            raise BadInput(
                f"a loop of {media.shape[-1]} samples does not fill its frames: its length must be a multiple of "
                f"{self.hop * self.multiple}; the next one is {padded_length}"
            )
        return functional.pad(media, (0, padded_length - media.shape[-1]))

    def cut(self, media: Tensor, length: int | None, loop: bool) -> Tensor:
        """The first `length` samples; BadInput for a shortened loop, which would have an audible seam."""
        if length is None or length == media.shape[-1]:
            return media
        if loop:
            raise BadInput(
                f"a loop of {media.shape[-1]} samples cannot be cut to {length}: request a multiple of "
                f"{self.hop * self.multiple} samples"
            )
        return media[..., :length]

    def fill(self, z: Tensor, media: Tensor, known: Tensor, loop: bool = False) -> Tensor:
        """`media` (B, C, frames) where known (B, 1, frames), otherwise decoded from z."""
        return self.joined(media, self.decode(z, None if loop else media.shape[-1], loop), known)

    def joined(self, media: Tensor, generated: Tensor, known: Tensor) -> Tensor:
        """`media` (B, C, frames) where known (B, 1, frames), otherwise `generated`, joined without clicks.

        At each joint the known part is continued by linear prediction, which is cross-faded into the generated part
        within 5 ms.
        """
        out, rate = torch.where(known, media, generated), float(self.spec.rate or 0)
        for row, mask in enumerate(known[:, 0].tolist()):
            joints = [0, *(i for i in range(1, len(mask)) if mask[i] != mask[i - 1]), len(mask)]
            for left, i, right in zip(joints, joints[1:], joints[2:], strict=False):
                reverse = mask[i]  # the known part is on the right: time is reversed
                sound = out[row].flip(-1) if reverse else out[row]
                start, at, end = (len(mask) - right, len(mask) - i, len(mask) - left) if reverse else (left, i, right)
                n = min(round(_FADE * rate), (end - at) // 2)
                ahead = dsp.linear_prediction(sound[:, max(start, at - 8 * n) : at], n)
                weight = torch.linspace(1, 0, n + 2, device=out.device)[1:-1]
                part = torch.lerp(sound[:, at : at + n], ahead, weight)
                if reverse:
                    out[row, :, i - n : i] = part.flip(-1)
                else:
                    out[row, :, i : i + n] = part
        return out

    def valid(self, lengths: Tensor, size: tuple[int, ...]) -> Tensor | None:
        """(B, 1, positions): 1 where a position depends on the first `lengths` samples."""
        return leading_mask(-(-(lengths + self.reach) // self.hop), self.frames(size))
