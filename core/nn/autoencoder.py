"""A convolutional autoencoder over (B, C, *spatial), for any number of axes: the network of learned codecs.

As in latent diffusion (Rombach et al. 2022, arXiv:2112.10752, section 3.1), but without attention and statistics over
positions: an element of the latent tensor depends on its neighbourhood only, so that any size can be encoded, axes can
be circular, and parts can be edited. No layer has a bias, so that zeros are encoded and decoded as zeros.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..types import BadInput
from .layers.conv import make_conv
from .layers.init import reset_parameters
from .layers.resample import Downsample, Upsample
from .spatial import check_at_least_one

Bottleneck = Literal["bounded", "kl"]
"""What keeps latent values in range in training: tanh with added noise, or a Gaussian with a KL divergence."""

_EPSILON = 1e-2  # added to the mean square of a position: of its size in silence, so that gradients stay moderate there
_NOISE = 0.05  # deviation of the noise on bounded latent values, of which the range is -1 to 1
_LARGEST_STAGE = 4  # channels of the coarsest stages, in multiples of `width`


class AutoencoderND(nn.Module):
    """Encoder (B, C, *spatial) -> (B, latent, *spatial / factor), and decoder.

    Each stage has residual blocks and halves the resolution; the decoder mirrors the encoder.

    Args:
        dims: Number of spatial axes, 1 to 3.
        channels: C.
        latent: Channels of the latent tensor.
        factor: Reduction along every axis, a power of 2.
        width: Channels of the finest stage; each coarser one has twice as many, at most four times.
        blocks: Residual blocks per stage.
        bottleneck: What keeps latent values in range.

    Raises:
        BadInput: An option is out of range.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        latent: int,
        factor: int,
        width: int = 32,
        blocks: int = 1,
        bottleneck: Bottleneck = "bounded",
    ):
        super().__init__()
        for name, limit, value in (("latent", 2**10, latent), ("width", 2**12, width), ("blocks", 64, blocks)):
            check_at_least_one(name, limit, [value])
        if not 1 <= factor <= 2**12 or factor & (factor - 1):
            raise BadInput(f"factor is a power of 2, such as 4; got {factor}")
        self.dims, self.channels, self.latent, self.factor = dims, channels, latent, factor
        self.width, self.blocks, self.bottleneck = width, blocks, bottleneck
        sizes = [width * min(2**i, _LARGEST_STAGE) for i in range(factor.bit_length())]
        pairs = list(itertools.pairwise(sizes))
        outputs = latent if bottleneck == "bounded" else 2 * latent
        self.encoder = nn.ModuleList([make_conv(dims, channels, sizes[0], bias=False)])
        for a, b in pairs:
            self.encoder.extend([*_blocks(dims, a, blocks), Downsample(dims, a, b, bias=False)])
        self.encoder.extend([*_blocks(dims, sizes[-1], blocks), _Output(dims, sizes[-1], outputs)])
        self.decoder = nn.ModuleList(
            [make_conv(dims, latent, sizes[-1], bias=False), *_blocks(dims, sizes[-1], blocks)]
        )
        for a, b in reversed(pairs):
            self.decoder.extend([Upsample(dims, b, a, bias=False), *_blocks(dims, a, blocks)])
        self.decoder.append(_Output(dims, sizes[0], channels))
        reset_parameters(self, 0)

    def encode(self, x: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        """Encode.

        Args:
            x: (B, C, *spatial), each axis a multiple of `factor`.
            wrap: Circular spatial axes.

        Returns:
            (B, latent, *spatial / factor): bounded values, or the means.
        """
        h = self._encoded(x, wrap)
        return h.tanh() if self.bottleneck == "bounded" else h[:, : self.latent]

    def decode(self, z: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        """(B, latent, *spatial) -> (B, C, *spatial factor)."""
        return _run(self.decoder, z, wrap)

    def training_pass(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction of x from noisy latent values, and the divergence that is added to the loss.

        Args:
            x: (B, C, *spatial).
            noise: Standard normal numbers (B, latent, *spatial / factor).

        Returns:
            Reconstruction, and the mean over latent values of KL(N(mean, variance) || N(0, 1)); 0 if they are bounded.
        """
        h = self._encoded(x, ())
        if self.bottleneck == "bounded":
            return self.decode(h.tanh() + _NOISE * noise), h.new_zeros(())
        mean, log_variance = h.chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 10)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return self.decode(mean + (0.5 * log_variance).exp() * noise), divergence

    def _encoded(self, x: Tensor, wrap: tuple[int, ...]) -> Tensor:
        if any(n % self.factor for n in x.shape[2:]):
            raise BadInput(f"a size {tuple(x.shape[2:])} is no multiple of the autoencoder's factor {self.factor}")
        return _run(self.encoder, x, wrap)


class _Block(nn.Module):
    """x + conv(silu(conv(silu(normalised x)))), normalised over the channels of each position."""

    def __init__(self, dims: int, channels: int):
        super().__init__()
        self.conv1 = make_conv(dims, channels, channels, bias=False)
        self.conv2 = make_conv(dims, channels, channels, zero=True, bias=False)

    def forward(self, x: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        h = self.conv1(F.silu(_normalised(x)), wrap)
        return x + self.conv2(F.silu(h), wrap)


class _Output(nn.Module):
    """conv(silu(normalised x)) + conv(x): the second one carries the level, which the first one does not know."""

    def __init__(self, dims: int, c_in: int, c_out: int):
        super().__init__()
        self.conv = make_conv(dims, c_in, c_out, bias=False)
        self.linear = make_conv(dims, c_in, c_out, kernel=1, bias=False)

    def forward(self, x: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        return self.conv(F.silu(_normalised(x)), wrap) + self.linear(x)


def _blocks(dims: int, channels: int, count: int) -> list[nn.Module]:
    return [_Block(dims, channels) for _ in range(count)]


def _run(layers: nn.ModuleList, x: Tensor, wrap: tuple[int, ...]) -> Tensor:
    for layer in layers:
        x = layer(x) if isinstance(layer, (Downsample, Upsample)) else layer(x, wrap)
    return x


def _normalised(x: Tensor) -> Tensor:
    """x (B, C, *spatial) divided by the root mean square over its channels."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + _EPSILON)
