"""What `sonolux edit` does with files: variations, new parts, continuations, and what lies between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..config.recipe import Recipe
from ..data.files import shown
from ..editing.base import Edit
from ..editing.inpaint import Inpaint
from ..editing.operators.mask import known_places
from ..editing.vary import Vary
from ..types import BadInput
from .edit_sources import Source, encoded, read_source, sized
from .lengths import PaddedBatch, choose_lengths
from .request import Rows, SampleRequest, rounded, step_of_loops

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .result import Samples

Files = str | Path | Sequence[str | Path]
Span = tuple[float, float]


def vary(
    trained: Pipeline,
    files: Files,
    strength: float = 0.5,
    count: int = 1,
    progress: bool = False,
    **changes: Any,
) -> Samples:
    """`count` variations of each file; see Pipeline.vary."""
    if not (isinstance(strength, (int, float)) and 0 <= strength <= 1):
        raise BadInput(f"strength lies between 0 (nothing changes) and 1 (all is new), not {strength!r}")
    if type(count) is not int or count < 1:
        raise BadInput(f"count is how many variations of each file to make, 1 or more, not {count!r}")
    plan = Plan.of(trained, changes)
    sources = [plan.read(path) for path in listed(files) for _ in range(count)]
    numbers = [k for _ in listed(files) for k in range(count)]
    made = plan.task(sources, [source.length for source in sources], numbers)

    def edits(rows: Rows, room: PaddedBatch) -> list[Edit]:
        return [Vary(together([plan.encoded(sources[i], made.lengths[i]) for i in rows], room), strength)]

    def finish(i: int, media: Tensor) -> Tensor:
        return sources[i].back(media[..., : plan.kept(sources[i].length, made.lengths[i])])

    made.edits, made.finish = edits, finish
    made.facts = {"edit": "vary", "strength": strength, "sources": [str(path) for path in listed(files)]}
    return trained.make(plan.recipe, made, progress=progress)


def inpaint(
    trained: Pipeline,
    files: Files,
    spans: Sequence[Span] = (),
    box: Sequence[int] | None = None,
    mask: str | Path | None = None,
    count: int = 1,
    walks: int | None = None,
    jump: int = 4,
    progress: bool = False,
    **changes: Any,
) -> Samples:
    """Parts of each file made anew; see Pipeline.inpaint."""
    plan = Plan.of(trained, changes)
    facts = {"edit": "inpaint", "spans": [list(s) for s in spans], "box": box and list(box), "mask": mask and str(mask)}
    sources = [plan.read(path) for path in listed(files)]
    known = [plan.known(source, spans, box, mask) for source in sources]
    return _filled(plan, sources, known, [s.length for s in sources], count, walks, jump, progress, facts)


def extend(
    trained: Pipeline,
    files: Files,
    seconds: float = 1.0,
    count: int = 1,
    walks: int | None = None,
    jump: int = 4,
    progress: bool = False,
    **changes: Any,
) -> Samples:
    """Sounds that go on where each file ends; see Pipeline.extend."""
    plan, rate = Plan.of(trained, changes), trained.parts.spec.rate
    if rate is None:
        raise BadInput("a picture has no end to go on from: make a part of it anew with inpaint")
    if not isinstance(seconds, (int, float)) or not seconds * rate >= 1:
        raise BadInput(f"seconds is how much to add, above 0, not {seconds!r}")
    sources = [plan.read(path) for path in listed(files)]
    known = [torch.ones(1, source.length, dtype=torch.bool) for source in sources]
    lengths = [source.length + round(seconds * rate) for source in sources]
    return _filled(plan, sources, known, lengths, count, walks, jump, progress, {"edit": "continue", "added": seconds})


def listed(files: Files) -> list[Path]:
    """One file or several as a list. Raises BadInput where there is none."""
    found = [Path(files)] if isinstance(files, (str, Path)) else [Path(file) for file in files]
    if not found:
        raise BadInput("name a file to edit")
    return found


def together(tensors: Sequence[Tensor], room: PaddedBatch) -> Tensor:
    """Tensors (1, C, *spatial) of several sizes as rows of one, with zeros (or False) up to the room's shape."""
    out = tensors[0].new_zeros(len(tensors), tensors[0].shape[1], *room.shape[1:])
    for i, one in enumerate(tensors):
        out[(i, slice(None), *(slice(n) for n in one.shape[2:]))] = one[0]
    return out


def _filled(
    plan: Plan,
    sources: list[Source],
    known: list[Tensor],
    lengths: list[int],
    count: int,
    walks: int | None,
    jump: int,
    progress: bool,
    facts: dict[str, Any],
) -> Samples:
    """`count` fillings of each source, of these lengths, given what is known of it, (1, *media) bool."""
    if type(count) is not int or count < 1:
        raise BadInput(f"count is how many to make of each file, 1 or more, not {count!r}")
    trained, by_levels = plan.trained, plan.recipe.objective.params.get("per_element", 0) > 0
    walks = (1 if by_levels else 4) if walks is None else walks
    each = [i for i in range(len(sources)) for _ in range(count)]
    made = plan.task([sources[i] for i in each], [lengths[i] for i in each], [k for _ in sources for k in range(count)])
    held: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
    for row, i in enumerate(each):
        if i not in held:
            held[i] = plan.places(sources[i], known[i], made.lengths[row], lengths[i])

    def edits(rows: Rows, room: PaddedBatch) -> list[Edit]:
        z, mask = (together([held[each[i]][k] for i in rows], room) for k in (0, 1))
        return [Inpaint(z, mask, "levels" if by_levels else "replace", walks, jump)]

    def decode(rows: Rows, z: Tensor, room: PaddedBatch) -> list[Tensor]:
        parts = [(slice(k, k + 1), slice(None), *(slice(n) for n in shape[1:])) for k, shape in enumerate(room.shapes)]
        return [one(i, z[part]) for i, part in zip(rows, parts, strict=True)]

    def one(i: int, z: Tensor) -> Tensor:
        _, _, given, mask = held[each[i]]
        source = sources[each[i]]
        wanted = (source.gain * (given - source.offset))[None].to(z.device)
        filled = trained.codec.fill(z.float(), wanted, mask[None].to(z.device), plan.loop)[0].cpu()
        n = plan.kept(lengths[each[i]], made.lengths[i])
        return torch.where(mask, given, source.back(filled))[..., :n]

    made.edits, made.decode = edits, decode
    made.facts = {**facts, "walks": walks, "jump": jump, "sources": [str(s.path) for s in sources]}
    return trained.make(plan.recipe, made, progress=progress)


@dataclass
class Plan:
    """A run and how it is asked to edit."""

    trained: Pipeline
    recipe: Recipe
    labelled: bool  # a label was asked for

    @classmethod
    def of(cls, trained: Pipeline, changes: dict[str, Any]) -> Plan:
        """Calibrated plans are for the whole way from noise, at one level: they are left aside."""
        asked = {"calibrated": False, "label": None, "count": 1, **changes}
        if "device" in asked:
            trained.to(asked.pop("device"))
        return cls(trained, trained.changed(asked), "label" in changes)

    @property
    def loop(self) -> bool:
        """Whether loops are made."""
        return self.recipe.sample.loop

    @property
    def noisiest(self) -> float:
        """sigma of the level where the way down starts."""
        s, schedule = self.recipe.sample, self.trained.parts.process.schedule
        return float(s.timesteps.build().levels(schedule, s.steps)[0].sigma)

    def read(self, path: Path) -> Source:
        """A file, cut to `seconds` where that was asked for."""
        source = read_source(self.trained, path, fit=self.recipe.sample.windows is None)
        seconds, rate = self.recipe.sample.seconds, self.trained.parts.spec.rate
        if seconds is None or rate is None:
            return source
        if not isinstance(seconds, (int, float)) or not seconds * rate >= 1:
            raise BadInput(f"sample.seconds is how much of a file is taken, above 0, not {seconds!r}")
        return source.taken(round(seconds * rate))

    def work(self, length: int) -> int:
        """Media elements that the network sees for `length`: with the padding of its training data."""
        spec = self.trained.parts.spec
        if self.loop:
            return rounded(length, step_of_loops(self.trained.codec, self.trained.model.network, spec))
        return length if self.trained.parts.clip_lengths or spec.rate is None else max(length, spec.size[-1])

    def kept(self, length: int, work: int) -> int:
        """Media elements of the result: a loop is never cut."""
        return work if self.loop else length

    def task(self, sources: list[Source], lengths: list[int], numbers: list[int]) -> SampleRequest:
        """A task of one row a source, each to become `lengths` long."""
        trained, spec = self.trained, self.trained.parts.spec
        told = trained.told(self.recipe, len(sources))
        for row, source in zip(told, sources, strict=True):
            if not self.labelled and "label" in row:
                row["label"] = source.label
        size = spec.size
        if spec.rate is None:
            size = tuple(sources[0].given.shape[1:])
            if any(tuple(s.given.shape[1:]) != size for s in sources):
                raise BadInput("pictures of several sizes are edited one by one")
        else:
            seconds = [n / spec.rate for n in lengths]
            choose_lengths(seconds, told, trained.model, spec, trained.parts.clip_lengths, self.recipe.sample_seed)
        for row, source in zip(told, sources, strict=True):
            row["source"] = shown(Path(source.path.stem))
        if spec.rate is None and self.loop:
            size = tuple(self.work(n) for n in size)
        return SampleRequest(told, [self.work(n) for n in lengths], size, list(numbers))

    def size(self, source: Source, length: int) -> tuple[int, ...]:
        """Of the media that the network sees."""
        return (*(self.work(n) for n in source.given.shape[1:-1]), length)

    def encoded(self, source: Source, length: int) -> Tensor:
        """z (1, C', *spatial) of a source in room for `length` elements."""
        return encoded(self.trained, source.media, self.size(source, length), self.loop)

    def known(self, source: Source, spans: Sequence[Span], box: Any, mask: str | Path | None) -> Tensor:
        """(1, *media) bool, False where the source is to be made anew."""
        rate, size = self.trained.parts.spec.rate, tuple(source.given.shape[1:])
        out = torch.ones(1, *size, dtype=torch.bool)
        if rate is None:
            if spans or (box is None) == (mask is None):
                raise BadInput("say which part is made anew: box=[left, top, right, bottom], or mask=FILE")
            if mask is not None:
                white = read_source(self.trained, mask, fit=self.recipe.sample.windows is None).given.mean(0)[None] > 0
                if white.shape != out.shape:
                    raise BadInput(f"{shown(Path(mask))} is not as large as {shown(source.path)}")
                return ~white
            left, top, right, bottom = _corners(box, size)
            out[:, top:bottom, left:right] = False
            return out
        if box is not None or mask is not None or not spans:
            raise BadInput("say which part of the sound is made anew: from=SECONDS to=SECONDS")
        for start, end in spans:
            if not 0 <= start < end or round(end * rate) > size[-1] + 0.01 * rate:
                raise BadInput(
                    f"{shown(source.path)} lasts {size[-1] / rate:g} s: from {start:g} to {end:g} s is no part of it"
                )
            out[..., round(start * rate) : max(round(end * rate), round(start * rate) + 1)] = False
        return out

    def places(self, source: Source, known: Tensor, work: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z and where it is known, then the media and where they are: all in the network's room.

        Behind a file of its full length lies silence, which is known too; what is to be added is not.
        """
        size = self.size(source, work)
        given = sized(source.given, size, self.loop)
        mask = torch.zeros(1, *size, dtype=torch.bool)
        if length == source.length:
            mask[:] = True
        part = (slice(None), *(slice(n) for n in known.shape[1:]))
        mask[part] = sized(known, size)[part]
        codec, device = self.trained.codec, self.trained.device
        wanted = sized(source.media, size, self.loop)

        def encode(media: Tensor) -> Tensor:
            return codec.encode(media, loop=True) if self.loop else codec.encode(media)

        return (*known_places(encode, wanted[None].to(device), mask[None].to(device)), given, mask)


def _corners(box: Any, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(type(n) is int for n in box):
        raise BadInput(f"box is [left, top, right, bottom] in pixels, not {box!r}")
    left, top, right, bottom = box
    if not (0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]):
        raise BadInput(f"box {list(box)} is no part of a picture of {size[1]} x {size[0]} pixels")
    return left, top, right, bottom
