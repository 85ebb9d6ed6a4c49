"""Reads sound files: decodes, aligns and levels the usable ones, and reports the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ....core.data import files as folders
from ....core.data.captions import Caption
from ....core.data.shards import local_file, member_facts
from ....core.types import MediaSpec
from ....core.util.notes import issue_note
from .. import dsp, io
from ..disk_cache import DiskSoundCache
from .quality import quality_remarks

Crop = Literal["onset", "random", "start"]
NormalisationKind = Literal["peak", "rms", "none"]

DEFAULT_LEVELS_DB: dict[NormalisationKind, float] = {"peak": -3.0, "rms": -20.0, "none": 0.0}
"""Default target of each kind of level, in dB of full scale."""

Cache = Literal["auto", "memory", "disk", "none"]


@dataclass(frozen=True)
class ConversionSettings:
    """How every file is converted to a sound.

    Attributes:
        spec: Target rate, channels and frames.
        mix: How channels are reduced.
        crop: Where the part of a sound longer than `spec.size` may start.
        normalise: Which level is normalised.
        level: Target level in dB of full scale.
    """

    spec: MediaSpec
    mix: io.Mix
    crop: Crop
    normalise: NormalisationKind
    level: float

    @property
    def frames(self) -> int:
        """Samples of one example."""
        return self.spec.size[0]

    @property
    def rate(self) -> float:
        """Sample rate in Hz."""
        return float(self.spec.rate or 0)


@dataclass(frozen=True)
class PreparedSound:
    """A sound ready to be cropped.

    Attributes:
        wave: (C, frames), resampled and mixed; in memory or memory-mapped.
        start: The sample where it begins.
        end: The sample after its last audible one.
        offset: (C, 1), the constant that is subtracted.
        gain: The factor to the target level, applied after the offset.
    """

    wave: Tensor
    start: int
    end: int
    offset: Tensor
    gain: float


@dataclass
class SoundFileEntry:
    """One usable file.

    Attributes:
        path: The file.
        name: Its name in messages and manifests.
        hash: Hash of the content; "" until it is computed.
        label: Name of the class; None: no class.
        caption: A text, or several; None: no text.
        more: Other attributes.
        facts: Measurements of the file.
        prepared: The decoded sound, if cached.
        key: Key of the split, if it is not the hash; near copies share one.
    """

    path: Path
    name: str
    hash: str
    label: str | None
    caption: Caption
    more: dict[str, Any]
    facts: dict[str, object] = field(default_factory=dict)
    prepared: PreparedSound | None = None
    key: str | None = None

    def manifest_entry(self) -> dict[str, Any]:
        """The manifest line of the file."""
        more = {k: v for k, v in self.more.items() if k not in ("file", "hash")}
        fields = {"label": self.label, "caption": self.caption, **more}
        return {
            "file": self.name,
            "hash": self.hash,
            **{k: v for k, v in fields.items() if v is not None},
            **self.facts,
        }


def decode_entry(entry: SoundFileEntry, plan: ConversionSettings) -> io.DecodedSound:
    """The complete sound of an entry, resampled and mixed.

    Raises:
        io.UnreadableSound: For unusable files.
    """
    with local_file(entry.path) as path:
        sound = io.read_sound(path)
    remarks = [r for r in quality_remarks(sound) if plan.spec.channels > 1 or not r.startswith("mono")]
    sound = io.convert_sound(entry.path, sound, plan.rate, plan.spec.channels, plan.mix)
    sound.remarks.extend(remarks)
    io.check_audible(entry.path, sound.wave, plan.rate)
    if plan.normalise == "none":
        io.check_scale(entry.path, sound.wave)
    return sound


def prepare_sound(wave: Tensor, plan: ConversionSettings) -> PreparedSound:
    """Find the constant offset, onset, end and level of (C, frames), and remove parts that the plan never uses."""
    offset = dsp.dc_offset(wave)
    centred = wave - offset if bool(offset.any()) else wave  # without a copy of a long sound
    start = 0 if plan.crop == "start" else dsp.find_onset(centred, plan.rate)
    margin = round(0.05 * plan.rate)  # around the used part, for shifts of the onset and for fades
    if plan.crop != "random":
        first = max(0, start - margin)
        last = start + plan.frames + margin
        wave, centred, start = wave[:, first:last], centred[:, first:last], start - first
    used = centred[:, start:] if plan.crop == "random" else centred[:, start : start + plan.frames]
    gain = 1.0
    if plan.normalise != "none":
        level = float(used.abs().max()) if plan.normalise == "peak" else dsp.active_rms(used, plan.rate)
        gain = dsp.db_to_amplitude(plan.level) / max(level, io.SILENT)
        if plan.normalise == "rms":
            gain = min(gain, 1.0 / max(float(used.abs().max()), io.SILENT))
    end = start + dsp.audible_bounds(used)[1]
    return PreparedSound(wave, start, max(end, start + 1), offset, gain)


class SoundCache:
    """Cache of decoded sounds within a budget.

    Args:
        plan: How files are converted.
        cache: `auto`: in memory, and on disk if they do not fit; `memory` or `disk`: only there; `none`: no cache.
        budget: Memory in MB.
        store: The cache on disk, with its own budget; None: no disk.
    """

    def __init__(self, plan: ConversionSettings, cache: Cache, budget: float, store: DiskSoundCache | None = None):
        self.plan = plan
        self.free_bytes = budget * 1e6 if cache in ("auto", "memory") else 0.0
        self.store = store if cache in ("auto", "disk") else None

    @property
    def full(self) -> bool:
        """Whether no further sound can be cached."""
        return self.free_bytes <= 0 and self.store is None

    def load(self, entry: SoundFileEntry) -> io.DecodedSound | None:
        """Set `entry.prepared` from disk or from the decoded file, within the budget; returns the decoded sound."""
        plan, sound = self.plan, None
        key = DiskSoundCache.key(entry.hash, plan.rate, plan.spec.channels, plan.mix)
        wave = self.store.get(key) if self.store else None
        mapped = wave is not None
        if wave is None:
            sound = decode_entry(entry, plan)
            wave = sound.wave
        prepared = prepare_sound(wave, plan)
        size = prepared.wave.numel() * 4
        if size <= self.free_bytes:
            self.free_bytes -= size
            entry.prepared = replace(prepared, wave=prepared.wave.clone())
            return sound
        self.free_bytes = min(self.free_bytes, 0.0) if self.store else self.free_bytes  # all later files go to disk
        if self.store and not mapped:
            wave = self.store.put(key, wave)
            mapped = wave is not None
        entry.prepared = prepare_sound(wave, plan) if mapped and wave is not None else None
        return sound


def scan_files(found: Sequence[SoundFileEntry], cache: SoundCache, bad: folders.UnusableFiles) -> list[SoundFileEntry]:
    """The usable entries, with their sounds in the cache as far as they fit.

    An entry with a known hash is not decoded here if the cache is full. Unusable entries are added to `bad`. Other
    remarks (rates below the target, cancelled channels, copies) are summarised in one warning for all files.
    """
    usable: list[SoundFileEntry] = []
    remarks = folders.RemarkCollector("sounds")
    for entry in folders.with_file_progress(found, "reading sounds", len(found)):
        if entry.hash and cache.full:
            usable.append(entry)
            continue
        if member_facts(entry.path) is None and (reason := folders.unusable_reason(entry.path)) is not None:
            bad.add(entry.name, reason)
            continue
        try:
            entry.hash = entry.hash or folders.content_hash(entry.path)
            sound = cache.load(entry)
        except io.UnreadableSound as error:
            bad.add(entry.name, error.reason, error.foreign)
            continue
        except OSError as error:
            bad.add(entry.name, error.strerror or str(error))
            continue
        if sound is not None:
            entry.facts = {**sound.source, "seconds": _seconds(sound)}
            remarks.add(entry.name, sound.remarks)
        usable.append(entry)
    remarks.warn(len(usable), stacklevel=3)
    copies = len(usable) - len({entry.hash for entry in usable})
    if copies:
        issue_note(f"{copies} of {len(usable)} sounds are copies of others; copies stay in one split", stacklevel=3)
    return usable


def _seconds(sound: io.DecodedSound) -> float:
    return round(sound.source["frames"] / sound.source["rate"], 4)  # type: ignore[operator]


def cut_example(prepared: PreparedSound, plan: ConversionSettings, start: int) -> tuple[Tensor, int]:
    """(C, plan.frames) that begins at sample `start` of the wave, padded with silence, and its valid length.

    Cuts within the sound are faded over 2 ms at the start and 10 ms at the end to avoid clicks. Attacks are not faded:
    a part that begins at or before the start of the sound has no fade-in.
    """
    frames = plan.frames
    out = torch.zeros(prepared.wave.shape[0], frames)
    piece = (prepared.wave[:, max(start, 0) : start + frames] - prepared.offset) * prepared.gain
    lead = max(0, -start)
    out[:, lead : lead + piece.shape[-1]] = piece[:, : frames - lead]
    if start > prepared.start:
        rise = min(frames, max(1, round(0.002 * plan.rate)))
        out[:, :rise] *= torch.linspace(0, 1, rise)
    if start + frames < prepared.wave.shape[-1]:
        fall = min(frames, max(1, round(0.01 * plan.rate)))
        out[:, frames - fall :] *= torch.linspace(1, 0, fall)
    return out, max(1, min(frames, prepared.end - start))
