"""Sound files -> the sounds that can be used, each decoded, levelled and placed, and an account of what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ...core import files as folders
from ...core.types import Signal
from . import dsp, files

Crop = Literal["onset", "random", "start"]
Level = Literal["peak", "rms", "none"]

_SHORTEST = 0.002  # seconds; less is no sound
_SILENT = dsp.amplitude(-90.0)  # the peak of half a step of 16 bits


@dataclass(frozen=True)
class Plan:
    """How every file becomes a sound.

    signal: rate, channels and frames wanted
    mix: how channels are brought together
    crop: where a sound longer than `signal.size` may start
    normalise, level: which level is made equal, and how loud, in dB of full scale
    """

    signal: Signal
    mix: files.Mix
    crop: Crop
    normalise: Level
    level: float

    @property
    def frames(self) -> int:
        """Samples of one example."""
        return self.signal.size[0]

    @property
    def rate(self) -> float:
        """Samples a second in Hz."""
        return float(self.signal.rate or 0)


@dataclass(frozen=True)
class Prepared:
    """A sound ready to be cut: wave (C, frames), the sample where it begins, and the one after its last audible one."""

    wave: Tensor
    start: int
    end: int


@dataclass
class Entry:
    """One usable file: where it is, what is told about it, and the decoded sound while memory allows."""

    path: Path
    name: str
    hash: str
    label: str | None
    caption: str | None
    more: dict[str, Any]
    facts: dict[str, object] = field(default_factory=dict)
    prepared: Prepared | None = None

    def record(self) -> dict[str, Any]:
        """The line of a manifest."""
        told = {"label": self.label, "caption": self.caption, **self.more}
        return {"file": self.name, "hash": self.hash, **{k: v for k, v in told.items() if v is not None}, **self.facts}


def prepare(path: Path, plan: Plan) -> tuple[Prepared, files.Sound]:
    """Decode, resample, mix, take off a constant offset, find onset and end, set the level; keep what the plan can use.

    Raises files.Unreadable for what cannot be decoded and for silence.
    """
    sound = files.read(path, plan.rate, plan.signal.channels, plan.mix)
    wave = sound.wave
    if wave.shape[-1] < _SHORTEST * plan.rate:
        raise files.Unreadable(path, f"lasts {1000 * wave.shape[-1] / plan.rate:.2g} ms only")
    wave = wave - dsp.offset(wave)
    if float(wave.abs().max()) < _SILENT:
        raise files.Unreadable(path, "is silent")
    start = 0 if plan.crop == "start" else dsp.onset(wave, plan.rate)
    spare = round(0.05 * plan.rate)  # kept around the part in use: onset shifts, and what a fade must hear
    if plan.crop != "random":
        first = max(0, start - spare)
        wave, start = wave[:, first : start + plan.frames + spare].clone(), start - first
    heard = wave[:, start:] if plan.crop == "random" else wave[:, start : start + plan.frames]
    if plan.normalise != "none":
        now = float(heard.abs().max()) if plan.normalise == "peak" else dsp.active_rms(heard, plan.rate)
        gain = dsp.amplitude(plan.level) / max(now, _SILENT)
        wave = wave * min(gain, 1.0 / float(heard.abs().max()) if plan.normalise == "rms" else gain)
    end = start + dsp.bounds(heard)[1]
    return Prepared(wave, start, max(end, start + 1)), sound


def scan(found: Sequence[Entry], plan: Plan, cache: float, bad: folders.BadFiles) -> list[Entry]:
    """The entries that can be decoded, with what was decoded kept in memory up to `cache` MB.

    Those that cannot are told to `bad`; what else a user should know (rates below the target, cancelled channels,
    copies) is warned of once for all files.
    """
    usable: list[Entry] = []
    remarks: dict[str, list[str]] = {}
    room = cache * 1e6
    for entry in folders.progress(found, "reading sounds", len(found)):
        try:
            prepared, sound = prepare(entry.path, plan)
            entry.hash = folders.content_hash(entry.path)
        except files.Unreadable as error:
            bad.add(entry.name, error.reason)
            continue
        entry.facts = {**sound.source, "seconds": round(sound.wave.shape[-1] / plan.rate, 4)}
        for remark in sound.remarks:
            remarks.setdefault(remark.split()[0], []).append(f"{entry.name} ({remark})")
        size = prepared.wave.numel() * 4
        if size <= room:
            entry.prepared, room = prepared, room - size
        usable.append(entry)
    _warn(usable, remarks)
    return usable


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
    piece = prepared.wave[:, max(start, 0) : start + frames]
    lead = max(0, -start)
    out[:, lead : lead + piece.shape[-1]] = piece[:, : frames - lead]
    if start > prepared.start:
        rise = min(frames, max(1, round(0.002 * plan.rate)))
        out[:, :rise] *= torch.linspace(0, 1, rise)
    if start + frames < prepared.wave.shape[-1]:
        fall = min(frames, max(1, round(0.01 * plan.rate)))
        out[:, frames - fall :] *= torch.linspace(1, 0, fall)
    return out, max(1, min(frames, prepared.end - start))
