"""Sound files -> the sounds that can be used, each decoded, placed and levelled, and an account of what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ....core.data import files as folders
from ....core.types import MediaSpec
from .. import dsp, io
from ..store import Store

Crop = Literal["onset", "random", "start"]
Level = Literal["peak", "rms", "none"]

LEVELS: dict[Level, float] = {"peak": -3.0, "rms": -20.0, "none": 0.0}
"""dB of full scale that each level is brought to where nothing else is asked for."""

Cache = Literal["auto", "memory", "disk", "none"]


@dataclass(frozen=True)
class Plan:
    """How every file becomes a sound.

    Attributes:
        spec: Rate, channels and frames wanted.
        mix: How channels are brought together.
        crop: Where a sound longer than `signal.size` may start.
        normalise: Which level is made equal, and how loud, in dB of full scale.
        level: Which level is made equal, and how loud, in dB of full scale.
    """

    spec: MediaSpec
    mix: io.Mix
    crop: Crop
    normalise: Level
    level: float

    @property
    def frames(self) -> int:
        """Samples of one example."""
        return self.spec.size[0]

    @property
    def rate(self) -> float:
        """Samples a second in Hz."""
        return float(self.spec.rate or 0)


@dataclass(frozen=True)
class Prepared:
    """A sound ready to be cut.

    Attributes:
        wave: (C, frames), resampled and mixed; in memory, or mapped from disk.
        start: The sample where it begins.
        end: The one after its last audible one.
        offset: (C, 1), the constant that is taken off.
        gain: What then brings it to the level wanted.
    """

    wave: Tensor
    start: int
    end: int
    offset: Tensor
    gain: float


@dataclass
class Entry:
    """One usable file: where it is, what is told about it, and the decoded sound while memory allows.

    Attributes:
        hash: Of the content; "" until it is known.
        key: What its side of the split follows from, where that is not the hash: near copies share one.
    """

    path: Path
    name: str
    hash: str
    label: str | None
    caption: str | None
    more: dict[str, Any]
    facts: dict[str, object] = field(default_factory=dict)
    prepared: Prepared | None = None
    key: str | None = None

    def record(self) -> dict[str, Any]:
        """The line of a manifest."""
        told = {"label": self.label, "caption": self.caption, **self.more}
        return {"file": self.name, "hash": self.hash, **{k: v for k, v in told.items() if v is not None}, **self.facts}


def decode(entry: Entry, plan: Plan) -> io.Sound:
    """The whole sound of an entry, resampled and mixed.

    Raises:
        io.Unreadable: For what cannot be used.
    """
    sound = io.read(entry.path, plan.rate, plan.spec.channels, plan.mix)
    io.check_heard(entry.path, sound.wave, plan.rate)
    return sound


def place(wave: Tensor, plan: Plan) -> Prepared:
    """Find a constant offset, onset, end and level of (C, frames). What the plan never uses of it is left out."""
    offset = dsp.offset(wave)
    centred = wave - offset
    start = 0 if plan.crop == "start" else dsp.onset(centred, plan.rate)
    spare = round(0.05 * plan.rate)  # kept around the part in use: onset shifts, and what a fade must hear
    if plan.crop != "random":
        first = max(0, start - spare)
        last = start + plan.frames + spare
        wave, centred, start = wave[:, first:last], centred[:, first:last], start - first
    heard = centred[:, start:] if plan.crop == "random" else centred[:, start : start + plan.frames]
    gain = 1.0
    if plan.normalise != "none":
        now = float(heard.abs().max()) if plan.normalise == "peak" else dsp.active_rms(heard, plan.rate)
        gain = dsp.amplitude(plan.level) / max(now, io.SILENT)
        if plan.normalise == "rms":
            gain = min(gain, 1.0 / max(float(heard.abs().max()), io.SILENT))
    end = start + dsp.bounds(heard)[1]
    return Prepared(wave, start, max(end, start + 1), offset, gain)


class Shelf:
    """Where sounds are kept between uses, within a budget.

    Args:
        cache: auto: in memory, and on disk what does not fit; memory, disk: there alone; none: nowhere.
        budget: Of memory, in MB.
        store: The place on disk, with a budget of its own; None: there is none.
    """

    def __init__(self, plan: Plan, cache: Cache, budget: float, store: Store | None = None):
        self.plan = plan
        self.room = budget * 1e6 if cache in ("auto", "memory") else 0.0
        self.store = store if cache in ("auto", "disk") else None

    @property
    def full(self) -> bool:
        """Whether it can keep nothing more."""
        return self.room <= 0 and self.store is None

    def take(self, entry: Entry) -> io.Sound | None:
        """Find the entry's sound a place (`entry.prepared`), decoding it unless the store has it; what was decoded."""
        plan, sound = self.plan, None
        key = Store.key(entry.hash, plan.rate, plan.spec.channels, plan.mix)
        wave = self.store.get(key) if self.store else None
        mapped = wave is not None
        if wave is None:
            sound = decode(entry, plan)
            wave = sound.wave
        prepared = place(wave, plan)
        size = prepared.wave.numel() * 4
        if size <= self.room:
            self.room -= size
            entry.prepared = replace(prepared, wave=prepared.wave.clone())
            return sound
        self.room = min(self.room, 0.0) if self.store else self.room  # from here on to disk, in the files' order
        if self.store and not mapped:
            wave = self.store.put(key, wave)
            mapped = wave is not None
        entry.prepared = place(wave, plan) if mapped and wave is not None else None
        return sound


def scan(found: Sequence[Entry], shelf: Shelf, bad: folders.BadFiles) -> list[Entry]:
    """The entries that can be decoded, with their sounds on the shelf as far as it has room.

    An entry that was measured before (its hash is known) is not decoded here where the shelf could not keep it. Those
    that cannot be used are told to `bad`; what else a user should know (rates below the target, cancelled channels,
    copies) is warned of once for all files.
    """
    usable: list[Entry] = []
    remarks: dict[str, list[str]] = {}
    for entry in folders.progress(found, "reading sounds", len(found)):
        if entry.hash and shelf.full:
            usable.append(entry)
            continue
        try:
            entry.hash = entry.hash or folders.content_hash(entry.path)
            sound = shelf.take(entry)
        except io.Unreadable as error:
            bad.add(entry.name, error.reason)
            continue
        except OSError as error:
            bad.add(entry.name, io.why(entry.path, error))
            continue
        if sound is not None:
            entry.facts = {**sound.source, "seconds": _seconds(sound)}
            for remark in sound.remarks:
                remarks.setdefault(remark.split()[0], []).append(f"{entry.name} ({remark})")
        usable.append(entry)
    _warn(usable, remarks)
    return usable


def _seconds(sound: io.Sound) -> float:
    return round(sound.source["frames"] / sound.source["rate"], 4)  # type: ignore[operator]


def _warn(usable: Sequence[Entry], remarks: dict[str, list[str]]) -> None:
    for about in remarks.values():
        more = f"; and {len(about) - 3} more" if len(about) > 3 else ""
        warnings.warn(f"{len(about)} of {len(usable)} sounds: {'; '.join(about[:3])}{more}", stacklevel=4)
    copies = len(usable) - len({entry.hash for entry in usable})
    if copies:
        warnings.warn(f"{copies} of {len(usable)} sounds are copies of others; copies stay in one split", stacklevel=4)


def cut(prepared: Prepared, plan: Plan, start: int) -> tuple[Tensor, int]:
    """(C, plan.frames) that begins at sample `start` of the wave, padded with silence, and its valid length.

    Where sound is cut through, it is faded over 2 ms at the front and 10 ms at the end: no clicks. An attack is never
    faded: a cut at or before the sound's start is left as it is.
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
