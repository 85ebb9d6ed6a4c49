"""The context of an edit of files: the model, the recipe with the requested changes, and a function that solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...codecs.base import Codec
from ...config.recipe import Recipe
from ...data.files import format_path
from ...editing.loops import media_loop_axes
from ...types import BadInput, MediaSpec
from ...util.notes import issue_note
from ..conditions import SampleConditions, per_sample_conditions
from ..context import ModelContext
from ..lengths import PaddedBatch, check_request_memory, choose_lengths, require_rate, seconds_to_elements
from ..loop_sizes import loop_length_unit, round_loop_size, warn_of_rounding
from ..request import SampleRequest
from .source import SourceFile, cut_or_pad, describe_conversion, read_source_file, trim_source


@dataclass
class EditContext:
    """The model and the settings of an edit.

    Attributes:
        model: Network, codec and media specification.
        recipe: The recipe with changes to its `sample` section.
        labelled: Whether a label was requested; otherwise the name of a file's folder is its class.
        latents: Solves a request as one batch, without decoding: (B, C, *spatial).
        said: Conversions of files that a warning has named.
    """

    model: ModelContext
    recipe: Recipe
    labelled: bool
    latents: Callable[[SampleRequest], Tensor]
    said: set[str] = field(default_factory=set)

    @property
    def codec(self) -> Codec:
        """Media <-> diffused tensor."""
        return self.model.codec

    @property
    def spec(self) -> MediaSpec:
        """The media specification of the data."""
        return self.model.spec

    @property
    def loop(self) -> bool:
        """Whether results are loops."""
        return self.recipe.sample.loop

    @property
    def top_sigma(self) -> float:
        """sigma of the noise level at which sampling starts."""
        section, schedule = self.recipe.sample, self.model.process.schedule
        return float(section.timesteps.build().levels(schedule, section.steps)[0].sigma)

    def read(self, path: Path) -> SourceFile:
        """Read a file, cut to `sample.seconds` if that is set."""
        source = read_source_file(self.model, path, fit=self.recipe.sample.windows is None)
        change = describe_conversion(source, self.spec)
        if change and change not in self.said:
            self.said.add(change)
            issue_note(f"{format_path(path)} is converted {change}", stacklevel=4)
        seconds = self.recipe.sample.seconds
        if seconds is None:
            return source
        rate = require_rate(self.spec, "sample.seconds")
        length = seconds_to_elements(seconds, rate, "sample.seconds, how much of a file is taken,")
        if (has := self.spec.length_of(source.size) or 0) < length:
            issue_note(
                f"asked the first {seconds:g} s of {format_path(path)}, which lasts {has / rate:g} s", stacklevel=4
            )
        return trim_source(source, self.model, length)

    def work_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size at which the network processes media of `size`: with padding as in the training data."""
        spec = self.spec
        if self.loop:
            axes, unit = media_loop_axes(self.codec), loop_length_unit(self.codec, self.model.model.network, spec)
            return round_loop_size(tuple(size), axes, unit)
        length = spec.length_of(size)
        if self.model.clip_lengths or length is None or spec.length is None:
            return tuple(size)
        return spec.with_length(size, max(length, spec.length))

    def cut(self, media: Tensor, size: Sequence[int]) -> Tensor:
        """Cut media (C, *work size) to `size` along time; loops are not cut."""
        return media if self.loop else self.spec.trim(media, self.spec.length_of(size))

    def conditions(self, sources: Sequence[SourceFile], sizes: Sequence[Sequence[int]]) -> list[SampleConditions]:
        """Conditions of one sample per source.

        Args:
            sources: The files.
            sizes: Media size of each result.

        Raises:
            BadInput: The sizes differ along an axis other than time, or the results cannot fit into memory.
        """
        spec = self.spec
        check_request_memory(self.codec, spec, [tuple(size) for size in sizes], self.recipe.sample.batch)
        if self.loop:
            unit = loop_length_unit(self.codec, self.model.model.network, spec)
            warn_of_rounding(sizes, [self.work_size(size) for size in sizes], unit, spec)
        rows = per_sample_conditions(self.model.model, self.recipe.sample, len(sources))
        for row, source in zip(rows, sources, strict=True):
            if not self.labelled and "label" in row:
                row["label"] = source.label
        if len({spec.with_length(size, 1) for size in sizes}) > 1:
            raise BadInput("files that differ in size along an axis other than time must be edited one by one")
        if spec.rate is not None:
            seconds = [(spec.length_of(size) or 0) / spec.rate for size in sizes]
            choose_lengths(seconds, rows, self.model.model, spec, self.model.clip_lengths, self.recipe.sample_seed)
        for row, source in zip(rows, sources, strict=True):
            row["source"] = format_path(Path(source.path.stem))
        return rows

    def encode(self, media: Tensor) -> Tensor:
        """Encode media (B, C, *size) as (B, C', *spatial)."""
        return self.codec.encode(media, loop=True) if self.loop else self.codec.encode(media)

    def encode_source(self, source: SourceFile, size: Sequence[int]) -> Tensor:
        """Cut or pad a source to `size` and encode it as (1, C', *spatial)."""
        with torch.no_grad():
            return self.encode(cut_or_pad(source.media, size, self.loop)[None].to(self.model.device))


def stack_padded(tensors: Sequence[Tensor], batch: PaddedBatch) -> Tensor:
    """Stack tensors (1, C, *spatial) of several sizes, padded with zeros (or False) to the shape of the batch."""
    out = tensors[0].new_zeros(len(tensors), tensors[0].shape[1], *batch.shape[1:])
    for i, tensor in enumerate(tensors):
        out[(i, slice(None), *(slice(n) for n in tensor.shape[2:]))] = tensor[0]
    return out
