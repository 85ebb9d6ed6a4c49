"""Base class of edits: an edit changes parts of a sampling run.

A run consists of a sampler, noise levels, an initial state, conditions and a denoiser. An edit overrides the methods of
the parts that it changes. Several edits are applied in order, each to the result of the one before:
`sample(..., edits=[...])`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..guidance.base import SamplingRun
from ..samplers.base import Sampler
from ..schedulers.base import Schedule
from ..types import Conditioning, Denoiser, NoiseLevel
from ..util.rng import KeyedNoise

SamplerAndLevels = tuple[Sampler, Sequence[NoiseLevel]]


class Edit:
    """Changes nothing; subclasses override methods. An edit stores only its options, so that many runs can use it."""

    def sampler_and_levels(
        self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]
    ) -> SamplerAndLevels:
        """The sampler and the noise levels of the run.

        Args:
            sampler: The sampler without this edit.
            schedule: The noise schedule.
            levels: The levels without this edit, in decreasing order.

        Returns:
            Sampler and levels. With a single level nothing is solved: the initial state is the result.
        """
        return sampler, levels

    def start(self, x: Tensor, level: NoiseLevel, noise: KeyedNoise) -> Tensor:
        """The initial state (B, C, *spatial) at the first level; x is the state without this edit, sigma z."""
        return x

    def conditions(self, conditions: Conditioning) -> Conditioning:
        """The conditioning of the batch."""
        return conditions

    def wrap_network(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        """Wrap the denoiser of a network, inside guidance, for one run; guidance may repeat the rows of the batch."""
        return denoiser

    def wrap_guided(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        """Wrap the guided denoiser, which the sampler calls, for one run."""
        return denoiser

    def end(self, x: Tensor) -> Tensor:
        """Post-process the final state x (B, C, *spatial)."""
        return x
