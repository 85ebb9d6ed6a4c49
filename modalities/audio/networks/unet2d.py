"""The 2D U-Net for spectrograms: a picture of frequency bands and frames, with one plane for each channel or part."""

from __future__ import annotations

from ....core.nn.unet import UNetND
from ....core.types import MediaSpec
from ._spectrogram import FREQUENCY_OCTAVES, SpectrogramField, field_channels, spectrogram_size


class UNet2d(SpectrogramField, UNetND):
    """2D U-Net over (plane, band, frame): a spectrogram as a picture in which tones and sweeps are lines.

    Convolutions cannot distinguish frequencies, so the network always receives the absolute position along frequency;
    along time see `positions`. It accepts any number of frames. See `SpectrogramField` and `UNetND`.

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
        cross_attention: Stages that attend to tokens, such as those of a text (0 is the finest); []: the network
            accepts no tokens.
        transformer: Transformer blocks at the coarsest resolution, which see the whole sample; they attend to tokens if
            a stage does. 2 is suitable for texts that say where things are.
        concat: Channels of each condition that the network receives next to its input.

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
        cross_attention: list[int] = [],  # noqa: B006
        transformer: int = 0,
        concat: tuple[int, ...] = (),
    ):
        self.picture, frames = spectrogram_size(spec, patch, "audio/unet2d", "audio/unet")
        super().__init__(
            2, self.picture[0], width, stages, blocks, attention, head_dim, dropout, patch, skip_scale,
            (self.picture[1], frames), (FREQUENCY_OCTAVES, positions), cross_attention,
            transformer, field_channels(concat, self.picture),
        )  # fmt: skip
        self.positions = positions
