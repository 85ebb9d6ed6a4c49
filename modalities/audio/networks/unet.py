"""The 1D U-Net of sound."""

from __future__ import annotations

from ....core.nn.unet import UNetND
from ....core.types import BadInput, MediaSpec


class UNet(UNetND):
    """1D U-Net: residual blocks modulated by noise level and conditions, attention at chosen stages. Takes any length.

    spec: facts of the data, with the shape (C, frames) of the diffused tensor
    width: channels at multiplier 1
    stages: channel multipliers, finest resolution first; each stage halves the resolution
    blocks: residual blocks a stage
    attention: stages with self-attention (0 is the finest)
    head_dim: channels of an attention head
    dropout: probability of dropping a feature inside a block
    patch: frames that are folded into channels first; 2 makes every layer twice as cheap
    skip_scale: factor on the skip connections
    positions: octaves of absolute position that the network is told; 0: none; 4 suits media with a beginning, such as
        one-shots
    """

    def __init__(
        self,
        spec: MediaSpec,
        width: int = 128,
        stages: list[int] = [1, 1],  # noqa: B006 (read, never written: the registry shows it as the default)
        blocks: int = 2,
        attention: list[int] = [],  # noqa: B006
        head_dim: int = 32,
        dropout: float = 0.0,
        patch: int = 1,
        skip_scale: float = 1.0,
        positions: int = 0,
    ):
        if len(spec.latent) != 2:
            raise BadInput(
                f"audio/unet takes sequences (C, frames), but the codec makes tensors of shape {spec.latent}"
            )
        super().__init__(
            1, spec.latent[0], width, stages, blocks, attention, head_dim, dropout, patch, skip_scale,
            places=spec.latent[1:], positions=positions,
        )  # fmt: skip
