"""The one loop that runs every plan: `run_plan` returns the last point, `trace_plan` yields every quantity.

The loop only adds tensors: no state, no look-up of a time, no host-device synchronisation. The plan's coefficients
contain everything that is specific to a method.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import Conditioning, Denoiser, Estimate, NoiseLevel, Number
from ._noises import Noises, iterate_noises
from .plan import Plan, PlanRow, Symbol, Terms


@dataclass(frozen=True)
class Solution:
    """The last point of a sampler, and its cost.

    Attributes:
        x: (B, C, *spatial).
        nfe: Number of evaluations of the denoiser for each sample.
    """

    x: Tensor
    nfe: tuple[int, ...]


@dataclass(frozen=True)
class StepProgress:
    """What a callback receives at the end of a step.

    Attributes:
        step: Number of finished steps.
        steps: Total number of steps; None where an adaptive sampler does not know it.
        level: The level of x; with an adaptive sampler each sample has its own level, (B,) or a map.
        x: The points, (B, C, *spatial).
        x0: The last estimates, (B, C, *spatial).
        nfe: Number of evaluations so far for each sample.
    """

    step: int
    steps: int | None
    level: NoiseLevel
    x: Tensor
    x0: Tensor | None
    nfe: tuple[int, ...]


@dataclass(frozen=True)
class SolverInputs:
    """The inputs of a sampler in addition to its schedule and levels.

    Attributes:
        denoiser: The denoiser.
        x: (B, C, *spatial), a point at the first level.
        conditions: The conditions of each row.
        noise: The keyed noise of the batch, or a mapping key -> (B, C, *spatial) of noises drawn before.
        on_step: Called at the end of each step.
    """

    denoiser: Denoiser
    x: Tensor
    conditions: Conditioning
    noise: Noises = None
    on_step: Callable[[StepProgress], None] | None = None


@dataclass(frozen=True)
class TraceRow:
    """One computed row of a plan: x is the sum of coefficients[name] * tensors[name].

    Names are those of the formulas: `x[3]`, `D[2]`, `z[('step', 2)]`.

    Attributes:
        index: Number of the row; 0 is the start.
        level: The level of the row.
        x: The point, (B, C, *spatial).
        x0: The estimate that was evaluated here, (B, C, *spatial); None where the denoiser was not called.
        noises: Key -> noise that the row adds, (B, C, *spatial).
        coefficients: Name -> coefficient.
        tensors: Name -> the earlier point, estimate or noise of that name.
        step: Whether a step of the method ends here.
    """

    index: int
    level: NoiseLevel
    x: Tensor
    x0: Tensor | None
    noises: Mapping[Hashable, Tensor]
    coefficients: Mapping[str, Number]
    tensors: Mapping[str, Tensor]
    step: bool


def run_plan(
    plan: Plan,
    denoiser: Denoiser,
    x: Tensor,
    conditions: Conditioning | None = None,
    noise: Noises = None,
    on_step: Callable[[StepProgress], None] | None = None,
) -> Tensor:
    """Run a plan and return its last point, (B, C, *spatial).

    Args:
        plan: The plan.
        denoiser: The denoiser.
        x: (B, C, *spatial), a point at the plan's first level.
        conditions: The conditions of each row.
        noise: The keyed noise of the batch, or a mapping key -> (B, C, *spatial) of noises drawn before.
        on_step: Called at the end of each step, with the last estimate of x0.

    Returns:
        The last point, (B, C, *spatial).

    Raises:
        BadInput: The plan draws noise and `noise` is missing.
    """
    steps, done, nfe, last = sum(row.step for row in plan.rows), 0, 0, x
    for row, last, x0 in iterate_plan(plan, denoiser, x, conditions, noise):
        nfe += row.evaluate
        if row.step:
            done += 1
            if on_step is not None:
                on_step(StepProgress(done, steps, row.level, last, x0, (nfe,) * len(x)))
    return last


def iterate_plan(
    plan: Plan, denoiser: Denoiser, x: Tensor, conditions: Conditioning | None = None, noise: Noises = None
) -> Iterator[tuple[PlanRow, Tensor, Tensor | None]]:
    """The loop: (row, point, last estimate of x0) for every row as it is computed; arguments as in `run_plan`."""
    conditions = Conditioning() if conditions is None else conditions
    x0 = None
    values: dict[Symbol, Tensor] = {("x", 0): x}
    keys = list(dict.fromkeys(key for row in plan.rows[1:] for key in row.z))
    noises = iterate_noises(noise, keys)
    for i, (row, level, terms) in enumerate(plan.bound(x)):
        if i:
            for key in row.z:
                if ("z", key) not in values:
                    values["z", key] = next(noises)
            values["x", i] = x = _total(terms, values, x)
            for symbol in row.last:
                del values[symbol]
        if row.evaluate:
            estimate = denoiser.denoise(x, level, conditions)
            values["D", i] = x0 = estimate.x0
            if estimate.x is not None:
                values["x", i] = estimate.x
        yield row, x, x0


def trace_plan(
    plan: Plan, denoiser: Denoiser, x: Tensor, conditions: Conditioning | None = None, noise: Noises = None
) -> Iterator[TraceRow]:
    """Run a plan and yield every row with its tensors and coefficients, for inspection; arguments as in `run_plan`.

    The numbers are those of `run_plan`. All points are kept in memory, so it is not for large batches.
    """
    noises = _StoredNoises(noise)
    tensors: dict[str, Tensor] = {}
    recorder = _StateRecorder(denoiser)
    for i, (row, point, x0) in enumerate(iterate_plan(plan, recorder, x, conditions, noises)):
        names = {f"{kind}[{key!r}]": (kind, key, c) for (kind, key), c in plan.terms[i]}
        tensors.update({name: noises[key] for name, (kind, key, _) in names.items() if kind == "z"})
        coefficients = {name: c for name, (_, _, c) in names.items()}
        estimate = x0 if row.evaluate else None
        row_noises, row_tensors = {key: noises[key] for key in row.z}, {n: tensors[n] for n in names}
        yield TraceRow(i, row.level, point, estimate, row_noises, coefficients, row_tensors, row.step)
        tensors[f"x[{i}]"] = point if recorder.moved is None else recorder.moved
        recorder.moved = None
        if estimate is not None:
            tensors[f"D[{i}]"] = estimate


class _StoredNoises(Mapping[Hashable, Tensor]):
    """Noises, each drawn once and stored."""

    def __init__(self, noise: Noises):
        self.noise, self.known = noise, dict[Hashable, Tensor]()

    def __getitem__(self, key: Hashable) -> Tensor:
        if key not in self.known:
            self.known[key] = next(iterate_noises(self.noise, [key]))
        return self.known[key]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


class _StateRecorder:
    """A denoiser that records whether its last estimate changed the state."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser
        self.moved: Tensor | None = None

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        estimate = self.denoiser.denoise(x, level, conditions)
        self.moved = estimate.x
        return estimate


def _total(terms: Terms, values: Mapping[Symbol, Tensor], like: Tensor) -> Tensor:
    """sum_j c_j value_j, accumulated in place into one new tensor.

    Numbers and maps use different kernels with the same rounding: both multiply and add with one rounding.
    """
    out: Tensor | None = None
    for symbol, c in terms:
        value = values[symbol]
        if out is None:
            out = value * c
        elif isinstance(c, Tensor):
            out.addcmul_(value, c)
        else:
            out.add_(value, alpha=c)
    return torch.zeros_like(like) if out is None else out
