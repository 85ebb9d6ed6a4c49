"""The 2D U-Net for images."""

from __future__ import annotations

from ....core.nn.spatial import spatial_size
from ....core.nn.unet import UNetND
from ....core.types import MediaSpec


class UNet(UNetND):
    """2D U-Net over (C, height, width): residual blocks modulated by noise level and conditions.

    It accepts any size; the stages with self-attention are selectable. See `UNetND`.

    Args:
        spec: Media specification with the shape (C, height, width) of the diffused tensor.
        width: Channels at multiplier 1.
        stages: Channel multipliers, finest resolution first; each stage halves the resolution.
        blocks: Residual blocks per stage.
        attention: Stages with self-attention (0 is the finest).
        head_dim: Channels of an attention head.
        dropout: Probability of dropping a feature inside a block.
        patch: Pixels along each axis that are folded into channels first; 2 reduces the cost of every layer by a factor
            of four.
        skip_scale: Factor on the skip connections.
        positions: Octaves of absolute position that the network receives; 0: none; 4 is suitable for media whose
            content depends on the position.
        cross_attention: Stages that attend to tokens, such as those of a text (0 is the finest); []: the network
            accepts no tokens.
        transformer: Transformer blocks at the coarsest resolution, which see the whole sample; they attend to tokens if
            a stage does. 2 is suitable for texts that say where things are.
        concat: Channels of each condition that the network receives next to its input.

    Raises:
        BadInput: An option is out of range, or the codec makes tensors with other axes.
    """

    def __init__(
        self,
        spec: MediaSpec,
        width: int = 64,
        stages: list[int] = [1, 2],  # noqa: B006 (read, never written: the registry shows it as the default)
        blocks: int = 2,
        attention: list[int] = [],  # noqa: B006
        head_dim: int = 32,
        dropout: float = 0.0,
        patch: int = 1,
        skip_scale: float = 1.0,
        positions: int = 0,
        cross_attention: list[int] = [],  # noqa: B006
        transformer: int = 0,
        concat: tuple[int, ...] = (),
    ):
        places = spatial_size(spec.latent, ("height", "width"), "image/unet")
        super().__init__(
            2, spec.latent[0], width, stages, blocks, attention, head_dim, dropout, patch, skip_scale,
            places, positions, cross_attention, transformer, sum(concat),
        )  # fmt: skip
