"""Small files that would take much memory or time are refused, and large pictures are read in little memory."""

import io as bytesio
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import sonolux
from PIL import Image as Pil
from sonolux.core.testing.mutation import assert_caught
from sonolux.modalities.image import io
from sonolux.modalities.image.io_jpeg import count_scans
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer

sys.path.insert(0, str(Path(__file__).parent))
from _files import png, png_chunk, rgb_profile, tiff


def growing(kind: bytes, head: bytes) -> bytes:
    """A PNG with a chunk that unpacks to 50 MB."""
    return png((2, 2), 8, 0, [b"\1\2", b"\3\4"], (kind, head + zlib.compress(bytes(50_000_000), 1)))


def gif(width: int, height: int) -> bytes:
    """A GIF of these sizes with the data of a few pixels."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\2\x44\1\0;"


SOURCES = {
    "text": (
        lambda: growing(b"zTXt", b"a\0\0"),
        "its texts or its colour profile unpack to more than 1 MB: save it without",
    ),
    "international text": (lambda: growing(b"iTXt", b"a\0\1\0\0\0"), "unpack to more than 1 MB"),
    "profile": (lambda: growing(b"iCCP", b"a\0\0"), "unpack to more than 1 MB"),
    "GIF": (gif(60_000, 1000), "truncated: too few bytes for 60000 x 1000 pixels"),
    "GIF of 65535 x 65535": (gif(65_535, 65_535), r"pixels, more than 100,000,000: make it smaller|more than 100,000"),
    "TIFF tiles": (
        tiff((16, 16), [8], 1, bytes(300), (259, 3, [5]), (322, 4, [65536]), (323, 4, [65536]), (324, 4, [8]),
             (325, 4, [300])),
        "tiles of 65536 x 65536 pixels, more than 100,000,000",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_bombs_are_refused_with_the_limit(tmp_path, name):
    data, said = SOURCES[name]
    (tmp_path / "x.png").write_bytes(data() if callable(data) else data)
    with pytest.raises(io.UnreadablePicture, match=said):
        io.read_picture(tmp_path / "x.png")


def check_scans(folder):
    """A progressive JPEG whose last scan is repeated: each one passes over the whole picture."""
    file = bytesio.BytesIO()
    Pil.fromarray(LEVELS).convert("RGB").save(file, "JPEG", progressive=True, exif=b"Exif\0\0\xff\xda\xff\xda")
    jpeg = file.getvalue()
    assert count_scans(jpeg) == 10
    (folder / "x.jpg").write_bytes(jpeg)
    assert io.read_picture(folder / "x.jpg").shape == (3, 90, 120)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    (folder / "x.jpg").write_bytes(jpeg[:-2] + 100 * last + b"\xff\xd9" + 100 * last)
    with pytest.raises(io.UnreadablePicture, match=r"a JPEG of 110 scans, more than 100: save it again"):
        io.read_picture(folder / "x.jpg")


def test_scans_of_a_jpeg_are_counted(tmp_path):
    check_scans(tmp_path)


def test_planted_count_of_bytes_that_are_no_scans_is_caught(tmp_path, monkeypatch):
    monkeypatch.setitem(check_scans.__globals__, "count_scans", lambda data: data.count(b"\xff\xda"))
    assert_caught(check_scans, tmp_path)


def test_formats_that_take_more_memory_have_a_lower_limit(tmp_path, monkeypatch):
    Pil.new("RGB", (20, 20), "red").save(tmp_path / "x.webp")
    assert io.read_picture(tmp_path / "x.webp").shape == (3, 20, 20)
    monkeypatch.setattr(io, "_MOST_OF", {"WEBP": 399})
    with pytest.raises(io.UnreadablePicture, match=r"20 x 20 pixels, more than 399: make it smaller"):
        io.read_picture(tmp_path / "x.webp")


def test_only_the_first_of_many_frames_and_pages_is_read(tmp_path, monkeypatch):
    frames = [Pil.new("L", (8, 8), 200 - i % 100) for i in range(60)]
    for name in ("x.gif", "x.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert io.read_picture_uint8(tmp_path / name, 1).tolist() == [[[200] * 8] * 8]
        line, _ = PictureFolderAnalyzer().inspect(tmp_path / name)
        assert line["remarks"][0].startswith("moves: the first of ")
        with monkeypatch.context() as patch:  # frames of a large file are not counted
            patch.setattr("sonolux.modalities.image.prepare.prepare._COUNTED", 100)
            line, _ = PictureFolderAnalyzer().inspect(tmp_path / name)
            assert line["remarks"][0] == "moves: the first frame is used"


# --- large pictures, in strips ---

Y, X = np.mgrid[:90, :120]
LEVELS = np.stack([2 * X, 2 * Y, (X + Y) % 256, 255 - X], -1).astype(np.uint8)


def made(kind: str) -> bytes:
    file, picture = bytesio.BytesIO(), Pil.fromarray(LEVELS)
    if kind == "deep":
        picture = Pil.fromarray((X * 300 + Y).astype(np.uint16))
    elif kind == "palette":
        picture = picture.convert("RGB").quantize(32)
    elif kind in ("RGB", "L", "CMYK", "profile", "turned", "jpeg"):
        picture = picture.convert({"L": "L", "CMYK": "CMYK"}.get(kind, "RGB"))
    exif = Pil.Exif()
    exif[0x0112] = 6
    options = {
        "palette": {"transparency": 3},
        "profile": {"icc_profile": rgb_profile("linear", 1.0)},
        "turned": {"exif": exif},
        "jpeg": {"quality": 98},
    }
    picture.save(file, {"CMYK": "TIFF", "jpeg": "JPEG"}.get(kind, "PNG"), **options.get(kind, {}))
    return file.getvalue()


KINDS = ["RGBA", "RGB", "L", "deep", "palette", "CMYK", "profile", "turned", "jpeg"]


def check_strips(folder, kind, monkeypatch):
    (folder / "x").write_bytes(made(kind))
    for channels in (1, 3):
        whole = io.decode_picture(folder / "x", channels)
        small = io.read_picture(folder / "x", channels, cover=(9, 12))
        with monkeypatch.context() as patch:
            patch.setattr(io, "_LARGE", 1000)
            patch.setattr(io, "_STRIP", 700)
            strips = io.decode_picture(folder / "x", channels)
            assert np.array_equal(whole.levels, strips.levels) and whole.remarks == strips.remarks
            less = io.read_picture(folder / "x", channels, cover=(9, 12))
            assert less.shape == small.shape and float((less - small).abs().max()) < 0.06
            reduced = io.decode_picture(folder / "x", channels, most=1000)
            assert reduced.size == whole.size and 600 < reduced.levels.shape[0] * reduced.levels.shape[1] < 1300
            gap = reduced.levels.mean((0, 1), dtype=float) - whole.levels.mean((0, 1), dtype=float)
            assert np.abs(gap).max() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_strips_give_the_same_picture(tmp_path, kind, monkeypatch):
    check_strips(tmp_path, kind, monkeypatch)


def test_planted_strips_in_the_wrong_place_are_caught(tmp_path, monkeypatch):
    paste = Pil.Image.paste
    monkeypatch.setattr(Pil.Image, "paste", lambda self, part, place: paste(self, part, (place[0], place[1] // 2)))
    assert_caught(check_strips, tmp_path, "RGB", monkeypatch)


def hundred_megapixels(path: Path) -> None:
    """A PNG of 10000 x 10000 colours, of some hundred kilobytes."""
    side, packer = 10_000, zlib.compressobj(1)
    rows = [(b"\0" + bytes([i, 2 * i, 255 - i]) * side) * 100 for i in range(100)]
    parts = [*map(packer.compress, rows), packer.flush()]
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", b"".join(parts)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))


MEASURE = """
import resource, sys
from pathlib import Path
import torch
from sonolux.modalities.image import io
from sonolux.modalities.image.io_jpeg import count_scans
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
before = peak()
if sys.argv[2] == "prepare":
    line, _ = PictureFolderAnalyzer().inspect(Path(sys.argv[1]))
    assert (line["width"], line["height"], line["grey"]) == (10000, 10000, False), line
else:
    assert io.read_picture(sys.argv[1], 3, (64, 64)).shape == (3, 64, 64)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems measure memory otherwise")
def test_100_megapixels_take_half_a_gigabyte(tmp_path):
    hundred_megapixels(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size < 4e6
    env = {**os.environ, "PYTHONPATH": str(Path(sonolux.__file__).parent.parent)}
    for use in ("prepare", "train"):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "x.png"), use]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) < 550, f"{use}: {done.stdout} MB"
