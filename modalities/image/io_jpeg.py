"""The scans of a JPEG file, which are counted before it is decoded: each of them passes over the whole picture."""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in the data of a scan, 0xff is followed by 0, or by RST0 to RST7
_SCAN, _END, _ALONE = 0xDA, 0xD9, (0x01, *range(0xD0, 0xD9))


def count_scans(data: bytes) -> int:
    """The number of scans of the first picture in a JPEG file (ITU-T T.81, annex B)."""
    count, place = 0, 2
    while marker := _MARKER.search(data, place):
        kind, place = data[marker.start() + 1], marker.end()
        if kind == _END:
            break
        if kind in _ALONE:
            continue
        count += kind == _SCAN
        place += int.from_bytes(data[place : place + 2], "big")
    return count
