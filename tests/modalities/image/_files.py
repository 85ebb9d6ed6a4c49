"""Picture files and colour profiles, byte by byte."""

import struct
import zlib
from collections.abc import Sequence

WHITE = (0.9642, 1.0, 0.8249)  # D50, the white of colour profiles
PRIMARIES = {"red": (0.4361, 0.2225, 0.0139), "green": (0.3851, 0.7169, 0.0971), "blue": (0.1431, 0.0606, 0.7141)}


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(size: tuple[int, int], depth: int, colour: int, rows: Sequence[bytes], *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of (width, height) with bits `depth`, colour type `colour`, packed rows, and more chunks before them."""
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def tiff(size: tuple[int, int], bits: Sequence[int], photo: int, data: bytes, *more: tuple, order: str = "<") -> bytes:
    """A TIFF of one strip without compression; `more`: (tag, type, values)."""
    width, height = size
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, bits), (259, 3, [1]), (262, 3, [photo]), (273, 4, [8])]
    tags += [(277, 3, [len(bits)]), (278, 4, [height]), (279, 4, [len(data)])]
    replaced = {tag for tag, *_ in more}
    tags = sorted([tag for tag in tags if tag[0] not in replaced] + list(more))
    data += b"\0" * (len(data) % 2)
    place, directory, rest = 8 + len(data) + 6 + 12 * len(tags), b"", b""
    for tag, kind, values in tags:
        field = struct.pack(f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 7: 'B'}[kind] }", *values)
        if len(field) > 4:
            field, rest = struct.pack(f"{order}I", place + len(rest)), rest + field
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + field.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + directory + bytes(4) + rest


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(65536 * v) for v in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)) + b"\0\0"


def profile(space: bytes, tags: dict[bytes, bytes], name: str, kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2."""
    text = name.encode() + b"\0"
    about = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67)
    tags = {b"desc": about, b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(WHITE), **tags}
    table, body, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += tag + struct.pack(">II", place + len(body), len(content))
        body += content
    head = struct.pack(">I", place + len(body)) + b"lcms" + bytes.fromhex("02100000") + kind + space + pcs
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(WHITE)[8:]
    return head.ljust(128, b"\0") + table + body


def rgb_profile(name: str, gamma: float, red: str = "red", green: str = "green") -> bytes:
    """Primaries of sRGB, or those of other colours, with a power law."""
    tags = {b"rXYZ": _xyz(PRIMARIES[red]), b"gXYZ": _xyz(PRIMARIES[green]), b"bXYZ": _xyz(PRIMARIES["blue"])}
    return profile(b"RGB ", {**tags, **{tag: _curve(gamma) for tag in (b"rTRC", b"gTRC", b"bTRC")}}, name)


def grey_profile(name: str, gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": _curve(gamma)}, name)


def cmyk_profile(name: str) -> bytes:
    """Inks whose colours are invisible: only black counts."""
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    ramp = bytes(range(256))
    corners = b"".join(bytes([0 if corner % 2 else 255, 128, 128]) for corner in range(16))  # K is the last axis
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + 4 * ramp + corners + 3 * ramp
    return profile(b"CMYK", {b"A2B0": table}, name, b"prtr", b"Lab ")
