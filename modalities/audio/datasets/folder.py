"""A folder of sound files as a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ....core import files as folders
from ....core.types import BadInput, Item, Signal
from .. import dsp
from ..files import SUFFIXES
from ..scan import Entry, Plan, cut, prepare, scan

_LAST: dict[tuple, list[Entry]] = {}  # the last folder read: the training and validation parts share one scan


class Folder:
    """Sound files of any format that libsndfile reads, below a folder or listed in a table.

    Each file is decoded once and checked, resampled, mixed to the recipe's channels and brought to one level. Short
    sounds are padded with silence. Longer ones are cut so that attacks survive: the part starts a few milliseconds
    before the onset, and what is cut through is faded. Files go to training or validation by a hash of their content,
    so copies stay together.

    The small changes that training makes to a sound (polarity, gain, shift) cannot be heard as another class; widen
    them for textures, set them to 0 to reproduce files exactly.

    signal: the recipe's facts about the sound
    split: which part: train or valid
    valid: share of the files for validation, 0 to 1
    seed: number that the split follows from
    root: folder that holds the files; in a table, relative names start here
    label: `folder`: the class is the first folder below root; `none`: no classes; a table's column `label` comes first
    table: CSV, TSV or JSONL with columns file, perhaps label, caption and others; null: every sound file below root
    mix: how channels become fewer: their mean, the left one, or the loudest
    normalise: which level is made equal: the peak, the RMS of the part that sounds, or none
    level: that level in dB of full scale; null: -3 for peak, -20 for rms
    crop: where a longer file's part starts: at the onset, at random from the onset on, or at the file's start
    padding: `silence`: what follows a short sound counts as part of it, so that a model learns where sounds end;
        `masked`: items state their length and the rest is left out of statistics and loss, which wants a condition
        on the length (the attribute `seconds`)
    polarity: flip the polarity of half of the sounds in training
    gain: largest change of the level in training, in dB
    shift: largest delay of the onset in training, in seconds
    max_bad: share of files, 0 to 1, that may be unusable; they are skipped and named
    cache: memory for decoded sounds in MB; what does not fit is decoded each time
    """

    def __init__(
        self,
        signal: Signal,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
        root: Path | None = None,
        label: Literal["folder", "none"] = "folder",
        table: Path | None = None,
        mix: Literal["mean", "left", "loudest"] = "mean",
        normalise: Literal["peak", "rms", "none"] = "peak",
        level: float | None = None,
        crop: Literal["onset", "random", "start"] = "onset",
        padding: Literal["silence", "masked"] = "silence",
        polarity: bool = True,
        gain: float = 1.0,
        shift: float = 0.005,
        max_bad: float = 0.05,
        cache: float = 2000.0,
    ):
        _check(signal, split, level, gain, shift, cache)
        self.root = folders.need_folder(root if root is not None or table is None else Path(table).expanduser().parent)
        self.plan = Plan(signal, mix, crop, normalise, {"peak": -3.0, "rms": -20.0, "none": 0.0}[normalise])
        if level is not None:
            self.plan = replace(self.plan, level=level)
        self.split, self.padding, self.polarity, self.gain, self.shift = split, padding, polarity, gain, shift
        found = _listed(Path(table), self.root) if table is not None else _walked(self.root, label)
        if label == "none":
            found = [replace(entry, label=None) for entry in found]
        entries = _scanned(found, self.plan, self.root, max_bad, cache)
        labels = [entry.label for entry in entries if entry.label is not None]
        self.classes: tuple[str, ...] = folders.class_names(labels, folders.shown(self.root)) if labels else ()
        sides = folders.split([entry.hash for entry in entries], valid, seed)
        self.entries = [entry for entry, side in zip(entries, sides, strict=True) if side == split]

    def __len__(self) -> int:
        return len(self.entries)

    def item(self, index: int, rng: Any = None) -> Item:
        """Example `index`; `rng` decides crop, shift, polarity and gain; None: the file as it is, from its onset."""
        entry = self.entries[index]
        prepared = entry.prepared or prepare(entry.path, self.plan)[0]
        start, gain = prepared.start, 1.0
        if rng is not None:
            place, late, flip, louder = rng.random(4)
            if self.plan.crop == "random":
                start += int(place * (max(0, prepared.wave.shape[-1] - prepared.start - self.plan.frames) + 1))
            if start == prepared.start:
                start -= int(late * self.shift * self.plan.rate)
            gain = dsp.amplitude((2 * louder - 1) * self.gain) * (-1.0 if self.polarity and flip < 0.5 else 1.0)
        media, length = cut(prepared, self.plan, start)
        return Item(
            media=media * gain,
            length=length if self.padding == "masked" else None,
            label=None if entry.label is None else self.classes.index(entry.label),
            caption=entry.caption,
            attributes={**entry.more, "seconds": length / self.plan.rate},
            source=entry.name,
        )

    def manifest(self) -> list[dict[str, Any]]:
        """A record a file: its name, hash, label, caption, rate in Hz, channels, frames, format, seconds."""
        return [entry.record() for entry in self.entries]


def _check(signal: Signal, split: str, level: float | None, gain: float, shift: float, cache: float) -> None:
    if signal.rate is None or len(signal.size) != 1:
        raise BadInput("audio/folder reads sounds: it needs `modality: {use: audio}`")
    if split not in ("train", "valid"):
        raise BadInput(f"split is train or valid; got {split!r}")
    if level is not None and not -80 <= level <= 0:
        raise BadInput(f"data.level is a level in dB from -80 to 0; got {level}")
    if not 0 <= gain <= 24 or not 0 <= shift <= 1 or not np.isfinite(cache) or cache < 0:
        raise BadInput(f"data.gain is 0 to 24 dB, shift 0 to 1 s, cache 0 MB or more; got {gain}, {shift}, {cache}")


def _walked(root: Path, label: str) -> list[Entry]:
    paths = folders.walk(root, SUFFIXES)
    names = [folders.shown(path, root) for path in paths]
    loose = folders.BadFiles()
    labels = folders.folder_labels(paths, root, loose) if label == "folder" else [None] * len(paths)
    if loose.reasons:
        raise BadInput(
            f"{len(loose.reasons)} of {len(paths)} files are in no class folder: {loose.summary()}. Move them, "
            "or train without classes: data.label=none"
        )
    return [Entry(p, n, "", own, None, {}) for p, n, own in zip(paths, names, labels, strict=True)]


def _listed(table: Path, root: Path) -> list[Entry]:
    rows = folders.read_table(table)
    return [Entry(row.path(root), row.file, "", row.label, row.caption, row.more) for row in rows]


def _scanned(found: list[Entry], plan: Plan, root: Path, max_bad: float, cache: float) -> list[Entry]:
    """`scan`, or what it last returned where neither the files nor the plan have changed."""

    def stamp(path: Path) -> tuple:
        try:
            facts = path.stat()
        except OSError:
            return ()
        return facts.st_mtime_ns, facts.st_size

    told = tuple((e.name, e.label, e.caption, repr(e.more), stamp(e.path)) for e in found)
    key = (root, plan, max_bad, cache, told)
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = scan(found, plan, root, max_bad, cache)
    return _LAST[key]
