"""How long each sample of a run is: what was asked for, what the training data was like, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..codecs.base import Codec
from ..types import BadInput, MediaSpec
from ..util.rng import generator

KEPT = 512  # lengths of training examples that a checkpoint carries

ClipLengths = tuple[tuple[int, int | None], ...]
"""(length in media elements, label) of training examples; empty where all of them are whole."""


def clip_lengths(examples: Sequence[tuple[int, int | None, int | None]]) -> ClipLengths:
    """What a checkpoint keeps of examples (elements, valid elements or None for all, label): at most `KEPT` of them."""
    if all(valid is None for _, valid, _ in examples):
        return ()
    found = [(whole if valid is None else int(valid), label) for whole, valid, label in examples]
    return tuple(found[i * len(found) // KEPT] for i in range(KEPT)) if len(found) > KEPT else tuple(found)


@dataclass(frozen=True)
class PaddedBatch:
    """The room that a batch takes.

    lengths: media elements of each sample along the last axis
    shape:   (C, *spatial), the tensor that holds the longest
    shapes:  (C, *spatial) of each sample alone: its noise is drawn at that shape
    valid:   (B, 1, *spatial), 1 where an element belongs to a sample; None: everywhere
    """

    lengths: tuple[int, ...]
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    valid: Tensor | None

    def rows(self, which: slice) -> PaddedBatch:
        """Some of the samples, in the same room."""
        valid = None if self.valid is None else self.valid[which]
        return PaddedBatch(self.lengths[which], self.shape, self.shapes[which], valid)


def choose_lengths(
    seconds: Any, told: Sequence[dict[str, Any]], model: nn.Module, spec: MediaSpec, known: ClipLengths, seed: int
) -> list[int]:
    """Media elements of each sample along the last axis.

    A length that is asked for counts first, then what `told` says to a condition on the attribute `seconds`; a model
    trained on sounds of many lengths draws from theirs (of the same label, where one is told), keyed by (seed, sample);
    any other makes what its recipe says. Where lengths are not the recipe's, they are written to `told["seconds"]` and
    to the condition, unless that was told something else.

    seconds: one length in seconds, or a list that is cycled; None: not asked for
    """
    whole, rate = spec.size[-1], spec.rate
    name = _told_by(model)
    if seconds is None and not known:
        return [whole] * len(told)
    if rate is None:
        raise BadInput("sample.seconds is the length of a sound, and this run makes pictures: leave it out")
    lengths = []
    asked = seconds if isinstance(seconds, (list, tuple)) else [seconds]
    if not asked:
        raise BadInput("sample.seconds is a length in seconds, or a list of them; got an empty list")
    for i, row in enumerate(told):
        one = asked[i % len(asked)]
        if one is None and name is not None:
            one = row.get(name)
        lengths.append(_drawn(known, row, spec, seed, i) if one is None else _elements(one, rate))
        if asked[i % len(asked)] is not None and name is not None:
            _check_shortest(lengths[-1] / rate, name, model)
        _tell(row, lengths[-1] / rate, name, model)
    return lengths


def padded_batch(
    codec: Codec,
    network: nn.Module,
    spec: MediaSpec,
    lengths: Sequence[int],
    known: ClipLengths,
    asked: bool,
    window: Sequence[int] | None = None,
    wrap: Sequence[int] = (),
) -> PaddedBatch:
    """The room for samples of these lengths. Raises BadInput where the network knows nothing of such a length.

    asked:  whether lengths were asked for; then every sample has a mask, so that none depends on those beside it
    window: the largest part that the network sees at once; None: the whole
    wrap:   spatial axes that are loops
    """
    shapes = tuple(tuple(codec.shape((*spec.size[:-1], n))) for n in lengths)
    shape = tuple(max(ns) for ns in zip(*shapes, strict=True))
    check = getattr(network, "check_size", None)
    if callable(check):
        seen = shape[1:] if window is None else [min(n, most) for n, most in zip(shape[1:], window, strict=True)]
        try:
            check(seen, wrap) if wrap else check(seen)  # a network of one's own may know no loops
        except BadInput as error:
            if spec.rate is None:
                raise
            whole = spec.size[-1] / spec.rate
            raise BadInput(
                f"{max(lengths) / spec.rate:g} s is longer than the {whole:g} s that this run knows, and its network "
                f"is told where in a sound it is: ask for {whole:g} s or less, cut the file, or train with "
                "network.positions=0"
            ) from error
    if not known and not asked:
        return PaddedBatch(tuple(lengths), shape, shapes, None)
    valid = codec.valid(torch.tensor(list(lengths)), (*spec.size[:-1], max(lengths)))
    if valid is not None and not known:  # trained on whole tensors alone: what is whole stays so
        for row, (n, own) in enumerate(zip(lengths, shapes, strict=True)):
            if n == spec.size[-1]:
                valid[row, ..., : own[-1]] = 1
    return PaddedBatch(tuple(lengths), shape, shapes, valid)


def decode_batch(codec: Codec, z: Tensor, padded_batch: PaddedBatch) -> list[Tensor]:
    """z (B, C, *spatial) as media (C, *spatial), each in its own room, cut to its length, with silence as padding.

    A codec that looks at its neighbourhood (Griffin-Lim) would else hear what the padding holds.
    """
    media: dict[int, Tensor] = {}
    for n, shape in dict(zip(padded_batch.lengths, padded_batch.shapes, strict=True)).items():
        rows = [i for i, own in enumerate(padded_batch.lengths) if own == n]
        inside = (..., *(slice(k) for k in shape[1:]))
        own = z[rows][inside]
        if padded_batch.valid is not None:
            silence = codec.encode(z.new_zeros(1, codec.spec.channels, *codec.spec.size[:-1], n))
            own = torch.where(padded_batch.valid.to(z.device)[rows][inside] > 0, own, silence)
        media.update(zip(rows, codec.decode(own, n), strict=True))
    return [media[i] for i in range(len(z))]


def _conditions(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(getattr(model, "conditions", nn.ModuleDict()).items())


def _elements(seconds: Any, rate: float) -> int:
    number = seconds if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) else math.nan
    if not math.isfinite(number) or number * rate < 1:
        raise BadInput(f"sample.seconds is a length above 0 in seconds, or a list of them; got {seconds!r}")
    return round(number * rate)


def _drawn(known: ClipLengths, row: dict[str, Any], spec: MediaSpec, seed: int, sample: int) -> int:
    """A length of the training data, of the row's class where it has one."""
    if not known:
        return spec.size[-1]
    names = [name for v in row.values() for name in (v if isinstance(v, dict) else [v])]
    labels = [spec.classes.index(v) for v in names if isinstance(v, str) and v in spec.classes]
    among = [n for n, label in known if label in labels] or [n for n, _ in known]
    return among[int(generator(seed, sample, "seconds").integers(len(among)))]


def retold(row: dict[str, Any], before: int, after: int, rate: float, model: nn.Module) -> None:
    """Correct what a sample's record says of its length, which came to `after` elements instead of `before`.

    A condition that was told something else than the length keeps it.
    """
    name = _told_by(model)
    if name is None:
        if row.get("seconds") is not None:
            row["seconds"] = round(after / rate, 6)
    elif row.get(name) == _within(before / rate, name, model):
        row[name] = _within(after / rate, name, model)


def _told_by(model: nn.Module) -> str | None:
    """The name of the condition on the attribute `seconds`, if there is one."""
    return next((n for n, c in _conditions(model) if getattr(c, "key", "") == "seconds" and hasattr(c, "low")), None)


def _within(seconds: float, name: str, model: nn.Module) -> float:
    condition: Any = dict(_conditions(model))[name]
    return min(max(round(seconds, 6), condition.low), condition.high)


def _check_shortest(seconds: float, name: str, model: nn.Module) -> None:
    condition: Any = dict(_conditions(model))[name]
    if seconds < 0.99 * condition.low:
        raise BadInput(f"sample.seconds is {seconds:g}, and this run knows {condition.low:g} s to {condition.high:g} s")


def _tell(row: dict[str, Any], seconds: float, name: str | None, model: nn.Module) -> None:
    """Write the length to the sample's record, and to the condition on it unless that was told already."""
    if name is None:
        row["seconds"] = round(seconds, 6)
    elif row.get(name) is None:
        row[name] = _within(seconds, name, model)
