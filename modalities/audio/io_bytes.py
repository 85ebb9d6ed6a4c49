"""The bytes that a decoder is given: a file, parts of it, or parts with corrected fields, without a copy in memory."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

Piece = bytes | tuple[int, int]
"""Bytes, or (start, stop) of a file."""


@dataclass(frozen=True)
class SoundStream:
    """One stream of sound in a file, and how much of it the file holds.

    Attributes:
        file: What the decoder reads.
        there: Amount of sound that the file holds.
        declared: Amount of sound that the header states; None: it states none.
        unit: Unit of both, "bytes" or "frames".
        cut: Whether the end of the stream is missing, by an amount that the header does not state.
        counted: Whether the decoder knows the length of the whole stream.
        remark: What else there is to say about the stream; "": nothing.
        mpeg: Whether it may be MP3, whose decoder writes to stderr.
    """

    file: BinaryIO
    there: int = 0
    declared: int | None = None
    unit: str = "bytes"
    cut: bool = False
    counted: bool = True
    remark: str = ""
    mpeg: bool = False


class FilePieces(io.RawIOBase):
    """Pieces of a file and other bytes, one after the other, as a file.

    Args:
        file: The file.
        pieces: The pieces.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]):
        self._file = file
        self._pieces = [piece for piece in pieces if (len(piece) if isinstance(piece, bytes) else piece[1] > piece[0])]
        self._starts, self._size, self._place = [], 0, 0
        for piece in self._pieces:
            self._starts.append(self._size)
            self._size += len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer) -> int:
        if self._place >= self._size:
            return 0
        number = bisect_right(self._starts, self._place) - 1
        piece, inside = self._pieces[number], self._place - self._starts[number]
        if isinstance(piece, bytes):
            found = piece[inside : inside + len(buffer)]
        else:
            self._file.seek(piece[0] + inside)
            found = self._file.read(min(len(buffer), piece[1] - piece[0] - inside))
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


def open_pieces(file: BinaryIO, parts: Sequence[Piece]) -> BinaryIO:
    """`FilePieces` with a buffer."""
    return io.BufferedReader(FilePieces(file, parts))  # type: ignore[return-value]


def open_patched(file: BinaryIO, size: int, fields: dict[int, bytes]) -> BinaryIO:
    """A file of `size` bytes with other bytes at some offsets."""
    parts: list[Piece] = []
    place = 0
    for start, field in sorted(fields.items()):
        parts += [(place, start), field]
        place = start + len(field)
    return open_pieces(file, [*parts, (place, size)])


def read_bytes_at(file: BinaryIO, start: int, count: int) -> bytes:
    """Up to `count` bytes from `start` on."""
    file.seek(start)
    return file.read(count)
