"""The header of a checkpoint: what is stored with the tensors, and its checks when it is read.

A checkpoint may come from anywhere, so every value has a type and limits. Format 1 is that of the first edition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, model_validator

from ..config.legacy import upgrade_guidance
from ..data.clip_lengths import ClipLengths
from ..few_step.stored_plans import check_stored_plan
from ..types import BadInput, MediaSpec
from ..util.json_files import StoredRecord, parse_json
from ..util.messages import shorten

FORMAT = 2
READABLE_FORMATS = (1, 2)
MOST_ELEMENTS = 2**40  # of one example

Count = Annotated[int, Field(ge=0, le=2**53)]
Length = Annotated[int, Field(ge=1, le=MOST_ELEMENTS)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1000)]
ClipLengthsField = Annotated[tuple[tuple[Length, Count | None], ...], Field(max_length=10_000)]


@dataclass(frozen=True)
class CheckpointHeader:
    """The header of a checkpoint.

    Attributes:
        recipe: The resolved recipe, YAML.
        spec: Properties of the media, with the classes of the data.
        step: Optimiser steps made.
        elapsed: Seconds of training, in wall-clock time.
        clip_lengths: Lengths of training examples; empty if none of these states its length.
        plans: Number of evaluations -> calibrated plan, see `sonolux calibrate`.
        names_axes: Whether the axes of the media were stored; otherwise (first edition) they are those of the modality.
    """

    recipe: str
    spec: MediaSpec
    step: int
    elapsed: float
    clip_lengths: ClipLengths = ()
    plans: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    names_axes: bool = True

    def facts(self) -> dict[str, Any]:
        """The header as plain values that JSON can store."""
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "spec": self.spec.to_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "clip_lengths": self.clip_lengths,
            "plans": self.plans,
        }


class StoredFormat(StoredRecord):
    """The format, which is read first."""

    format: int


class StoredSpec(StoredRecord):
    """`MediaSpec`. The first edition stored one rate, of time, and no axes."""

    modality: Text
    channels: Annotated[int, Field(ge=1, le=2**16)]
    size: Annotated[tuple[Length, ...], Field(min_length=1, max_length=8)]
    axes: tuple[Text, ...] | None = None
    rates: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, ...] | None = None
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    classes: Annotated[tuple[Text, ...], Field(max_length=100_000)] = ()
    latent: tuple[Length, ...] = ()

    @model_validator(mode="after")
    def _can_be_built(self) -> StoredSpec:
        if self.axes is None and len(self.size) > 3:
            raise ValueError(f"a size of {len(self.size)} axes without their names")
        if math.prod((self.channels, *self.size)) > MOST_ELEMENTS:
            raise ValueError(f"an example of {self.channels} channels and size {list(self.size)} is too large")
        self.spec()
        return self

    def spec(self) -> MediaSpec:
        """The media specification."""
        return MediaSpec.from_dict(self.model_dump(exclude_none=True))


class StoredHeader(StoredRecord):
    """The header of format 2."""

    recipe: str
    spec: StoredSpec
    step: Count
    elapsed: Finite
    clip_lengths: ClipLengthsField = ()
    plans: Annotated[dict[int, dict[str, Any]], Field(max_length=1000)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> StoredHeader:
        for nfe, plan in self.plans.items():
            check_stored_plan(nfe, plan)
        if any(label is not None and label >= len(self.spec.classes) for _, label in self.clip_lengths):
            raise ValueError(f"a clip length belongs to a class above the {len(self.spec.classes)} that there are")
        return self


class FirstEditionHeader(StoredHeader):
    """The header of format 1: `spec` was called `signal`, and `clip_lengths` was called `takes`."""

    spec: StoredSpec = Field(alias="signal")
    clip_lengths: ClipLengthsField = Field(default=(), alias="takes")


_FORMAT = TypeAdapter(StoredFormat)
_HEADERS: dict[int, TypeAdapter[StoredHeader]] = {1: TypeAdapter(FirstEditionHeader), 2: TypeAdapter(StoredHeader)}


def parse_header(text: str, place: str) -> CheckpointHeader:
    """The header from its JSON text.

    Args:
        text: The text.
        place: The checkpoint, for messages.

    Raises:
        BadInput: The text is damaged, or of another version's format.
    """
    written = parse_json(text, _FORMAT, f"{place}: its header").format
    if written not in _HEADERS:
        known = " and ".join(map(str, READABLE_FORMATS))
        shown = shorten(str(written), 20)
        raise BadInput(f"{place}: checkpoint format {shown}, and this version reads formats {known}: upgrade sonolux")
    found = parse_json(text, _HEADERS[written], f"{place}: its header")
    plans = dict(found.plans)
    if written == 1:
        plans = {nfe: {**plan, "guidance": upgrade_guidance(plan.get("guidance"))} for nfe, plan in plans.items()}
    spec, names_axes = found.spec.spec(), found.spec.axes is not None
    return CheckpointHeader(found.recipe, spec, found.step, found.elapsed, found.clip_lengths, plans, names_axes)
