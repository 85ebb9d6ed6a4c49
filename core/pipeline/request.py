"""What a run makes, row by row, whatever it is asked for: the lengths, the numbers of the samples, the edits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from ..codecs.base import Codec
from ..editing.base import Edit
from ..editing.loops import Loop
from ..editing.windows import Windowed
from ..types import BadInput, MediaSpec
from .lengths import PaddedBatch, retold

Rows = Sequence[int]


@dataclass
class SampleRequest:
    """A list of samples to make.

    told:    what each is told: name -> value
    lengths: media elements of each along the last axis
    size:    of the media along the other axes, and the last one's in training: signal.size, or what was asked for
    numbers: the number of each in the run's seed: samples of one number start from the same noise
    edits:   (rows, their room) -> the edits of a batch
    decode:  (rows, z, their room) -> their media; None: as the codec decodes
    finish:  (row, its media) -> what is kept of it
    sized:   whether lengths were asked for and the network has not seen others; see durations.extent
    facts:   what samples.json says of the edit
    """

    told: list[dict[str, Any]]
    lengths: list[int]
    size: tuple[int, ...]
    numbers: list[int] = field(default_factory=list)
    edits: Callable[[Rows, PaddedBatch], list[Edit]] = lambda rows, room: []
    decode: Callable[[Rows, Tensor, PaddedBatch], list[Tensor]] | None = None
    finish: Callable[[int, Tensor], Tensor] = lambda row, media: media
    sized: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.numbers = self.numbers or list(range(len(self.told)))

    def batches(self, most: int, alike: bool) -> Iterator[Rows]:
        """Rows in batches of at most `most`; alike: of one length, as loops must be."""
        rows = sorted(range(len(self.told)), key=lambda i: self.lengths[i] if alike else 0)
        first = 0
        while first < len(rows):
            end = min(first + most, len(rows))
            if alike:
                end = next((i for i in range(first, end) if self.lengths[rows[i]] != self.lengths[rows[first]]), end)
            yield rows[first:end]
            first = end


def size_asked(size: Any, spec: MediaSpec) -> tuple[int, ...]:
    """`sample.size` of pictures as (H, W); the signal's own where nothing is asked. Raises BadInput for sounds."""
    if size is None:
        return spec.size
    if spec.rate is not None:
        raise BadInput("sample.size is for pictures, and this run makes sounds: their length is sample.seconds")
    both = tuple(size) if isinstance(size, (list, tuple)) else (size,) * len(spec.size)
    if len(both) != len(spec.size) or not all(type(n) is int and n >= 1 for n in both):
        raise BadInput(f"sample.size is a number of pixels, or [height, width]; got {size!r}")
    return both


def step_of_loops(codec: Codec, network: nn.Module, spec: MediaSpec) -> int:
    """Media elements that a loop's length is a multiple of: whole places of the codec, whole blocks of the network.

    Raises BadInput where the codec has no axis that may be a loop.
    """
    if not codec.wrap:
        raise BadInput(f"codec {type(codec).__name__} knows no loops: leave sample.loop out")
    places = codec.shape((*spec.size[:-1], codec.unit))[-1]
    factor = int(getattr(network, "factor", 1))
    return codec.unit * (factor // math.gcd(factor, places))


def warn_of_padding(codec: Codec, spec: MediaSpec, masked: bool) -> None:
    """Warn where loops may hold the silence that whole examples ended with, since they did not fill the codec's places.

    masked: training left padding out
    """
    length = spec.size[-1]
    if not masked and length % codec.unit:
        fits = rounded(length, codec.unit)
        state = f"seconds: {fits / spec.rate:g}" if spec.rate is not None else f"a size of {fits}"
        warnings.warn(
            f"this run was trained on {length} elements, filled up to the codec's {-(-length // codec.unit)} x "
            f"{codec.unit}: loops may have holes of that padding. Train for loops with {state}",
            stacklevel=3,
        )


def rounded(length: int, step: int) -> int:
    """The nearest multiple of `step`, one at least."""
    return max(1, (2 * length + step) // (2 * step)) * step


def looped(task: SampleRequest, step: int, rate: float | None, model: nn.Module) -> SampleRequest:
    """The task with every length a loop's; what it says of lengths, and tells the model, is corrected."""
    lengths = [rounded(n, step) for n in task.lengths]
    size = tuple(rounded(n, step) for n in task.size) if rate is None else task.size
    for row, before, after in zip(task.told, task.lengths, lengths, strict=True):
        if rate is not None:
            retold(row, before, after, rate, model)
    return replace(task, lengths=lengths, size=size)


def own_edits(
    codec: Codec, network: nn.Module, spec: MediaSpec, room: PaddedBatch, loop: bool, windows: float | None
) -> list[Edit]:
    """What `sample.loop` and `sample.windows` come to for a batch. Raises BadInput where the network cannot."""
    edits: list[Edit] = []
    wrap = codec.wrap if loop else ()
    size = spec.latent[1:]
    if windows is not None and any(n > own for n, own in zip(room.shape[1:], size, strict=True)):
        if getattr(network, "positions", 0):
            raise BadInput(
                "this network was trained with positions, so every window would begin and end like a whole: "
                "leave sample.windows out, or train with network.positions=0"
            )
        edits.append(Windowed(size, windows, wrap))
    if loop:
        edits.append(Loop(wrap))
    return edits
