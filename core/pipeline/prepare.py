"""Everything that a sampler solves, before it is solved: denoiser with guidance and edits, start, conditions, noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..editing.base import Edit
from ..guidance.base import Chain, Guidance, Run
from ..samplers.base import Progress, Sampler
from ..schedulers.base import Schedule
from ..types import Conditioning, Denoiser, NoiseLevel, expand
from ..util.rng import Noise
from .finite import FiniteCheck


@dataclass(frozen=True)
class PreparedRun:
    """What one batch's run solves.

    Attributes:
        schedule: The noise schedule.
        sampler: The method, as the edits left it.
        levels: From the noisiest to the last; a single level: nothing is solved, the start is the result.
        denoiser: What the sampler calls: guided, inside the edits. Not called yet.
        start: (B, C, *spatial), the point at the first level.
        conditions: Conditioning of each row.
        noise: The keyed noise of the batch.
        edits: They finish the result.
        finite: Names the first estimate of the network that is not finite; None: nothing is checked.
    """

    schedule: Schedule
    sampler: Sampler
    levels: Sequence[NoiseLevel]
    denoiser: Denoiser
    start: Tensor
    conditions: Conditioning
    noise: Noise
    edits: Sequence[Edit] = ()
    finite: FiniteCheck | None = None

    def solve(self, on_step: Callable[[Progress], None] | None = None, requires_grad: bool = False) -> Tensor:
        """x0 (B, C, *spatial).

        Args:
            on_step: Called at the end of every step.
            requires_grad: Whether gradients are recorded through the whole run.

        Raises:
            BadInput: The network's estimate is not finite.
        """
        x = self.start
        if len(self.levels) > 1:
            # Not inference_mode: a guidance may turn gradients on, since denoisers are differentiable in x.
            with torch.set_grad_enabled(requires_grad):
                x = self._solved(on_step)
        for edit in self.edits:
            x = edit.end(x)
        return x

    def _solved(self, on_step: Callable[[Progress], None] | None) -> Tensor:
        args = (self.schedule, self.levels, self.denoiser, self.start, self.conditions, self.noise, on_step)
        try:
            x = self.sampler.solve(*args).x
        except ArithmeticError:  # an adaptive method has met an estimate that is not finite
            if self.finite is not None:
                self.finite.check(self.levels)
            raise
        if self.finite is not None and not bool(torch.isfinite(x).all()):
            self.finite.check(self.levels)
        return x


def prepare_run(
    denoiser: Denoiser,
    schedule: Schedule,
    sampler: Sampler,
    levels: Sequence[NoiseLevel],
    conditions: Conditioning,
    noise: Noise,
    guidances: Sequence[Guidance] = (),
    edits: Sequence[Edit] = (),
    start: Tensor | None = None,
) -> PreparedRun:
    """Put guidance and edits around a denoiser and draw the start; nothing is evaluated.

    Args:
        denoiser: The network's denoiser.
        schedule: The noise schedule.
        sampler: The method.
        levels: Where it evaluates, from the noisiest to the last.
        conditions: Conditioning of each row.
        noise: The keyed noise of the batch.
        guidances: They act in turn.
        edits: They act in turn.
        start: (B, C, *spatial) at the first level, instead of noise.

    Raises:
        BadInput: The parts do not go together.
    """
    parameterization: Any = getattr(denoiser, "parameterization", None)
    if parameterization is not None:
        parameterization.check(levels[0])
    for edit in edits:
        sampler, levels = edit.course(sampler, schedule, levels)
    for edit in edits:
        denoiser, conditions = edit.within(denoiser, Run(noise)), edit.conditions(conditions)
    denoiser = finite = FiniteCheck(denoiser)
    if guidances:
        denoiser = (guidances[0] if len(guidances) == 1 else Chain(guidances)).wrap(denoiser, Run(noise))
    if start is None:
        start = noise.normal("start")
        start = start * expand(levels[0].sigma, start)
    for edit in edits:
        start, denoiser = edit.start(start, levels[0], noise), edit.around(denoiser, Run(noise))
    return PreparedRun(schedule, sampler, levels, denoiser, start, conditions, noise, edits, finite)
