"""The 1D diffusion transformer for audio: a sequence of frames with C channels each."""

from __future__ import annotations

from ....core.nn.dit import DiTND, SizeName
from ....core.nn.spatial import spatial_size
from ....core.types import MediaSpec


class DiT(DiTND):
    """Diffusion transformer over patches of (C, frames), of any length; see `DiTND`.

    Args:
        spec: Media specification with the shape (C, frames) of the diffused tensor.
        size: Blocks x width: nano 4 x 128, tiny 6 x 256, small 12 x 384, base 12 x 768.
        patch: Frames of a patch. The cost of attention is proportional to the square of the number of patches.
        dropout: Probability of dropping a hidden feature of a block.
        skips: Whether the second half of the blocks receives the results of the first half too (U-ViT).
        positions: Octaves of absolute position that the network receives; 0: attention knows relative positions only,
            and any length can be sampled; 4 is suitable for media with a beginning, such as one-shots.
        cross_attention: Whether it attends to tokens, such as those of a text; false: it accepts no tokens.
        concat: Channels of each condition that the network receives next to its input.

    Raises:
        BadInput: An option is out of range, or the codec makes tensors with other axes.
    """

    def __init__(
        self,
        spec: MediaSpec,
        size: SizeName = "small",
        patch: int = 1,
        dropout: float = 0.0,
        skips: bool = False,
        positions: int = 0,
        cross_attention: bool = False,
        concat: tuple[int, ...] = (),
    ):
        places = spatial_size(spec.latent, ("frames",), "audio/dit")
        super().__init__(
            1, spec.latent[0], size, patch, dropout, skips, places, positions, cross_attention, sum(concat)
        )
