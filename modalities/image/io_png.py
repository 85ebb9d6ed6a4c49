"""The rows of a PNG file: libpng's checks do not include that the compressed data holds all of them.

Pillow stops without an error at the end of the compressed data, and the rows that it lacks are 0.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from PIL import Image as Pil

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> channels
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
_BLOCK = 1 << 20


def lacks_rows(path: Path, picture: Pil.Image) -> bool:
    """Whether the data of a PNG file ends before its last row; it is counted if the last decoded row is 0."""
    last = picture.crop((0, picture.height - 1, picture.width, picture.height))
    if not picture.info.get("interlace") and any(last.tobytes()):
        return False
    data = path.read_bytes()
    return _held(data) < _needed(data)


def _needed(data: bytes) -> int:
    """Bytes of all rows, each with its filter (PNG specification, sections 7 to 9)."""
    width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    bits = data[24] * _CHANNELS.get(data[25], 1)
    total = 0
    for left, top, right, down in _PASSES if data[28] else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // right), -((top - height) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def _held(data: bytes) -> int:
    """Bytes that the IDAT chunks hold, decompressed in blocks."""
    inflate, place, total = zlib.decompressobj(), 8, 0
    while place + 8 <= len(data) and not inflate.eof:
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        rest = data[place + 8 : place + 8 + length] if name == b"IDAT" else b""
        try:
            while rest and not inflate.eof:
                total += len(inflate.decompress(rest, _BLOCK))
                rest = inflate.unconsumed_tail
        except zlib.error:
            return total
        place += 12 + length
    try:
        return total + len(inflate.flush())
    except zlib.error:
        return total
