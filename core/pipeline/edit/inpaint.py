"""Inpainting and continuation: a part of a file is known and returned unchanged, the rest is sampled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...conditioning.reference import reference_channels
from ...data.files import format_path
from ...editing.base import Edit
from ...editing.inpaint import InpaintEdit
from ...editing.known_elements import encode_partly_known
from ...types import BadInput
from ...util.notes import issue_note
from ..examples import reference_edit
from ..lengths import LengthBeyondTraining, PaddedBatch, require_rate, seconds_to_elements
from ..request import Decode, Rows, SampleRequest
from .context import EditContext, stack_padded
from .options import ExtendOptions, InpaintOptions, KnownPartOptions
from .region import EditRegion
from .restore import check_trained_masks, mask_reference
from .source import Files, SourceFile, as_path_list, cut_or_pad


@dataclass(frozen=True)
class KnownPart:
    """The known part of one file.

    Attributes:
        source: The file.
        size: Media size of the result.
        z: (1, C', *spatial), the encoded file.
        places: (1, 1, *spatial) bool, True where z is known.
        given: (C, *work size), the file at its original level.
        mask: (1, *work size) bool, True where the media are known.
    """

    source: SourceFile
    size: tuple[int, ...]
    z: Tensor
    places: Tensor
    given: Tensor
    mask: Tensor

    @classmethod
    def of(cls, context: EditContext, source: SourceFile, size: tuple[int, ...], known: Tensor) -> KnownPart:
        """The known part of a source in a result of media size `size`.

        If the source is not extended, the padding after its end is known too.

        Args:
            context: The context of the edit.
            source: The file.
            size: Media size of the result.
            known: (1, *source size) bool.
        """
        work, device = context.work_size(size), context.model.device
        mask = torch.full((1, *work), size == source.size, dtype=torch.bool)
        part = (slice(None), *(slice(n) for n in known.shape[1:]))
        mask[part] = cut_or_pad(known, work)[part]
        media = cut_or_pad(source.media, work, context.loop)
        z, places = encode_partly_known(context.encode, media[None].to(device), mask[None].to(device))
        return cls(source, size, z, places, cut_or_pad(source.given, work, context.loop), mask)

    def fill_unknown(self, context: EditContext, z: Tensor) -> Tensor:
        """The result (C, *size): the file where it is known, the decoded z (1, C', *spatial) elsewhere."""
        media = (self.source.gain * (self.given - self.source.offset))[None].to(z.device)
        decoded = context.codec.fill(z.float(), media, self.mask[None].to(z.device), context.loop)[0].cpu()
        result = torch.where(self.mask, self.given, self.source.to_file_level(decoded))
        modality: Any = context.model.parts.modality
        if hasattr(modality, "limited"):
            limited = modality.limited(result, self.mask)
            if not torch.equal(limited, result):
                peak = float((result.abs() * ~self.mask).max())
                issue_note(
                    f"{format_path(self.source.path)}: the new part peaks at {peak:.2f} and was scaled down to full "
                    "scale; the known part is unchanged",
                    stacklevel=5,
                )
            result = limited
        return context.cut(result, self.size)


@dataclass(kw_only=True)
class InpaintRequest(SampleRequest):
    """Inpainting or continuation, one result per row.

    Attributes:
        context: The context of the edit.
        parts: The known part of each row.
        by_levels: Whether the network was trained with per-element noise levels.
        resample: How often each segment is run.
        jump: Number of steps in a segment.
        reference: Name of the condition that receives the known part; None: the network was not trained with one.
    """

    context: EditContext
    parts: list[KnownPart]
    by_levels: bool
    resample: int
    jump: int
    reference: str | None = None

    @property
    def references(self) -> tuple[str, ...]:
        return () if self.reference is None else (self.reference,)

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        z, places = (stack_padded([getattr(self.parts[i], name) for i in rows], batch) for name in ("z", "places"))
        edit = InpaintEdit(z, places, "levels" if self.by_levels else "replace", self.resample, self.jump)
        if self.reference is None:
            return [edit]
        channels = reference_channels(z, places)
        return [reference_edit(self.context.model.model, self.reference, channels), edit]

    def media(self, rows: Rows, z: Tensor, batch: PaddedBatch, decode: Decode) -> list[Tensor]:
        inside = [(slice(k, k + 1), slice(None), *(slice(n) for n in s[1:])) for k, s in enumerate(batch.shapes)]
        return [self.parts[i].fill_unknown(self.context, z[part]) for i, part in zip(rows, inside, strict=True)]


def inpaint_request(context: EditContext, files: Files, options: InpaintOptions) -> InpaintRequest:
    """Request that regenerates a region of each file."""
    region = EditRegion(options.spans, options.box, options.mask)
    region.check(context.spec)
    sources = [context.read(path) for path in as_path_list(files)]
    known = [region.known_mask(context, source) for source in sources]
    facts = {"edit": "inpaint", **region.to_dict()}
    return _fill_request(context, sources, [source.size for source in sources], known, options, facts)


def extend_request(context: EditContext, files: Files, options: ExtendOptions) -> InpaintRequest:
    """Request that continues each file along time for `options.seconds` after its end.

    Raises:
        BadInput: The media has no time axis with a rate.
    """
    spec, seconds = context.spec, options.seconds
    if spec.rate is None:
        raise BadInput(
            f"{spec.modality} has no time axis with a rate, so there is no end to continue from: regenerate a part of "
            "it with inpaint"
        )
    added = seconds_to_elements(seconds, spec.rate, "seconds, how much is added,")
    sources = [context.read(path) for path in as_path_list(files)]
    known = [torch.ones(1, *source.size, dtype=torch.bool) for source in sources]
    sizes = [spec.with_length(s.size, (spec.length_of(s.size) or 0) + added) for s in sources]
    return _fill_request(context, sources, sizes, known, options, {"edit": "continue", "added": seconds})


@contextmanager
def name_longest_addition(request: InpaintRequest) -> Iterator[None]:
    """Name the longest addition to a file, where the result of a continuation is longer than the network can make."""
    try:
        yield
    except LengthBeyondTraining as error:
        spec = request.context.spec
        rate = require_rate(spec, "seconds")
        source = max((part.source for part in request.parts), key=lambda source: spec.length_of(source.size) or 0)
        has, whole = ((n or 0) / rate for n in (spec.length_of(source.size), spec.length))
        most = math.floor(1000 * (whole - has)) / 1000
        path, trained = format_path(source.path), f"{whole:g} s, the longest that this run can make"
        if most <= 0:
            raise BadInput(f"{path} lasts {has:.4g} s already, of {trained}: cut it") from error
        raise BadInput(
            f"seconds is at most {most:g} for {path}, which lasts {has:.4g} s: together {trained} (training with "
            "network.positions=0 removes the limit)"
        ) from error


def _warn_of_unused(filling: KnownPartOptions, resample: int, steps: int) -> None:
    """Say that a given `jump` or `resample` has no effect."""
    if resample == 1 and filling.jump != KnownPartOptions().jump:
        issue_note(f"jump={filling.jump} has no effect: every step is run once (resample=1)", stacklevel=5)
    elif filling.resample not in (None, 1) and filling.jump >= steps:
        remedy = f"choose a jump below {steps}" if steps > 1 else "take more steps"
        issue_note(
            f"resample={resample} has no effect: a jump of {filling.jump} covers all {steps} steps, and the last "
            f"segment is run once: {remedy}",
            stacklevel=5,
        )


def _trained_reference(
    context: EditContext, sizes: Sequence[tuple[int, ...]], known: Sequence[Tensor], filling: KnownPartOptions
) -> str | None:
    """Name of the condition that receives the known parts; None: the method without it is used."""
    model = context.model.model
    name = mask_reference(model, filling.trained, filling.reference)
    if name is None:
        return None
    whole = []
    for size, part in zip(sizes, known, strict=True):
        mask = torch.zeros(1, *size, dtype=torch.bool)
        mask[(slice(None), *(slice(n) for n in part.shape[1:]))] = part
        whole.append(mask)
    degradation = context.recipe.conditioning[name].params["degradation"].use
    required = filling.trained is True or filling.reference is not None
    return name if check_trained_masks(model, name, degradation, whole, required) else None


def _fill_request(
    context: EditContext,
    sources: Sequence[SourceFile],
    sizes: Sequence[tuple[int, ...]],
    known: Sequence[Tensor],
    filling: KnownPartOptions,
    facts: dict[str, Any],
) -> InpaintRequest:
    count = filling.count
    reference = _trained_reference(context, sizes, known, filling)
    by_levels = context.model.per_element and reference is None
    resample = (4 if reference is None and not by_levels else 1) if filling.resample is None else filling.resample
    if reference is not None and filling.trained is None:
        issue_note(
            f"the network receives the known part (condition {reference}); trained=false takes the method without it",
            stacklevel=4,
        )
    _warn_of_unused(filling, resample, context.recipe.sample.steps)
    each = [i for i in range(len(sources)) for _ in range(count)]
    conditions = context.conditions([sources[i] for i in each], [sizes[i] for i in each])
    parts = [KnownPart.of(context, *of) for of in zip(sources, sizes, known, strict=True)]
    paths = [str(Path(source.path)) for source in sources]
    return InpaintRequest(
        conditions,
        [context.work_size(sizes[i]) for i in each],
        [k for _ in sources for k in range(count)],
        masked=True,
        facts={**facts, "resample": resample, "jump": filling.jump, "reference": reference, "sources": paths},
        context=context,
        parts=[parts[i] for i in each],
        by_levels=by_levels,
        resample=resample,
        jump=filling.jump,
        reference=reference,
    )
