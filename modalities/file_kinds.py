"""What a file of another kind is, by its first bytes: a picture that is given as a sound, a sound as a picture."""

from __future__ import annotations

import re

START = 16
"""Number of bytes from the start of a file that `describe_wrong_kind` reads."""

_KINDS = {
    "picture": {
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "JPEG": rb"\xff\xd8\xff",
        "GIF": rb"GIF8[79]a",
        "WebP": rb"RIFF.{4}WEBP",
        "TIFF": rb"II\*\0|MM\0\*",
        "BMP": rb"BM.{4}\0{4}",
        "HEIC or AVIF": rb".{4}ftyp(hei[cfmsx]|hev[cm]|mif1|msf1|avi[fs])",
    },
    "sound": {
        "WAV": rb"(RIFF|RIFX|RF64).{4}WAVE",
        "AIFF": rb"FORM.{4}AIF[FC]",
        "FLAC": rb"fLaC",
        "Ogg": rb"OggS\0",
        "MP3": rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]",
        "AU": rb"\.snd",
        "M4A": rb".{4}ftypM4[AB] ",
    },
    "video": {"MP4": rb".{4}ftyp", "Matroska": rb"\x1aE\xdf\xa3", "AVI": rb"RIFF.{4}AVI "},
    "document": {"PDF": rb"%PDF-"},
}
"""Kind -> format -> what its files start with."""


def describe_wrong_kind(start: bytes, wanted: str) -> str:
    """Describe a file that is of another kind than `wanted`: "a sound (WAV), where a picture is needed".

    Args:
        start: The first `START` bytes of the file.
        wanted: "picture" or "sound".

    Returns:
        The description; "" if the kind is unknown, or the one that is wanted.
    """
    for kind, formats in _KINDS.items():
        for name, pattern in formats.items():
            if re.match(pattern, start, re.DOTALL):
                return "" if kind == wanted else f"a {kind} ({name}), where a {wanted} is needed"
    return ""
