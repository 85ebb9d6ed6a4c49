"""The 2D U-Net for spectrograms: a picture of frequency bands and frames, with one plane for each channel or part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ....core.nn.unet import UNetND, spatial_size
from ....core.types import BadInput, Conditioning, MediaSpec

FREQUENCY_OCTAVES = 6  # of the positions along frequency: the finest have a period of 4 of 64 bands


class UNet2d(UNetND):
    """2D U-Net over (plane, band, frame): a spectrogram as a picture in which tones and sweeps are lines.

    The codec names the axes of its channels: log-mel (channel, band), complex STFT (channel, real and imaginary part,
    band). The last one is the first axis of the picture, the others are planes. Convolutions cannot distinguish
    frequencies, so the network always receives the absolute position along frequency; along time see `positions`.
    A loop is circular along time only, and padding is masked along time only. It accepts any number of frames. See
    `UNetND`.

    Args:
        spec: Media specification with the shape (C, frames) of the diffused tensor and the axes of its channels.
        width: Channels at multiplier 1.
        stages: Channel multipliers, finest resolution first; each stage halves both axes.
        blocks: Residual blocks per stage.
        attention: Stages with self-attention over all bands and frames (0 is the finest).
        head_dim: Channels of an attention head.
        dropout: Probability of dropping a feature inside a block.
        patch: Bands and frames that are folded into channels first; [2, 2] reduces the cost of every layer by a factor
            of four.
        skip_scale: Factor on the skip connections.
        positions: Octaves of absolute position along time that the network receives; 0: none; 4 is suitable for media
            with a beginning, such as one-shots.

    Raises:
        BadInput: An option is out of range, or the codec has no bands.
    """

    def __init__(
        self,
        spec: MediaSpec,
        width: int = 48,
        stages: list[int] = [1, 2],  # noqa: B006 (read, never written: the registry shows it as the default)
        blocks: int = 1,
        attention: list[int] = [],  # noqa: B006
        head_dim: int = 32,
        dropout: float = 0.0,
        patch: list[int] = [2, 2],  # noqa: B006
        skip_scale: float = 1.0,
        positions: int = 0,
    ):
        (frames,) = spatial_size(spec.latent, ("frames",), "audio/unet2d")
        *others, (name, bands) = spec.channel_axes or (("", 0),)
        if name != "band":
            raise BadInput(
                "audio/unet2d needs a codec with frequency bands, such as audio/logmel or audio/stft: for other codecs "
                "use audio/unet"
            )
        if len(patch) != 2:
            raise BadInput(f"patch is a number of bands and a number of frames, such as [2, 2]; got {patch}")
        self.picture = math.prod(size for _, size in others), bands
        super().__init__(
            2, self.picture[0], width, stages, blocks, attention, head_dim, dropout, patch, skip_scale,
            (bands, frames), (FREQUENCY_OCTAVES, positions),
        )  # fmt: skip
        self.positions = positions

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
        conditions = replace(conditions.mapped(lambda mask: mask.unsqueeze(2)), wrap=wrap)  # (B, 1, 1, frames)
        level = level if level.ndim == 1 else level.unsqueeze(2)
        return super().forward(x.unflatten(1, self.picture), level, conditions).flatten(1, 2)

    def check_size(self, size: Sequence[int], wrap: Sequence[int] = ()) -> None:
        """Check a number of frames (frames,) against the positions that the network was trained with.

        Raises:
            BadInput: There are more frames than in training.
        """
        super().check_size((self.picture[1], *size), tuple(1 + axis for axis in wrap))
