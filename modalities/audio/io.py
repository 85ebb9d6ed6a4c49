"""Sound files with libsndfile: read completely, checked, resampled and mixed; written without clipping or clicks."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch
from torch import Tensor

from ...core.data.files import format_path, unusable_reason
from ...core.types import BadInput
from ...core.util.rng import keyed_generator
from . import dsp
from .io_decode import (
    FOREIGN,
    MISSING,
    MOST_SAMPLES,
    SUFFIXES,
    UnreadableSound,
    check_sample_count,
    decode_streams,
    libsndfile_reason,
)

__all__ = [
    "FOREIGN",
    "FORMATS",
    "MISSING",
    "MOST_SAMPLES",
    "SUFFIXES",
    "DecodedSound",
    "Mix",
    "SoundFormat",
    "UnreadableSound",
]

Mix = Literal["mean", "left", "loudest"]
SILENT = dsp.db_to_amplitude(-90.0)  # peak of half a quantisation step of 16 bits
_SHORTEST = 0.002  # seconds; minimum length of a sound
_SCALE = dsp.db_to_amplitude(40.0)  # peak of a sound that is not normalised


@dataclass(frozen=True)
class DecodedSound:
    """A decoded file.

    Attributes:
        wave: (C, frames) float32; may exceed 1 where the file does.
        rate: Rate of the wave in Hz.
        source: Properties of the file: rate in Hz, channels, frames, format, subtype.
        remarks: Notes for the user: "upsampled from 8000 Hz", "mixing to mono loses 7 dB".
    """

    wave: Tensor
    rate: float
    source: dict[str, object]
    remarks: list[str] = field(default_factory=list)


def readable_formats() -> list[str]:
    """Names of the file formats that can be read."""
    return sorted(soundfile.available_formats())


def read_sound(
    path: Path | str,
    rate: float | None = None,
    channels: int | None = None,
    mix: Mix = "mean",
    most: int = MOST_SAMPLES,
) -> DecodedSound:
    """Decode a whole file, resample it to `rate` and mix it to `channels` (None: unchanged).

    The format is detected from the content, not from the name. All that a file holds is read: a part of it that is
    missing is reported in the remarks, up to a share of `MISSING`. The streams of a chained Ogg file follow each other.

    Args:
        path: The file.
        rate: Target rate in Hz.
        channels: Target number of channels.
        mix: How channels are reduced, see `mix_to_channels`.
        most: Maximum number of samples over all channels, before and after resampling.

    Raises:
        Unreadable: With the reason, for files that are missing, empty, no audio, without frames, with more than
            `MISSING` of the sound missing, with samples that are not finite or larger than `LOUDEST`, with too many
            samples or channels, or with an impossible rate (a BadInput).
    """
    path = Path(path)
    if (reason := unusable_reason(path)) is not None:
        raise UnreadableSound(path, reason)
    try:
        with open(path, "rb") as file:
            wave, facts, remarks = decode_streams(path, file, path.stat().st_size, most)
    except OSError as error:
        raise UnreadableSound(path, error.strerror or str(error)) from error
    except MemoryError:
        raise UnreadableSound(path, "does not fit into memory") from None
    sound = DecodedSound(wave, float(facts["rate"]), facts, remarks)  # type: ignore[arg-type]
    return convert_sound(path, sound, rate, channels, mix, most)


def convert_sound(
    path: Path | str,
    sound: DecodedSound,
    rate: float | None = None,
    channels: int | None = None,
    mix: Mix = "mean",
    most: int = MOST_SAMPLES,
) -> DecodedSound:
    """A decoded sound, mixed to `channels` and resampled to `rate`; the parameters are those of `read_sound`."""
    wave, remarks = sound.wave, list(sound.remarks)
    if channels is not None:
        wave = mix_to_channels(wave, channels, mix, remarks)
    if rate is not None and rate != sound.rate:
        if sound.rate < rate:
            remarks.append(f"upsampled from {sound.rate:g} Hz: nothing above {sound.rate / 2:g} Hz")
        check_sample_count(Path(path), round(wave.shape[-1] * rate / sound.rate), len(wave), rate, most)
        wave = dsp.resample(wave, sound.rate, rate)
    return DecodedSound(wave, rate or sound.rate, sound.source, remarks)


def check_audible(path: Path | str, wave: Tensor, rate: float) -> None:
    """Raise UnreadableSound for (C, frames) that are too short to be a sound, or silent up to a constant offset."""
    if wave.shape[-1] < _SHORTEST * rate:
        raise UnreadableSound(path, f"lasts {1000 * wave.shape[-1] / rate:.2g} ms only")
    extremes = torch.stack([wave.amin(1), wave.amax(1)], dim=1) - dsp.dc_offset(wave)
    if float(extremes.abs().max()) < SILENT:
        raise UnreadableSound(path, "is silent")


def check_scale(path: Path | str, wave: Tensor) -> None:
    """Raise UnreadableSound for (C, frames) far above full scale, such as integers stored as floats.

    Their scale is not guessed; normalisation removes it.
    """
    peak = max(float(wave.max()), -float(wave.min()))
    if peak > _SCALE:
        over = 20 * math.log10(peak)
        remedy = "scale it to -1 to 1, or set data.normalise to peak or rms"
        raise UnreadableSound(path, f"peaks {over:.0f} dB above full scale: {remedy}")


def mix_to_channels(wave: Tensor, channels: int, mix: Mix = "mean", remarks: list[str] | None = None) -> Tensor:
    """(C, frames) -> (channels, frames). Fewer: mean, left or loudest; more: the mono mix repeated, with a remark.

    Channels in opposite phase cancel in the mean. If the mean has less than half the power expected for uncorrelated
    channels (sum of powers / C^2), the loudest channel is used instead, with a remark.
    """
    have = wave.shape[0]
    if have == channels:
        return wave
    if have < channels and remarks is not None:
        remarks.append(
            f"mono: its {channels} channels get the same signal"
            if have == 1
            else f"mixed to mono: {have} channels, not {channels}"
        )
    if have == 1:
        return wave.expand(channels, -1).contiguous()
    powers = wave.square().mean(-1)
    loudest = wave[int(powers.argmax())][None]
    mono = {"left": wave[:1], "loudest": loudest, "mean": wave.mean(0, keepdim=True)}[mix]
    power, expected = float(mono.square().mean()), float(powers.sum()) / have**2
    if mix == "mean" and power < 0.5 * expected:
        mono = loudest
        if remarks is not None:
            lost = 10 * np.log10(max(float(powers.max()), 1e-24) / max(power, 1e-24))
            remarks.append(f"mixing {have} channels cancels {lost:.0f} dB: took the loudest channel")
    return mono.expand(channels, -1).contiguous()


def read_sound_properties(path: Path | str) -> tuple[int, int, int]:
    """(channels, frames, rate in Hz) of a sound file, which is decoded: its header may state other frames than it has.

    Raises:
        Unreadable: As for `read_sound`.
    """
    facts: dict[str, Any] = read_sound(path).source
    return facts["channels"], facts["frames"], facts["rate"]


@dataclass(frozen=True)
class SoundFormat:
    """Storage format: container and subtype of libsndfile, and the suffix of the file name."""

    container: str
    subtype: str
    suffix: str


FORMATS = {
    "wav16": SoundFormat("WAV", "PCM_16", ".wav"),
    "wav24": SoundFormat("WAV", "PCM_24", ".wav"),
    "wav_float": SoundFormat("WAV", "FLOAT", ".wav"),
    "flac16": SoundFormat("FLAC", "PCM_16", ".flac"),
    "flac24": SoundFormat("FLAC", "PCM_24", ".flac"),
    "ogg": SoundFormat("OGG", "VORBIS", ".ogg"),
}
_CHUNK = 1 << 16  # frames per write: libsndfile's Vorbis encoder overflows its stack with long blocks
_VORBIS = 192_000  # Hz; at some higher rates the encoder crashes without an error


def check_format(form: str, rate: float) -> None:
    """Raise BadInput for a format that does not support this rate in Hz."""
    if FORMATS[form].subtype == "VORBIS" and rate > _VORBIS:
        raise BadInput(f"{form} supports rates up to {_VORBIS} Hz, not {rate:g}: use wav24 or flac24")


def write_sound(path: Path | str, wave: Tensor, rate: float, form: str = "wav16", dither: int | None = None) -> float:
    """Write (C, frames) atomically.

    Args:
        path: Target file; missing folders are created.
        wave: (C, frames).
        rate: Hz.
        form: A key of FORMATS; wav_float keeps peaks above 1.
        dither: Seed of triangular noise of two steps' width, added before rounding to 16 bits, which replaces
            quantisation distortion by noise (Lipshitz, Wannamaker and Vanderkooy 1992); None: no dither.

    Returns:
        The gain applied: 1, or less to keep peaks within full scale.

    Raises:
        BadInput: For non-finite samples (which become full-scale clicks in PCM), for no samples, and for a rate that
            the format does not support; nothing is written then.
    """
    path, kind = Path(path), FORMATS[form]
    check_format(form, rate)
    samples = wave.detach().float().cpu().numpy()
    if samples.ndim != 2 or samples.shape[1] == 0:
        raise BadInput(
            f"{format_path(path)}: a sound is (channels, frames) with at least one frame; got {tuple(samples.shape)}"
        )
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise BadInput(f"{format_path(path)}: {bad} of {samples.size} samples are not finite; nothing was written")
    peak = float(np.abs(samples).max())
    full = 1.0 if dither is None else 1 - 2.0**-14  # headroom for the noise
    gain = 1.0 if peak <= full or kind.subtype == "FLOAT" else full / peak
    stored = _stored(samples.T * np.float32(gain), kind, dither)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        _encode(part, stored, round(rate), kind)
        os.replace(part, path)
    except (soundfile.LibsndfileError, ValueError) as error:
        what = f"{kind.container} {kind.subtype} of {samples.shape[0]} channels at {rate:g} Hz"
        raise BadInput(f"{format_path(path)}: cannot be written as {what}: {libsndfile_reason(error)}") from error
    finally:
        part.unlink(missing_ok=True)
    return gain


def _stored(samples: np.ndarray, kind: SoundFormat, dither: int | None) -> np.ndarray:
    """Samples within full scale as stored integers: 2^15 or 2^23 steps to full scale, rounded.

    libsndfile itself rounds down, which causes a constant offset of half a step. Dither has a triangular density over
    +-1 step. 24 bits are passed as the upper bits of 32.
    """
    bits = {"PCM_16": 16, "PCM_24": 24}.get(kind.subtype)
    if bits is None:
        return samples
    steps = samples.astype(np.float64) * 2.0 ** (bits - 1)
    if dither is not None:
        drawn = keyed_generator(dither, 0, "dither", samples.shape).random((2, *samples.shape))
        steps += drawn[0] - drawn[1]
    rounded = np.minimum(
        np.round(steps), 2.0 ** (bits - 1) - 1
    )  # the positive range has one step less than the negative one
    return rounded.astype(np.int16) if bits == 16 else rounded.astype(np.int32) << 8


def _encode(path: Path, samples: np.ndarray, rate: int, kind: SoundFormat) -> None:
    """Write (frames, C) in blocks."""
    with (
        open(path, "wb") as raw,
        soundfile.SoundFile(raw, "w", rate, samples.shape[1], kind.subtype, format=kind.container) as out,
    ):
        for start in range(0, len(samples), _CHUNK):
            out.write(samples[start : start + _CHUNK])
