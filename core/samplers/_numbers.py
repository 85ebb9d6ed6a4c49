"""Functions of numpy's float64 that serve numbers and arrays alike while a plan is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from .plan import Float64, LinearCombination

Mask = Any  # np.bool_, or an array of it


def where(mask: Mask, a: Float64, b: Float64) -> Float64:
    """a where `mask` holds, else b; a number stays a number, which np.where would make an array of."""
    if isinstance(mask, np.ndarray):
        return np.where(mask, a, b)
    return a if mask else b


def choose(mask: Mask, a: LinearCombination, b: LinearCombination) -> LinearCombination:
    """The combination a where `mask` holds, else b."""
    if isinstance(mask, np.ndarray):
        return a.where(mask) + b.where(~mask)
    if mask:
        return a
    shared = {symbol: b.terms[symbol] for symbol in a.terms if symbol in b.terms}
    return LinearCombination(shared | b.terms)  # in the order in which an array's terms would be added up


def some(mask: Mask) -> bool:
    """Whether `mask` holds anywhere."""
    return bool(mask.any()) if isinstance(mask, np.ndarray) else bool(mask)


def root(a: Float64) -> Float64:
    """sqrt(a), and 0 where rounding left a below 0."""
    return np.sqrt(where(a < 0, 0.0, a))


def lower(a: Float64, b: Float64) -> Float64:
    """The lower of the two, elementwise."""
    return where(a < b, a, b)
