"""What an edit of files is given: the model, the recipe with the changes that were asked for, and how to invert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...codecs.base import Codec
from ...config.recipe import Recipe
from ...data.files import shown
from ...editing.loops import media_loop_axes
from ...types import BadInput, MediaSpec
from ..conditions import Row, condition_rows
from ..context import ModelContext
from ..lengths import PaddedBatch, choose_lengths, elements, need_rate
from ..loops import loop_size, loop_unit
from ..request import SampleRequest
from .source import Source, read_source, resized, trimmed


@dataclass
class EditContext:
    """A model, and how it is asked to edit.

    Attributes:
        model: Codec, network and facts of the data.
        recipe: The recipe with changes to its `sample` section.
        labelled: Whether a label was asked for; otherwise each file has the class that its folder names.
        latents: Solves a request as one batch, without decoding it: (B, C, *spatial).
    """

    model: ModelContext
    recipe: Recipe
    labelled: bool
    latents: Callable[[SampleRequest], Tensor]

    @property
    def codec(self) -> Codec:
        """Media <-> diffused tensor."""
        return self.model.codec

    @property
    def spec(self) -> MediaSpec:
        """The facts of the data."""
        return self.model.spec

    @property
    def loop(self) -> bool:
        """Whether loops are made."""
        return self.recipe.sample.loop

    @property
    def top_sigma(self) -> float:
        """sigma of the level where sampling starts."""
        section, schedule = self.recipe.sample, self.model.process.schedule
        return float(section.timesteps.build().levels(schedule, section.steps)[0].sigma)

    def read(self, path: Path) -> Source:
        """A file, cut to `seconds` where that was asked for."""
        source = read_source(self.model, path, fit=self.recipe.sample.windows is None)
        seconds = self.recipe.sample.seconds
        if seconds is None:
            return source
        rate = need_rate(self.spec, "sample.seconds")
        return trimmed(source, self.model, elements(seconds, rate, "sample.seconds, how much of a file is taken,"))

    def work_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size that the network sees for media of `size`: with the padding of its training data."""
        spec = self.spec
        if self.loop:
            axes, unit = media_loop_axes(self.codec), loop_unit(self.codec, self.model.model.network, spec)
            return loop_size(tuple(size), axes, unit)
        length = spec.length_of(size)
        if self.model.clip_lengths or length is None or spec.length is None:
            return tuple(size)
        return spec.with_length(size, max(length, spec.length))

    def kept(self, media: Tensor, size: Sequence[int]) -> Tensor:
        """Media (C, *work size) cut to `size` along time; a loop is never cut."""
        return media if self.loop else self.spec.trim(media, self.spec.length_of(size))

    def conditions(self, sources: Sequence[Source], sizes: Sequence[Sequence[int]]) -> list[Row]:
        """Conditions of one sample a source, each to become media of a size.

        Raises:
            BadInput: The sizes differ along another axis than time.
        """
        spec = self.spec
        rows = condition_rows(self.model.model, self.recipe.sample, len(sources))
        for row, source in zip(rows, sources, strict=True):
            if not self.labelled and "label" in row:
                row["label"] = source.label
        if len({spec.with_length(size, 1) for size in sizes}) > 1:
            raise BadInput("files that differ in size along another axis than time are edited one by one")
        if spec.rate is not None:
            seconds = [(spec.length_of(size) or 0) / spec.rate for size in sizes]
            choose_lengths(seconds, rows, self.model.model, spec, self.model.clip_lengths, self.recipe.sample_seed)
        for row, source in zip(rows, sources, strict=True):
            row["source"] = shown(Path(source.path.stem))
        return rows

    def encode(self, media: Tensor) -> Tensor:
        """(B, C', *spatial) of media (B, C, *size)."""
        return self.codec.encode(media, loop=True) if self.loop else self.codec.encode(media)

    def encoded(self, source: Source, size: Sequence[int]) -> Tensor:
        """(1, C', *spatial) of a source that is brought to `size`."""
        with torch.no_grad():
            return self.encode(resized(source.media, size, self.loop)[None].to(self.model.device))


def check_count(count: int) -> None:
    """Raise BadInput unless `count`, how many to make of each file, is a whole number from 1."""
    if type(count) is not int or count < 1:
        raise BadInput(f"count is how many to make of each file, 1 or more, not {count!r}")


def stack_padded(tensors: Sequence[Tensor], batch: PaddedBatch) -> Tensor:
    """Tensors (1, C, *spatial) of several sizes as rows of one, with zeros (or False) up to the batch's shape."""
    out = tensors[0].new_zeros(len(tensors), tensors[0].shape[1], *batch.shape[1:])
    for i, one in enumerate(tensors):
        out[(i, slice(None), *(slice(n) for n in one.shape[2:]))] = one[0]
    return out
