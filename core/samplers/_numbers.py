"""Functions of numpy's float64 that accept numbers and arrays while a plan is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from .plan import Float64, LinearCombination

Mask = Any  # np.bool_, or an array of it


def select_by_mask(mask: Mask, a: Float64, b: Float64) -> Float64:
    """a where `mask` is true, else b; a number stays a number (np.where would return an array)."""
    if isinstance(mask, np.ndarray):
        return np.where(mask, a, b)
    return a if mask else b


def select_combination(mask: Mask, a: LinearCombination, b: LinearCombination) -> LinearCombination:
    """The combination a where `mask` is true, else b."""
    if isinstance(mask, np.ndarray):
        return a.masked(mask) + b.masked(~mask)
    if mask:
        return a
    shared = {symbol: b.terms[symbol] for symbol in a.terms if symbol in b.terms}
    return LinearCombination({**shared, **b.terms})  # in the order in which the terms of an array are added


def any_true(mask: Mask) -> bool:
    """Whether `mask` is true anywhere."""
    return bool(mask.any()) if isinstance(mask, np.ndarray) else bool(mask)


def safe_sqrt(a: Float64) -> Float64:
    """sqrt(a); 0 where a is negative because of rounding."""
    return np.sqrt(select_by_mask(a < 0, 0.0, a))


def elementwise_min(a: Float64, b: Float64) -> Float64:
    """The smaller of the two, elementwise."""
    return select_by_mask(a < b, a, b)
