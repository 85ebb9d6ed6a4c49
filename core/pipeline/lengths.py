"""How long and how large each sample of a request is, and the padded batch that holds several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..codecs.base import Codec
from ..data.clip_lengths import ClipLengths
from ..types import BadInput, MediaSpec
from ..util.rng import generator
from .conditions import DurationCondition, Row


@dataclass(frozen=True)
class PaddedBatch:
    """The tensor that a batch of samples of several sizes takes.

    Attributes:
        sizes: Media elements of each sample along each axis.
        shape: (C, *spatial), the diffused tensor that holds the largest.
        shapes: (C, *spatial) of each sample alone: its noise is drawn at that shape.
        valid: (B, 1, *spatial), 1 where an element belongs to a sample and 0 where it is padding; None: no padding.
    """

    sizes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    valid: Tensor | None

    def rows(self, which: slice) -> PaddedBatch:
        """Some of the samples, padded as before."""
        valid = None if self.valid is None else self.valid[which]
        return PaddedBatch(self.sizes[which], self.shape, self.shapes[which], valid)


def need_rate(spec: MediaSpec, key: str) -> float:
    """Elements a second along the time axis.

    Raises:
        BadInput: There is no time axis, or it has no rate; the message names `key`, which asked for seconds.
    """
    if spec.time_axis is None:
        axes = " and ".join(spec.axes)
        raise BadInput(f"{key} is a length along time, and {spec.modality} has {axes} only: leave it out")
    if spec.rate is None:
        raise BadInput(f"{key} is in seconds, and the time axis of {spec.modality} has no rate: leave it out")
    return spec.rate


def elements(seconds: Any, rate: float, key: str) -> int:
    """A length in seconds as media elements.

    Raises:
        BadInput: For what is no length; the message names `key`.
    """
    number = seconds if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) else math.nan
    if not math.isfinite(number) or number * rate < 1:
        raise BadInput(f"{key} is a length above 0 in seconds; got {seconds!r}")
    return round(number * rate)


def choose_lengths(
    seconds: Any, rows: Sequence[Row], model: nn.Module, spec: MediaSpec, known: ClipLengths, seed: int
) -> list[int | None]:
    """Media elements of each sample along the time axis; None where the media has no time axis.

    A length that is asked for counts first, then the value of a condition on the attribute `seconds`; a model trained
    on clips of many lengths draws from theirs (of the same label, where there is one), keyed by (seed, sample); any
    other makes what its recipe says. Where lengths are not the recipe's, they are written to `row["seconds"]` and to
    the condition, unless that has another value.

    Args:
        seconds: One length in seconds, or a list that is cycled; None: not asked for.
        rows: Conditions of each sample; lengths are written into them.
        model: The model with its conditions.
        spec: The facts of the data.
        known: Lengths of training examples.
        seed: Seed of the samples.

    Raises:
        BadInput: Values that are no lengths, and lengths for media without a time axis.
    """
    if seconds is None and not known:
        return [spec.length] * len(rows)
    rate = spec.rate if seconds is None else need_rate(spec, "sample.seconds")
    asked = seconds if isinstance(seconds, (list, tuple)) else [seconds]
    if not asked:
        raise BadInput("sample.seconds is a length in seconds, or a list of them; got an empty list")
    condition, lengths = DurationCondition(model), list[int | None]()
    for i, row in enumerate(rows):
        one = asked[i % len(asked)]
        if one is None and condition.name is not None:
            one = row.get(condition.name)
        if one is None or rate is None:
            lengths.append(_drawn(known, row, spec, seed, i))
        else:
            lengths.append(elements(one, rate, "sample.seconds, or each value of its list,"))
        if rate is None:
            continue
        made = (lengths[-1] or 0) / rate
        if asked[i % len(asked)] is not None:
            condition.check(made)
        condition.record(row, made)
    return lengths


def _drawn(known: ClipLengths, row: Row, spec: MediaSpec, seed: int, sample: int) -> int | None:
    """A length of the training data, of the row's class where it has one."""
    if not known:
        return spec.length
    names = [name for v in row.values() for name in (v if isinstance(v, dict) else [v])]
    labels = [spec.classes.index(v) for v in names if isinstance(v, str) and v in spec.classes]
    among = [n for n, label in known if label in labels] or [n for n, _ in known]
    return among[int(generator(seed, sample, "seconds").integers(len(among)))]


def choose_size(size: Any, spec: MediaSpec) -> tuple[int, ...]:
    """The media's size with `sample.size` along the axes that are not time; that of the data where None is asked.

    Raises:
        BadInput: The media has no axis but time, or the value is no size.
    """
    if size is None:
        return spec.size
    axes = [spec.axes[axis] for axis in spec.other_axes]
    if not axes:
        raise BadInput(
            f"sample.size acts on axes other than time, and {spec.modality} has none: its length is sample.seconds"
        )
    asked = list(size) if isinstance(size, (list, tuple)) else [size] * len(axes)
    if len(asked) != len(axes) or not all(type(n) is int and n >= 1 for n in asked):
        raise BadInput(f"sample.size is a number of elements, or [{', '.join(axes)}]; got {size!r}")
    made = list(spec.size)
    for axis, n in zip(spec.other_axes, asked, strict=True):
        made[axis] = n
    return tuple(made)


def padded_batch(
    codec: Codec,
    network: nn.Module,
    spec: MediaSpec,
    sizes: Sequence[tuple[int, ...]],
    known: ClipLengths,
    masked: bool,
    window: Sequence[int] | None = None,
    wrap: Sequence[int] = (),
) -> PaddedBatch:
    """The batch of samples of these sizes.

    Args:
        codec: Gives the shape of the diffused tensor.
        network: May refuse sizes that it was not trained on.
        spec: The facts of the data.
        sizes: Of the media of each sample.
        known: Lengths of training examples.
        masked: Whether every sample has a mask, so that none depends on the others of the batch.
        window: The largest part that the network sees at once; None: the whole.
        wrap: Spatial axes that are loops.

    Raises:
        BadInput: The network cannot make samples of such a size.
    """
    shapes = tuple(tuple(codec.shape(size)) for size in sizes)
    shape = tuple(max(ns) for ns in zip(*shapes, strict=True))
    lengths = [spec.length_of(size) for size in sizes]
    _check_network(network, spec, shape, lengths, window, wrap)
    valid = None
    if (known or masked) and spec.time_axis is not None:
        longest = spec.with_length(sizes[0], max(n or 0 for n in lengths))
        valid = codec.valid(torch.tensor(lengths), longest)
    if valid is not None and not known:  # trained on whole examples only: a sample of that length has no padding
        for row, (n, own) in enumerate(zip(lengths, shapes, strict=True)):
            if n == spec.length:
                valid[(row, slice(None), *(slice(k) for k in own[1:]))] = 1
    return PaddedBatch(tuple(tuple(size) for size in sizes), shape, shapes, valid)


def _check_network(
    network: nn.Module,
    spec: MediaSpec,
    shape: tuple[int, ...],
    lengths: Sequence[int | None],
    window: Sequence[int] | None,
    wrap: Sequence[int],
) -> None:
    check = getattr(network, "check_size", None)
    if not callable(check):
        return
    seen = shape[1:] if window is None else [min(n, most) for n, most in zip(shape[1:], window, strict=True)]
    try:
        check(seen, wrap) if wrap else check(seen)  # a user's own network may not take loops
    except BadInput as error:
        longest = max(n or 0 for n in lengths)
        if spec.rate is None or spec.length is None or longest <= spec.length:
            raise
        whole = spec.length / spec.rate
        raise BadInput(
            f"{longest / spec.rate:g} s is longer than the {whole:g} s that this run was trained on, and its network "
            f"depends on positions: ask for {whole:g} s or less, cut the file, or train with network.positions=0"
        ) from error


def decode_batch(codec: Codec, z: Tensor, batch: PaddedBatch) -> list[Tensor]:
    """z (B, C, *spatial) as media (C, *spatial), each decoded at its own size, with zeros of the media as padding.

    A codec that looks at neighbouring elements (Griffin-Lim) would otherwise depend on what stands in the padding.
    """
    media: dict[int, Tensor] = {}
    for size, shape in dict(zip(batch.sizes, batch.shapes, strict=True)).items():
        rows = [i for i, own in enumerate(batch.sizes) if own == size]
        inside = (..., *(slice(k) for k in shape[1:]))
        own = z[rows][inside]
        if batch.valid is not None:
            empty = codec.encode(z.new_zeros(1, codec.spec.channels, *size))
            own = torch.where(batch.valid.to(z.device)[rows][inside] > 0, own, empty)
        media.update(zip(rows, codec.decode(own, codec.spec.length_of(size)), strict=True))
    return [media[i] for i in range(len(z))]
