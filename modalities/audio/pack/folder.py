"""The folder of a sound pack: files with names for game engines, pack.csv, and pack.json for their scripts."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....core.types import BadInput
from ....core.util.atomic_replace import replace_files
from ....core.util.folders import list_names
from .. import io
from ..post_processing import ProcessedSound

TABLE, MANIFEST = "pack.csv", "pack.json"
VERSION = 1
"""Version of the format of pack.json."""


@dataclass(frozen=True)
class PackSound:
    """One sound of a pack, before it is written.

    Attributes:
        name: Name of the sound, without the number of the variation.
        sound: The processed sound.
        label: Its class or mixture; None: none.
        prompt: Its text; None: none.
        bpm: Beats per minute of a loop; None: no loop.
        beats: Beats of a loop.
        speed: Factor by which the model's loop was played faster to have its exact length; 1: unchanged.
        seed: Seed that reproduces it, together with `sample`.
        sample: Sample number.
        to_training: Similarity to the nearest training sound; None: not compared.
        to_others: Similarity to the nearest other variation; None: not compared.
    """

    name: str
    sound: ProcessedSound
    label: Any = None
    prompt: str | None = None
    bpm: float | None = None
    beats: float | None = None
    speed: float = 1.0
    seed: int = 0
    sample: int = 0
    to_training: float | None = None
    to_others: float | None = None


@dataclass(frozen=True)
class PackFile:
    """One file of a pack: a line of pack.csv."""

    file: str
    name: str
    variation: int
    label: Any
    prompt: str | None
    seconds: float
    frames: int
    loop: bool
    bpm: float | None
    beats: float | None
    speed: float
    lufs: float | None
    measured: str
    true_peak: float
    limited: bool
    seed: int
    sample: int
    to_training: float | None
    to_others: float | None


def check_pack_folder(folder: Path) -> None:
    """Raise BadInput if the folder holds something else than a sound pack."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: name another folder with --out")
    if list_names(folder) and "file" not in _columns(folder / TABLE):  # a table to read has no such column
        raise BadInput(f"{folder} holds something else than a sound pack: choose another folder")


def _columns(table: Path) -> list[str]:
    try:
        with open(table, newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def write_pack(
    folder: Path, sounds: Sequence[PackSound], rate: float, form: str, facts: dict[str, Any] | None = None
) -> list[PackFile]:
    """Write a pack as a whole: `door_wood_01.wav`, ..., pack.csv and pack.json; an earlier pack is replaced.

    Loops in WAV files have a `smpl` chunk, which game engines read as a loop over all frames. pack.json lists each
    name with its variations, as a random or round-robin container takes them.

    Args:
        folder: The output folder.
        sounds: The sounds; those of one name follow each other.
        rate: Hz.
        form: A key of `io.FORMATS`.
        facts: Further facts for pack.json.

    Raises:
        BadInput: The folder holds something else, or a sound cannot be written; it is unchanged then.
    """
    names = [sound.name for sound in sounds]
    suffix, done = io.FORMATS[form].suffix, []
    with replace_files(folder, lambda: _earlier_files(folder)) as part:
        check_pack_folder(folder)
        for i, sound in enumerate(sounds):
            number = names[:i].count(sound.name) + 1
            digits = max(2, len(str(names.count(sound.name))))
            path = part / f"{sound.name}_{number:0{digits}d}{suffix}"
            io.write_sound(path, sound.sound.wave, rate, form)
            if sound.beats is not None and suffix == ".wav":
                add_loop_points(path, sound.sound.wave.shape[-1], rate)
            done.append(_described(path.name, number, sound))
        with open(part / TABLE, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, [*PackFile.__dataclass_fields__])
            table.writeheader()
            table.writerows(asdict(line) for line in done)
        text = json.dumps(_manifest(done, rate, form, facts or {}), indent=2, ensure_ascii=False)
        (part / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return done


def _described(file: str, number: int, sound: PackSound) -> PackFile:
    done = sound.sound
    return PackFile(
        file=file,
        name=sound.name,
        variation=number,
        label=sound.label,
        prompt=sound.prompt,
        seconds=round(done.seconds, 6),
        frames=done.wave.shape[-1],
        loop=sound.beats is not None,
        bpm=sound.bpm,
        beats=sound.beats,
        speed=round(sound.speed, 5),
        lufs=None if done.lufs is None else round(done.lufs, 2),
        measured=done.method,
        true_peak=round(done.true_peak, 2),
        limited=done.limited,
        seed=sound.seed,
        sample=sound.sample,
        to_training=None if sound.to_training is None else round(sound.to_training, 3),
        to_others=None if sound.to_others is None else round(sound.to_others, 3),
    )


def _manifest(files: Sequence[PackFile], rate: float, form: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Name -> its variations, with what an engine needs: loop, tempo and length in frames."""
    kind, sounds = io.FORMATS[form], {}
    for line in files:
        first = sounds.setdefault(line.name, {"name": line.name, "loop": line.loop, "bpm": line.bpm})
        first |= {"beats": line.beats, "label": line.label, "prompt": line.prompt}
        own = ("file", "seconds", "frames", "lufs", "true_peak", "seed", "sample")
        first.setdefault("variations", []).append({key: getattr(line, key) for key in own})
    head = {"format": "sonolux sound pack", "version": VERSION, "rate": round(rate), "encoding": kind.subtype}
    return {**head, **facts, "sounds": list(sounds.values())}


def _earlier_files(folder: Path) -> list[str]:
    """Names of the files that the table of an earlier pack lists, as far as `write_pack` gives such names."""
    try:
        with open(folder / TABLE, newline="", encoding="utf-8") as file:
            listed = [str(row.get("file")) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    suffixes = {form.suffix for form in io.FORMATS.values()}
    return [n for n in listed if n == Path(n).name and Path(n).suffix in suffixes and (folder / n).is_file()]


def add_loop_points(path: Path, frames: int, rate: float) -> None:
    """Append a `smpl` chunk to a WAV file: one forward loop from the first frame to the last."""
    loop = struct.pack("<6I", 0, 0, 0, frames - 1, 0, 0)
    body = struct.pack("<9I", 0, 0, round(1e9 / rate), 60, 0, 0, 0, 1, 0) + loop
    with open(path, "r+b") as file:
        end = file.seek(0, 2)
        file.write(b"\0" * (end % 2) + b"smpl" + struct.pack("<I", len(body)) + body)
        total = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", total - 8))
