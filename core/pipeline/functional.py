"""Samplers on any network, in a few lines: `sample` makes x0 from noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from ..config.registry import find
from ..editing.base import Edit
from ..guidance.base import Guidance
from ..nn.model import ModuleDenoiser
from ..noise_conditioning.base import NoiseConditioning
from ..parameterizations.base import Parameterization
from ..samplers.base import Progress, Sampler
from ..schedulers.base import Schedule
from ..timesteps.base import TimestepSpacing
from ..types import BadInput, Conditioning, Denoiser, NoiseLevel
from ..util.device import choose_device
from ..util.rng import Noise
from .prepare import prepare_run


def _component(kind: str, value: Any) -> Any:
    if value is None or isinstance(value, (Mapping, int, float)):
        raise BadInput(f"the {kind} is a name, or an object such as its class makes, not {value!r}")
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
    spaced = _component("spacing", spacing)
    levels = spaced.levels(process, steps) if isinstance(spaced, TimestepSpacing) else list(spaced)
    seen: Any = denoiser
    method: Sampler = _component("sampler", sampler)
    if not isinstance(denoiser, Denoiser):
        if not callable(denoiser):
            raise BadInput(f"the denoiser is a Denoiser, or a module or function called as net(x, t), not {denoiser!r}")
        seen = ModuleDenoiser(denoiser, _component("prediction", prediction), _component("clock", clock))
    rows = range(first, first + shape[0]) if samples is None else samples
    noise = Noise(seed, rows, tuple(shape[1:]) if shapes is None else list(shapes), device)
    listed = guidance if isinstance(guidance, (list, tuple)) else [] if guidance is None else [guidance]
    parts = [_component("guidance", part) for part in listed]
    conditions = Conditioning() if conditions is None else conditions
    return prepare_run(seen, process, method, levels, conditions, noise, parts, edits).solve(on_step)
