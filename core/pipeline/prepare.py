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
    """

    schedule: Schedule
    sampler: Sampler
    levels: Sequence[NoiseLevel]
    denoiser: Denoiser
    start: Tensor
    conditions: Conditioning
    noise: Noise
    edits: Sequence[Edit] = ()

    def solve(self, on_step: Callable[[Progress], None] | None = None) -> Tensor:
        """x0 (B, C, *spatial); `on_step` is called at the end of every step."""
        x = self.start
        if len(self.levels) > 1:
            # Not inference_mode: a guidance may turn gradients on, since denoisers are differentiable in x.
            with torch.no_grad():
                x = self.sampler.solve(
                    self.schedule, self.levels, self.denoiser, x, self.conditions, self.noise, on_step
                ).x
        for edit in self.edits:
            x = edit.end(x)
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

    Raises:
        BadInput: The parts do not go together.
    """
    parameterization: Any = getattr(denoiser, "prediction", None)
    if parameterization is not None:
        parameterization.check(levels[0])
    for edit in edits:
        sampler, levels = edit.course(sampler, schedule, levels)
    for edit in edits:
        denoiser, conditions = edit.within(denoiser, Run(noise)), edit.conditions(conditions)
    if guidances:
        denoiser = (guidances[0] if len(guidances) == 1 else Chain(guidances)).wrap(denoiser, Run(noise))
    start = noise.normal("start")
    start = start * expand(levels[0].sigma, start)
    for edit in edits:
        start, denoiser = edit.start(start, levels[0], noise), edit.around(denoiser, Run(noise))
    return PreparedRun(schedule, sampler, levels, denoiser, start, conditions, noise, edits)
