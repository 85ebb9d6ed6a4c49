"""Plans: the rows of a sampler as data, and the symbols with which a sampler writes them.

A plan builder records rows x_i = sum_j a_j x_j + sum_j b_j D_j + sum_k n_k z_k of earlier points x, estimates D of x0
and noises z. The coefficients are float64 numbers that are known before the first call of the network, so a plan can be
stored, inspected and tested without one. base.py explains how a sampler uses a builder; solver.py runs a plan.

While a plan is built, levels and coefficients are numpy's float64: numbers, or arrays where levels differ within a
batch. The same operators and functions (np.exp, np.where) work on both and follow IEEE arithmetic, so rho = inf at
alpha = 0 needs no special case; a Python float would raise there, and a tensor of one element is ten times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..timesteps.base import check_levels_decrease
from ..types import BadInput, NoiseLevel, Number, broadcast_like

Symbol = tuple[str, Hashable]  # ("x", row), ("D", row) or ("z", key)
Float64 = Any  # np.float64, or an array (B,) or (B, 1, *spatial) of it


class RepeatedNoiseKey(NamedTuple):
    """A noise key for a segment of steps that is run several times: independent of the noise of its other runs.

    Attributes:
        segment: Number of the segment.
        repeat: 0 for the first run of the segment.
        key: The key that the sampler gives to the noise.
    """

    segment: int
    repeat: int
    key: Hashable


class PlanLevel:
    """A noise level while a plan is built: float64 numbers, or arrays where levels differ within the batch.

    Attributes:
        t: Time in the schedule's units.
        alpha: Scale of the data.
        sigma: Standard deviation of the noise.
        rho: sigma / alpha; infinite at alpha = 0.
        tau: sigma / (alpha + sigma), between 0 (clean) and 1 (noise).
    """

    __slots__ = ("alpha", "rho", "sigma", "t", "tau")

    def __init__(self, t: Float64, alpha: Float64, sigma: Float64):
        self.t, self.alpha, self.sigma = t, alpha, sigma
        self.rho = sigma / alpha if isinstance(alpha, np.ndarray) or alpha else np.float64(np.inf)
        self.tau = sigma / (alpha + sigma)

    @property
    def lam(self) -> Float64:
        """log(alpha / sigma); minus infinity at alpha = 0, plus infinity at sigma = 0."""
        return np.log(self.alpha) - np.log(self.sigma)

    @property
    def is_map(self) -> bool:
        """Whether the level differs from sample to sample, or within a sample."""
        return isinstance(self.alpha, np.ndarray) or isinstance(self.sigma, np.ndarray)

    @classmethod
    def of(cls, level: NoiseLevel | PlanLevel) -> PlanLevel:
        """The level in numpy's float64, on the host."""
        if isinstance(level, PlanLevel):
            return level
        return cls(_float64(level.t), _float64(level.alpha), _float64(level.sigma))

    def where(self, mask: Any, other: PlanLevel) -> PlanLevel:
        """This level where `mask` is true, else the other."""
        if not isinstance(mask, np.ndarray):
            return self if mask else other
        pairs = ((self.t, other.t), (self.alpha, other.alpha), (self.sigma, other.sigma))
        return PlanLevel(*(np.where(mask, a, b) for a, b in pairs))

    def plain(self) -> NoiseLevel:
        """The level as stored in rows: Python floats, or float64 tensors."""
        return NoiseLevel(_plain(self.t), _plain(self.alpha), _plain(self.sigma))


class LinearCombination:
    """A linear combination of earlier points, estimates and noises: supports +, - and multiplication by numbers.

    Args:
        terms: Symbol -> coefficient.
    """

    __slots__ = ("terms",)
    __array_ufunc__ = None  # so that `array * combination` calls __rmul__ and does not broadcast over the combination

    def __init__(self, terms: Mapping[Symbol, Float64]):
        self.terms = terms

    def __add__(self, other: LinearCombination) -> LinearCombination:
        terms = dict(self.terms)
        for symbol, c in other.terms.items():
            terms[symbol] = terms[symbol] + c if symbol in terms else c
        return LinearCombination(terms)

    def __sub__(self, other: LinearCombination) -> LinearCombination:
        terms = dict(self.terms)
        for symbol, c in other.terms.items():
            terms[symbol] = terms[symbol] - c if symbol in terms else -c
        return LinearCombination(terms)

    def __mul__(self, c: Float64) -> LinearCombination:
        if not isinstance(c, np.ndarray):
            c = float(c)
        return LinearCombination({symbol: c * own for symbol, own in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, c: Float64) -> LinearCombination:
        return self * (1 / c)

    def __neg__(self) -> LinearCombination:
        return self * -1.0

    def __repr__(self) -> str:
        return f"LinearCombination({dict(self.terms)})"

    def masked(self, mask: Any) -> LinearCombination:
        """The combination where `mask` is true and 0 elsewhere, also where coefficients are not finite."""
        if isinstance(mask, np.ndarray):
            return LinearCombination({symbol: np.where(mask, c, 0.0) for symbol, c in self.terms.items()})
        return self if mask else LinearCombination({})


@dataclass(frozen=True)
class PlanRow:
    """One point of a plan: its level, its terms, and whether the denoiser is called or a step ends there.

    Attributes:
        level: The point's level; floats, or tensors where the level varies in the batch.
        x: Coefficients of earlier points, by row.
        d: Coefficients of earlier estimates of x0, by row.
        z: Coefficients of noises, by key.
        evaluate: Whether the denoiser is called here.
        step: Whether a step of the method ends here (callbacks receive only these points).
        last: Points, estimates and noises that no later row uses; computed by `plan_from_rows`.
    """

    level: NoiseLevel
    x: Mapping[int, Number] = field(default_factory=dict)
    d: Mapping[int, Number] = field(default_factory=dict)
    z: Mapping[Hashable, Number] = field(default_factory=dict)
    evaluate: bool = False
    step: bool = False
    last: tuple[Symbol, ...] = ()


Terms = tuple[tuple[Symbol, Number], ...]


@dataclass(frozen=True)
class Plan:
    """Rows in the order in which they are computed; row 0 is the start of the sampler.

    Attributes:
        rows: The rows.
        terms: The terms of each row, in order: points, estimates, noises. Computed on creation, so that a compiler that
            traces the loop sees plain data.
    """

    rows: tuple[PlanRow, ...]
    terms: list[Terms] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        terms = [
            (
                *((("x", j), c) for j, c in row.x.items()),
                *((("D", j), c) for j, c in row.d.items()),
                *((("z", key), c) for key, c in row.z.items()),
            )
            for row in self.rows
        ]
        object.__setattr__(self, "terms", terms)

    @property
    def nfe(self) -> int:
        """Number of function evaluations: calls of the denoiser."""
        return sum(row.evaluate for row in self.rows)

    @property
    def noises(self) -> list[Hashable]:
        """Every noise key, in order of first use."""
        return list(dict.fromkeys(key for row in self.rows for key in row.z))

    def bound(self, x: Tensor) -> list[tuple[PlanRow, NoiseLevel, Terms]]:
        """Rows, levels and terms, with tensors converted to x's shape, dtype and device once, before the loop."""
        terms = [tuple((symbol, broadcast_like(c, x)) for symbol, c in row) for row in self.terms]
        return [(row, row.level.exact(x), own) for row, own in zip(self.rows, terms, strict=True)]


class PlanBuilder:
    """The object on which a sampler writes its rows.

    Args:
        schedule: The noise schedule.
        levels: The levels that the sampler visits, including the last one.
        rising: Whether the noise increases instead of decreasing, for inversion.

    Raises:
        BadInput: The levels are not strictly decreasing (or increasing).
    """

    def __init__(self, schedule: Schedule, levels: Sequence[NoiseLevel | PlanLevel], rising: bool = False):
        self.schedule, self.levels = schedule, [PlanLevel.of(level) for level in levels]
        check_levels_decrease(self.levels[::-1] if rising else self.levels)
        self._rows: list[tuple[PlanLevel, LinearCombination, bool]] = [(self.levels[0], LinearCombination({}), False)]
        self._evaluated: set[int] = set()
        self._base = 0  # row of the last step: the value of elements whose level does not change

    def start(self) -> LinearCombination:
        """The point that the caller passes: noise, or the noisy source of an edit."""
        return LinearCombination({("x", 0): 1.0})

    def pairs(self) -> Iterator[tuple[PlanLevel, PlanLevel]]:
        """(s, t): the levels at which each step starts and ends."""
        return iter(zip(self.levels, self.levels[1:], strict=False))

    def denoise(self, x: LinearCombination) -> LinearCombination:
        """The estimate of x0 at a point; a second call for the same point costs no further evaluation."""
        row = self._row_of(x)
        self._evaluated.add(row)
        return LinearCombination({("D", row): 1.0})

    def noise(self, key: Hashable) -> LinearCombination:
        """Standard normal noise; the same key gives the same noise in every plan with the same seed."""
        return LinearCombination({("z", key): 1.0})

    def point(self, x: LinearCombination, level: NoiseLevel | PlanLevel) -> LinearCombination:
        """A point inside a step (a midpoint, a churned start, a predictor)."""
        return self._add(x, level, step=False)

    def step(self, x: LinearCombination, level: NoiseLevel | PlanLevel) -> LinearCombination:
        """The point that ends a step."""
        new = self._add(x, level, step=True)
        self._base = len(self._rows) - 1
        return new

    def levels_of_rho(self, rhos: Sequence[Float64]) -> list[PlanLevel]:
        """The schedule's levels at sigma / alpha = rho, computed in one call."""
        return _at(self.schedule.level_of_rho, rhos)

    def levels_at(self, times: Sequence[Float64]) -> list[PlanLevel]:
        """The schedule's levels at the given times, computed in one call."""
        return _at(self.schedule.level, times)

    def _add(self, x: LinearCombination, level: NoiseLevel | PlanLevel, step: bool) -> LinearCombination:
        if not isinstance(x, LinearCombination):
            raise TypeError(f"a point is a combination of the builder's points, estimates and noises, not {x!r}")
        base, level = self._rows[self._base][0], PlanLevel.of(level)
        if level.is_map:
            unchanged = (level.alpha == base.alpha) & (level.sigma == base.sigma)
            if unchanged.any():
                terms: dict[Symbol, Float64] = {("x", self._base): 0.0, **x.terms}
                x = LinearCombination(
                    {s: np.where(unchanged, float(s == ("x", self._base)), c) for s, c in terms.items()}
                )
        self._rows.append((level, x, step))
        return LinearCombination({("x", len(self._rows) - 1): 1.0})

    @staticmethod
    def _row_of(x: LinearCombination) -> int:
        if len(x.terms) == 1:
            (((kind, row), c),) = x.terms.items()
            if kind == "x" and isinstance(row, int) and isinstance(c, float) and c == 1:
                return row
        raise BadInput("denoise takes a point: pass a combination to builder.point first, with its level")

    def finish(self) -> Plan:
        """The rows as a plan: zero terms removed, scalar coefficients as floats, last uses computed."""
        parts: list[dict[str, dict[Any, Number]]] = []
        for _, new, _ in self._rows:
            part: dict[str, dict[Any, Number]] = {"x": {}, "D": {}, "z": {}}
            for (kind, key), c in new.terms.items():
                if c.any() if isinstance(c, np.ndarray) else c != 0:
                    part[kind][key] = _plain(c)
            parts.append(part)
        last = last_uses([(part["x"], part["D"], part["z"], i in self._evaluated) for i, part in enumerate(parts)])
        return Plan(
            tuple(
                PlanRow(level.plain(), part["x"], part["D"], part["z"], i in self._evaluated, step, last[i])
                for i, ((level, _, step), part) in enumerate(zip(self._rows, parts, strict=True))
            )
        )


def plan_from_rows(rows: Sequence[PlanRow]) -> Plan:
    """A plan of these rows, each with what no later row uses, so that the loop keeps only the method's history."""
    last = last_uses([(row.x, row.d, row.z, row.evaluate) for row in rows])
    return Plan(tuple(replace(row, last=own) for row, own in zip(rows, last, strict=True)))


RowTerms = tuple[Mapping[int, Any], Mapping[int, Any], Mapping[Hashable, Any], bool]  # x, D, z, evaluate


def last_uses(rows: Sequence[RowTerms]) -> list[tuple[Symbol, ...]]:
    """For each row the points, estimates and noises that no later row uses.

    What no row uses at all (for example a predictor's point that is only evaluated) is freed at the next row.
    """
    final: dict[Symbol, int] = {}
    for i, (x, D, z, evaluate) in enumerate(rows):
        for kind, own in (("x", x), ("D", D), ("z", z)):
            for j in own:
                final[kind, j] = i
        final["x", i] = i + 1
        if evaluate:
            final["D", i] = i + 1
    last: list[list[Symbol]] = [[] for _ in range(len(rows) + 1)]
    for symbol, i in final.items():
        last[i].append(symbol)
    return [tuple(own) for own in last[:-1]]


def _at(function: Callable[[Tensor], NoiseLevel], values: Sequence[Float64]) -> list[PlanLevel]:
    """A level for each value; numbers in one call, because a call of torch takes as long as a hundred numbers."""
    if any(isinstance(value, np.ndarray) for value in values):
        return [PlanLevel.of(function(torch.as_tensor(value))) for value in values]
    new = function(torch.tensor(values, dtype=torch.float64))
    fields = zip(new.t.tolist(), new.alpha.tolist(), new.sigma.tolist(), strict=True)  # type: ignore[union-attr]
    return [PlanLevel(np.float64(t), np.float64(alpha), np.float64(sigma)) for t, alpha, sigma in fields]


def _float64(value: Number) -> Float64:
    """A field of a level as numpy float64: a scalar, or an array on the host."""
    if isinstance(value, Tensor):
        value = value.detach()
        return np.float64(value.item()) if value.ndim == 0 else value.to("cpu", torch.float64).numpy()
    return np.float64(value)


def _plain(value: Float64) -> Number:
    """A Python float, or a float64 tensor that owns its memory."""
    if isinstance(value, np.ndarray) and value.ndim:
        return torch.from_numpy(np.array(value, dtype=np.float64))
    return float(value)
