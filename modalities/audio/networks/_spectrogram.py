"""Networks for which the bands of a spectrogram are an axis: shared by the U-Net and the transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ....core.nn.spatial import SpatialNetwork, spatial_size
from ....core.types import BadInput, Conditioning, MediaSpec

FREQUENCY_OCTAVES = 6  # of the positions along frequency: the finest have a period of 4 of 64 bands


class SpectrogramField(SpatialNetwork):
    """A network over (plane, band, frame) that receives tensors (planes bands, frames).

    The codec names the axes of its channels: log-mel (channel, band), complex STFT (channel, real and imaginary part,
    band). The last one is the first axis of the picture, the others are planes. The network always receives the
    absolute position along frequency. A loop is circular along time only, and padding is masked along time only.

    Attributes:
        picture: Numbers of planes and of bands.
    """

    picture: tuple[int, int]

    def forward(self, x: Tensor, level: Tensor, conditions: Conditioning | None = None) -> Tensor:
        """The network's output.

        Args:
            x: (B, planes bands, frames).
            level: The noise conditioning's number, (B,) or a map (B, 1, frames).
            conditions: Vectors of the conditions, valid mask and circular axes.

        Returns:
            (B, planes bands, frames).
        """
        conditions = Conditioning() if conditions is None else conditions
        if conditions.valid is None and self.picture[1] % self._factors[0]:  # added bands must not count as sound
            conditions = replace(conditions, valid=x.new_ones(x.shape[0], 1, x.shape[2]))
        wrap = tuple(1 + axis for axis in conditions.wrap)
        conditions = replace(conditions.mapped(self._as_field), wrap=wrap)
        level = level if level.ndim == 1 else level.unsqueeze(2)
        return super().forward(x.unflatten(1, self.picture), level, conditions).flatten(1, 2)

    def _as_field(self, value: Tensor) -> Tensor:
        """(B, C', frames) -> (B, planes, bands, frames); channels beyond a multiple of the sample's apply to all bands.

        A mask (B, 1, frames) becomes (B, 1, 1, frames).
        """
        planes, bands = self.picture
        whole = value.shape[1] // (planes * bands) * planes
        if not whole:
            return value.unsqueeze(2)
        fields, rest = value[:, : whole * bands], value[:, whole * bands :]
        return torch.cat([fields.unflatten(1, (whole, bands)), rest.unsqueeze(2).expand(-1, -1, bands, -1)], dim=1)

    def check_size(self, size: Sequence[int], wrap: Sequence[int] = ()) -> None:
        """Check a number of frames (frames,) against the positions that the network was trained with.

        Raises:
            BadInput: There are more frames than in training.
        """
        super().check_size((self.picture[1], *size), tuple(1 + axis for axis in wrap))


def field_channels(concat: Sequence[int], picture: tuple[int, int]) -> int:
    """Planes that conditions of so many channels have together, see `SpectrogramField`."""
    planes, bands = picture
    return sum(n // (planes * bands) * planes + n % (planes * bands) for n in concat)


def spectrogram_size(spec: MediaSpec, patch: Sequence[int], network: str, other: str) -> tuple[tuple[int, int], int]:
    """Numbers of planes and bands, and of frames.

    Args:
        spec: Media specification with the shape (C, frames) and the axes of the channels.
        patch: Bands and frames of a patch.
        network: The network's registered name, for messages.
        other: The name of a network for codecs without bands.

    Raises:
        BadInput: The codec has no bands, or the patch is not of two axes.
    """
    (frames,) = spatial_size(spec.latent, ("frames",), network)
    *others, (name, bands) = spec.channel_axes or (("", 0),)
    if name != "band":
        raise BadInput(
            f"{network} needs a codec with frequency bands, such as audio/logmel or audio/stft: for other codecs use "
            f"{other}"
        )
    if len(patch) != 2:
        raise BadInput(f"patch is a number of bands and a number of frames, such as [2, 2]; got {patch}")
    return (math.prod(size for _, size in others), bands), frames
