"""Conversion of seeds, sample numbers and labels: integers of any library are equal, any other value is refused."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from .errors import BadInput


def is_integer(value: Any) -> bool:
    """Whether a value is one integer: of Python or numpy, or a zero-dimensional array or tensor; bool is not one."""
    if isinstance(value, (bool, str, bytes)) or getattr(value, "ndim", 0) != 0:
        return False
    if "bool" in str(getattr(value, "dtype", "")):
        return False
    try:
        operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def as_integer(value: Any, what: str = "the value") -> int:
    """Convert a value to a Python integer.

    Args:
        value: An integer of any library: `3`, `np.int64(3)`, `np.array(3)`, `torch.tensor(3)`.
        what: Name of the value in the message.

    Raises:
        BadInput: The value is a bool, a float (also 3.0), text or None, or has axes.
    """
    if not is_integer(value):
        raise BadInput(f"{what} is an integer, not {_shown(value)}")
    return operator.index(value)


def as_seed(value: Any, what: str = "the seed") -> int:
    """Convert a seed to a Python integer; it may be negative.

    Args:
        value: The seed.
        what: Name of the value in the message.

    Raises:
        BadInput: The seed is not an integer. None does not mean a random seed.
    """
    if value is None:
        raise BadInput(f"{what} is an integer, not None: for new samples at every call give random.randrange(2**32)")
    return as_integer(value, what)


def as_sample_numbers(values: Any, what: str = "samples") -> list[int]:
    """Convert the sample numbers of a batch to Python integers in [0, 2^64).

    Args:
        values: A list, tuple, range, array (B,) or tensor (B,) of integers.
        what: Name of the values in the message.

    Raises:
        BadInput: The argument is a single number or text, or contains anything but such integers.
    """
    if hasattr(values, "tolist"):
        values = _listed(values, what)
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise BadInput(f"{what} lists one integer per row, such as [0, 1, 2], not {_shown(values)}")
    values = list(values)
    plain = all(type(value) is int for value in values)
    numbers = values if plain else [as_integer(value, f"every entry of {what}") for value in values]
    for number in numbers:
        if not 0 <= number < 2**64:
            raise BadInput(f"every entry of {what} is at least 0 and below 2**64, not {number}")
    return numbers


def _listed(values: Any, what: str) -> Any:
    """The entries of an array or tensor with one axis as Python numbers, in one transfer."""
    if values.ndim != 1:
        raise BadInput(f"{what} has one axis, (B,), not the shape {tuple(values.shape)}")
    return values.tolist()


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
