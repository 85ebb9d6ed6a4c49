"""What guidance is: a denoiser made from denoisers, in x0 space.

A guidance names the estimates it wants and combines them. The wants of every guidance of a run are gathered, and each
network is called once, with the union as one batch: N conditions cost N + 1 rows, not N + 1 calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..noise import Noise
from ..types import Conditions, Denoiser, Estimate, Level


@dataclass(frozen=True)
class Run:
    """What is known of a sampling run when denoisers are wrapped for it: its keyed noise."""

    noise: Noise


@dataclass(frozen=True)
class Want:
    """An estimate that a guidance asks for.

    drop:     names of the conditions replaced by their null rows; None: all of them; (): none
    denoiser: which denoiser makes it; None: the run's own
    """

    drop: tuple[str, ...] | None = ()
    denoiser: Denoiser | None = None


FULL, NULL = Want(), Want(drop=None)


class Guidance(ABC):
    """Combines estimates of x0. What it remembers between steps lives in the object that `wrap` makes for a run."""

    @abstractmethod
    def wants(self, level: Level) -> Sequence[Want]:
        """The estimates needed at this level; (FULL,) alone costs nothing extra."""

    @abstractmethod
    def combine(self, x: Tensor, level: Level, estimates: Mapping[Want, Tensor]) -> Estimate:
        """The guided estimate from the estimates of x0 that were wanted at this level."""

    def wrap(self, denoiser: Denoiser, run: Run) -> Denoiser:
        """A denoiser for one run."""
        return Guided(self, denoiser)


class Guided:
    """Calls each network once for all that is wanted, then combines."""

    def __init__(self, guidance: Guidance, denoiser: Denoiser):
        self.guidance, self.denoiser = guidance, denoiser

    def denoise(self, x: Tensor, level: Level, conditions: Conditions) -> Estimate:
        """The guided estimate at x."""
        estimates: dict[Want, Tensor] = {}
        groups: dict[int, list[Want]] = {}
        for want in dict.fromkeys(self.guidance.wants(level)):
            groups.setdefault(id(want.denoiser), []).append(want)
        for wants in groups.values():
            network = wants[0].denoiser or self.denoiser
            records = [conditions if want.drop == () else conditions.without(want.drop) for want in wants]
            n = len(wants)
            stacked = network.denoise(torch.cat([x] * n) if n > 1 else x, level.stacked(n), Conditions.stack(records))
            estimates.update(zip(wants, stacked.x0.chunk(n), strict=True))
        return self.guidance.combine(x, level, estimates)
