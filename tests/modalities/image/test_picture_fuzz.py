"""Changed bytes in small picture files; SONOLUX_FUZZ sets the number of cases of each kind."""

import io as bytesio
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image as Pil
from PIL import ImageCms
from sonolux.modalities.image import io
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer

sys.path.insert(0, str(Path(__file__).parents[2]))
from _fuzz import check, fuzzed, mutated, mutations

pytestmark = pytest.mark.slow
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    """A small picture of smooth colours."""
    y, x = np.mgrid[:24, :32]
    levels = np.stack([8 * x, 10 * y, 128 + 3 * (x - y), 255 - 4 * x], -1).clip(0, 255).astype(np.uint8)
    file = bytesio.BytesIO()
    Pil.fromarray(levels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def use(path: Path) -> None:
    """Read as training does, and as `prepare` does."""
    media = io.read_picture(path, 3, cover=(16, 16))
    assert media.shape[0] == 3 and min(media.shape[1:]) == 16 and float(media.abs().max()) <= 1
    assert io.read_picture(path, 1, cover=(16, 16)).shape == (1, *media.shape[1:])
    PictureFolderAnalyzer().inspect(path)


def right_checksums(data: bytes) -> bytes:
    """A PNG in which every chunk has the checksum of its content, so that changes are not found at once."""
    out, place = bytearray(data), 8
    while place + 12 <= len(out):
        (length,) = struct.unpack(">I", out[place : place + 4])
        if place + 12 + length > len(out):
            break
        checksum = zlib.crc32(bytes(out[place + 4 : place + 8 + length]))
        out[place + 8 + length : place + 12 + length] = struct.pack(">I", checksum)
        place += 12 + length
    return bytes(out)


FILES = {
    "png": encoded("PNG", "RGBA", icc_profile=PROFILE),
    "palette.png": encoded("PNG", "P", transparency=3),
    "jpg": encoded("JPEG", icc_profile=PROFILE),
    "progressive.jpg": encoded("JPEG", "CMYK", progressive=True),
    "gif": encoded("GIF", "P", transparency=3),
    "tif": encoded("TIFF", compression="tiff_lzw"),
    "webp": encoded("WEBP", "RGBA"),
}


@pytest.mark.parametrize("kind", FILES)
def test_changed_bytes(tmp_path, kind):
    @fuzzed
    @given(changes=mutations(len(FILES[kind])))
    def changed(changes):
        data = mutated(FILES[kind], changes)
        check(tmp_path / f"x.{kind}", right_checksums(data) if kind.endswith("png") else data, use)

    changed()
