"""Samplers on any network, in a few lines: `sample` makes x0 from noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from ..config.registry import find, noun
from ..editing.base import Edit
from ..guidance.base import Chain, Guidance, Run
from ..nn.model import ModuleDenoiser
from ..noise_conditioning.base import NoiseConditioning
from ..parameterizations.base import Parameterization
from ..samplers.base import Progress, Sampler
from ..schedulers.base import Schedule
from ..timesteps.base import TimestepSpacing
from ..types import BadInput, Conditioning, Denoiser, NoiseLevel, expand
from ..util.device import choose_device
from ..util.rng import Noise


def _component(kind: str, value: Any) -> Any:
    if value is None or isinstance(value, (Mapping, int, float)):
        raise BadInput(f"the {noun(kind)} is a name, or an object such as its class makes, not {value!r}")
    return find(kind, value)() if isinstance(value, str) else value


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, (Sequence, torch.Size)) else ()
    if len(sizes) < 2 or not all(isinstance(n, Integral) and not isinstance(n, bool) and n >= 1 for n in sizes):
        raise BadInput(f"the shape of the samples is (B, C, *spatial), whole numbers from 1; got {shape!r}")
    return tuple(int(n) for n in sizes)


def sample(
    denoiser: Denoiser | nn.Module | Callable[[Tensor, Tensor], Tensor],
    shape: Sequence[int],
    schedule: Schedule | str = "edm",
    prediction: Parameterization | str = "edm",
    clock: NoiseConditioning | str = "c_noise",
    sampler: Sampler | str = "dpmpp_2m",
    spacing: TimestepSpacing | Sequence[NoiseLevel] | str = "karras",
    steps: int = 20,
    guidance: Guidance | str | Sequence[Guidance | str] | None = None,
    conditions: Conditioning | None = None,
    seed: int = 0,
    first: int = 0,
    device: torch.device | str = "cpu",
    on_step: Callable[[Progress], None] | None = None,
    shapes: Sequence[tuple[int, ...]] | None = None,
    samples: Sequence[int] | None = None,
    edits: Sequence[Edit] = (),
) -> Tensor:
    """Samples of x0, shape (B, C, *spatial), from keyed noise.

    denoiser:   a Denoiser, or a module or function called as net(x, t): `prediction` explains its output, `clock` its t
    schedule, prediction, clock, sampler, spacing, guidance: components, or their names for the defaults; `spacing` may
                also be the list of levels itself, `guidance` a list of guidances that act in turn
    steps:      steps of the sampler
    conditions: what guides the samples
    seed:       row i is sample first + i of this seed, whatever the batch
    on_step:    called at the end of every step
    shapes:     (C, *spatial) of each row, where rows are padded to `shape`: its noise is drawn at that shape
    samples:    the number of each row, where they do not run on from `first`
    edits:      changes to the run, see core/editing; they act in turn

    Raises BadInput where the parts do not go together.
    """
    shape, device = _shape(shape), choose_device(str(device))
    process: Schedule = _component("schedule", schedule)
    spaced = _component("timesteps", spacing)
    levels = spaced.levels(process, steps) if isinstance(spaced, TimestepSpacing) else list(spaced)
    seen: Any = denoiser
    method: Sampler = _component("sampler", sampler)
    if not isinstance(denoiser, Denoiser):
        if not callable(denoiser):
            raise BadInput(f"the denoiser is a Denoiser, or a module or function called as net(x, t), not {denoiser!r}")
        output = _component("parameterization", prediction)
        seen = ModuleDenoiser(denoiser, output, _component("noise_conditioning", clock))
    if (told := getattr(seen, "prediction", None)) is not None:
        told.check(levels[0])
    for edit in edits:
        method, levels = edit.course(method, process, levels)
    rows = range(first, first + shape[0]) if samples is None else samples
    noise = Noise(seed, rows, tuple(shape[1:]) if shapes is None else list(shapes), device)
    conditions = Conditioning() if conditions is None else conditions
    for edit in edits:
        seen, conditions = edit.within(seen, Run(noise)), edit.conditions(conditions)
    if guidance is not None:
        listed = guidance if isinstance(guidance, (list, tuple)) else [guidance]
        parts = [_component("guidance", part) for part in listed]
        seen = (parts[0] if len(parts) == 1 else Chain(parts)).wrap(seen, Run(noise))
    start = noise.normal("start")
    start = start * expand(levels[0].sigma, start)
    for edit in edits:
        start, seen = edit.start(start, levels[0], noise), edit.around(seen, Run(noise))
    # Not inference_mode: a guidance may turn gradients on, for denoisers are differentiable in x.
    with torch.no_grad():
        x = start if len(levels) == 1 else method.solve(process, levels, seen, start, conditions, noise, on_step).x
    for edit in edits:
        x = edit.end(x)
    return x
