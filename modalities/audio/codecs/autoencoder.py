"""Latent tensors of a convolutional autoencoder that is trained on the sounds of the run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from ....core.codecs.base import LearnedCodec
from ....core.codecs.trained import TrainedAutoencoder, media_facts
from ....core.nn.autoencoder import AutoencoderND, Bottleneck
from ....core.training.optimizers.muon import Muon
from ....core.types import BadInput, Item, MediaSpec
from ....core.util.annotations import ComponentKind, Range
from .. import dsp
from ._log_magnitude import LogMagnitudeCodec
from .base import FrameCodec
from .logmel import Logmel

_CROP = 64  # latent elements of the parts that it is trained on
_WINDOWS = (64, 256, 1024)  # samples of the spectra in the loss
_SPECTRA = 0.2  # weight of the spectra in the loss
_FLOOR = 1e-2  # of a spectrum in the loss, relative to its root mean square


class Autoencoder(LearnedCodec, FrameCodec):
    """Latent tensor of a trained autoencoder over another codec: (B, C, frames) -> (B, latent, positions).

    Over log-magnitudes, which it compresses best, the phase is estimated as without it. Over `audio/waveform` or
    `audio/stft`, the loss contains spectra of several resolutions. A run writes the trained codec to codec.safetensors,
    which other runs use with `file`; their checkpoints hold its hash instead of its weights.

    Args:
        spec: Media specification of the sounds.
        base: The codec whose tensor is encoded; its positions are one axis, its channels have no order.
        factor: Positions of the base codec per position of the latent tensor, a power of 2.
        latent: Channels of the latent tensor.
        width: Channels of the finest stage of the network.
        blocks: Residual blocks per stage.
        bottleneck: What keeps latent values in range: tanh (bounded), or a KL divergence (kl).
        steps: Training steps.
        batch: Parts of sounds in a training step.
        lr: Learning rate.
        file: Trained codec to use instead of training one.

    Raises:
        BadInput: An option is out of range, or the file is of another codec.
    """

    def __init__(
        self,
        spec: MediaSpec,
        base: Annotated[FrameCodec | Any, ComponentKind("codec")] = "audio/logmel",
        factor: int = 4,
        latent: int = 16,
        width: int = 64,
        blocks: int = 2,
        bottleneck: Bottleneck = "bounded",
        steps: Annotated[int, Range(1, 10**7)] = 1000,
        batch: Annotated[int, Range(1, 2**16)] = 16,
        lr: Annotated[float, Range(above=0)] = 2e-3,
        file: Path | None = None,
    ):
        inner = Logmel(spec) if base == "audio/logmel" else base
        if not isinstance(inner, FrameCodec) or isinstance(inner, Autoencoder):
            raise BadInput(f"codec.base is a codec of sound that is not learned, not {type(inner).__name__}")
        channels = inner.shape(spec.size)[0]
        network = AutoencoderND(1, channels, latent, factor, width, blocks, bottleneck)
        multiple = inner.multiple // math.gcd(inner.multiple, factor)
        super().__init__(spec, inner.hop * factor, reach=inner.reach, multiple=multiple)
        self.latent, self.steps, self.batch, self.lr = latent, steps, batch, lr
        self.latents = TrainedAutoencoder(inner, network, media_facts(spec), file)

    def fit(self, items: Iterable[Item]) -> None:
        """Train the network on the sounds, or measure the error of one that was read from a file."""
        extra = None if isinstance(self.latents.parts.base, LogMagnitudeCodec) else self._spectral_loss
        self.latents.fit(items, self._base, self.steps, self.batch, _CROP, Muon(self.lr).make, extra)

    def _base(self, media: Tensor, loop: bool = False) -> Tensor:
        """The base codec's tensor of media that fill whole positions."""
        return self.latents.parts.base.encode(self.padded(media, loop), loop)

    def _spectral_loss(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean difference of logarithmic magnitudes at several resolutions (Yamamoto et al. 2020, arXiv:1910.11480)."""
        media = [self.latents.parts.base.decode(z) for z in (found, wanted)]
        windows = [n for n in _WINDOWS if media[0].shape[-1] % (n // 4) == 0]
        total = found.new_zeros(())
        for n in windows:
            a, b = (dsp.stft(x, n, n // 4).abs() for x in media)
            floor = _FLOOR * b.square().mean().sqrt() + 1e-8
            total = total + (torch.log(a + floor) - torch.log(b + floor)).abs().mean() / len(windows)
        return _SPECTRA * total

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, C, frames) -> (B, latent, positions)."""
        return self.latents.encode(self._base(media, loop), self.wrap if loop else ())

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """(B, latent, positions) -> (B, C, frames), cut to `length` samples."""
        media = self.latents.parts.base.decode(self.latents.decode(z, self.wrap if loop else ()), None, loop)
        return self.cut(media, length, loop)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(latent, positions)."""
        return self.latent, self.frames(size)
