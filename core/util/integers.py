"""One normaliser for seeds, sample numbers and labels: integers of any kind are equal, anything else is refused."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from .errors import BadInput


def is_integer(value: Any) -> bool:
    """Whether a value is one integer: Python's, numpy's, or an array or tensor without axes; bool is not an integer."""
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
    """The Python integer that a value is.

    Args:
        value: An integer of any kind: `3`, `np.int64(3)`, `np.array(3)`, `torch.tensor(3)`.
        what: Subject of the message.

    Raises:
        BadInput: If it is a bool, a float (3.0 too), text, None, or has axes.
    """
    if not is_integer(value):
        raise BadInput(f"{what} is an integer, not {_shown(value)}")
    return operator.index(value)


def as_seed(value: Any, what: str = "the seed") -> int:
    """The integer that a seed is, negative or not.

    Raises:
        BadInput: If it is not an integer; None is no random seed.
    """
    if value is None:
        raise BadInput(f"{what} is an integer, not None: for new samples at every call give random.randrange(2**32)")
    return as_integer(value, what)


def as_sample_numbers(values: Any, what: str = "samples") -> list[int]:
    """The numbers of the samples of a batch as Python integers in [0, 2^64).

    Args:
        values: A list, tuple, range, array (B,) or tensor (B,) of integers.
        what: Subject of the message.

    Raises:
        BadInput: If it is one number, text, or holds anything but such integers.
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
    """Python numbers of an array or tensor with one axis, in one transfer."""
    if values.ndim != 1:
        raise BadInput(f"{what} has one axis, (B,), not the shape {tuple(values.shape)}")
    return values.tolist()


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
