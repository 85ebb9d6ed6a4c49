"""`Denoiser`: the interface between a model and samplers, guidance and editing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from .conditioning import Conditioning
from .noise_level import NoiseLevel


@dataclass(frozen=True)
class Estimate:
    """What a denoiser returns.

    Attributes:
        x0: Estimate of the clean data, (B, C, *spatial).
        x: Replaces the sampler's state, (B, C, *spatial); None: the state is unchanged.
    """

    x0: Tensor
    x: Tensor | None = None


@runtime_checkable
class Denoiser(Protocol):
    """Estimates x0 from x: the only interface between a model and samplers, guidance and editing.

    The estimate is differentiable with respect to x.
    """

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """Estimate the clean data.

        Args:
            x: Noisy data, (B, C, *spatial).
            level: Its noise level.
            conditions: What the samples are conditioned on.
        """
        ...
