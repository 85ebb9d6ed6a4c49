"""What guidance is: a denoiser made from denoisers, in x0 space.

A guidance names the branches it needs (estimates of x0 with or without conditions) and says how it combines them. A run
may have a list of guidances:

- The branches of all are gathered and each network is called once, with the union as one batch: N conditions cost N + 1
  rows, not N + 1 calls, and two guidances that need the unconditional estimate share its row.
- The list starts from CONDITIONAL, the conditional estimate. Each guidance in turn takes `inputs.guided`, the result
  of those before it, and returns its own. One that moves the estimate away from another (cfg, apg, autoguidance) adds
  its guidance delta, which it computes from the networks' own estimates, so that their order does not matter:

      guided + (scale - 1) (conditional - unconditional)

  One that changes the result of others (rescale, dynamic_threshold) stands after them.
- `starts` marks a guidance that replaces the estimate without CONDITIONAL: it stands first. `moves` marks one that
  moves the state too: it stands last, for it must know the final estimate.
- Every guidance has a window in noise level; where it is closed the estimate stays as it was. The window is applied
  here, element by element where levels are maps. Closed for the whole batch, it costs nothing.
- State between calls is kept on the guidance itself: `begin` copies it for every run. Rows are samples, so state is
  per sample as long as it keeps the batch axis.

A new guidance is one file with one class: set `window`, name `branches`, write `combine`. Sums over a sample go through
`GuidanceInputs`, which counts valid elements inside the window only.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel
from ..util.messages import did_you_mean
from ..util.rng import Noise

ALWAYS = (0.0, 1.0)
EDGE = 1e-6  # a level on the edge of a window is inside, in float32 as in float64


@dataclass(frozen=True)
class Run:
    """What denoisers are wrapped for: one sampling run, with its keyed noise.

    Attributes:
        noise: The run's noise.
    """

    noise: Noise


@dataclass(frozen=True)
class Branch:
    """An estimate of x0 that a guidance needs.

    Attributes:
        drop: Names of the conditions replaced by their unconditional counterparts; None: all of them; (): none.
        denoiser: Which denoiser makes it; None: the run's own.
    """

    drop: tuple[str, ...] | None = ()
    denoiser: Denoiser | None = None


CONDITIONAL, UNCONDITIONAL = Branch(), Branch(drop=None)


class AuxiliaryModel(Denoiser):
    """A second network with the run's conditions as it embeds them itself: `Branch.denoiser` of another model.

    Args:
        denoiser: The network's denoiser, on the same schedule, latent shape and codec as the run's own.
        conditions: The same conditions for the same samples, embedded by that network.
    """

    def __init__(self, denoiser: Denoiser, conditions: Conditioning):
        self.denoiser, self.conditions = denoiser, conditions

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The second network's estimate; `conditions` are a stack of its own."""
        return self.denoiser.denoise(x, level, conditions)


@dataclass(frozen=True)
class GuidanceInputs:
    """One evaluation of a run as a guidance sees it.

    Attributes:
        x: (B, C, *spatial), the noisy samples.
        level: Their noise level, shaped against x; tensors are float64: results are rounded once by `expand`.
        conditions: The batch's conditions.
        estimates: Branch -> estimate of x0 (B, C, *spatial), for all branches needed at this level.
        before: The result of the guidances before this one; None: there are none, and CONDITIONAL is not needed.
        counts: (B or 1, 1, *spatial), 1 where an element is valid and inside the window, else 0; None: all of them.
    """

    x: Tensor
    level: NoiseLevel
    conditions: Conditioning
    estimates: Mapping[Branch, Tensor]
    before: Tensor | None
    counts: Tensor | None = None

    @property
    def guided(self) -> Tensor:
        """The result of the guidances before this one, (B, C, *spatial); CONDITIONAL where there are none."""
        return self.estimates[CONDITIONAL] if self.before is None else self.before

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each sample's elements that count: (B, C, *spatial) -> (B, 1, ..., 1); 0 where none counts."""
        shape = (-1, *[1] * (values.ndim - 1))
        if self.counts is None:
            return values.flatten(1).mean(1).reshape(shape)
        counts = self.counts.to(values.dtype).expand_as(values).flatten(1)
        return ((values.flatten(1) * counts).sum(1) / counts.sum(1).clamp(min=1)).reshape(shape)

    def variance(self, values: Tensor) -> Tensor:
        """Variance of each sample over its elements that count: (B, C, *spatial) -> (B, 1, ..., 1)."""
        return self.mean((values - self.mean(values)).square())


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b for b >= 0, and 1 where b is 0, with finite gradients."""
    positive = b > 0
    return torch.where(positive, a, 1.0) / torch.where(positive, b, 1.0)


def checked_window(window: Sequence[float], of: str) -> tuple[float, float]:
    """The window as two floats.

    Raises:
        BadInput: Unless 0 <= lowest <= highest <= 1.
    """
    lo, hi = window
    if not 0 <= lo <= hi <= 1:
        raise BadInput(f"{of}'s window is [lowest, highest] tau with 0 <= lowest <= highest <= 1, not {list(window)}")
    return float(lo), float(hi)


class Guidance(ABC):
    """Combines estimates of x0.

    Attributes:
        window: Lowest and highest tau = sigma / (alpha + sigma) (1 noise, 0 clean) at which it acts.
        starts: It replaces the estimate by a combination of its branches alone, and stands first in a list.
        moves: Its Estimate holds x too, and it stands last in a list.
        needs_condition: It does nothing without conditions.
        remembers: Its result depends on the calls before, and so on the levels of the sampler's steps.
    """

    window: tuple[float, float] = ALWAYS
    starts: bool = False
    moves: bool = False
    needs_condition: bool = True
    remembers: bool = False

    @abstractmethod
    def branches(self, level: NoiseLevel) -> Sequence[Branch]:
        """The estimates it needs inside its window, in addition to `guided`; none where it changes nothing."""

    @abstractmethod
    def combine(self, inputs: GuidanceInputs) -> Estimate:
        """The guided estimate; called where its window is open for some element at least."""

    def check(self, conditions: Collection[str]) -> None:
        """Raise BadInput unless it suits a model with conditions of these names."""
        if self.needs_condition and not conditions:
            raise BadInput("guidance strengthens a condition, and there is none: give conditions, or no guidance")

    def begin(self, run: Run) -> Guidance:
        """A copy for one run: state that `combine` keeps on it ends with the run."""
        return copy.copy(self)

    def wrap(self, denoiser: Denoiser, run: Run) -> Denoiser:
        """A denoiser for one run."""
        return Guided([self.begin(run)], denoiser)

    def inside(self, level: NoiseLevel) -> bool | Tensor:
        """Where the window is open: a truth value, or a tensor of them where levels differ."""
        if self.window == ALWAYS:
            return True
        tau, (lo, hi) = level.tau, self.window
        if isinstance(tau, Tensor):  # looking at it would wait for the device
            return (tau >= lo - EDGE) & (tau <= hi + EDGE)
        return lo - EDGE <= tau <= hi + EDGE


class Chain:
    """Guidances that act one after the other, their estimates computed in one batch a network.

    Args:
        guidances: In the order in which they act.

    Raises:
        BadInput: One stands in the wrong place.
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
        """Raise BadInput unless every one suits a model with conditions of these names."""
        for part in self.guidances:
            part.check(conditions)

    def wrap(self, denoiser: Denoiser, run: Run) -> Denoiser:
        """A denoiser for one run."""
        return Guided([part.begin(run) for part in self.guidances], denoiser)


def known_names(names: Sequence[str], conditions: Collection[str], of: str) -> None:
    """Raise BadInput, with the valid names, where one of `names` is no condition."""
    for name in names:
        if name not in conditions:
            known = f" The conditions are: {', '.join(conditions) or 'none'}"
            raise BadInput(f"{of}: there is no condition {name!r}{did_you_mean(name, list(conditions)) or '.'}{known}")


class Guided(Denoiser):
    """The denoiser of one run: calls each network once for all branches, then lets the guidances act in turn.

    Args:
        guidances: In the order in which they act, copied for this run.
        denoiser: The run's own denoiser.
    """

    def __init__(self, guidances: Sequence[Guidance], denoiser: Denoiser):
        self.guidances, self.denoiser = list(guidances), denoiser
        self._checked = False

    def anew(self) -> Guided:
        """A copy for another run, made of one that was not called yet, so that it holds no state."""
        return Guided([copy.copy(part) for part in self.guidances], self.denoiser)

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The guided estimate at x (B, C, *spatial).

        Raises:
            BadInput: If a guidance does not suit the conditions.
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
            made = part.combine(GuidanceInputs(x, on, conditions, estimates, guided, _counts(conditions, inside, x)))
            guided = made.x0 if inside is True else torch.where(inside, made.x0, guided)  # type: ignore[arg-type]
            if made.x is not None:
                moved = made.x if inside is True else torch.where(inside, made.x, x)  # type: ignore[arg-type]
        assert guided is not None
        return Estimate(guided, moved)

    def _estimates(
        self, x: Tensor, level: NoiseLevel, conditions: Conditioning, branches: Sequence[Branch]
    ) -> tuple[dict[Branch, Tensor], Tensor | None]:
        """Branch -> x0, one call a network, one row for branches that are equal; and x where the network moved it."""
        calls: dict[int, tuple[Denoiser, Conditioning, dict[frozenset[str], list[Branch]]]] = {}
        for branch in branches:
            network = self.denoiser if branch.denoiser is None else branch.denoiser
            own = conditions
            if isinstance(network, AuxiliaryModel):
                own = replace(network.conditions, valid=conditions.valid, wrap=conditions.wrap)
            rows = calls.setdefault(id(network), (network, own, {}))[2]
            rows.setdefault(_dropped(own, branch.drop), []).append(branch)
        made, moved = {}, None
        for network, own, rows in calls.values():
            n, stacked = len(rows), Conditioning.stack([own.without(drop) if drop else own for drop in rows])
            found = network.denoise(torch.cat([x] * n) if n > 1 else x, level.stacked(n), stacked)
            for same, x0 in zip(rows.values(), found.x0.chunk(n), strict=True):
                made.update(dict.fromkeys(same, x0))
            if network is self.denoiser and found.x is not None:
                moved = found.x.chunk(n)[0]
        return made, moved


def _dropped(conditions: Conditioning, drop: tuple[str, ...] | None) -> frozenset[str]:
    """The conditions that `drop` changes: those that are there and are not unconditional already."""
    names = set(conditions.names) if drop is None else set(conditions.names) & set(drop)
    for name in names - conditions.unconditional.keys():
        raise BadInput(
            f"guidance needs the unconditional counterpart of condition {name!r}: give it in "
            f"Conditioning(..., unconditional={{{name!r}: ...}})"
        )
    return frozenset(name for name in names if conditions[name] is not conditions.unconditional[name])


def _counts(conditions: Conditioning, inside: bool | Tensor, x: Tensor) -> Tensor | None:
    valid = None if conditions.valid is None else conditions.valid.to(x.dtype)
    if not isinstance(inside, Tensor):
        return valid
    return inside.to(x.dtype) if valid is None else inside * valid
