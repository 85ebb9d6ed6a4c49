"""What a run does, as data: rows of a plan, and the symbols on which a sampler writes them.

A draft records rows x_i = sum_j a_j x_j + sum_j b_j D_j + sum_k n_k z_k over earlier points x, estimates D of x0 and
noises z. The coefficients are float64 numbers that are known before the first call of the network, so a plan can be
stored, inspected and tested without one. How a sampler uses a draft stands in samplers/base.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..schedulers.base import NoiseLevel64, Schedule
from ..timesteps.base import check_falling
from ..types import BadInput, NoiseLevel, Number, expand

Symbol = tuple[str, Hashable]  # ("x", row), ("D", row) or ("z", key)


@dataclass(frozen=True)
class LinearCombination:
    """A linear combination of earlier points, estimates and noises; supports +, - and multiplication by numbers."""

    terms: Mapping[Symbol, Number]

    def __add__(self, other: LinearCombination) -> LinearCombination:
        terms = dict(self.terms)
        for symbol, c in other.terms.items():
            terms[symbol] = terms[symbol] + c if symbol in terms else c
        return LinearCombination(terms)

    def __mul__(self, c: Number) -> LinearCombination:
        return LinearCombination({symbol: c * own for symbol, own in self.terms.items()})

    def __sub__(self, other: LinearCombination) -> LinearCombination:
        return self + other * -1.0

    def __truediv__(self, c: Number) -> LinearCombination:
        return self * (1 / c)

    def __rmul__(self, c: Number) -> LinearCombination:
        return self * c

    def __neg__(self) -> LinearCombination:
        return self * -1.0

    def where(self, mask: Tensor) -> LinearCombination:
        """The combination where `mask` holds and 0 elsewhere, even where its coefficients are not finite."""
        return LinearCombination({symbol: torch.where(mask, _float64(c), 0.0) for symbol, c in self.terms.items()})


# A tensor on the left of an LinearCombination would broadcast over it; this makes `tensor * affine` call LinearCombination.__rmul__.
LinearCombination.__torch_function__ = classmethod(lambda cls, func, types, args=(), kwargs=None: NotImplemented)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Row:
    """One point of a plan: where it is, what it is made of, and what happens there.

    level:    the point's level; floats, or tensors where the level varies in the batch
    x, d, z:  coefficients on earlier points (by row), earlier estimates (by row) and noises (by key)
    evaluate: whether the denoiser is called here
    step:     whether a step of the method ends here (callbacks see these points only)
    last:     points, estimates and noises that no later row uses; `with_last_uses` finds them
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
    """Rows in the order they are made; row 0 is the point where the sampler starts.

    terms: for each row, what it adds up, in order: points, estimates, noises; made at once, so that a compiler that
           traces the loop meets plain data
    """

    rows: tuple[Row, ...]
    terms: list[Terms] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kinds = (("x", "x"), ("D", "d"), ("z", "z"))
        terms = [
            tuple(((kind, j), c) for kind, name in kinds for j, c in getattr(row, name).items()) for row in self.rows
        ]
        object.__setattr__(self, "terms", terms)

    @property
    def nfe(self) -> int:
        """Number of function evaluations: how often the denoiser is called."""
        return sum(row.evaluate for row in self.rows)

    @property
    def noises(self) -> list[Hashable]:
        """Every noise key in the order of first use."""
        return list(dict.fromkeys(key for row in self.rows for key in row.z))

    def bound(self, x: Tensor) -> list[tuple[Row, NoiseLevel, Terms]]:
        """Rows, levels and terms, with tensors made ready for x (shape, dtype, device) once, before the loop."""
        terms = [tuple((symbol, expand(c, x)) for symbol, c in row) for row in self.terms]
        return [(row, row.level.exact(x), own) for row, own in zip(self.rows, terms, strict=True)]


class PlanBuilder:
    """Where a sampler writes its rows. `levels` are the falling levels it must visit, the last one included."""

    def __init__(self, schedule: Schedule, levels: Sequence[NoiseLevel], rising: bool = False):
        check_falling(list(reversed(levels)) if rising else levels)
        self.schedule, self.levels = schedule, [_exact(level) for level in levels]
        self._rows: list[tuple[NoiseLevel64, LinearCombination, bool]] = [
            (self.levels[0], LinearCombination({}), False)
        ]
        self._evaluated: set[int] = set()
        self._base = 0  # row of the last step: what an element whose level stays keeps

    def start(self) -> LinearCombination:
        """The point that the caller gives: noise, or an edit's noisy reference."""
        return LinearCombination({("x", 0): 1.0})

    def pairs(self) -> Iterator[tuple[NoiseLevel64, NoiseLevel64]]:
        """(s, t): the level a step starts from and the one it goes to."""
        return iter(zip(self.levels, self.levels[1:], strict=False))

    def denoise(self, x: LinearCombination) -> LinearCombination:
        """The estimate of x0 at a point; asking twice for the same point costs one evaluation."""
        row = self._row_of(x)
        self._evaluated.add(row)
        return LinearCombination({("D", row): 1.0})

    def noise(self, key: Hashable) -> LinearCombination:
        """Standard normal noise; the same key is the same noise everywhere, in any plan of the same seed."""
        return LinearCombination({("z", key): 1.0})

    def point(self, x: LinearCombination, level: NoiseLevel) -> LinearCombination:
        """A point inside a step (a midpoint, a churned start, a predictor)."""
        return self._add(x, level, step=False)

    def step(self, x: LinearCombination, level: NoiseLevel) -> LinearCombination:
        """The point that ends a step."""
        made = self._add(x, level, step=True)
        self._base = len(self._rows) - 1
        return made

    def _add(self, x: LinearCombination, level: NoiseLevel, step: bool) -> LinearCombination:
        if not isinstance(x, LinearCombination):
            raise TypeError(f"a point is a combination of the draft's points, estimates and noises, not {x!r}")
        base, level = self._rows[self._base][0], _exact(level)
        if any(isinstance(v, Tensor) and v.ndim for v in (level.alpha, level.sigma)):
            stays = (torch.as_tensor(level.alpha) == base.alpha) & (torch.as_tensor(level.sigma) == base.sigma)
            if bool(stays.any()):
                kept: dict[Symbol, Number] = {("x", self._base): 0.0, **x.terms}
                x = LinearCombination(
                    {s: torch.where(stays, float(s == ("x", self._base)), _float64(c)) for s, c in kept.items()}
                )
        self._rows.append((level, x, step))
        return LinearCombination({("x", len(self._rows) - 1): 1.0})

    @staticmethod
    def _row_of(x: LinearCombination) -> int:
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
        rows = []
        for i, ((level, _, step), terms) in enumerate(zip(self._rows, made, strict=True)):
            x, d, z = ({key: c for (kind, key), c in terms.items() if kind == wanted} for wanted in "xDz")
            plain = NoiseLevel(_plain(level.t), _plain(level.alpha), _plain(level.sigma))
            rows.append(Row(plain, x, d, z, i in self._evaluated, step))  # type: ignore[arg-type]
        return with_last_uses(rows)


def with_last_uses(rows: Sequence[Row]) -> Plan:
    """The rows as a plan, each told what nobody needs after it: the loop keeps no more than a method looks back on.

    What no row uses at all (a predictor's point, which is evaluated only) is let go of at the row after its own.
    """
    final: dict[Symbol, int] = {}
    for i, row in enumerate(rows):
        final.update({(kind, j): i for kind, own in (("x", row.x), ("D", row.d), ("z", row.z)) for j in own})
        final[("x", i)] = i + 1
        if row.evaluate:
            final[("D", i)] = i + 1
    last: list[list[Symbol]] = [[] for _ in range(len(rows) + 1)]
    for symbol, i in final.items():
        last[i].append(symbol)
    return Plan(tuple(replace(row, last=tuple(own)) for row, own in zip(rows, last, strict=False)))


def _exact(level: NoiseLevel) -> NoiseLevel64:
    """The level as float64 tensors on the host."""
    return NoiseLevel64(*(torch.as_tensor(v, dtype=torch.float64).cpu() for v in (level.t, level.alpha, level.sigma)))


def _float64(c: Number) -> Tensor:
    """A coefficient as a tensor: torch makes float32 of a Python float."""
    return torch.as_tensor(c, dtype=torch.float64)


def _plain(value: Number) -> Number:
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
