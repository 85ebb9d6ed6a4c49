"""Prepares a sampling run: wraps the denoiser in guidance and edits, and draws the initial state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..editing.base import Edit
from ..guidance.base import Guidance, GuidanceChain, SamplingRun
from ..samplers.base import Sampler, StepProgress
from ..schedulers.base import Schedule
from ..types import Conditioning, Denoiser, NoiseLevel, broadcast_like
from ..util.rng import KeyedNoise
from .finite_check import FiniteCheckDenoiser


@dataclass(frozen=True)
class SolverSetup:
    """Everything that the solver needs to sample one batch.

    Attributes:
        schedule: The noise schedule.
        sampler: The sampling method, after the changes of the edits.
        levels: Noise levels in decreasing order. With a single level nothing is solved: the start is the result.
        denoiser: The denoiser that the sampler calls, with guidance and edits.
        start: Initial state at the first level, (B, C, *spatial).
        conditions: Conditioning of each row.
        noise: Keyed noise of the batch.
        edits: Edits that post-process the result.
        finite: Reports the first non-finite estimate of the network; None: no check.
    """

    schedule: Schedule
    sampler: Sampler
    levels: Sequence[NoiseLevel]
    denoiser: Denoiser
    start: Tensor
    conditions: Conditioning
    noise: KeyedNoise
    edits: Sequence[Edit] = ()
    finite: FiniteCheckDenoiser | None = None

    def solve(self, on_step: Callable[[StepProgress], None] | None = None, requires_grad: bool = False) -> Tensor:
        """Run the sampler and return x0 (B, C, *spatial).

        Args:
            on_step: Called at the end of every step.
            requires_grad: Record gradients through the whole run.

        Raises:
            BadInput: An estimate of the network is not finite.
        """
        x = self.start
        if len(self.levels) > 1:
            # Not inference_mode: a guidance may need gradients with respect to x.
            with torch.set_grad_enabled(requires_grad):
                x = self._run_sampler(on_step)
        for edit in self.edits:
            x = edit.end(x)
        return x

    def _run_sampler(self, on_step: Callable[[StepProgress], None] | None) -> Tensor:
        args = (self.schedule, self.levels, self.denoiser, self.start, self.conditions, self.noise, on_step)
        try:
            x = self.sampler.solve(*args).x
        except ArithmeticError:  # an adaptive method got an estimate that is not finite
            if self.finite is not None:
                self.finite.check(None)
            raise
        if self.finite is not None and not bool(torch.isfinite(x).all()):
            self.finite.check(None if self.sampler.adaptive else self.sampler.plan(self.schedule, self.levels))
        return x


def set_up_solver(
    denoiser: Denoiser,
    schedule: Schedule,
    sampler: Sampler,
    levels: Sequence[NoiseLevel],
    conditions: Conditioning,
    noise: KeyedNoise,
    guidances: Sequence[Guidance] = (),
    edits: Sequence[Edit] = (),
    start: Tensor | None = None,
) -> SolverSetup:
    """Wrap a denoiser in guidance and edits, and draw the initial state; the network is not evaluated.

    Args:
        denoiser: The denoiser of the network.
        schedule: The noise schedule.
        sampler: The sampling method.
        levels: Noise levels in decreasing order.
        conditions: Conditioning of each row.
        noise: Keyed noise of the batch.
        guidances: Guidances, applied in order.
        edits: Edits, applied in order.
        start: Initial state at the first level, (B, C, *spatial), instead of noise.

    Raises:
        BadInput: The components do not fit together.
    """
    parameterization: Any = getattr(denoiser, "parameterization", None)
    if parameterization is not None:
        parameterization.check(levels[0])
    for edit in edits:
        sampler, levels = edit.sampler_and_levels(sampler, schedule, levels)
    for edit in edits:
        denoiser, conditions = edit.wrap_network(denoiser, SamplingRun(noise)), edit.conditions(conditions)
    denoiser = finite = FiniteCheckDenoiser(denoiser)
    if guidances:
        denoiser = (guidances[0] if len(guidances) == 1 else GuidanceChain(guidances)).wrap(
            denoiser, SamplingRun(noise)
        )
    if start is None:
        start = noise.normal("start")
        start = start * broadcast_like(levels[0].sigma, start)
    for edit in edits:
        start, denoiser = edit.start(start, levels[0], noise), edit.wrap_guided(denoiser, SamplingRun(noise))
    return SolverSetup(schedule, sampler, levels, denoiser, start, conditions, noise, edits, finite)
