"""Ogg files: their pages, the streams of a chain, and a last page that is not complete (RFC 3533).

libsndfile reads the first stream of a chain only, and drops a page that is not complete, which may hold a second of
sound or all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from .io_bytes import Piece, SoundStream, open_pieces, read_bytes_at

_FIRST, _LAST = 2, 4  # flags of a page
_SEARCH = 1 << 16  # bytes that are searched at once for the next page


@dataclass(frozen=True)
class _Page:
    """A page: `head` is its header with the table of segments, `stop` the end of its content in the file."""

    start: int
    head: bytes
    stop: int
    whole: bool

    @property
    def flags(self) -> int:
        return self.head[5]


def ogg_streams(file: BinaryIO, size: int) -> list[SoundStream] | None:
    """The streams of an Ogg file in their order; None for other files.

    A stream whose last page is cut keeps the packets of that page that are complete.

    Args:
        file: The file.
        size: Its size in bytes.
    """
    if read_bytes_at(file, 0, 4) != b"OggS":
        return None
    links: list[list[_Page]] = []
    strange = size
    for page in _pages(file, size):
        strange -= page.stop - page.start
        if not links or (page.flags & _FIRST and not links[-1][-1].flags & _FIRST):
            links.append([])
        links[-1].append(page)
    streams = [_stream(file, link) for link in links]
    if strange and streams:
        remark = f"damaged: {strange} bytes between or after its pages are not Ogg and are left out"
        streams[-1] = replace(streams[-1], remark=remark)
    return streams


def _pages(file: BinaryIO, size: int) -> Iterator[_Page]:
    place = 0
    while place + 27 <= size:
        head = read_bytes_at(file, place, 27 + 255)
        if head[:4] != b"OggS":
            place = _next(file, place + 1)
            if place < 0:
                return
            continue
        table = head[27 : 27 + head[26]]
        start = place + 27 + len(table)
        stop = start + sum(table)
        whole = len(table) == head[26] and stop <= size
        yield _Page(place, head[: 27 + len(table)], min(stop, size), whole)
        place = stop


def _next(file: BinaryIO, place: int) -> int:
    """The offset of the next "OggS" from `place` on; -1: there is none."""
    while block := read_bytes_at(file, place, _SEARCH):
        found = block.find(b"OggS")
        if found >= 0:
            return place + found
        if len(block) < 4:
            break
        place += len(block) - 3
    return -1


def _stream(file: BinaryIO, link: list[_Page]) -> SoundStream:
    start, last = link[0].start, link[-1]
    ended = bool(last.flags & _LAST)
    if last.whole:
        return SoundStream(open_pieces(file, [(start, last.stop)]), cut=not ended, counted=ended)
    parts: list[Piece] = [(start, last.start)]
    count = _complete(last)
    if count:
        table = last.head[27 : 27 + count]
        content = read_bytes_at(file, last.start + len(last.head), sum(table))
        head = bytearray(last.head[: 27 + count])
        head[5] &= ~_LAST  # with this flag Opus refuses a page that ends before its stated position
        head[26], head[22:26] = count, bytes(4)
        head[22:26] = _checksum(bytes(head) + content).to_bytes(4, "little")
        parts += [bytes(head), content]
    return SoundStream(open_pieces(file, parts), cut=True, counted=ended and count > 0)


def _complete(page: _Page) -> int:
    """Number of segments of the complete packets of a cut page; a packet ends with a segment of less than 255 bytes."""
    there, count, total = page.stop - page.start - len(page.head), 0, 0
    for number, length in enumerate(page.head[27:], 1):
        total += length
        if total > there:
            break
        if length < 255:
            count = number
    return count


def _table() -> list[int]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_CRC = _table()


def _checksum(data: bytes) -> int:
    """The CRC of a page whose own checksum is 0: polynomial 0x04C11DB7, initial value 0, no reflection."""
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFFFFFF) ^ _CRC[(value >> 24) ^ byte]
    return value
