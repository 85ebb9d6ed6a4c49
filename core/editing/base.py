"""What an edit is: a change to a sampling run, from its start to its estimates.

A run consists of levels, a sampler, a start, conditions and a denoiser. An edit changes any of them and leaves the
rest; edits combine, since each only wraps what those before it left. `sample(..., edits=[...])` takes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..guidance.base import Run
from ..samplers.base import Sampler
from ..schedulers.base import Schedule
from ..types import Conditioning, Denoiser, NoiseLevel
from ..util.rng import Noise

Course = tuple[Sampler, Sequence[NoiseLevel]]


class Edit:
    """Changes nothing; a subclass overrides what it changes. It holds its options only and may serve many runs."""

    def course(self, sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Course:
        """The sampler and the falling levels of the run. A single level: nothing is solved, the start is the result."""
        return sampler, levels

    def start(self, x: Tensor, level: NoiseLevel, noise: Noise) -> Tensor:
        """The point (B, C, *spatial) at the first level, from x: sigma z with the run's own start z."""
        return x

    def conditions(self, conditions: Conditioning) -> Conditioning:
        """The conditions of each row, as the networks take them."""
        return conditions

    def within(self, denoiser: Denoiser, run: Run) -> Denoiser:
        """A network's denoiser for one run; guidance comes around it and may stack its rows several times over."""
        return denoiser

    def around(self, denoiser: Denoiser, run: Run) -> Denoiser:
        """The denoiser that the sampler calls, guided already, for one run."""
        return denoiser

    def end(self, x: Tensor) -> Tensor:
        """The result (B, C, *spatial) from the sampler's last point."""
        return x
