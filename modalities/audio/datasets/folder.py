"""A folder of sound files as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from ....core.data import files as folders
from ....core.data import manifest as manifests
from ....core.data.captions import CaptionSource, draw_caption
from ....core.data.listing import CandidateFile, assign_labels, find_candidate_files
from ....core.data.splits import assign_splits as assign_parts
from ....core.data.splits import check_split_name, was_trained_on
from ....core.types import BadInput, Item, MediaSpec
from ....core.util.annotations import Range
from ....core.util.notes import issue_note
from ....core.util.paths import file_stamp
from .. import dsp
from ..disk_cache import DiskSoundCache
from ..io import FOREIGN, SUFFIXES
from ..prepare.facts import SoundFacts
from ..prepare.scan import (
    DEFAULT_LEVELS_DB,
    Cache,
    ConversionSettings,
    SoundCache,
    SoundFileEntry,
    cut_example,
    decode_entry,
    prepare_sound,
    scan_files,
)

_FACTS = (
    "rate",
    "channels",
    "format",
    "subtype",
    "frames",
    "seconds",
)  # measurements of a manifest's line that are stored with the run

# The last scanned folder and its bad files: the training and validation parts of a recipe share one scan.
_LAST: dict[tuple, tuple[list[SoundFileEntry], folders.UnusableFiles]] = {}


class Folder:
    """Sound files of any format that libsndfile reads, in a folder or listed in a table.

    Each file is decoded once, checked, resampled, mixed to the recipe's channels and levelled. Short sounds are padded
    with silence. Longer ones are cropped so that attacks are kept: the part starts a few milliseconds before the onset,
    and cuts within the sound are faded. Files are assigned to training or validation by a hash of their content, so
    copies are in the same part; every class has a file in the training part.

    The augmentation in training (polarity, gain, shift) is small by default; increase it for textures, set it to 0 to
    reproduce files exactly.

    Args:
        spec: Media specification of the sounds.
        root: Folder of the files; links are followed once, names that start with a dot are skipped. Or the folder or
            manifest written by `sonolux prepare`.
        manifest: Manifest of the folder written by `sonolux prepare`: its files are used without a new check, with its
            classes and captions, and near copies are in the same part of the split.
        label: `folder`: the class is the name of the first folder below root, or the label of the table; `none`: no
            classes.
        table: CSV, TSV or JSONL with a column file and optional columns label, caption and others; null: every sound
            file below root.
        captions: Where captions are from. `auto`: the table or manifest, or else a text file next to each sound
            (a.txt for a.wav), in which each line is one caption; `table` or `sidecar`: only one of these; `name`: the
            words of the file's name; `none`. Of several captions one is drawn on each access.
        mix: How channels are reduced: their mean, the left one, or the loudest.
        normalise: Level that is normalised: the peak, the RMS of the audible part, or none.
        level: Target level in dB of full scale; null: -3 for peak, -20 for rms.
        crop: Start of the part of a longer file: the onset, random from the onset on, or the start of the file.
        padding: `silence`: padding is part of a sound, so that a model learns where sounds end; `masked`: items have a
            length, and the rest is excluded from statistics and loss; a condition on the length (the attribute
            `seconds`) is recommended.
        polarity: Invert the polarity of half of the sounds in training.
        gain: Maximum change of the level in training, in dB.
        shift: Maximum delay of the onset in training, in seconds.
        max_bad: Maximum share of unusable files, 0 to 1; they are skipped and listed.
        cache: Where resampled sounds are cached. `auto`: in memory, and those that do not fit on disk next to the
            manifest, if there is one; `memory` or `disk`: only there; `none`: decoded on each access; a number of MB:
            memory with that budget.
        budget: Memory for sounds in MB.
        disk: Disk space for sounds in MB; the least recently used ones are removed.
        split: Which part: train or valid.
        valid: Share of the files for validation, 0 to 1.
        seed: Seed of the split.
        recorded: Hashes of the files that the run to continue or evaluate was trained on; they stay in that part.
    """

    stored_defaults: ClassVar[dict[str, object]] = {"captions": "table"}

    def __init__(
        self,
        spec: MediaSpec,
        root: Path,
        manifest: Path | None = None,
        label: Literal["folder", "none"] = "folder",
        table: Path | None = None,
        captions: CaptionSource = "auto",
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
        recorded: frozenset[str] = frozenset(),
    ):
        if isinstance(cache, (int, float)):
            cache, budget = "memory", float(cache)
        _check(spec, split, level, gain, shift, budget, disk)
        where, listing = manifests.find_manifest(root, manifest, "audio", SoundFacts)
        self.root = manifests.require_media_folder(where, listing)
        self.plan = ConversionSettings(spec, mix, crop, normalise, DEFAULT_LEVELS_DB[normalise])
        if level is not None:
            self.plan = replace(self.plan, level=level)
        self.split, self.padding, self.polarity, self.gain, self.shift = split, padding, polarity, gain, shift
        bad = folders.UnusableFiles(max_bad)
        none = "0 usable files: no sound (.wav, .flac, .ogg, .mp3 ...)"
        listed = find_candidate_files(self.root, table, listing, SUFFIXES, none, bad, FOREIGN, captions)
        total = len(listed) + len(bad.reasons) + len(bad.others)
        found = [_entry(file) for file in assign_labels(listed, label, self.root, bad, table)]
        store = _store(cache, listing, disk)
        entries = _scanned(found, self.plan, cache, budget, store, bad)
        bad.check(total)
        folders.warn_of_lost_classes([entry.label for entry in found], [entry.label for entry in entries])
        if any("seconds" in entry.more for entry in entries):
            issue_note("the table's column 'seconds' is not used: the attribute is the measured length", stacklevel=2)
        _check_channels(entries, spec.channels)
        names = [entry.label for entry in entries if entry.label is not None]
        self.classes: tuple[str, ...] = folders.class_names(names, folders.format_path(self.root)) if names else ()
        keys, kept = [entry.key or entry.hash for entry in entries], was_trained_on([e.hash for e in entries], recorded)
        sides = assign_parts(keys, valid, seed, [entry.label for entry in entries], kept)
        self.entries = [entry for entry, side in zip(entries, sides, strict=True) if side == split]
        if split == "train" and crop == "random" and padding == "silence":
            _warn_of_short_sounds(self.entries, self.plan)

    def __len__(self) -> int:
        return len(self.entries)

    def item(self, index: int, rng: Any = None) -> Item:
        """Example `index`; `rng` chooses crop, shift, polarity and gain; None: no augmentation, from the onset."""
        entry = self.entries[index]
        prepared = entry.prepared or prepare_sound(decode_entry(entry, self.plan).wave, self.plan)
        start, gain = prepared.start, 1.0
        if rng is not None:
            along, late, flip, louder = rng.random(4)
            if self.plan.crop == "random":
                start += int(along * (max(0, prepared.wave.shape[-1] - prepared.start - self.plan.frames) + 1))
            if start == prepared.start:
                start -= int(late * self.shift * self.plan.rate)
            gain = dsp.db_to_amplitude((2 * louder - 1) * self.gain) * (-1.0 if self.polarity and flip < 0.5 else 1.0)
        media, length = cut_example(prepared, self.plan, start)
        return Item(
            media=media * gain,
            length=length if self.padding == "masked" else None,
            label=None if entry.label is None else self.classes.index(entry.label),
            caption=draw_caption(entry.caption, rng),
            attributes={**entry.more, "seconds": length / self.plan.rate},
            source=entry.name,
        )

    def manifest(self) -> list[dict[str, Any]]:
        """One record per file: its name, hash, label, caption, rate in Hz, channels, frames, format, seconds."""
        return [entry.manifest_entry() for entry in self.entries]


def _check(
    spec: MediaSpec, split: str, level: float | None, gain: float, shift: float, budget: float, disk: float
) -> None:
    if spec.rate is None or len(spec.size) != 1:
        raise BadInput("audio/folder reads sounds: it needs `modality: {use: audio}`")
    check_split_name(split)
    if level is not None and not -80 <= level <= 0:
        raise BadInput(f"data.level is a level in dB from -80 to 0; got {level}")
    if not 0 <= gain <= 24 or not 0 <= shift <= 1:
        raise BadInput(f"data.gain is 0 to 24 dB, shift 0 to 1 s; got {gain}, {shift}")
    if not (np.isfinite([budget, disk]).all() and budget >= 0 and disk >= 0):
        raise BadInput(f"data.budget and data.disk are 0 MB or more; got {budget}, {disk}")


def _check_channels(entries: Sequence[SoundFileEntry], channels: int) -> None:
    """Raise BadInput where several channels are asked for and every file is mono."""
    if channels > 1 and all(entry.facts.get("channels") == 1 for entry in entries):
        raise BadInput(
            f"all {len(entries)} sounds are mono, and modality.channels is {channels}: set modality.channels=1, or "
            "give files with the channels"
        )


def _warn_of_short_sounds(entries: Sequence[SoundFileEntry], plan: ConversionSettings) -> None:
    """Warn where random parts are asked for and sounds are shorter than a part."""
    seconds = plan.frames / plan.rate
    short = [entry.name for entry in entries if float(entry.facts.get("seconds", seconds)) < seconds - 1e-3]  # type: ignore[arg-type]
    if short:
        issue_note(
            f"{len(short)} of {len(entries)} sounds, such as {short[0]}, are shorter than a part of {seconds:g} s, and "
            "the silence after them is learnt: make parts shorter, or set data.padding=masked",
            stacklevel=3,
        )


def _store(cache: Cache, listing: manifests.Manifest | None, budget: float) -> DiskSoundCache | None:
    """The cache on disk, next to the manifest. BadInput for `disk` without a manifest."""
    if cache not in ("auto", "disk"):
        return None
    if listing is None:
        if cache == "disk":
            raise BadInput(
                "data.cache: disk stores sounds next to a manifest: create one with `sonolux prepare FOLDER`, "
                "then name it: data.root=prepared/FOLDER"
            )
        return None
    return DiskSoundCache(listing.path.parent / "cache", budget)


def _entry(file: CandidateFile) -> SoundFileEntry:
    """A listed file as input of the scan; measurements of a manifest are reused."""
    facts = {k: file.facts[k] for k in _FACTS} if file.facts else {}
    content = file.facts.get("hash", "")
    return SoundFileEntry(file.path, file.name, content, file.label, file.caption, dict(file.more), facts, key=file.key)


def _scanned(
    found: list[SoundFileEntry],
    plan: ConversionSettings,
    cache: Cache,
    budget: float,
    store: DiskSoundCache | None,
    bad: folders.UnusableFiles,
) -> list[SoundFileEntry]:
    """`scan_files`, or its last result if neither the files nor the plan have changed."""
    contents = tuple(
        (str(e.path), e.name, e.label, repr(e.caption), repr(e.more), e.key, file_stamp(e.path)) for e in found
    )
    key = (plan, cache, budget, store and store.folder, contents)
    if key not in _LAST:
        unusable = folders.UnusableFiles()
        entries = scan_files(found, SoundCache(plan, cache, budget, store), unusable)
        _LAST.clear()
        _LAST[key] = entries, unusable
    bad.extend(_LAST[key][1])
    return _LAST[key][0]
