"""Base class of guidance: combines denoisers into one denoiser, in x0 space.

A guidance lists the branches that it needs (estimates of x0 with or without conditions) and defines how to combine
them. A run may have a list of guidances:

- The branches of all guidances are collected, and each network is called once with all of them in one batch: N
  conditions cost N + 1 rows instead of N + 1 calls, and guidances that need the same estimate share its row.
- The list begins with CONDITIONAL, the conditional estimate. Each guidance receives `inputs.guided`, the result of the
  guidances before it, and returns a new result. A guidance that moves the estimate away from another one (cfg, apg,
  autoguidance) adds its guidance delta, computed from the networks' estimates, so that the order does not matter:

      guided + (scale - 1) (conditional - unconditional)

  A guidance that changes the result of others (rescale, dynamic_threshold) comes after them.
- `starts` marks a guidance that replaces the estimate without using CONDITIONAL: it must be first. `moves` marks a
  guidance that also changes the noisy sample x: it must be last, since it needs the final estimate.
- Every guidance has a window of noise levels; outside it the estimate does not change. The window is applied here,
  element by element if levels are maps. If the whole batch is outside, there is no extra cost.
- State between calls is stored on the guidance: `begin` copies it for every run. Rows are samples, so that state with a
  batch axis is separate for each sample.

A new guidance is one file with one class: set `window`, write `branches` and `combine`. Compute means over a sample by
the methods of `GuidanceInputs`, which include only valid elements inside the window.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..types import CONDITIONING_KINDS, BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, Tokens
from ..util.messages import did_you_mean
from ..util.rng import KeyedNoise

ALWAYS = (0.0, 1.0)
EDGE = 1e-6  # tolerance: a level on the edge of a window is inside, in float32 and float64


@dataclass(frozen=True)
class SamplingRun:
    """One sampling run, for which a denoiser is wrapped.

    Attributes:
        noise: The run's keyed noise.
    """

    noise: KeyedNoise


@dataclass(frozen=True, eq=False)
class OtherConditions:
    """Conditions of one estimate that take the place of the samples' own, such as another prompt.

    Attributes:
        values: Name of a condition -> its embedding, with one row for all samples of the batch.
    """

    values: Mapping[str, Tensor | Tokens]

    def repeated(self, batch: int) -> dict[str, Tensor | Tokens]:
        """The embeddings of a batch of so many samples."""

        def expand(value: Tensor) -> Tensor:
            return value.expand(batch, *value.shape[1:])

        return {
            name: Tokens(expand(value.values), expand(value.mask)) if isinstance(value, Tokens) else expand(value)
            for name, value in self.values.items()
        }

    def replace_in(self, conditions: Conditioning, batch: int) -> Conditioning:
        """The record of a batch with these conditions instead of its own."""
        other = self.repeated(batch)

        def replaced(group: Mapping[str, Any]) -> dict[str, Any]:
            return {name: other.get(name, own) for name, own in group.items()}

        return replace(conditions, **{kind: replaced(getattr(conditions, kind)) for kind in CONDITIONING_KINDS})


@dataclass(frozen=True)
class GuidanceBranch:
    """An estimate of x0 that a guidance needs.

    Attributes:
        drop: Names of the conditions replaced by their unconditional embeddings; None: all conditions; (): none.
        denoiser: The denoiser that computes it; None: that of the run.
        other: Conditions that take the place of the samples' own; None: none.
    """

    drop: tuple[str, ...] | None = ()
    denoiser: Denoiser | None = None
    other: OtherConditions | None = None


CONDITIONAL, UNCONDITIONAL = GuidanceBranch(), GuidanceBranch(drop=None)


class AuxiliaryDenoiser(Denoiser):
    """A second network, which embeds the run's conditions itself: `GuidanceBranch.denoiser` of another model.

    Args:
        denoiser: The network's denoiser, with the same schedule, latent shape and codec as the run's.
        conditions: The same conditions for the same samples, embedded by this network's model.
    """

    def __init__(self, denoiser: Denoiser, conditions: Conditioning):
        self.denoiser, self.conditions = denoiser, conditions

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The second network's estimate; `conditions` are embedded by its model."""
        return self.denoiser.denoise(x, level, conditions)


@dataclass(frozen=True)
class GuidanceInputs:
    """The inputs of a guidance at one evaluation.

    Attributes:
        x: The noisy samples, (B, C, *spatial).
        level: Their noise level, broadcastable to x; tensors are float64, and `expand` rounds results once.
        conditions: The batch's conditions.
        estimates: Branch -> estimate of x0 (B, C, *spatial), for all branches needed at this level.
        before: The result of the guidances before this one; None if there are none and CONDITIONAL is not computed.
        counts: (B or 1, 1, *spatial), 1 where an element is valid and inside the window, else 0; None: 1 everywhere.
    """

    x: Tensor
    level: NoiseLevel
    conditions: Conditioning
    estimates: Mapping[GuidanceBranch, Tensor]
    before: Tensor | None
    counts: Tensor | None = None

    @property
    def guided(self) -> Tensor:
        """The result of the guidances before this one, (B, C, *spatial); the conditional estimate if there are none."""
        return self.estimates[CONDITIONAL] if self.before is None else self.before

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each sample's elements with `counts` 1: (B, C, *spatial) -> (B, 1, ..., 1); 0 if there are none."""
        shape = (-1, *[1] * (values.ndim - 1))
        if self.counts is None:
            return values.flatten(1).mean(1).reshape(shape)
        counts = self.counts.to(values.dtype).expand_as(values).flatten(1)
        return ((values.flatten(1) * counts).sum(1) / counts.sum(1).clamp(min=1)).reshape(shape)

    def variance(self, values: Tensor) -> Tensor:
        """Variance over each sample's elements with `counts` 1: (B, C, *spatial) -> (B, 1, ..., 1)."""
        return self.mean((values - self.mean(values)).square())


def safe_ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b for b >= 0, and 1 where b is 0, with finite gradients."""
    positive = b > 0
    return torch.where(positive, a, 1.0) / torch.where(positive, b, 1.0)


def parse_window(window: Sequence[float], of: str) -> tuple[float, float]:
    """The window as two floats.

    Args:
        window: Lowest and highest tau.
        of: Name of the guidance, for the message.

    Raises:
        BadInput: 0 <= lowest <= highest <= 1 does not hold.
    """
    lo, hi = window
    if not 0 <= lo <= hi <= 1:
        raise BadInput(f"{of}'s window is [lowest, highest] tau with 0 <= lowest <= highest <= 1, not {list(window)}")
    return float(lo), float(hi)


class Guidance(ABC):
    """Combines estimates of x0.

    Attributes:
        window: Lowest and highest tau = sigma / (alpha + sigma) (1 noise, 0 clean) at which the guidance is applied.
        starts: Whether it replaces the estimate by a combination of its branches only; it must be first in a list.
        moves: Whether its Estimate contains x too; it must be last in a list.
        needs_condition: Whether it has no effect without conditions.
        stateful: Whether its result depends on earlier calls, and so on the noise levels of the sampler's steps.
    """

    window: tuple[float, float] = ALWAYS
    starts: bool = False
    moves: bool = False
    needs_condition: bool = True
    stateful: bool = False

    @abstractmethod
    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        """The estimates that it needs inside its window, in addition to `guided`; empty if it has no effect."""

    @abstractmethod
    def combine(self, inputs: GuidanceInputs) -> Estimate:
        """The guided estimate; called if at least one element is inside the window."""

    def check(self, conditions: Collection[str]) -> None:
        """Raise BadInput unless it can guide a model with conditions of these names."""
        if self.needs_condition and not conditions:
            raise BadInput("guidance strengthens a condition, and there is none: give conditions, or no guidance")

    def begin(self, run: SamplingRun) -> Guidance:
        """A copy for one run, on which `combine` may store state."""
        return copy.copy(self)

    def wrap(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        """A denoiser for one run."""
        return GuidedDenoiser([self.begin(run)], denoiser)

    def inside(self, level: NoiseLevel) -> bool | Tensor:
        """Whether the level is inside the window: a bool, or a bool tensor if levels differ."""
        if self.window == ALWAYS:
            return True
        tau, (lo, hi) = level.tau, self.window
        if isinstance(tau, Tensor):  # converting it to a bool would wait for the device
            return (tau >= lo - EDGE) & (tau <= hi + EDGE)
        return lo - EDGE <= tau <= hi + EDGE


class GuidanceChain:
    """Guidances applied one after the other; their estimates are computed in one batch per network.

    Args:
        guidances: The guidances, in the order in which they are applied.

    Raises:
        BadInput: A guidance that must be first or last is not.
    """

    def __init__(self, guidances: Sequence[Guidance]):
        self.guidances = list(guidances)
        for i, part in enumerate(self.guidances):
            name = type(part).__name__
            if part.starts and i:
                raise BadInput(f"{name} replaces the estimate: put it first in the list of guidances")
            if part.moves and i < len(self.guidances) - 1:
                raise BadInput(f"{name} moves the state by the final estimate: put it last in the list of guidances")

    def check(self, conditions: Collection[str]) -> None:
        """Raise BadInput unless every guidance can guide a model with conditions of these names."""
        for part in self.guidances:
            part.check(conditions)

    def wrap(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        """A denoiser for one run."""
        return GuidedDenoiser([part.begin(run) for part in self.guidances], denoiser)


def check_condition_names(names: Sequence[str], conditions: Collection[str], of: str) -> None:
    """Raise BadInput, with the valid names, if one of `names` is not a condition."""
    for name in names:
        if name not in conditions:
            known = f" The conditions are: {', '.join(conditions) or 'none'}"
            raise BadInput(f"{of}: there is no condition {name!r}{did_you_mean(name, list(conditions)) or '.'}{known}")


class GuidedDenoiser(Denoiser):
    """The guided denoiser of one run: calls each network once for all branches, then applies the guidances in order.

    Args:
        guidances: The guidances in the order in which they are applied, copied for this run.
        denoiser: The run's denoiser.
    """

    def __init__(self, guidances: Sequence[Guidance], denoiser: Denoiser):
        self.guidances, self.denoiser = list(guidances), denoiser
        self._checked = False

    def fresh_copy(self) -> GuidedDenoiser:
        """A copy for another run. This denoiser must not have been called yet, so that it has no state."""
        return GuidedDenoiser([copy.copy(part) for part in self.guidances], self.denoiser)

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The guided estimate at x (B, C, *spatial).

        Raises:
            BadInput: A guidance cannot be used with these conditions.
        """
        if not self._checked:
            for part in self.guidances:
                part.check(conditions.names)
            self._checked = True
        on = level.exact(x)
        acting = [(part, inside) for part in self.guidances if (inside := part.inside(on)) is not False]
        replaced = bool(acting) and acting[0][0].starts and acting[0][1] is True
        branches = dict.fromkeys([] if replaced else [CONDITIONAL])
        for part, _ in acting:
            branches.update(dict.fromkeys(part.branches(on)))
        estimates, moved = self._estimates(x, on, conditions, list(branches))
        x, guided = x if moved is None else moved, None if replaced else estimates[CONDITIONAL]
        for part, inside in acting:
            result = part.combine(GuidanceInputs(x, on, conditions, estimates, guided, _counts(conditions, inside, x)))
            guided = result.x0 if inside is True else torch.where(inside, result.x0, guided)  # type: ignore[arg-type]
            if result.x is not None:
                moved = result.x if inside is True else torch.where(inside, result.x, x)  # type: ignore[arg-type]
        assert guided is not None
        return Estimate(guided, moved)

    def _estimates(
        self, x: Tensor, level: NoiseLevel, conditions: Conditioning, branches: Sequence[GuidanceBranch]
    ) -> tuple[dict[GuidanceBranch, Tensor], Tensor | None]:
        """Branch -> x0, with one call per network and one row for equal branches; and x if the network changed it."""
        calls: dict[int, tuple[Denoiser, Conditioning, dict[_RowKey, list[GuidanceBranch]]]] = {}
        for branch in branches:
            network = self.denoiser if branch.denoiser is None else branch.denoiser
            embedded = conditions
            if isinstance(network, AuxiliaryDenoiser):
                embedded = replace(network.conditions, valid=conditions.valid, wrap=conditions.wrap)
            rows = calls.setdefault(id(network), (network, embedded, {}))[2]
            rows.setdefault((_dropped(embedded, branch.drop), branch.other), []).append(branch)
        estimates, moved = {}, None
        for network, embedded, rows in calls.values():
            n, stacked = len(rows), Conditioning.stack([_conditions_of_row(embedded, len(x), *key) for key in rows])
            found = network.denoise(torch.cat([x] * n) if n > 1 else x, level.repeated(n), stacked)
            for same, x0 in zip(rows.values(), found.x0.chunk(n), strict=True):
                estimates.update(dict.fromkeys(same, x0))
            if network is self.denoiser and found.x is not None:
                moved = found.x.chunk(n)[0]
        return estimates, moved


_RowKey = tuple[frozenset[str], OtherConditions | None]
"""What distinguishes the rows of one network: the conditions that are dropped, and those that are replaced."""


def _conditions_of_row(
    conditions: Conditioning, batch: int, drop: frozenset[str], other: OtherConditions | None
) -> Conditioning:
    kept = conditions.without(drop) if drop else conditions
    return kept if other is None else other.replace_in(kept, batch)


def _dropped(conditions: Conditioning, drop: tuple[str, ...] | None) -> frozenset[str]:
    """The conditions that `drop` changes: those that exist and are not unconditional already."""
    names = set(conditions.names) if drop is None else set(conditions.names) & set(drop)
    for name in names - conditions.unconditional.keys():
        raise BadInput(
            f"guidance needs the unconditional embedding of condition {name!r}: give it in "
            f"Conditioning(..., unconditional={{{name!r}: ...}})"
        )
    return frozenset(name for name in names if conditions[name] is not conditions.unconditional[name])


def _counts(conditions: Conditioning, inside: bool | Tensor, x: Tensor) -> Tensor | None:
    valid = None if conditions.valid is None else conditions.valid.to(x.dtype)
    if not isinstance(inside, Tensor):
        return valid
    return inside.to(x.dtype) if valid is None else inside * valid
