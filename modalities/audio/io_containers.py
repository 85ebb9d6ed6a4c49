"""Containers that state the size of their sound: RIFF, RIFX, RF64, AIFF, 8SVX, W64, CAF, AU, VOC and NIST.

Programs that write to a pipe, and recorders that lose their power, leave 0 or a very large number as the size. Decoders
read nothing then, or refuse the file; here the size is taken from the file instead. libsndfile reads a truncated file
without an error, so that the size is also needed to know what is missing.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from .io_bytes import SoundStream, open_patched, open_pieces, read_bytes_at

_UNKNOWN = {"I": 0x7FFF0000, "Q": 1 << 62}  # kind of the field -> values from which on it means "not known"
_LARGEST = {"I": 0xFFFFFFFF, "Q": (1 << 63) - 1}
_SEARCHED = 1 << 22  # bytes at the end of a file that are searched for chunks after a sound of unknown size
_MOST_CHUNKS = 10_000  # that are looked at before the sound


@dataclass(frozen=True)
class _ChunkForm:
    """How chunks are written: a name, the length, the content.

    Attributes:
        name: Bytes of the name.
        form: Format of the length, as in `struct`.
        counted: Bytes of name and length that the length includes.
        align: Chunks begin at multiples of this, counted from the sound.
    """

    name: int
    form: str
    counted: int = 0
    align: int = 2


_W64 = _ChunkForm(16, "<Q", 24, 8)


@dataclass(frozen=True)
class _Field:
    """The size of the sound in a header.

    Attributes:
        place: Offset of the field; None: it is not corrected.
        form: Its format, as in `struct`.
        value: Its value.
        start: Offset of the first byte of sound.
        extra: What the value counts in addition to the sound, in bytes.
        empty: Whether a value of 0 is true, since nothing or only other chunks follow.
        chunks: How the chunks after the sound are written; None: there are none.
    """

    place: int | None
    form: str
    value: int
    start: int
    extra: int = 0
    empty: bool = False
    chunks: _ChunkForm | None = None


def container_stream(file: BinaryIO, size: int) -> SoundStream | None:
    """The stream of a container of this kind, with a corrected size; None for other files.

    Args:
        file: The file.
        size: Its size in bytes.
    """
    found = _field(file, size)
    if found is None:
        return None
    found = replace(found, start=min(found.start, size))  # the headers of a cut file may state a place beyond its end
    kind, there, declared = found.form[-1], size - found.start, max(0, found.value - found.extra)
    unknown = not found.empty if declared == 0 else declared > there and found.value >= _UNKNOWN[kind]
    if unknown and found.chunks is not None:
        there = _end_of_sound(file, found.start, size, found.chunks) - found.start
    if not unknown and declared <= there:
        return _without_second_sound(file, size, found, declared)
    if found.place is not None:
        stated = struct.pack(found.form, min(there + found.extra, _LARGEST[kind]))
        file = open_patched(file, size, {found.place: stated})
        if found.chunks == _W64:
            file = open_pieces(file, [(0, found.start + there)])
    return SoundStream(file, there, None if unknown else declared)


def _end_of_sound(file: BinaryIO, start: int, size: int, form: _ChunkForm) -> int:
    """The end of a sound of unknown size: before the whole chunks at the end of the file, if there are any.

    A chunk is found from its end: its stated length is exactly the rest. Of several such places the first is the
    chunk, the others are chunks inside of it.

    Args:
        file: The file.
        start: Offset of the first byte of sound.
        size: Size of the file.
        form: How chunks are written.
    """
    first = max(start, size - _SEARCHED - (size - _SEARCHED - start) % form.align)
    data = np.frombuffer(read_bytes_at(file, first, size - first), np.uint8)
    count, end = struct.calcsize(form.form), size
    head = form.name + count
    places = np.arange(0, max(0, len(data) - head), form.align)
    lengths = np.zeros(len(places), np.uint64)
    for k in range(count):
        shift = 8 * (k if form.form[0] == "<" else count - 1 - k)
        lengths |= data[places + form.name + k].astype(np.uint64) << np.uint64(shift)
    while True:
        rest = end - first - places - (head - form.counted)
        pad = -rest % form.align if form.counted else 0
        fits = (
            (lengths > form.counted) & ((lengths == rest + pad) | (lengths + lengths % form.align == rest)) & (rest > 0)
        )
        for place in places[fits]:
            if bytes(data[place : place + 4]).decode("latin-1").isprintable() and any(data[place : place + 4] >= 65):
                end = first + int(place)
                break
        else:
            return end


def _without_second_sound(file: BinaryIO, size: int, found: _Field, declared: int) -> SoundStream:
    """The stream of a sound whose size is known.

    libsndfile refuses a WAV file with another `data` chunk, and reads what follows the sound of a W64 file as sound.
    """
    end = found.start + declared + declared % 2
    if found.chunks == _W64:
        return SoundStream(open_pieces(file, [(0, end)]), declared, declared)
    if found.form == "<I" and read_bytes_at(file, 0, 4) == b"RIFF":
        others = sum(name == b"data" for name, _, _ in _chunks(file, size, end, "<"))
        if others:
            remark = f"damaged: holds {others + 1} data chunks, of which the first is read"
            return SoundStream(open_pieces(file, [(0, end)]), declared, declared, remark=remark)
    return SoundStream(file, declared, declared)


def stated_rate(file: BinaryIO) -> int | None:
    """The rate in Hz that a WAV, RF64 or AU file states; None for other files."""
    head = read_bytes_at(file, 0, 20)
    if head[:4] in (b".snd", b"dns.") and len(head) == 20:
        return struct.unpack(">I" if head[:4] == b".snd" else "<I", head[16:])[0]
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return None
    order, size = ">" if head[:4] == b"RIFX" else "<", file.seek(0, 2)
    for name, start, length in _chunks(file, size, 12, order):
        if name == b"fmt " and length >= 8 and start + 8 <= size:
            return struct.unpack(f"{order}I", read_bytes_at(file, start + 4, 4))[0]
    return None


def _field(file: BinaryIO, size: int) -> _Field | None:
    head = read_bytes_at(file, 0, 16)
    if head[:4] in (b"RIFF", b"RIFX"):
        return _riff(file, size, "<" if head[:4] == b"RIFF" else ">", {b"data": 0})
    if head[:4] == b"FORM":
        return _riff(file, size, ">", {b"SSND": 8, b"BODY": 0})
    if head[:4] in (b"RF64", b"BW64"):
        return _rf64(file, size)
    if head[:8] == b"riff\x2e\x91\xcf\x11":
        return _w64(file, size)
    if head[:4] == b"caff":
        return _caf(file, size)
    if head[:4] in (b".snd", b"dns."):
        return _au(file, "<" if head[:4] == b"dns." else ">")
    if head[:8] == b"NIST_1A\n":
        return _nist(file)
    return _voc(file, size) if head == b"Creative Voice F" else None


def _chunks(file: BinaryIO, size: int, place: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, offset of the content, stated length) of the chunks from `place` on."""
    for _ in range(_MOST_CHUNKS):
        head = read_bytes_at(file, place, 8)
        if len(head) < 8 or place + 8 > size:
            return
        name, length = struct.unpack(f"{order}4sI", head)
        yield name, place + 8, length
        place += 8 + length + length % 2


def _only_chunks(file: BinaryIO, size: int, place: int, order: str) -> bool:
    """Whether nothing but whole chunks follows from `place` on."""
    for name, start, length in _chunks(file, size, place, order):
        if not name.decode("latin-1").isprintable() or start + length > size:
            return False
        place = start + length + length % 2
    return place >= size


def _riff(file: BinaryIO, size: int, order: str, extra: dict[bytes, int]) -> _Field | None:
    for name, start, length in _chunks(file, size, 12, order):
        if name in extra:
            more = extra[name]
            empty = length <= more and _only_chunks(file, size, start + length, order)
            chunks = _ChunkForm(4, f"{order}I")
            return _Field(start - 4, f"{order}I", length, start + more, more, empty, chunks)
    return None


def _rf64(file: BinaryIO, size: int) -> _Field | None:
    """The size of `data` is in the chunk ds64, if that of `data` itself is the largest number."""
    place = None
    for name, start, length in _chunks(file, size, 12, "<"):
        if name == b"ds64" and length >= 16:
            place = start + 8
        if name == b"data":
            if length != 0xFFFFFFFF or place is None:
                empty = length == 0 and _only_chunks(file, size, start, "<")
                return _Field(start - 4, "<I", length, start, 0, empty, _ChunkForm(4, "<I"))
            (stated,) = struct.unpack("<Q", read_bytes_at(file, place, 8))
            return _Field(place, "<Q", stated, start, chunks=_ChunkForm(4, "<I"))
    return None


def _w64(file: BinaryIO, size: int) -> _Field | None:
    """Names are GUIDs of 16 bytes, and sizes include the 24 bytes of name and size."""
    place = 40
    for _ in range(_MOST_CHUNKS):
        head = read_bytes_at(file, place, 24)
        if len(head) < 24:
            return None
        (length,) = struct.unpack("<Q", head[16:])
        if head[:4] == b"data":
            return _Field(place + 16, "<Q", length, place + 24, 24, length == 24 and place + 24 >= size, _W64)
        place += max(24, length + -length % 8)
    return None


def _caf(file: BinaryIO, size: int) -> _Field | None:
    """The size of `data` includes four bytes; -1: up to the end of the file."""
    place = 8
    for _ in range(_MOST_CHUNKS):
        head = read_bytes_at(file, place, 12)
        if len(head) < 12:
            return None
        name, length = struct.unpack(">4sQ", head)
        if name == b"data":
            chunks = _ChunkForm(4, ">Q", align=1)
            return _Field(place + 4, ">Q", length, place + 16, 4, length <= 4 and place + 16 >= size, chunks)
        place += 12 + length
        if place > size:
            return None
    return None


def _au(file: BinaryIO, order: str) -> _Field | None:
    head = read_bytes_at(file, 4, 8)
    if len(head) < 8:
        return None
    start, length = struct.unpack(f"{order}II", head)
    return _Field(8, f"{order}I", length, start)


def _voc(file: BinaryIO, size: int) -> _Field | None:
    """The first block of sound; its size has three bytes."""
    place = int.from_bytes(read_bytes_at(file, 20, 2), "little")
    for _ in range(_MOST_CHUNKS):
        head = read_bytes_at(file, place, 4)
        if len(head) < 4 or head[0] == 0:
            return None
        length = int.from_bytes(head[1:], "little")
        if head[0] in (1, 9):  # the block's own header: 2 or 12 bytes
            extra = 2 if head[0] == 1 else 12
            return _Field(None, "<I", length, place + 4 + extra, extra)
        place += 4 + length
    return None


def _nist(file: BinaryIO) -> _Field | None:
    """Lines of text; the sound begins after a header whose size is the second line. Compressed files state no size."""
    head = read_bytes_at(file, 0, 1024)
    fields = dict(re.findall(rb"^(\w+) -i (\d{1,12})", head, re.M))
    start = re.match(rb"NIST_1A\n *(\d{1,6})\n", head)
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if start is None or not fields.keys() >= set(names) or b"shorten" in head:
        return None
    return _Field(None, "<Q", math.prod(int(fields[name]) for name in names), int(start[1]))
