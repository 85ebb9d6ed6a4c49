"""Reading pictures of every kind, writing PNG, and refusing what is no picture."""

import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image as Pil
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.modalities.image import io
from sonolux.modalities.image.io import UnreadablePicture
from sonolux.modalities.image.io_colour import ColourConverter

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 17), dtype=np.uint8)


def expected(levels: np.ndarray) -> torch.Tensor:
    """Levels 0 to 255, (H, W) or (H, W, C), on the scale from -1 to 1."""
    levels = levels.reshape(*levels.shape[:2], -1)
    return torch.from_numpy(levels.astype(np.float64).transpose(2, 0, 1) / 255 * 2 - 1)


def save(path, levels, mode=None, **options):
    Pil.fromarray(levels).convert(mode).save(path, **options) if mode else Pil.fromarray(levels).save(path, **options)
    return path


def check_levels(folder):
    assert torch.allclose(io.read_picture(save(folder / "c.png", COLOUR)).double(), expected(COLOUR), atol=1e-6)
    assert torch.allclose(io.read_picture(save(folder / "g.png", GREY), channels=1).double(), expected(GREY), atol=1e-6)
    back = io.read_picture(io.write_picture(folder / "w.png", expected(COLOUR).float()))
    assert torch.allclose(back.double(), expected(COLOUR), atol=1e-6)


def test_levels_0_and_255_are_minus_one_and_one(tmp_path):
    check_levels(tmp_path)


def test_a_wrong_scale_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_channels_first", lambda levels, channels: levels.transpose(2, 0, 1) * (255 / 256))
    assert_caught(check_levels, tmp_path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "tga", "PNG"])
def test_lossless_formats_give_their_pixels(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    save(path, COLOUR, **({"lossless": True} if suffix == "webp" else {}))
    assert torch.allclose(io.read_picture(path).double(), expected(COLOUR), atol=1e-6)


def test_jpeg_and_gif(tmp_path):
    smooth = (np.add.outer(np.arange(32), np.arange(32)) * 4).astype(np.uint8)
    path = save(tmp_path / "x.jpg", smooth, "RGB", quality=95)
    assert (io.read_picture(path, 1).double() - expected(smooth)).abs().max() < 0.05
    frames = [Pil.fromarray(np.full((8, 8), level, np.uint8)) for level in (255, 0)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert io.read_picture(tmp_path / "x.gif").min() == 1


def test_grey_and_colour_become_each_other(tmp_path):
    grey_as_rgb = io.read_picture(save(tmp_path / "g.png", GREY), channels=3)
    assert grey_as_rgb.shape == (3, 12, 17) and torch.equal(grey_as_rgb[0], grey_as_rgb[2])
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    read = io.read_picture(save(tmp_path / "c.png", COLOUR), channels=1)
    assert (read.double() - expected(luma)).abs().max() < 1.01 * 2 / 255


def test_palette_and_one_bit(tmp_path):
    few = (GREY > 128).astype(np.uint8) * 200
    path = tmp_path / "p.png"
    Pil.fromarray(few).convert("RGB").quantize(4).save(path)
    assert Pil.open(path).mode == "P"
    assert torch.allclose(io.read_picture(path, 1).double(), expected(few), atol=1e-6)
    Pil.fromarray(GREY > 128).save(tmp_path / "b.png")
    assert io.read_picture(tmp_path / "b.png").unique().tolist() == [-1, 1]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA-like"])
def test_transparent_pixels_lie_on_white(tmp_path, mode):
    path = tmp_path / "a.png"
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 3] = 255  # the upper half is opaque black, the lower half transparent black
    picture = Pil.fromarray(rgba)
    if mode == "PA-like":
        picture = picture.quantize(2)
    else:
        picture = picture.convert(mode)
    picture.save(path)
    for channels in (1, 3):
        read = io.read_picture(path, channels)
        assert read[:, :2].max() == -1 and read[:, 2:].min() == 1


def check_deep(folder):
    levels = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    read = io.read_picture(save(folder / "deep.png", levels), channels=1)
    assert torch.allclose(read[0].double(), torch.from_numpy(levels / 65535 * 2 - 1), atol=1e-6)
    Pil.fromarray((levels / 65535).astype(np.float32)).save(folder / "deep.tif")
    assert torch.allclose(io.read_picture(folder / "deep.tif", channels=1), read, atol=1e-6)


def test_16_bit_grey_keeps_its_levels(tmp_path):
    check_deep(tmp_path)


def test_16_bit_read_as_8_is_caught(tmp_path, monkeypatch):
    as_bytes = lambda self, part: Pil.fromarray(np.asarray(part).clip(0, 255).astype(np.float32))  # noqa: E731
    monkeypatch.setattr(ColourConverter, "_grey", as_bytes)
    assert_caught(check_deep, tmp_path)


def test_floats_outside_their_range_are_refused(tmp_path):
    Pil.fromarray(np.full((4, 4), 7.0, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadablePicture, match="expected 0 to 1"):
        io.read_picture(tmp_path / "x.tif")
    Pil.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(UnreadablePicture, match="not finite"):
        io.read_picture(tmp_path / "nan.tif")


def test_cmyk_is_read_in_colour(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    save(tmp_path / "x.jpg", red, "CMYK", quality=95)
    read = io.read_picture(tmp_path / "x.jpg").mean((1, 2))
    assert read[0] > 0.8 and read[1] < -0.8 and read[2] < -0.8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, orientation):
    upright = np.zeros((8, 16), np.uint8)
    upright[:4, :4] = 255  # the bright corner belongs top left
    turns = {1: 0, 2: "h", 3: 2, 4: "v", 5: "t", 6: 1, 7: "a", 8: 3}  # what undoes the camera's turn
    stored = {
        0: upright,
        "h": upright[:, ::-1],
        2: upright[::-1, ::-1],
        "v": upright[::-1],
        "t": upright.T,
        1: np.rot90(upright, 1),
        "a": upright[::-1, ::-1].T,
        3: np.rot90(upright, 3),
    }[turns[orientation]]
    exif = Pil.Exif()
    exif[0x0112] = orientation
    Pil.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    assert torch.allclose(io.read_picture(tmp_path / "x.png", 1).double(), expected(upright))


def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    save(tmp_path / "x.jpg", COLOUR, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff")
    assert io.read_picture(tmp_path / "x.jpg").shape == (3, 12, 17)


@pytest.mark.parametrize(("cover", "shape"), [((6, 6), (6, 8)), ((24, 24), (24, 34)), ((12, 34), (24, 34))])
def test_resizing_keeps_the_shape_and_covers(tmp_path, cover, shape):
    read = io.read_picture(save(tmp_path / "x.png", COLOUR), cover=cover)
    assert tuple(read.shape[1:]) == shape
    assert read.abs().max() <= 1


def test_a_large_jpeg_is_shrunk_as_a_large_png_is(tmp_path):
    y, x = np.mgrid[:512, :640]
    big = np.stack([127 + 120 * np.sin(x / 60), 127 + 120 * np.cos(y / 50), (x + y) / 5], -1).astype(np.uint8)
    from_jpeg = io.read_picture(save(tmp_path / "x.jpg", big, quality=95), cover=(32, 32))
    from_png = io.read_picture(save(tmp_path / "x.png", big), cover=(32, 32))
    assert from_jpeg.shape == from_png.shape == (3, 32, 40)
    assert (from_jpeg - from_png).abs().max() < 0.05


def test_bytes_and_floats_agree(tmp_path):
    path = save(tmp_path / "x.png", (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8))
    for cover in (None, (5, 5)):
        levels = torch.from_numpy(io.read_picture_uint8(path, 3, cover)).double()
        assert ((levels / 127.5 - 1) - io.read_picture(path, 3, cover).double()).abs().max() <= 1.001 / 255


def test_crops_are_in_the_middle_or_where_the_rng_says(tmp_path):
    media = torch.arange(42.0).reshape(1, 6, 7)
    assert torch.equal(io.crop_picture(media, (2, 3)), media[:, 2:4, 2:5])
    corners = {tuple(io.crop_picture(media, (2, 3), np.random.default_rng(i))[0, 0, :1].tolist()) for i in range(300)}
    assert corners == {(float(7 * top + left),) for top in range(5) for left in range(5)}


def broken(folder, kind):
    path = folder / f"{kind}.png"
    whole = save(folder / "whole.png", RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).read_bytes()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(folder / "nowhere")
    elif kind != "missing":
        content = {
            "empty": b"",
            "half": whole[: len(whole) // 2],
            "head": whole[:20],
            "text": b"hello, this is no picture",
            "flipped": whole[:60] + bytes(b ^ 255 for b in whole[60:200]) + whole[200:],
        }
        path.write_bytes(content[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such file"),
        ("link", "a link that leads nowhere"),
        ("folder", "is a folder"),
        ("empty", r"is empty \(0 bytes\)"),
        ("half", "truncated"),
        ("head", "truncated|corrupt|not a picture"),
        ("text", "not a picture: it starts with b'hello"),
        ("flipped", "corrupt|truncated"),
    ],
)
def test_what_is_no_picture_is_named_with_the_reason(tmp_path, kind, words):
    path = broken(tmp_path, kind)
    with pytest.raises(UnreadablePicture, match=words) as caught:
        io.read_picture(path)
    assert str(caught.value).startswith(f"{path.as_posix()}: ") and isinstance(caught.value, BadInput)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp", "gif", "tif", "ppm", "tga"])
def test_truncated_files_of_every_format_are_refused(tmp_path, suffix):
    path = save(tmp_path / f"x.{suffix}", RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UnreadablePicture):
        io.read_picture(path)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_decompression_bombs_are_refused_unopened(tmp_path, side):
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "bomb.png").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadablePicture, match=r"pixels"):
            io.read_picture(tmp_path / "bomb.png")


def test_formats_that_start_other_programs_are_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(UnreadablePicture, match="not a picture"):
        io.read_picture(tmp_path / "x.png")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read(tmp_path):
    path = save(tmp_path / "x.png", COLOUR)
    path.chmod(0)
    with pytest.raises(UnreadablePicture, match="permission"):
        io.read_picture(path)


def test_writing_cuts_only_outside_and_refuses_what_is_not_finite(tmp_path):
    media = torch.tensor([[[-3.0, -1.0, 0.0, 1.0, 1.5]]])
    assert io.media_to_uint8(media).tolist() == [[0, 0, 128, 255, 255]]
    media[0, 0, 2] = float("nan")
    with pytest.raises(BadInput, match="1 of 5 values that are not finite; nothing was written"):
        io.write_picture(tmp_path / "new" / "x.png", media)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match=r"\(1 or 3, H, W\)"):
        io.write_picture(tmp_path / "x.png", torch.zeros(2, 4, 4))


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = io.write_picture(tmp_path / "x.png", torch.zeros(1, 4, 4))
    old = path.read_bytes()

    def fail(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Pil.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        io.write_picture(path, torch.ones(1, 4, 4))
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"] and path.read_bytes() == old


def png_of(rows: int, height: int, interlace: bool = False, value: int = 200) -> bytes:
    """A grey PNG of 8 columns, byte by byte, whose data holds `rows` rows of `height`."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    widths = [1, 1, *[2] * ((height + 3) // 8), *[2] * ((height + 3) // 4), *[4] * ((height + 1) // 4)]
    widths += [*[4] * ((height + 1) // 2), *[8] * (height // 2)]
    lengths = widths[: len(widths) - (height - rows)] if interlace else [8] * rows
    data = zlib.compress(b"".join(b"\0" + bytes([value]) * n for n in lengths))
    head = struct.pack(">IIBBBBB", 8, height, 8, 0, 0, 0, int(interlace))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def check_rows(folder):
    path = folder / "a.png"
    for interlace in (False, True):
        for value in (200, 0):  # black rows are rows
            path.write_bytes(png_of(8, 8, interlace, value))
            np.testing.assert_array_equal(io.read_picture_uint8(path, 1), np.full((1, 8, 8), value))
        path.write_bytes(png_of(5, 8, interlace))
        with pytest.raises(UnreadablePicture, match="truncated: rows of the picture are missing"):
            io.read_picture(path, 1)


def test_a_png_whose_data_ends_before_its_last_row_is_refused(tmp_path):
    check_rows(tmp_path)


def test_planted_trust_in_the_end_of_a_png_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "lacks_rows", lambda path, picture: False)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_rows(tmp_path)
