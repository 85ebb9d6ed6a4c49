"""What a sampler is: schedule and levels -> a plan, which one loop runs.

A sampler is written like the algorithm of its paper, on symbols:

    x = draft.start()
    for s, t in draft.pairs():                        # Level s -> Level t
        D = draft.denoise(x)                          # an estimate of x0, evaluated at x's own level
        x = draft.step((t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * D, t)

`draft` records rows x_i = sum_j a_j x_j + sum_j b_j D_j + sum_k n_k z_k. The coefficients are float64 numbers that are
known before the first call of the network, so the loop (`run`) only adds tensors: no state, no look-up of a time, no
host-device synchronisation, and a plan can be stored, inspected and tested without a network.

While a plan is made, levels are float64 tensors: 0-dimensional, or maps, (B,) or (B, 1, *spatial). Write samplers with
torch functions (`affine.where(mask)`, not `if`) on them, and both work; a constant map then gives bit for bit what the
number gives, provided that only +, -, *, /, squares, square roots, exp and log are used (general powers round
differently when they are vectorised). An element of a map whose level stays keeps its value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..noise import Noise
from ..schedulers.base import ExactLevel, Schedule
from ..spacings.base import check_falling
from ..types import BadInput, Conditions, Denoiser, Level, Number, expand

Symbol = tuple[str, Hashable]  # ("x", row), ("D", row) or ("z", key)


@dataclass(frozen=True)
class Affine:
    """A linear combination of earlier points, estimates and noises; supports +, - and multiplication by numbers."""

    terms: Mapping[Symbol, Number]

    def __add__(self, other: Affine) -> Affine:
        terms = dict(self.terms)
        for symbol, c in other.terms.items():
            terms[symbol] = terms[symbol] + c if symbol in terms else c
        return Affine(terms)

    def __mul__(self, c: Number) -> Affine:
        return Affine({symbol: c * own for symbol, own in self.terms.items()})

    def __sub__(self, other: Affine) -> Affine:
        return self + other * -1.0

    def __truediv__(self, c: Number) -> Affine:
        return self * (1 / c)

    def __rmul__(self, c: Number) -> Affine:
        return self * c

    def __neg__(self) -> Affine:
        return self * -1.0

    def where(self, mask: Tensor) -> Affine:
        """The combination where `mask` holds and 0 elsewhere, even where its coefficients are not finite."""
        return Affine({symbol: torch.where(mask, _float64(c), 0.0) for symbol, c in self.terms.items()})


# A tensor on the left of an Affine would broadcast over it; this makes `tensor * affine` call Affine.__rmul__.
Affine.__torch_function__ = classmethod(lambda cls, func, types, args=(), kwargs=None: NotImplemented)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Row:
    """One point of a plan: where it is, what it is made of, and what happens there.

    level:    the point's level; floats, or tensors where the level varies in the batch
    x, d, z:  coefficients on earlier points (by row), earlier estimates (by row) and noises (by key)
    evaluate: whether the denoiser is called here
    step:     whether a step of the method ends here (callbacks see these points only)
    last:     points, estimates and noises that no later row uses
    """

    level: Level
    x: Mapping[int, Number] = field(default_factory=dict)
    d: Mapping[int, Number] = field(default_factory=dict)
    z: Mapping[Hashable, Number] = field(default_factory=dict)
    evaluate: bool = False
    step: bool = False
    last: tuple[Symbol, ...] = ()


Terms = tuple[tuple[Symbol, Number], ...]


@dataclass(frozen=True)
class Plan:
    """Rows in the order they are made; row 0 is the point where the sampler starts."""

    rows: tuple[Row, ...]

    @property
    def nfe(self) -> int:
        """Number of function evaluations: how often the denoiser is called."""
        return sum(row.evaluate for row in self.rows)

    @property
    def noises(self) -> list[Hashable]:
        """Every noise key in the order of first use."""
        return list(dict.fromkeys(key for row in self.rows for key in row.z))

    @cached_property
    def terms(self) -> list[Terms]:
        """For each row, what it adds up, in order: points, estimates, noises."""
        kinds = (("x", "x"), ("D", "d"), ("z", "z"))
        return [
            tuple(((kind, j), c) for kind, name in kinds for j, c in getattr(row, name).items()) for row in self.rows
        ]

    def bound(self, x: Tensor) -> list[tuple[Row, Level, Terms]]:
        """Rows, levels and terms, with tensors made ready for x (shape, dtype, device) once, before the loop."""

        terms = [tuple((symbol, expand(c, x)) for symbol, c in row) for row in self.terms]
        return [(row, row.level.exact(x), own) for row, own in zip(self.rows, terms, strict=True)]


class Draft:
    """Where a sampler writes its rows. `levels` are the falling levels it must visit, the last one included."""

    def __init__(self, schedule: Schedule, levels: Sequence[Level]):
        check_falling(levels)
        self.schedule, self.levels = schedule, [_exact(level) for level in levels]
        self._rows: list[tuple[ExactLevel, Affine, bool]] = [(self.levels[0], Affine({}), False)]
        self._evaluated: set[int] = set()
        self._base = 0  # row of the last step: what an element whose level stays keeps

    def start(self) -> Affine:
        """The point that the caller gives: noise, or an edit's noisy reference."""
        return Affine({("x", 0): 1.0})

    def pairs(self) -> Iterator[tuple[ExactLevel, ExactLevel]]:
        """(s, t): the level a step starts from and the one it goes to."""
        return iter(zip(self.levels, self.levels[1:], strict=False))

    def denoise(self, x: Affine) -> Affine:
        """The estimate of x0 at a point; asking twice for the same point costs one evaluation."""
        row = self._row_of(x)
        self._evaluated.add(row)
        return Affine({("D", row): 1.0})

    def noise(self, key: Hashable) -> Affine:
        """Standard normal noise; the same key is the same noise everywhere, in any plan of the same seed."""
        return Affine({("z", key): 1.0})

    def point(self, x: Affine, level: Level) -> Affine:
        """A point inside a step (a midpoint, a churned start, a predictor)."""
        return self._add(x, level, step=False)

    def step(self, x: Affine, level: Level) -> Affine:
        """The point that ends a step."""
        made = self._add(x, level, step=True)
        self._base = len(self._rows) - 1
        return made

    def _add(self, x: Affine, level: Level, step: bool) -> Affine:
        base, level = self._rows[self._base][0], _exact(level)
        if any(isinstance(v, Tensor) and v.ndim for v in (level.alpha, level.sigma)):
            stays = (torch.as_tensor(level.alpha) == base.alpha) & (torch.as_tensor(level.sigma) == base.sigma)
            if bool(stays.any()):
                kept: dict[Symbol, Number] = {("x", self._base): 0.0, **x.terms}
                x = Affine({s: torch.where(stays, float(s == ("x", self._base)), _float64(c)) for s, c in kept.items()})
        self._rows.append((level, x, step))
        return Affine({("x", len(self._rows) - 1): 1.0})

    @staticmethod
    def _row_of(x: Affine) -> int:
        if len(x.terms) == 1:
            (((kind, row), c),) = x.terms.items()
            if kind == "x" and isinstance(row, int) and isinstance(c, float) and c == 1:
                return row
        raise BadInput("denoise takes a point: give a combination to draft.point first, with its level")

    def finish(self) -> Plan:
        """The rows as a plan: zero terms dropped, scalar coefficients as floats, last uses marked."""
        made = [
            {symbol: _plain(c) for symbol, c in x.terms.items() if bool((torch.as_tensor(c) != 0).any())}
            for _, x, _ in self._rows
        ]
        final = {symbol: i for i, terms in enumerate(made) for symbol in terms}
        rows = []
        for i, ((level, _, step), terms) in enumerate(zip(self._rows, made, strict=True)):
            x, d, z = ({key: c for (kind, key), c in terms.items() if kind == wanted} for wanted in "xDz")
            last = tuple(symbol for symbol in terms if final[symbol] == i)
            plain = Level(_plain(level.t), _plain(level.alpha), _plain(level.sigma))
            rows.append(Row(plain, x, d, z, i in self._evaluated, step, last))  # type: ignore[arg-type]
        return Plan(tuple(rows))


def _exact(level: Level) -> ExactLevel:
    """The level as float64 tensors on the host."""
    return ExactLevel(*(torch.as_tensor(v, dtype=torch.float64).cpu() for v in (level.t, level.alpha, level.sigma)))


def _float64(c: Number) -> Tensor:
    """A coefficient as a tensor: torch makes float32 of a Python float."""
    return torch.as_tensor(c, dtype=torch.float64)


def _plain(value: Number) -> Number:
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value


class Sampler(ABC):
    """A solver of the reverse process. It holds options only: `plan` is a pure function of schedule and levels.

    order:          order of convergence of the deterministic method: the error falls as step^order; None: stochastic
    stochastic:     whether it draws noise on the way
    keeps_marginal: whether a perfect estimate of x0 gives every point its level's sigma of noise; a method that by
                    design does not says so here
    adaptive:       whether `solve` chooses the levels between the first and the last by itself, as it goes; `plan` is
                    then the method's step on levels that are given
    converges:      whether what it makes of an exact denoiser tends to the data as steps grow; a method for distilled
                    networks, whose output is a sample and not a mean, says so here
    """

    order: int | None = None
    stochastic: bool = False
    keeps_marginal: bool = True
    adaptive: bool = False
    converges: bool = True

    @abstractmethod
    def draft(self, draft: Draft) -> None:
        """Write the method's rows: `draft.start`, then one `draft.step` for every pair of levels."""

    def plan(self, schedule: Schedule, levels: Sequence[Level]) -> Plan:
        """The rows for these levels (float64, falling, usually ending clean). Raises BadInput unless they suit."""
        draft = Draft(schedule, levels)
        self.draft(draft)
        return draft.finish()

    def solve(
        self,
        schedule: Schedule,
        levels: Sequence[Level],
        denoiser: Denoiser,
        x: Tensor,
        conditions: Conditions | None = None,
        noise: Noise | Mapping[Hashable, Tensor] | None = None,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Solution:
        """From x (B, C, *spatial) at levels[0] to levels[-1]: makes the plan and runs it; the rest is as in `run`."""
        plan = self.plan(schedule, levels)
        return Solution(run(plan, denoiser, x, conditions, noise, on_step), (plan.nfe,) * len(x))


@dataclass(frozen=True)
class Solution:
    """The last point of a sampler, and what it cost.

    x:   (B, C, *spatial)
    nfe: evaluations of the denoiser that each sample took
    """

    x: Tensor
    nfe: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """What a callback sees where a step ends.

    step:  steps ended so far; `steps` is how many there will be, None where an adaptive sampler cannot tell
    level: where x is; an adaptive sampler's samples are each at their own, (B,) or a map
    x, x0: the points and the latest estimates, (B, C, *spatial)
    nfe:   evaluations so far of each sample
    """

    step: int
    steps: int | None
    level: Level
    x: Tensor
    x0: Tensor | None
    nfe: tuple[int, ...]


def run(
    plan: Plan,
    denoiser: Denoiser,
    x: Tensor,
    conditions: Conditions | None = None,
    noise: Noise | Mapping[Hashable, Tensor] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Run a plan from x (B, C, *spatial), a point at the plan's first level, and return the last point.

    noise:   the keyed noise of the batch, or a mapping key -> (B, C, *spatial) of noises drawn before
    on_step: called where a step ends, with the latest estimate of x0
    """
    steps, done, nfe, last = sum(row.step for row in plan.rows), 0, 0, x
    for row, last, x0 in points(plan, denoiser, x, conditions, noise):
        nfe += row.evaluate
        if row.step:
            done += 1
            if on_step is not None:
                on_step(Progress(done, steps, row.level, last, x0, (nfe,) * len(x)))
    return last


def points(
    plan: Plan,
    denoiser: Denoiser,
    x: Tensor,
    conditions: Conditions | None = None,
    noise: Noise | Mapping[Hashable, Tensor] | None = None,
) -> Iterator[tuple[Row, Tensor, Tensor | None]]:
    """The loop: (row, point, latest estimate of x0) for every row of a plan as it is made; arguments as in `run`."""
    conditions = Conditions() if conditions is None else conditions
    x0 = None
    values: dict[Symbol, Tensor] = {("x", 0): x}
    for i, (row, level, terms) in enumerate(plan.bound(x)):
        if i:
            for key in row.z:
                if ("z", key) not in values:
                    values["z", key] = _drawn(noise, key)
            values["x", i] = x = _total(terms, values, x)
            for symbol in row.last:
                del values[symbol]
        if row.evaluate:
            estimate = denoiser.denoise(x, level, conditions)
            values["D", i] = x0 = estimate.x0
            if estimate.x is not None:
                values["x", i] = estimate.x
        yield row, x, x0


def _drawn(noise: Noise | Mapping[Hashable, Tensor] | None, key: Hashable) -> Tensor:
    if noise is None:
        raise BadInput("this sampler draws noise: give `noise`")
    return noise.normal("sampler", key) if isinstance(noise, Noise) else noise[key]


def _total(terms: Terms, values: Mapping[Symbol, Tensor], like: Tensor) -> Tensor:
    """sum_j c_j value_j, accumulated in place into one new tensor.

    A number and a map take different kernels that round alike: both multiply and add in one rounding.
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
