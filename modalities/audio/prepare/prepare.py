"""Measurements of sound files by `sonolux prepare`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.data.manifest import ManifestLine
from ....core.data.prepare.types import MediaSummary, NearCopyPair, ProposedRecipe, RecipeProposalContext
from ....core.util.plots import DistributionPlot
from .. import dsp, io, loudness
from .facts import SoundFacts
from .near_copies import NearCopyFinder
from .quality import clipped_percent, quality_remarks
from .recipe import RATES, propose_recipe

_QUIET = -45.0  # dB relative to the loudest 10 ms; threshold of silence before and after a sound
_EMPTY = -65.0  # dB relative to the loudest band; threshold of an empty band


class SoundFolderAnalyzer:
    """Levels, lengths, silence, clipping and bandwidth of sounds; near copies by correlation of waveforms."""

    modality = "audio"
    nouns = ("sound", "sounds")
    suffixes = io.SUFFIXES
    foreign = io.FOREIGN
    analysis = 3
    facts = SoundFacts

    def __init__(self) -> None:
        self.copies = NearCopyFinder()

    def begin(self, count: int) -> None:
        """Share the memory for fingerprints between `count` files."""
        self.copies = NearCopyFinder(count)

    def inspect(self, path: Path) -> tuple[ManifestLine, Any]:
        """Measurements of one file and its fingerprint.

        Raises:
            io.UnreadableSound: For unusable files.
        """
        sound = io.read_sound(path)
        io.check_audible(path, sound.wave, sound.rate)
        return measure_sound(sound), self.copies.fingerprint(sound)

    def fingerprint(self, path: Path) -> Any:
        """Only the fingerprint of a file."""
        return self.copies.fingerprint(io.read_sound(path))

    def near_copy_pairs(self, fingerprints: Sequence[Any]) -> list[NearCopyPair]:
        """Pairs of near copies: the same recording up to level, polarity, position, length and format."""
        return self.copies.near_copy_pairs(fingerprints)

    def summarise(self, lines: Sequence[ManifestLine]) -> MediaSummary:
        """Lengths, rates, levels, silence and remarks."""
        return summarise_sounds(lines)

    def propose(self, lines: Sequence[ManifestLine], context: RecipeProposalContext) -> ProposedRecipe:
        """An audio/folder recipe."""
        return propose_recipe(lines, context)


def measure_sound(sound: io.DecodedSound) -> ManifestLine:
    """The manifest entry of a decoded file.

    frames, rate (Hz), channels, format, subtype, seconds; peak and rms in dB of full scale; lufs, null for less than
    400 ms;
    clipped: % of samples in runs at full scale; lead, trail: silence before and after, in seconds; bandwidth: the
    highest frequency in Hz with significant energy; width: level of the side signal of a stereo sound relative to the
    mid signal in dB, null for mono; remarks.
    """
    wave, rate = sound.wave, sound.rate
    remarks = list(sound.remarks)
    io.mix_to_channels(wave, 1, "mean", remarks)
    peak = max(float(wave.max()), -float(wave.min()))
    lead, trail = silence_at_ends(wave, rate)
    off = float(dsp.dc_offset(wave).abs().max())
    remarks += quality_remarks(sound)
    share, top = clipped_percent(wave, str(sound.source["subtype"])), bandwidth(wave, rate)
    if peak > 1.0:
        remarks.append(f"peaks {20 * math.log10(peak):.1f} dB above full scale")
    if off > 0.01:
        remarks.append(f"is off zero by {off:.2f}")
    if any(lower <= rate / 2 and 0.8 <= 2 * top / lower <= 1.15 for lower in RATES):
        remarks.append(f"holds nothing above {top:.0f} Hz: perhaps of a lower rate once")
    loud = loudness.integrated_loudness(wave, rate)
    return {
        **{k: sound.source[k] for k in ("frames", "rate", "channels", "format", "subtype")},
        "seconds": round(wave.shape[-1] / rate, 4),
        "peak": _db(peak),
        "rms": _db(
            math.sqrt(sum(float(part.double().square().sum()) for part in dsp.split_in_parts(wave)) / wave.numel())
        ),
        "lufs": None if loud is None else round(loud, 2),
        "clipped": round(share, 4),
        "lead": round(lead, 4),
        "trail": round(trail, 4),
        "bandwidth": round(top),
        "width": _width(wave),
        "remarks": remarks,
    }


def _db(amplitude: float) -> float:
    return round(20 * math.log10(max(amplitude, dsp.SILENCE)), 2)


def _width(wave: Tensor) -> float | None:
    if wave.shape[0] != 2:
        return None
    middle, side = (wave[0] + wave[1]).square().mean(), (wave[0] - wave[1]).square().mean()
    return round(float(10 * torch.log10((side + 1e-12) / (middle + 1e-12))), 1)


def silence_at_ends(wave: Tensor, rate: float) -> tuple[float, float]:
    """Seconds before the first and after the last block of 10 ms within 45 dB of the loudest; offset removed."""
    offset = dsp.dc_offset(wave)
    centred = wave - offset if bool(offset.any()) else wave
    blocks, block = dsp.rms_envelope(centred, rate, 0.01), max(1, round(rate * 0.01))
    loud = torch.nonzero(blocks >= blocks.max() * dsp.db_to_amplitude(_QUIET))
    end = min(wave.shape[-1], (int(loud[-1]) + 1) * block)
    return int(loud[0]) * block / rate, (wave.shape[-1] - end) / rate


def bandwidth(wave: Tensor, rate: float) -> float:
    """The frequency in Hz of the highest of 64 bands whose mean power is within 65 dB of the loudest band."""
    mono, size = wave[int(wave.square().mean(1).argmax())], 1024
    mono = torch.nn.functional.pad(mono, (0, max(0, size - len(mono))))
    pieces = mono.unfold(0, size, size // 2)
    pieces = pieces[:: max(1, len(pieces) // 1000)]
    power = torch.fft.rfft(pieces.double() * torch.hann_window(size, dtype=torch.float64)).abs().square().mean(0)
    bands = power[1:].reshape(64, -1).sum(1)
    there = torch.nonzero(bands >= bands.max() * 10 ** (_EMPTY / 10))
    return (int(there[-1]) + 1) / 64 * rate / 2


def _range_text(values: Sequence[float], unit: str, digits: int = 1) -> str:
    low, median, upper, high = np.quantile(values, [0, 0.5, 0.95, 1])
    return f"{low:.{digits}f} to {high:.{digits}f} {unit}, median {median:.{digits}f}, 95 % up to {upper:.{digits}f}"


def _counted(values: Sequence[Any], unit: str = "", most: int = 5) -> str:
    rows = Counter(values).most_common()
    more = f", {len(rows) - most} others" if len(rows) > most else ""
    return ", ".join(f"{value}{unit} ({n})" for value, n in rows[:most]) + more


def summarise_sounds(lines: Sequence[ManifestLine]) -> MediaSummary:
    """Summary of the measurements: numbers, lines of text and plots."""
    column = {key: [line[key] for line in lines] for key in ("seconds", "peak", "rms", "lead", "trail", "rate")}
    loud = [line["lufs"] for line in lines if line["lufs"] is not None]
    remarked = Counter(remark.split(":")[0].split(" by ")[0] for line in lines for remark in _kinds(line))
    numbers = {
        "seconds": round(sum(column["seconds"]), 2),
        "rates": {str(k): n for k, n in Counter(column["rate"]).most_common()},
        "channels": {str(k): n for k, n in Counter(line["channels"] for line in lines).most_common()},
        "formats": dict(Counter(f"{line['format']} {line['subtype']}" for line in lines).most_common()),
        **{
            key: dict(zip(("least", "median", "most"), map(float, np.quantile(values, [0, 0.5, 1])), strict=True))
            for key, values in {"length": column["seconds"], "peak": column["peak"], "rms": column["rms"]}.items()
        },
        "shorter_than_400_ms": len(lines) - len(loud),
        "remarks": dict(remarked.most_common()),
    }
    text = [
        f"  length      {_range_text(column['seconds'], 's', 2)}; {numbers['seconds'] / 60:.1f} min in all",
        f"  rate        {_counted(column['rate'], ' Hz')}",
        f"  channels    {_counted([line['channels'] for line in lines])}",
        f"  format      {_counted([line['format'] + ' ' + line['subtype'] for line in lines])}",
        f"  peak        {_range_text(column['peak'], 'dB of full scale')}",
        f"  loudness    {_range_text(loud, 'LUFS') if loud else 'of none'}"
        + (f"; {len(lines) - len(loud)} sounds last less than 400 ms" if len(loud) < len(lines) else ""),
        f"  silence     before: {_range_text(column['lead'], 's', 2)}; after: {_range_text(column['trail'], 's', 2)}",
    ]
    if remarked:
        text.append("  remarks     " + ", ".join(f"{n} {what}" for what, n in remarked.most_common(6)))
    around = [a + b for a, b in zip(column["lead"], column["trail"], strict=True)]
    panels = [
        DistributionPlot("length", "seconds", column["seconds"], log=True),
        DistributionPlot("rate", "files", {f"{k} Hz": n for k, n in Counter(column["rate"]).items()}),
        DistributionPlot("peak", "dB of full scale", column["peak"]),
        DistributionPlot("loudness (400 ms or longer)", "LUFS", loud),
        DistributionPlot("silence before and after", "seconds", around),
    ]
    classes = Counter(line["label"] for line in lines if line["label"] is not None)
    panels.append(
        DistributionPlot("classes", "files", dict(classes))
        if classes
        else DistributionPlot("format", "files", numbers["formats"])
    )
    return MediaSummary(numbers, text, panels)


_KINDS = {
    "clipped": "clipped",
    "8 bits": "of 8 bits",
    "mono in": "mono in two channels",
    "peaks": "above full scale",
    "is off": "off zero",
    "holds nothing": "with an empty top",
    "mixing": "cancel when mixed to mono",
    "truncated": "truncated",
    "damaged": "damaged",
    "chained": "of streams that differ",
}


def _kinds(line: ManifestLine) -> list[str]:
    """The remarks of a line without their numbers."""
    return [kind for remark in line["remarks"] for start, kind in _KINDS.items() if remark.startswith(start)]
