"""Decodes sound files with libsndfile: in blocks, within fixed limits, and as far as the file goes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import torch
from torch import Tensor

from ...core.data.files import format_path
from ...core.types import BadInput
from ...core.util.quiet import quiet_stderr
from ..file_kinds import START, describe_wrong_kind
from . import dsp
from .io_bytes import SoundStream, open_pieces, read_bytes_at
from .io_containers import container_stream, stated_rate
from .io_mp3 import mp3_stream
from .io_ogg import ogg_streams

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "aifc", "au", "snd", "caf", "w64"),
        *("rf64", "voc", "iff", "8svx", "sd2", "paf", "sph", "nist"),
    )
)
# Audio formats that libsndfile does not read: such files are reported as unusable instead of ignored.
FOREIGN = frozenset(
    f".{name}" for name in ("m4a", "mp4", "aac", "wma", "ape", "wv", "amr", "ac3", "mka", "webm", "dsf")
)

MOST_SAMPLES = 1 << 28
"""Most samples of a file, over all channels: 1 GB decoded; 46 minutes of stereo at 48 kHz."""

MOST_CHANNELS = 64
RATE_RANGE = (1000, 1_000_000)
"""Rates in Hz that a file may have."""

MISSING = 0.25
"""Largest share of a sound that may be missing from its file: what there is of it is read, with a remark."""

LOUDEST = 2.0**31
"""Largest magnitude of a sample, that of 32-bit integers; with larger ones the power of a sound overflows."""

_BLOCK = 1 << 18  # samples that are decoded at once
_MOST_STREAMS = 1000  # of a chained Ogg file
_UNKNOWN = 1 << 62  # frames; libsndfile states more where it does not know the number


class UnreadableSound(BadInput):
    """A sound file that cannot be used.

    Attributes:
        reason: Why, without the name of the file.
        foreign: Whether the reason is the format, as its suffix states it.
    """

    def __init__(self, path: Path | str, reason: str):
        super().__init__(f"{format_path(Path(path))}: {reason}")
        self.reason = reason
        self.foreign = reason == _foreign(Path(path))


class _OverLimit(UnreadableSound):
    """A file that is larger than one of the limits."""


class _Sequential(soundfile.SoundFile):
    """A file that is read without seeking: libsndfile returns wrong samples after a seek in MP3."""

    def seekable(self) -> bool:
        return False


Decoded = tuple[Tensor, dict[str, Any], list[str]]
"""(C, frames) float32; properties of the file: rate, channels, frames, format, subtype; remarks."""


def decode_streams(path: Path, file: BinaryIO, size: int, most: int) -> Decoded:
    """Decode all streams of a file.

    Args:
        path: Name of the file, for messages.
        file: The file.
        size: Its size in bytes.
        most: Maximum number of samples over all channels.

    Raises:
        Unreadable: See `io.read_sound`.
    """
    file = open_pieces(file, [(0, size)])  # seeking before the start is no error, as libsndfile expects
    wrong = describe_wrong_kind(read_bytes_at(file, 0, START), "sound")
    if wrong and not _foreign(path):
        raise UnreadableSound(path, f"is {wrong}")
    streams = ogg_streams(file, size) or [_other_stream(file, size)]
    if len(streams) > _MOST_STREAMS:
        raise _OverLimit(path, f"is a chain of {len(streams)} streams, more than {_MOST_STREAMS}: cut it into parts")
    wave, facts, remarks = _decode_stream(path, streams[0], most)
    waves, lost = [wave], 0
    for number, stream in enumerate(streams[1:], 2):
        left = most - sum(w.numel() for w in waves)
        try:
            wave, about, more = _decode_stream(path, stream, left)
        except _OverLimit:
            raise
        except UnreadableSound as error:
            lost += stream.file.seek(0, 2)
            if lost > MISSING * size:
                raise UnreadableSound(path, f"is damaged: stream {number} of {len(streams)}: {error.reason}") from error
            more = [f"damaged: stream {number} of {len(streams)} is left out: it {error.reason}"]
        else:
            check_sample_count(
                path, wave.shape[1] * facts["rate"] // about["rate"], facts["channels"], facts["rate"], left
            )
            waves.append(_like(wave, about, facts, more))
        remarks += more
    wave = torch.cat(waves, dim=1) if len(waves) > 1 else wave
    return wave, {**facts, "frames": wave.shape[1]}, remarks


def _other_stream(file: BinaryIO, size: int) -> SoundStream:
    """The stream of a file that is not Ogg."""
    found = container_stream(file, size) or mp3_stream(file, size)
    return found or SoundStream(file, mpeg=read_bytes_at(file, 0, 4) != b"fLaC")


def _like(wave: Tensor, about: dict[str, Any], first: dict[str, Any], remarks: list[str]) -> Tensor:
    """A further stream of a chain with the rate and the channels of the first one."""
    if about["rate"] != first["rate"]:
        wave = dsp.resample(wave, about["rate"], first["rate"])
        remarks.append(f"chained: a stream of {about['rate']} Hz after one of {first['rate']} Hz was converted to it")
    if about["channels"] != first["channels"]:
        wave = wave.mean(0, keepdim=True).expand(first["channels"], -1)
        remarks.append(f"chained: a stream of {about['channels']} channels after one of {first['channels']} was mixed")
    return wave


def _decode_stream(path: Path, stream: SoundStream, most: int) -> Decoded:
    """One stream, in blocks up to its end or to an error."""
    remarks = _missing(path, stream)
    blocks: list[np.ndarray] = []
    total, bad, failure = 0, 0, None
    stream.file.seek(0)
    try:
        with quiet_stderr() if stream.mpeg else nullcontext(), _Sequential(stream.file) as source:
            rate, channels, declared = source.samplerate, source.channels, source.frames
            facts = {"rate": rate, "channels": channels, "format": source.format, "subtype": source.subtype}
            _check_header(path, rate, channels)
            check_sample_count(path, declared if declared < _UNKNOWN else 0, channels, rate, most)
            count = wanted = max(1, _BLOCK // channels)
            while failure is None and count == wanted:
                block, failure = _block(source, wanted, channels, total)
                count, total = len(block), total + len(block)
                check_sample_count(path, total, channels, rate, most)
                bad += int((~(np.abs(block) <= LOUDEST)).any(1).sum())  # NaN is not <= anything
                blocks.append(block)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
        if (stated := stated_rate(stream.file)) is not None:  # libsndfile does not say that it refuses the rate
            _check_header(path, stated, 1)
        raise UnreadableSound(
            path, _foreign(path) or f"cannot be decoded as sound: {libsndfile_reason(error)}"
        ) from error
    if total == 0:
        raise UnreadableSound(path, f"cannot be decoded as sound: {failure}" if failure else "holds no frames")
    if bad:
        raise UnreadableSound(path, f"holds {bad} samples that are not finite (NaN or infinity) or exceed 2^31")
    if stream.counted and total < declared < _UNKNOWN and (stream.declared is None or failure is not None):
        remarks = _missing(path, replace(stream, there=total, declared=declared, unit="frames"))
    elif failure is not None:
        remarks.append(f"damaged: only the first {total} frames can be decoded: {failure}")
    return _joined(blocks, total), facts, remarks


def _block(source: _Sequential, frames: int, channels: int, place: int) -> tuple[np.ndarray, str | None]:
    """The next frames, (n, C), and the error that ended them."""
    out = np.empty((frames, channels), np.float32)
    try:
        found = source.read(out=out)
    except soundfile.LibsndfileError as error:
        return out[: max(0, source.tell() - place)].copy(), libsndfile_reason(error)
    return found if len(found) == frames else found.copy(), None


def _joined(blocks: list[np.ndarray], total: int) -> Tensor:
    """(n, C) blocks -> (C, frames); each block is released when it is copied."""
    out, place = np.empty((blocks[0].shape[1], total), np.float32), total
    while blocks:
        block = blocks.pop()
        out[:, place - len(block) : place] = block.T
        place -= len(block)
    return torch.from_numpy(out)


def _check_header(path: Path, rate: int, channels: int) -> None:
    low, high = RATE_RANGE
    if not low <= rate <= high:
        raise _OverLimit(path, f"has a rate of {rate} Hz: rates from {low} to {high} Hz can be read")
    if channels > MOST_CHANNELS:
        raise _OverLimit(path, f"has {channels} channels, more than {MOST_CHANNELS}")


def check_sample_count(path: Path, frames: int, channels: int, rate: float, most: int) -> None:
    """Raise UnreadableSound for more than `most` samples over all channels."""
    if frames * channels > most:
        size = f"{frames} frames x {channels} channels at {rate:g} Hz ({frames / rate / 3600:.1f} h)"
        raise _OverLimit(path, f"has {size}, more than {most:,} samples in all: cut it into parts")


def _missing(path: Path, stream: SoundStream) -> list[str]:
    """Remarks on a stream and on its part that is missing; Unreadable if that is too large."""
    remarks = [stream.remark] if stream.remark else []
    if stream.declared is not None and stream.there < stream.declared:
        what = f"truncated: {stream.there} of {stream.declared} {stream.unit} are there"
        if stream.there < (1 - MISSING) * stream.declared:
            raise UnreadableSound(path, f"is {what}, less than {100 * (1 - MISSING):.0f} %: get the whole file")
        return [*remarks, what]
    return [*remarks, "truncated: its end is missing, and how much is not known"] if stream.cut else remarks


def _foreign(path: Path) -> str:
    """Reason and remedy for the suffix of a format that libsndfile does not read; "" for others."""
    suffix = path.suffix.casefold()
    return f"{suffix} is not read: convert it, for example to FLAC" if suffix in FOREIGN else ""


def libsndfile_reason(error: Exception) -> str:
    """The message of an error of libsndfile."""
    text = getattr(error, "error_string", None) or str(error)
    return text.strip().rstrip(".")
