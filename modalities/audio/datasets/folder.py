"""A folder of sound files as a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from ....core.data import files as folders
from ....core.data import manifest as manifests
from ....core.data.listing import Listed, labelled, listed_files
from ....core.data.splits import need_part
from ....core.types import BadInput, Item, MediaSpec
from ....core.util.annotations import Range
from .. import dsp
from ..io import SUFFIXES
from ..prepare.scan import LEVELS, Cache, Entry, Plan, Shelf, cut, decode, place, scan
from ..store import Store

_FACTS = ("rate", "channels", "format", "subtype", "frames", "seconds")  # of a manifest's line: kept with the run

# The last folder read, and what was wrong in it: the training and validation parts of a recipe share one scan.
_LAST: dict[tuple, tuple[list[Entry], list[tuple[str, str]]]] = {}


class Folder:
    """Sound files of any format that libsndfile reads, below a folder or listed in a table.

    Each file is decoded once and checked, resampled, mixed to the recipe's channels and brought to one level. Short
    sounds are padded with silence. Longer ones are cut so that attacks survive: the part starts a few milliseconds
    before the onset, and what is cut through is faded. Files go to training or validation by a hash of their content,
    so copies stay together.

    The small changes that training makes to a sound (polarity, gain, shift) cannot be heard as another class; widen
    them for textures, set them to 0 to reproduce files exactly.

    Args:
        spec: The recipe's facts about the sound.
        root: Folder that holds the files; links are followed once, names that start with a dot are skipped; or the
            folder or manifest that `sonolux prepare` made of it.
        manifest: What `sonolux prepare` wrote of the folder: its files are used without looking at them again, its
            classes and captions hold, and near copies stay in one part of the split.
        label: The class is the name of the first folder below root, or, with a table that has labels, its label; or
            none.
        table: CSV, TSV or JSONL with columns file, perhaps label, caption and others; null: every sound file below
            root.
        mix: How channels become fewer: their mean, the left one, or the loudest.
        normalise: Which level is made equal: the peak, the RMS of the part that sounds, or none.
        level: That level in dB of full scale; null: -3 for peak, -20 for rms.
        crop: Where a longer file's part starts: at the onset, at random from the onset on, or at the file's start.
        padding: `silence`: what follows a short sound counts as part of it, so that a model learns where sounds end;
            `masked`: items state their length and the rest is left out of statistics and loss, which wants a condition
            on the length (the attribute `seconds`).
        polarity: Flip the polarity of half of the sounds in training.
        gain: Largest change of the level in training, in dB.
        shift: Largest delay of the onset in training, in seconds.
        max_bad: Share of files, 0 to 1, that may be unusable; they are skipped and named.
        cache: Where resampled sounds are kept: auto: in memory, and what does not fit on disk, beside the manifest, if
            there is one; memory, disk: there alone; none: decoded at each use; a number of MB: memory with that budget.
        budget: Of memory for sounds, in MB.
        disk: Of disk for sounds, in MB; what was not used longest is removed for others.
        split: Which part: train or valid.
        valid: Share of the files for validation, 0 to 1.
        seed: Number that the split follows from.
    """

    def __init__(
        self,
        spec: MediaSpec,
        root: Path,
        manifest: Path | None = None,
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
        max_bad: Annotated[float, Range(0, 1)] = 0.05,
        cache: Cache | Annotated[float, Range(0)] = "auto",
        budget: Annotated[float, Range(0)] = 2000.0,
        disk: Annotated[float, Range(0)] = 10000.0,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
    ):
        if isinstance(cache, (int, float)):
            cache, budget = "memory", float(cache)
        _check(spec, split, level, gain, shift, budget, disk)
        where, listing = manifests.find(root, manifest, "audio")
        self.root = folders.need_folder(where)
        self.plan = Plan(spec, mix, crop, normalise, LEVELS[normalise])
        if level is not None:
            self.plan = replace(self.plan, level=level)
        self.split, self.padding, self.polarity, self.gain, self.shift = split, padding, polarity, gain, shift
        bad = folders.BadFiles(max_bad)
        none = "0 usable files: no sound (.wav, .flac, .ogg, .mp3 ...)"
        listed = listed_files(self.root, table, listing, SUFFIXES, none, bad)
        total = len(listed) + len(bad.reasons)
        found = [_entry(file) for file in labelled(listed, label, self.root, bad)]
        store = _store(cache, listing, disk)
        entries = _scanned(found, self.plan, cache, budget, store, bad)
        bad.check(total)
        names = [entry.label for entry in entries if entry.label is not None]
        self.classes: tuple[str, ...] = folders.class_names(names, folders.shown(self.root)) if names else ()
        sides = folders.split([entry.key or entry.hash for entry in entries], valid, seed)
        self.entries = [entry for entry, side in zip(entries, sides, strict=True) if side == split]

    def __len__(self) -> int:
        return len(self.entries)

    def item(self, index: int, rng: Any = None) -> Item:
        """Example `index`; `rng` decides crop, shift, polarity and gain; None: the file as it is, from its onset."""
        entry = self.entries[index]
        prepared = entry.prepared or place(decode(entry, self.plan).wave, self.plan)
        start, gain = prepared.start, 1.0
        if rng is not None:
            along, late, flip, louder = rng.random(4)
            if self.plan.crop == "random":
                start += int(along * (max(0, prepared.wave.shape[-1] - prepared.start - self.plan.frames) + 1))
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


def _check(
    spec: MediaSpec, split: str, level: float | None, gain: float, shift: float, budget: float, disk: float
) -> None:
    if spec.rate is None or len(spec.size) != 1:
        raise BadInput("audio/folder reads sounds: it needs `modality: {use: audio}`")
    need_part(split)
    if level is not None and not -80 <= level <= 0:
        raise BadInput(f"data.level is a level in dB from -80 to 0; got {level}")
    if not 0 <= gain <= 24 or not 0 <= shift <= 1:
        raise BadInput(f"data.gain is 0 to 24 dB, shift 0 to 1 s; got {gain}, {shift}")
    if not (np.isfinite([budget, disk]).all() and budget >= 0 and disk >= 0):
        raise BadInput(f"data.budget and data.disk are 0 MB or more; got {budget}, {disk}")


def _store(cache: Cache, listing: manifests.Manifest | None, budget: float) -> Store | None:
    """The place on disk, which lies beside the manifest. BadInput where `disk` is asked for without one."""
    if cache not in ("auto", "disk"):
        return None
    if listing is None:
        if cache == "disk":
            raise BadInput(
                "data.cache: disk keeps sounds beside a manifest: make one with `sonolux prepare FOLDER`, "
                "then name it: data.root=prepared/FOLDER"
            )
        return None
    return Store(listing.path.parent / "cache", budget)


def _entry(file: Listed) -> Entry:
    """A listed file as the scan takes it; what a manifest measured is not measured again."""
    facts = {k: file.facts[k] for k in _FACTS} if file.facts else {}
    content = file.facts.get("hash", "")
    return Entry(file.path, file.name, content, file.label, file.caption, dict(file.more), facts, key=file.key)


def _scanned(
    found: list[Entry], plan: Plan, cache: Cache, budget: float, store: Store | None, bad: folders.BadFiles
) -> list[Entry]:
    """`scan`, or what it last returned where neither the files nor the plan have changed."""

    def stamp(path: Path) -> tuple:
        try:
            facts = path.stat()
        except OSError:
            return ()
        return facts.st_mtime_ns, facts.st_size

    told = tuple((str(e.path), e.name, e.label, e.caption, repr(e.more), e.key, stamp(e.path)) for e in found)
    key = (plan, cache, budget, store and store.folder, told)
    if key not in _LAST:
        before = len(bad.reasons)
        entries = scan(found, Shelf(plan, cache, budget, store), bad)
        _LAST.clear()
        _LAST[key] = entries, bad.reasons[before:]
    else:
        bad.reasons += _LAST[key][1]
    return _LAST[key][0]
