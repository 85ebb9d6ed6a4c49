"""The 2D diffusion transformer for spectrograms: patches of frequency bands and frames."""

from __future__ import annotations

from ....core.nn.dit import DiTND, SizeName
from ....core.types import MediaSpec
from ._spectrogram import FREQUENCY_OCTAVES, SpectrogramField, field_channels, spectrogram_size


class DiT2d(SpectrogramField, DiTND):
    """Diffusion transformer over patches of (plane, band, frame); see `SpectrogramField` and `DiTND`.

    Args:
        spec: Media specification with the shape (C, frames) of the diffused tensor and the axes of its channels.
        size: Blocks x width: nano 4 x 128, tiny 6 x 256, small 12 x 384, base 12 x 768.
        patch: Bands and frames of a patch. The cost of attention is proportional to the square of the number of
            patches.
        dropout: Probability of dropping a hidden feature of a block.
        skips: Whether the second half of the blocks receives the results of the first half too (U-ViT).
        positions: Octaves of absolute position along time that the network receives; 0: none, and any length can be
            sampled; 4 is suitable for media with a beginning, such as one-shots.
        cross_attention: Whether it attends to tokens, such as those of a text; false: it accepts no tokens.
        concat: Channels of each condition that the network receives next to its input.

    Raises:
        BadInput: An option is out of range, or the codec has no bands.
    """

    def __init__(
        self,
        spec: MediaSpec,
        size: SizeName = "small",
        patch: list[int] = [8, 2],  # noqa: B006 (read, never written: the registry shows it as the default)
        dropout: float = 0.0,
        skips: bool = False,
        positions: int = 0,
        cross_attention: bool = False,
        concat: tuple[int, ...] = (),
    ):
        self.picture, frames = spectrogram_size(spec, patch, "audio/dit2d", "audio/dit")
        super().__init__(
            2, self.picture[0], size, patch, dropout, skips,
            (self.picture[1], frames), (FREQUENCY_OCTAVES, positions), cross_attention,
            field_channels(concat, self.picture),
        )  # fmt: skip
        self.positions = positions
