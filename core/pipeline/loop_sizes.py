"""Sizes of loops: multiples of the codec's frame and of the network's downsampling factor along circular axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from torch import nn

from ..codecs.base import Codec
from ..editing.loops import media_loop_axes
from ..types import MediaSpec
from ..util.notes import issue_note
from .conditions import DurationCondition
from .request import SampleRequest

AnyRequest = TypeVar("AnyRequest", bound=SampleRequest)


def loop_length_unit(codec: Codec, network: nn.Module, spec: MediaSpec) -> int:
    """The number of media elements of which the size of a loop is a multiple.

    It is the least common multiple of the codec's `unit` and the media elements that one step of the network's coarsest
    resolution covers.

    Raises:
        BadInput: The codec has no axis that can be circular.
    """
    unit = 1
    for media_axis, axis in zip(media_loop_axes(codec), codec.wrap, strict=True):
        size = list(spec.size)
        size[media_axis] = codec.unit
        places = codec.shape(tuple(size))[1 + axis]
        factor = int(getattr(network, "factor", 1))
        unit = math.lcm(unit, codec.unit * (factor // math.gcd(factor, places)))
    return unit


def round_to_multiple(length: int, unit: int) -> int:
    """The nearest multiple of `unit`, at least one."""
    return max(1, (2 * length + unit) // (2 * unit)) * unit


def round_loop_size(size: tuple[int, ...], axes: tuple[int, ...], unit: int) -> tuple[int, ...]:
    """`size` with circular axes rounded to multiples of `unit`."""
    return tuple(round_to_multiple(n, unit) if axis in axes else n for axis, n in enumerate(size))


def with_loop_sizes(request: AnyRequest, codec: Codec, model: nn.Module, spec: MediaSpec) -> AnyRequest:
    """The request with all sizes rounded to sizes of loops, and the lengths in its conditions corrected."""
    axes, unit = media_loop_axes(codec), loop_length_unit(codec, model.network, spec)  # type: ignore[arg-type]
    sizes = [round_loop_size(size, axes, unit) for size in request.sizes]
    warn_of_rounding(request.sizes, sizes, unit, spec)
    condition = DurationCondition(model)
    for row, before, after in zip(request.conditions, request.sizes, sizes, strict=True):
        if spec.rate is not None and spec.time_axis in axes:
            n, m = spec.length_of(before) or 0, spec.length_of(after) or 0
            condition.correct(row, n / spec.rate, m / spec.rate)
    return replace(request, sizes=sizes)


def warn_of_rounding(asked: Sequence[Sequence[int]], made: Sequence[Sequence[int]], unit: int, spec: MediaSpec) -> None:
    """Warn of sizes that loops cannot have.

    Args:
        asked: The size of each sample that was asked for.
        made: The size that it gets.
        unit: The number of elements of which a size is a multiple.
        spec: The media specification of the data, which says which axis is in seconds.
    """
    changed = {(tuple(a), tuple(b)): None for a, b in zip(asked, made, strict=True) if tuple(a) != tuple(b)}
    if not changed:
        return
    (before, after), *others = changed

    def text(size: Sequence[int]) -> str:
        return " x ".join(_with_unit(n, rate) for n, rate in zip(size, spec.rates, strict=True))

    more = f" (and {len(others)} more such sizes)" * bool(others)
    axis = next(i for i, (n, m) in enumerate(zip(before, after, strict=True)) if n != m)
    issue_note(
        f"asked {text(before)}, made {text(after)}{more}: loops are multiples of {_with_unit(unit, spec.rates[axis])}",
        stacklevel=4,
    )


def _with_unit(elements: int, rate: float | None) -> str:
    """A number of elements as users state it: seconds on an axis with a rate."""
    return f"{elements / rate:g} s" if rate else str(elements)


def warn_of_loop_padding(codec: Codec, spec: MediaSpec, masked: bool) -> None:
    """Warn if loops may reproduce the padding of training examples whose size is no multiple of the codec's `unit`.

    Args:
        codec: The codec.
        spec: The media specification of the data.
        masked: Whether training masked the padding out of the loss.
    """
    axis = media_loop_axes(codec)[-1]
    length = spec.size[axis]
    if not masked and length % codec.unit:
        fits, rate = round_to_multiple(length, codec.unit), spec.rates[axis]
        trained, filled, size = (_with_unit(n, rate) for n in (length, -(-length // codec.unit) * codec.unit, fits))
        key = "size" if rate is None else "seconds"
        issue_note(
            f"this run was trained on {trained}, which the codec filled up to {filled}: loops may have holes of that "
            f"padding. Train for loops with modality.{key}={size.removesuffix(' s')}",
            stacklevel=3,
        )
