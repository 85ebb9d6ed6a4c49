"""Makes the sounds of an entry of a sound pack: variations, mixes of layers, loops of an exact length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ....core.pipeline.pipeline import Pipeline
from ....core.util.notes import hold_notes
from .. import dsp
from ..post_processing import PostProcessing, post_process
from .folder import PackSound
from .layers import SoundLayer, mix_layers
from .loops import loop_frames, resample_loop
from .table import PackEntry, PackRow
from .variations import (
    FoundVariations,
    find_variations,
    similarities_to_others,
    similarity_ceiling,
    training_sounds,
)

_APART = 1000  # between the seeds of layers, so that two of one class differ


class PackMaker:
    """Makes the sounds of a run.

    Args:
        pipeline: The run.
        rate: Rate of the files in Hz; None: that of the run.
        settings: How sounds are finished; loops are neither trimmed nor faded.
        ceiling: Similarity above which a sound is rejected, see `similarity_ceiling`; None: measured on the training
            sounds; 1: nothing is compared.
        root: Folder of the training data, if it was moved.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        rate: float | None = None,
        settings: PostProcessing | None = None,
        ceiling: float | None = None,
        root: Path | None = None,
    ):
        self.pipeline, self.own_rate = pipeline, float(pipeline.components.spec.rate or 0)
        self.rate = rate or self.own_rate
        self.settings, self.ceiling, self.root = settings or PostProcessing(), ceiling, root
        self._known: dict[str | None, tuple[list[Tensor], float]] = {}

    def make(self, entry: PackEntry) -> tuple[list[PackSound], FoundVariations]:
        """The sounds of an entry, and what was rejected; there may be fewer than asked for."""
        row = entry.first
        known, ceiling = self._compared(row)

        def takes(seed: int, count: int) -> Sequence[Tensor]:
            return self._takes(entry, seed, count)

        found = find_variations(takes, row.count, self.own_rate, row.seed, known, ceiling)
        others: list[float] | list[None] = [None] * len(found.kept)
        if ceiling < 1:
            others = similarities_to_others([one.sound for one in found.kept], self.own_rate)
        sounds = []
        for one, other in zip(found.kept, others, strict=True):
            wave, speed = self._at_rate(row, one.sound)
            settings = replace(self.settings, trim=None, fade_in=0.0, fade_out=0.0) if row.loop else self.settings
            done = post_process(wave, self.rate, settings)
            common = {"seed": one.seed, "sample": one.sample, "to_training": one.to_training, "to_others": other}
            sounds.append(
                PackSound(entry.name, done, row.label, row.prompt, row.bpm, row.beats, speed, **common)  # type: ignore[arg-type]
            )
        return sounds, found

    def _compared(self, row: PackRow) -> tuple[list[Tensor], float]:
        """The training sounds that a row is compared with: those of its class, if it has one; and the ceiling."""
        if self.ceiling is not None and self.ceiling >= 1:
            return [], 1.0
        label = row.label if isinstance(row.label, str) else None
        if label not in self._known:
            known = training_sounds(self.pipeline, label, self.root)
            ceiling = similarity_ceiling(known, self.own_rate) if self.ceiling is None else self.ceiling
            self._known[label] = known, ceiling
        return self._known[label]

    def _takes(self, entry: PackEntry, seed: int, count: int) -> Sequence[Tensor]:
        seeds = [seed, *(seed + row.seed + _APART * k for k, row in enumerate(entry.rows[1:], 1))]
        parts = [self._sampled(row, own, count) for row, own in zip(entry.rows, seeds, strict=True)]
        if entry.first.layer is None:
            return parts[0]
        layers = [
            [SoundLayer(wave, row.layer, row.start, row.gain) for wave in media]  # type: ignore[arg-type]
            for row, media in zip(entry.rows, parts, strict=True)
        ]
        return [mix_layers(one, self.own_rate) for one in zip(*layers, strict=True)]

    def _sampled(self, row: PackRow, seed: int, count: int) -> Sequence[Tensor]:
        asked: dict[str, Any] = {"label": row.label, "seed": seed, "count": count}
        asked |= {"seconds": row.seconds} if row.seconds is not None else {}
        asked |= {"prompt": row.prompt} if row.prompt is not None else {}
        asked |= {"conditions": row.conditions} if row.conditions else {}
        asked |= {"loop": True} if row.loop else {}
        with hold_notes() as held:
            media = self.pipeline.sample(**asked).media
            if row.loop:  # its length becomes exact afterwards
                held[:] = [note for note in held if "loops are multiples of" not in note.text]
        return media

    def _at_rate(self, row: PackRow, wave: Tensor) -> tuple[Tensor, float]:
        """A sound at the rate of the files, and the factor by which a loop became faster."""
        if row.beats is None or row.bpm is None:
            return dsp.resample(wave, self.own_rate, self.rate), 1.0
        frames = loop_frames(row.beats, row.bpm, self.rate)
        return resample_loop(wave, frames), wave.shape[-1] / self.own_rate / (frames / self.rate)
