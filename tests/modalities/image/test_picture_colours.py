"""Every depth, transparency and colour profile gives the right levels, and a note where they are a surprise."""

import io as bytesio
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil
from PIL import ImageCms
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import MediaSpec
from sonolux.modalities.image import io, io_colour
from sonolux.modalities.image.datasets.folder import Folder
from sonolux.modalities.image.modality import Image
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer

sys.path.insert(0, str(Path(__file__).parent))
from _files import cmyk_profile, grey_profile, png, rgb_profile, tiff

SPEC = MediaSpec("image", 3, ("height", "width"), (16, 16))


def two(*pixels, depth=8, colour=0, more=()):
    """A PNG of two pixels."""
    if depth < 8:
        row = bytes([sum(value << (8 - depth * (i + 1)) for i, value in enumerate(pixels))])
    else:
        values = [v for pixel in pixels for v in (pixel if isinstance(pixel, tuple) else (pixel,))]
        row = struct.pack(f">{len(values)}{'B' if depth == 8 else 'H'}", *values)
    return png((2, 1), depth, colour, [row], *more)


def clear(*levels):
    return [(b"tRNS", struct.pack(f">{len(levels)}H", *levels))]


PALETTE = (b"PLTE", bytes([200, 100, 50, 0, 0, 0]))
# name -> (file, levels of the two pixels: RGB)
PNGS = {
    "1 bit": (two(1, 0, depth=1), [255, 0]),
    "1 bit, black is transparent": (two(1, 0, depth=1, more=clear(0)), [255, 255]),
    "2 bits": (two(2, 0, depth=2), [170, 0]),
    "2 bits, 2 is transparent": (two(2, 1, depth=2, more=clear(2)), [255, 85]),
    "4 bits, 8 is transparent": (two(8, 7, depth=4, more=clear(8)), [255, 119]),
    "8 bits, black is transparent": (two(128, 0, more=clear(0)), [128, 255]),
    "16 bits": (two(0x8080, 0, depth=16), [128, 0]),
    "16 bits, black is transparent": (two(0x8080, 0, depth=16, more=clear(0)), [128, 255]),
    "16 bits, a level is transparent": (two(0x8080, 0x8081, depth=16, more=clear(0x8080)), [255, 128]),
    "RGB": (two((200, 100, 50), (0, 0, 0), colour=2), [(200, 100, 50), 0]),
    "RGB, black is transparent": (two((200, 100, 50), (0, 0, 0), colour=2, more=clear(0, 0, 0)), [(200, 100, 50), 255]),
    "RGB of 16 bits, a colour is transparent": (
        two((0x8000, 0, 0), (0x1234,) * 3, depth=16, colour=2, more=clear(0x1234, 0x1234, 0x1234)),
        [(128, 0, 0), 255],
    ),
    "palette": (two(0, 1, colour=3, more=[PALETTE]), [(200, 100, 50), 0]),
    "palette, black is transparent": (
        two(0, 1, colour=3, more=[PALETTE, (b"tRNS", b"\xff\0")]),
        [(200, 100, 50), 255],
    ),
    "palette of half transparent colours": (
        two(0, 1, colour=3, more=[PALETTE, (b"tRNS", b"\x80\x80")]),
        [(227, 177, 152), 127],
    ),
    "palette of 1 bit": (two(0, 1, depth=1, colour=3, more=[PALETTE, (b"tRNS", b"\xff\0")]), [(200, 100, 50), 255]),
    "grey with alpha": (two((100, 255), (0, 0), colour=4), [100, 255]),
    "grey with alpha, half": (two((100, 128), (0, 128), colour=4), [177, 127]),
    "grey with alpha of 16 bits": (two((0x6464, 0xFFFF), (0, 0), depth=16, colour=4), [100, 255]),
    "RGBA": (two((200, 100, 50, 255), (0, 0, 0, 0), colour=6), [(200, 100, 50), 255]),
    "RGBA of 16 bits": (two((0x6464, 0, 0, 0xFFFF), (0, 0, 0, 0), depth=16, colour=6), [(100, 0, 0), 255]),
}


def two_tiff(bits, photo, data, *more, order="<"):
    return tiff((2, 1), bits, photo, data, *more, order=order)


HALF = struct.pack("<HH", 0x8080, 0)
TIFFS = {
    "1 bit, white is zero": (two_tiff([1], 0, b"\x80"), [0, 255]),
    "4 bits": (two_tiff([4], 1, b"\x80"), [136, 0]),
    "8 bits, white is zero": (two_tiff([8], 0, bytes([128, 0])), [127, 255]),
    "12 bits": (two_tiff([12], 1, bytes([0x80, 0x80, 0x00])), [128, 0]),
    "16 bits": (two_tiff([16], 1, HALF), [128, 0]),
    "16 bits, white is zero": (two_tiff([16], 0, HALF), [127, 255]),
    "16 bits, big end first": (two_tiff([16], 1, b"\x80\x80\0\0", order=">"), [128, 0]),
    "32 bits": (two_tiff([32], 1, struct.pack("<II", 0x8080, 0)), [128, 0]),
    "floats": (two_tiff([32], 1, struct.pack("<ff", 0.5, 0), (339, 3, [3])), [128, 0]),
    "floats, white is zero": (two_tiff([32], 0, struct.pack("<ff", 0.5, 0), (339, 3, [3])), [128, 255]),
    "grey with alpha": (two_tiff([8, 8], 1, bytes([100, 128, 0, 0]), (338, 3, [2])), [177, 255]),
    "grey, premultiplied": (two_tiff([8, 8], 1, bytes([50, 128, 0, 0]), (338, 3, [1])), [177, 255]),
    "RGB, premultiplied": (
        two_tiff([8] * 4, 2, bytes([50, 0, 25, 128, 0, 0, 0, 0]), (338, 3, [1])),
        [(177, 127, 152), 255],
    ),
    "RGB, premultiplied, 16 bits": (
        two_tiff([16] * 4, 2, struct.pack("<8H", 0x4000, 0, 0, 0x8000, 0, 0, 0, 0), (338, 3, [1])),
        [(191, 127, 127), 255],
    ),
    "RGB with a channel that is no alpha": (
        two_tiff([8] * 4, 2, bytes([100, 0, 9, 0, 0, 9, 0, 0]), (338, 3, [0])),
        [(100, 0, 9), (0, 9, 0)],
    ),
    "CMYK": (two_tiff([8] * 4, 5, bytes([0, 255, 255, 0, 255, 0, 0, 0])), [(255, 0, 0), (0, 255, 255)]),
    "LAB": (two_tiff([8] * 3, 8, bytes([128, 0, 0, 255, 0, 0])), [119, 255]),
    "palette": (
        two_tiff([8], 3, bytes([0, 1]), (320, 3, [0x8080, *[0] * 255, 0x4040, *[0] * 255, *[0] * 256])),
        [(128, 64, 0), 0],
    ),
}


def check_levels(folder, files=None):
    for name, (data, pixels) in {**PNGS, **TIFFS}.items() if files is None else files.items():
        (folder / "x").write_bytes(data)
        wanted = np.array([[pixel] * 3 if isinstance(pixel, int) else pixel for pixel in pixels], dtype=float).T
        found = (io.read_picture(folder / "x", 3)[:, 0].numpy() + 1) * 127.5
        assert np.abs(found - wanted).max() <= 1.01, (name, found, wanted)
        grey = (io.read_picture(folder / "x", 1)[:, 0].numpy() + 1) * 127.5
        assert np.abs(grey - np.array([0.299, 0.587, 0.114]) @ wanted).max() <= 1.6, (name, grey)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"PNG {name}" for name in PNGS), *(f"TIFF {name}" for name in TIFFS)])
def test_levels_of_every_depth_and_transparency(tmp_path, name):
    kind, _, key = name.partition(" ")
    check_levels(tmp_path, {name: (PNGS if kind == "PNG" else TIFFS)[key]})


PLANTED = {
    "the transparent level is not scaled": ("_clear_level", lambda picture, packed: picture.info.get("transparency")),
    "transparency is ignored": ("_clear_level", lambda picture, packed: None),
}


@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_of_transparency_are_caught(tmp_path, monkeypatch, error):
    name, wrong = PLANTED[error]
    monkeypatch.setattr(io_colour, name, wrong)
    assert_caught(check_levels, tmp_path)


def test_dark_and_empty_pictures_are_noted(tmp_path):
    dark = png((2, 1), 16, 0, [struct.pack(">HH", 4095, 0)])  # 12 bits in 16
    empty = png((2, 1), 8, 6, [bytes(8)])
    for data, remarks in (
        (dark, ["is almost black: its brightest level is 15.9 of 255"]),
        (png((2, 1), 8, 0, [bytes([9, 0])]), ["is almost black: its brightest level is 9 of 255"]),
        (empty, ["is transparent everywhere: it is read as white"]),
        (png((2, 1), 16, 0, [bytes(4)], (b"tRNS", b"\0\0")), ["is transparent everywhere: it is read as white"]),
        (png((2, 1), 8, 0, [bytes([90, 0])]), []),
    ):
        (tmp_path / "x.png").write_bytes(data)
        assert io.decode_picture(tmp_path / "x.png").remarks == remarks
    (tmp_path / "x.png").write_bytes(dark)
    with pytest.warns(UserWarning, match=r"x\.png: is almost black"):
        assert Image(1, 1).read(tmp_path / "x.png").shape == (1, 1, 1)
    line, _ = PictureFolderAnalyzer().inspect(tmp_path / "x.png")
    assert line["remarks"][0].startswith("is almost black")


# --- colour profiles ---

SWAPPED = rgb_profile("swapped\n\x1b[31mcolours", 2.2, red="green", green="red")
LINEAR = rgb_profile("linear", 1.0)
GREY = grey_profile("linear grey", 1.0)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)]


def of(mode: str, pixels, icc: bytes, kind: str = "PNG") -> bytes:
    picture = Pil.new(mode, (len(pixels) * 16, 16))
    for i, pixel in enumerate(pixels):
        picture.paste(pixel, (16 * i, 0, 16 * i + 16, 16))
    file = bytesio.BytesIO()
    picture.save(file, kind, icc_profile=icc, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    return file.getvalue()


def seen(folder, data: bytes, channels: int = 3) -> tuple[np.ndarray, list[str]]:
    """Levels in the middle of each square, and the remarks."""
    (folder / "x").write_bytes(data)
    picture = io.decode_picture(folder / "x", channels)
    return io.decoded_to_uint8(picture, channels)[:, 8, 8::16].T.astype(int), picture.remarks


def check_profiles(folder):
    turned = [(0, 255, 0), (255, 0, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)]
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        found, remarks = seen(folder, of("RGB", COLOURS, SWAPPED, kind))
        assert np.abs(found - turned).max() <= 12, (kind, found)
        assert remarks == ["is converted to sRGB: its colour profile is swapped[31mcolours"]
    found, remarks = seen(folder, of("RGB", [(128, 128, 128), (64, 64, 64)], LINEAR))
    assert np.abs(found - [[188] * 3, [137] * 3]).max() <= 2  # 0.502 and 0.251 of the light
    found, _ = seen(folder, of("RGBA", [(255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 128)], SWAPPED))
    assert np.abs(found - [(0, 255, 0), (255, 255, 255), (127, 255, 127)]).max() <= 12
    found, _ = seen(folder, of("RGB", COLOURS, SWAPPED), channels=1)
    assert np.abs(found[:, 0] - [150, 76, 29, 255, 128]).max() <= 12
    palette = Pil.open(bytesio.BytesIO(of("RGB", COLOURS[:3], b""))).quantize(4)
    file = bytesio.BytesIO()
    palette.save(file, "PNG", icc_profile=SWAPPED)
    assert np.abs(seen(folder, file.getvalue())[0] - turned[:3]).max() <= 12


def check_grey_profiles(folder):
    for channels in (1, 3):
        found, remarks = seen(folder, of("L", [128, 0, 255], GREY), channels)
        assert np.abs(found - np.array([[188], [0], [255]])).max() <= 2
        assert remarks == ["is converted to sRGB: its colour profile is linear grey"]
        found, _ = seen(folder, of("LA", [(128, 255), (128, 0)], GREY), channels)
        assert np.abs(found - np.array([[188], [255]])).max() <= 2
    deep = Pil.fromarray(np.full((16, 16), 0x8080, np.uint16))
    file = bytesio.BytesIO()
    deep.save(file, "PNG", icc_profile=GREY)
    assert np.abs(seen(folder, file.getvalue(), 1)[0] - 188).max() <= 1


def check_cmyk_profile(folder):
    inks = [(255, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0)]
    for kind in ("TIFF", "JPEG"):
        found, remarks = seen(folder, of("CMYK", inks, cmyk_profile("only black"), kind))
        assert np.abs(found - [[255] * 3, [0] * 3, [255] * 3]).max() <= 4, (kind, found)
        assert remarks == ["is converted to sRGB: its colour profile is only black"]
    found, _ = seen(folder, of("CMYK", inks, b"", "TIFF"))
    assert found[0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("check", [check_profiles, check_grey_profiles, check_cmyk_profile])
def test_colours_are_converted_to_srgb(tmp_path, check):
    check(tmp_path)


@pytest.mark.parametrize("check", [check_profiles, check_grey_profiles, check_cmyk_profile])
def test_planted_blindness_to_profiles_is_caught(tmp_path, monkeypatch, check):
    monkeypatch.setattr(io_colour.ColourConverter, "_to_srgb", lambda self, part, mode: part)
    assert_caught(check, tmp_path)


def test_profiles_that_change_nothing_or_cannot_be_used(tmp_path, monkeypatch):
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ignored = "has a colour profile"
    for mode, pixels, icc, remarks in (
        ("RGB", COLOURS, same, []),
        ("RGB", COLOURS, b"nonsense" * 40, [f"{ignored} that cannot be used: it is ignored"]),
        ("RGB", COLOURS, SWAPPED[:300], [f"{ignored} that cannot be used: it is ignored"]),
        ("RGB", COLOURS, GREY, [f"{ignored} for other than RGB pictures: it is ignored"]),
        ("L", [128, 7, 255], LINEAR, [f"{ignored} for other than GRAY pictures: it is ignored"]),
    ):
        found, said = seen(tmp_path, of(mode, pixels, icc))
        assert np.array_equal(found, np.array(pixels).reshape(len(pixels), -1) * np.ones(3, int)) and said == remarks
    monkeypatch.setattr(io_colour, "_MOST_PROFILE", 100)
    io_colour._transform.cache_clear()
    assert seen(tmp_path, of("RGB", COLOURS, SWAPPED))[1] == [f"{ignored} of {len(SWAPPED)} bytes: it is ignored"]
    io_colour._transform.cache_clear()


def test_a_note_for_each_kind_with_a_count_once_for_both_parts(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(of("RGB", [(20 * i + 30, 9, 200)], SWAPPED if i < 5 else b""))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        parts = [Folder(SPEC, tmp_path, label="none", valid=0.3, split=split) for split in ("train", "valid")]
    assert sum(map(len, parts)) == 12 and len(notes) == 1
    start = "5 of 12 pictures: 0.png (is converted to sRGB: its colour profile is swapped[31mcolours); 1.png"
    assert str(notes[0].message).startswith(start) and str(notes[0].message).endswith("; and 2 more")


# --- formats that are not read ---


def test_formats_that_are_not_read_have_the_same_words_in_training_and_prepare(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(of("RGB", [(90 * i, 99, 200)], b""))
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(80))
    (tmp_path / "b.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(80))
    (tmp_path / "c.nef").write_bytes(tiff((2, 1), [8], 1, bytes([128, 0])))  # a camera's file begins with a preview
    (tmp_path / "d.heic").write_bytes(of("RGB", [(1, 99, 200)], b""))  # named wrongly
    with pytest.warns(UserWarning, match=r"^skipped 3 of 7 files: ") as notes:
        data = Folder(SPEC, tmp_path, label="none", valid=0.0, max_bad=0.0)
    assert len(data) == 4
    for name in ("a.heic", "b.avif", "c.nef"):
        reason = f"{Path(name).suffix} is not read: convert it, for example to PNG"
        assert f"{reason}: {name}" in str(notes[0].message)
        with pytest.raises(io.UnreadablePicture, match=f"{reason}$"):
            PictureFolderAnalyzer().inspect(tmp_path / name)
