"""MP3 files: their frames, and the header that states how many there are.

The length of an MP3 file stands in a frame of its own (Xing's header). Without it libsndfile computes the length from
the bit rate of the first frame and reads no further, which loses a large part of a sound of variable bit rate. In a
file that was cut, or joined with another one, the header is wrong. Here the frames are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .io_bytes import SoundStream, open_pieces, read_bytes_at

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # version -> Hz
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
_MARKS = (b"Xing", b"Info")
_COUNT, _BYTES = 1, 2  # flags of Xing's header: which numbers it states
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what may follow the last frame
_REST = 4096  # bytes after the last frame that are no frame, at most


@dataclass(frozen=True)
class _Frame:
    """A frame of layer III.

    Attributes:
        place: Its offset in the file.
        size: Its size in bytes.
        kbits: Its bit rate in kbit/s.
        samples: Samples of each channel.
        side: Bytes of side information, which follow the header of four bytes.
        kind: What all frames of a file have in common: version and rate.
    """

    place: int
    size: int
    kbits: int
    samples: int
    side: int
    kind: tuple[int, int]


def mp3_stream(file: BinaryIO, size: int) -> SoundStream | None:
    """The stream of an MP3 file, with a header that states the number of its frames; None for other files.

    Args:
        file: The file.
        size: Its size in bytes.
    """
    start = _after_tags(file)
    frames = _frames(file, size, start)
    first = next(frames, None)
    if first is None:
        return None
    count, last, constant = 1, first, True
    for last in frames:
        count, constant = count + 1, constant and last.kbits == first.kbits
    end = last.place + last.size
    if count < 2 or not (size - end < _REST or read_bytes_at(file, end, 11).startswith(_TAGS)):
        return None
    head, at = bytearray(read_bytes_at(file, first.place, first.size)), 4 + first.side
    at += 2 * (head[at + 2 : at + 6] in _MARKS)  # after a checksum
    if head[at : at + 4] not in _MARKS:
        file = file if constant else open_pieces(file, [_header(head, first, count), (start, size)])
        return SoundStream(file, mpeg=True)
    flags, stated = (int.from_bytes(head[at + k : at + k + 4], "big") for k in (4, 8))
    if not flags & _COUNT:
        return SoundStream(file, mpeg=True)
    there = count - 1  # Xing's frame is not counted
    if there != stated:
        head[at + 8 : at + 12] = there.to_bytes(4, "big")
        if flags & _BYTES:
            head[at + 12 : at + 16] = (end - first.place).to_bytes(4, "big")
        file = open_pieces(file, [bytes(head), (first.place + first.size, size)])
    return SoundStream(file, there * first.samples, stated * first.samples, "frames", mpeg=True)


def _header(head: bytearray, first: _Frame, count: int) -> bytes:
    """Xing's frame for `count` frames that follow: that of the highest bit rate, which has room for the header."""
    start = bytes([head[0], head[1] | 1, 0xE0 | head[2] & 0x0C, head[3]])
    frame = _frame(start)
    assert frame is not None
    content = start + bytes(first.side) + b"Xing" + _COUNT.to_bytes(4, "big") + count.to_bytes(4, "big")
    return content.ljust(frame.size, b"\0")


def _after_tags(file: BinaryIO) -> int:
    """The offset after the ID3v2 tags at the start of a file."""
    place = 0
    while (head := read_bytes_at(file, place, 10))[:3] == b"ID3" and len(head) == 10:
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        place += 10 + size + (10 if head[5] & 0x10 else 0)
    return place


def _frames(file: BinaryIO, size: int, place: int) -> Iterator[_Frame]:
    """The complete frames from `place` on that follow each other and are of one kind."""
    kind = None
    while frame := _frame(read_bytes_at(file, place, 4), place):
        if place + frame.size > size or kind not in (None, frame.kind):
            return
        kind = frame.kind
        yield frame
        place += frame.size


def _frame(head: bytes, place: int = 0) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # the sync, and layer III
        return None
    version, index, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or index in (0, 15) or rate == 3:
        return None
    new, mono = version == 3, head[3] >> 6 == 3
    kbits, hertz, samples = _KBITS[new][index], _RATES[version][rate], 1152 if new else 576
    side = (17 if mono else 32) if new else (9 if mono else 17)
    size = samples // 8 * 1000 * kbits // hertz + (head[2] >> 1 & 1)
    return _Frame(place, size, kbits, samples, side, (version, hertz))
