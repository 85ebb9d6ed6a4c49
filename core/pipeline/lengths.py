"""Lengths and sizes of the samples of a request, and the padded batch that contains samples of several sizes."""

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
from ..util.limits import MOST_SECONDS, check_memory
from ..util.messages import format_count
from ..util.rng import keyed_generator
from .conditions import DurationCondition, SampleConditions

COPIES = 8  # tensors of the size of a batch that exist at once, at least: state, noise, estimates, those of guidance


class LengthBeyondTraining(BadInput):
    """A sample is longer than those of training, and the network cannot go beyond these."""


@dataclass(frozen=True)
class PaddedBatch:
    """Shapes and mask of a batch of samples of several sizes.

    Attributes:
        sizes: Number of media elements of each sample along each axis.
        shape: (C, *spatial), the shape to which all samples are padded.
        shapes: (C, *spatial) of each sample without padding; its noise is drawn at that shape.
        valid: (B, 1, *spatial), 1 where an element belongs to a sample and 0 where it is padding; None: no padding.
    """

    sizes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    valid: Tensor | None

    def rows(self, index: slice) -> PaddedBatch:
        """A slice of the samples, with the same padding."""
        valid = None if self.valid is None else self.valid[index]
        return PaddedBatch(self.sizes[index], self.shape, self.shapes[index], valid)


def require_rate(spec: MediaSpec, key: str) -> float:
    """Elements per second along the time axis.

    Args:
        spec: The media specification.
        key: The recipe key or option that is in seconds, for the message.

    Raises:
        BadInput: There is no time axis, or it has no rate.
    """
    if spec.time_axis is None:
        axes = " and ".join(spec.axes)
        raise BadInput(f"{key} is a length along time, and {spec.modality} has {axes} only: leave it out")
    if spec.rate is None:
        raise BadInput(f"{key} is in seconds, and the time axis of {spec.modality} has no rate: leave it out")
    return spec.rate


def seconds_to_elements(seconds: Any, rate: float, key: str) -> int:
    """Convert a length in seconds to a number of media elements.

    Args:
        seconds: The length.
        rate: Elements per second.
        key: The recipe key or option, for the message.

    Raises:
        BadInput: `seconds` is not a number of at least one element, or above the limit.
    """
    number = seconds if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) else math.nan
    if not number * rate >= 1 or number > MOST_SECONDS:
        raise BadInput(f"{key} is a length above 0 and at most {MOST_SECONDS:g} in seconds; got {seconds!r}")
    return round(number * rate)


def choose_lengths(
    seconds: Any, rows: Sequence[SampleConditions], model: nn.Module, spec: MediaSpec, known: ClipLengths, seed: int
) -> list[int | None]:
    """Number of media elements of each sample along the time axis; None for media without a time axis.

    The first of these that exists is used:

    1. the requested length `seconds`;
    2. the value of a condition on the attribute `seconds`;
    3. a length drawn from those of the training clips (of the same label, if the sample has one), keyed by (seed,
       sample), if these have several lengths;
    4. the length in the recipe.

    If the training clips have one length (`known` is empty), 2 and 3 do not apply: such a run makes that length unless
    another is requested.

    In cases 1 to 3 the length is written to `row["seconds"]`, or to the duration condition if that has no value yet.

    Args:
        seconds: One length in seconds, or a list that is cycled; None: not requested.
        rows: Conditions of each sample; modified in place.
        model: The model with its conditions.
        spec: The media specification of the data.
        known: Lengths of the training examples.
        seed: Seed of the samples.

    Raises:
        BadInput: A value is not a valid length, or the media has no time axis.
    """
    if seconds is None and not known:
        return [spec.length] * len(rows)
    rate = spec.rate if seconds is None else require_rate(spec, "sample.seconds")
    requested = seconds if isinstance(seconds, (list, tuple)) else [seconds]
    if not requested:
        raise BadInput("sample.seconds is a length in seconds, or a list of them; got an empty list")
    condition, lengths = DurationCondition(model), list[int | None]()
    for i, row in enumerate(rows):
        wanted = requested[i % len(requested)]
        if wanted is None and condition.name is not None:
            wanted = row.get(condition.name)
        if wanted is None or rate is None:
            lengths.append(_draw_length(known, row, spec, seed, i))
        else:
            lengths.append(seconds_to_elements(wanted, rate, "sample.seconds, or each value of its list,"))
        if rate is None:
            continue
        duration = (lengths[-1] or 0) / rate
        if requested[i % len(requested)] is not None:
            condition.check(duration)
        condition.record(row, duration)
    return lengths


def _draw_length(known: ClipLengths, row: SampleConditions, spec: MediaSpec, seed: int, sample: int) -> int | None:
    """Draw a length from those of the training data, of the same class if the row has one."""
    if not known:
        return spec.length
    names = [name for v in row.values() for name in (v if isinstance(v, dict) else [v])]
    labels = [spec.classes.index(v) for v in names if isinstance(v, str) and v in spec.classes]
    among = [n for n, label in known if label in labels] or [n for n, _ in known]
    return among[int(keyed_generator(seed, sample, "seconds").integers(len(among)))]


def choose_size(size: Any, spec: MediaSpec) -> tuple[int, ...]:
    """The media size, with `sample.size` along the axes that are not time.

    Args:
        size: One number of elements for all of these axes, or one per axis; None: the size of the data.
        spec: The media specification of the data.

    Raises:
        BadInput: The media has no axis except time, or the value is not a valid size.
    """
    if size is None:
        return spec.size
    axes = [spec.axes[axis] for axis in spec.other_axes]
    if not axes:
        raise BadInput(
            f"sample.size acts on axes other than time, and {spec.modality} has none: its length is sample.seconds"
        )
    requested = list(size) if isinstance(size, (list, tuple)) else [size] * len(axes)
    if len(requested) != len(axes) or not all(type(n) is int and n >= 1 for n in requested):
        raise BadInput(f"sample.size is a number of elements, or [{', '.join(axes)}]; got {size!r}")
    result = list(spec.size)
    for axis, n in zip(spec.other_axes, requested, strict=True):
        result[axis] = n
    return tuple(result)


def check_request_memory(codec: Codec, spec: MediaSpec, sizes: Sequence[tuple[int, ...]], batch: int) -> None:
    """Refuse a request that cannot fit into memory, before anything is allocated for it.

    All samples stay in memory until the last is generated; in addition there is one batch, in several copies.

    Args:
        codec: Gives the shape of the diffused tensor.
        spec: The media specification of the data.
        sizes: Media size of each sample.
        batch: Number of samples that are generated together.

    Raises:
        BadInput: The request needs more memory than there is.
    """
    media = spec.channels * sum(math.prod(size) for size in sizes)
    largest = max(math.prod(codec.shape(size)) for size in set(sizes))
    size = max(sizes, key=math.prod)
    keys = ["count", "batch"] + ["size"] * bool(spec.other_axes) + ["seconds"] * (spec.rate is not None)
    text = " x ".join(f"{n / rate:g} s" if rate else str(n) for n, rate in zip(size, spec.rates, strict=True))
    check_memory(
        4 * (media + COPIES * min(batch, len(sizes)) * largest),
        f"{format_count(len(sizes), 'sample')} of {text}, {min(batch, len(sizes))} at a time,",
        f"choose a smaller {', '.join(keys[:-1])} or {keys[-1]}",
    )


def make_padded_batch(
    codec: Codec,
    network: nn.Module,
    spec: MediaSpec,
    sizes: Sequence[tuple[int, ...]],
    known: ClipLengths,
    masked: bool,
    window: Sequence[int] | None = None,
    wrap: Sequence[int] = (),
) -> PaddedBatch:
    """The padded batch for samples of the given sizes.

    Args:
        codec: Gives the shape of the diffused tensor.
        network: It may reject sizes that differ from its training data.
        spec: The media specification of the data.
        sizes: Media size of each sample.
        known: Lengths of the training examples.
        masked: Whether all samples get a mask, so that no sample depends on the others in the batch.
        window: Size of the windows in which the network evaluates, see `WindowedEdit`; None: the whole tensor at once.
        wrap: Circular spatial axes.

    Raises:
        BadInput: The network does not support such a size.
    """
    shapes = tuple(tuple(codec.shape(size)) for size in sizes)
    shape = tuple(max(ns) for ns in zip(*shapes, strict=True))
    lengths = [spec.length_of(size) for size in sizes]
    _check_network(network, spec, shape, lengths, window, wrap)
    valid = None
    if (known or masked) and spec.time_axis is not None:
        longest = spec.with_length(sizes[0], max(n or 0 for n in lengths))
        valid = codec.valid(torch.tensor(lengths), longest)
    if valid is not None and not known:  # trained without padding: a sample of the training length has none
        for row, (n, row_shape) in enumerate(zip(lengths, shapes, strict=True)):
            if n == spec.length:
                valid[(row, slice(None), *(slice(k) for k in row_shape[1:]))] = 1
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
    input_size = shape[1:] if window is None else [min(n, most) for n, most in zip(shape[1:], window, strict=True)]
    try:
        check(input_size, wrap) if wrap else check(input_size)  # a plugin's network may not accept `wrap`
    except BadInput as error:
        longest = max(n or 0 for n in lengths)
        if spec.rate is None or spec.length is None or longest <= spec.length:
            raise
        whole = spec.length / spec.rate
        raise LengthBeyondTraining(
            f"{longest / spec.rate:g} s is longer than the {whole:g} s of training, and the network, which is given "
            f"the time within a sample, cannot go beyond: ask for {whole:g} s or less, cut the file, or train with "
            "network.positions=0"
        ) from error


def decode_batch(codec: Codec, z: Tensor, batch: PaddedBatch) -> list[Tensor]:
    """Decode z (B, C, *spatial) into one media tensor (C, *size) per sample, each at its own size.

    The padding inside that size is first set to the encoding of zeros. Otherwise a codec that uses
    neighbouring elements (Griffin-Lim) would depend on the values in the padding.
    """
    media: dict[int, Tensor] = {}
    for size, shape in dict(zip(batch.sizes, batch.shapes, strict=True)).items():
        rows = [i for i, other in enumerate(batch.sizes) if other == size]
        inside = (..., *(slice(k) for k in shape[1:]))
        latent = z[rows][inside]
        if batch.valid is not None:
            empty = codec.encode(z.new_zeros(1, codec.spec.channels, *size))
            latent = torch.where(batch.valid.to(z.device)[rows][inside] > 0, latent, empty)
        media.update(zip(rows, codec.decode(latent, codec.spec.length_of(size)), strict=True))
    return [media[i] for i in range(len(z))]
