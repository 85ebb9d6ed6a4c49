"""Picture files: any that Pillow reads -> (C, H, W) float32 in [-1, 1]; and (C, H, W) -> PNG, written atomically."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pil
from torch import Tensor

from ...core.data.files import format_path, unusable_reason
from ...core.types import BadInput
from ...core.util.notes import ignore_library_warnings
from ..file_kinds import START, describe_wrong_kind
from .io_colour import ColourConverter
from .io_jpeg import count_scans
from .io_png import lacks_rows

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"),
    *(".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".tga"),
)
# Formats of pictures that are not read: such files are reported with the remedy instead of ignored.
FOREIGN = frozenset(
    f".{name}"
    for name in (
        *("heic", "heif", "avif", "svg", "psd", "xcf", "jp2", "jxl", "exr"),
        *("cr2", "cr3", "nef", "arw", "dng"),
    )
)
MOST_PIXELS = 100_000_000
"""Maximum pixels of a picture, checked before decoding: a small file can decompress to more than the memory."""

_MOST_OF = {"WEBP": 30_000_000}  # format -> maximum pixels, where decoding takes more than 4 bytes a pixel

# Formats that Pillow decodes itself; others (EPS) start external programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "TGA")
_MOST_SCANS = 100  # of a progressive JPEG, which usually has ten
_GIF_GROWTH = 4096  # pixels that one byte of a GIF can describe, at most; Pillow fills the rest of a picture with 0
_LARGE = 16_000_000  # pixels; a larger picture is converted in strips, and made smaller before it is converted
_STRIP = 1_000_000  # pixels of a strip
_TURNS = {
    2: Pil.Transpose.FLIP_LEFT_RIGHT,
    3: Pil.Transpose.ROTATE_180,
    4: Pil.Transpose.FLIP_TOP_BOTTOM,
    5: Pil.Transpose.TRANSPOSE,
    6: Pil.Transpose.ROTATE_270,
    7: Pil.Transpose.TRANSVERSE,
    8: Pil.Transpose.ROTATE_90,
}  # orientation of EXIF -> what turns the picture upright


class UnreadablePicture(BadInput):
    """A file that cannot be read as a picture.

    Attributes:
        path: The file.
        reason: Why, without its name.
        foreign: Whether the reason is the format, as its suffix states it.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{format_path(path)}: {reason}")
        self.path, self.reason = path, reason
        self.foreign = reason == _foreign(path)


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded file.

    Attributes:
        levels: (H, W) or (H, W, 3) from 0 to 255: uint8, or float32 for grey of more than 8 bits.
        size: (W, H) of the file in pixels, upright.
        format: Format of the file.
        mode: Pillow's mode of the file.
        transparent: Whether it has transparent parts, which are composed on white.
        remarks: Notes for the user: "is converted to sRGB: ...", "is almost black: ...".
    """

    levels: np.ndarray
    size: tuple[int, int]
    format: str
    mode: str
    transparent: bool
    remarks: list[str]


def read_picture(path: Path | str, channels: int = 3, cover: tuple[int, int] | None = None) -> Tensor:
    """A picture file as (C, H, W) float32 in [-1, 1], upright; the first frame of an animation.

    Transparent pixels are composed on white, as most viewers do: drawings and logos with a transparent background are
    mostly dark. Colours are converted to sRGB if the file has a colour profile. 16-bit grey keeps its precision, 16-bit
    colour is read as 8-bit.

    Args:
        path: The file.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB); pictures of the other kind are converted.
        cover: (H, W) that the resized picture just covers with its aspect ratio kept (bicubic with low-pass); None: no
            resizing.

    Raises:
        UnreadablePicture: With the file and the reason.
    """
    return decoded_to_media(decode_picture(path, channels, cover), channels)


def read_picture_uint8(path: Path | str, channels: int = 3, cover: tuple[int, int] | None = None) -> np.ndarray:
    """As `read_picture`, rounded to (C, H, W) uint8."""
    return decoded_to_uint8(decode_picture(path, channels, cover), channels)


def decoded_to_media(picture: DecodedPicture, channels: int) -> Tensor:
    """A decoded picture as (C, H, W) float32 in [-1, 1]."""
    media = torch.from_numpy(_channels_first(picture.levels, channels)).float()
    return media.div_(127.5).sub_(1).clamp_(-1, 1)


def decoded_to_uint8(picture: DecodedPicture, channels: int) -> np.ndarray:
    """A decoded picture as (C, H, W) uint8, rounded."""
    levels = picture.levels
    if levels.dtype != np.uint8:
        levels = levels.clip(0, 255).round().astype(np.uint8)
    return _channels_first(levels, channels)


def _channels_first(levels: np.ndarray, channels: int) -> np.ndarray:
    """(H, W) or (H, W, C) -> (C, H, W), contiguous and writable; grey is repeated for RGB."""
    levels = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
    return np.array(np.broadcast_to(levels, (channels, *levels.shape[1:])))


def decode_picture(
    path: Path | str, channels: int = 3, cover: tuple[int, int] | None = None, most: int | None = None
) -> DecodedPicture:
    """Decode a picture file.

    Args:
        path: The file.
        channels: 1 or 3; grey pictures may have one level a pixel also for 3.
        cover: See `read_picture`.
        most: A large picture is made smaller to about this number of pixels.

    Raises:
        UnreadablePicture: With the file and the reason.
    """
    path = Path(path)
    if (reason := unusable_reason(path)) is not None:
        raise UnreadablePicture(path, reason)
    try:
        # Pillow warns about half of the limit on pixels, about unusual EXIF blocks, and so on.
        with ignore_library_warnings(), Pil.open(path, formats=_formats()) as picture:
            return _decoded(path, picture, channels, cover, most)
    except BadInput:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise UnreadablePicture(path, _why(path, error)) from error


def _decoded(
    path: Path, picture: Pil.Image, channels: int, cover: tuple[int, int] | None, most: int | None
) -> DecodedPicture:
    size, mode, kind = picture.size, picture.mode, picture.format or ""
    _check(path, picture)
    packed = _packed(picture)
    if cover and kind in ("JPEG", "MPO"):
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which saves most of the time and memory.
        picture.draft(None, (2 * max(cover), 2 * max(cover)))  # type: ignore[arg-type]
    elif most and kind in ("JPEG", "MPO") and (factor := _factor(size, None, most)) > 1:
        picture.draft(None, (size[0] // factor, size[1] // factor))  # type: ignore[arg-type]
    picture.load()
    if kind == "PNG" and lacks_rows(path, picture):
        raise UnreadablePicture(path, "truncated: rows of the picture are missing")
    turn = _turn(picture)
    swapped = turn in (5, 6, 7, 8)
    target = (cover[1], cover[0]) if cover and swapped else cover
    colours = ColourConverter(picture, channels, packed)
    plain = _in_strips(picture, colours, _factor(picture.size, target, most))
    if turn in _TURNS:
        plain = plain.transpose(_TURNS[turn])
    levels = np.asarray(resize_to_cover(plain, cover))
    upright = (size[1], size[0]) if swapped else size
    return DecodedPicture(levels, upright, kind, mode, colours.transparent, colours.finish(levels))


def _check(path: Path, picture: Pil.Image) -> None:
    """Refuse what takes too much memory or time, before it is decoded."""
    most = _MOST_OF.get(picture.format or "", MOST_PIXELS)
    if picture.width * picture.height > most:
        raise UnreadablePicture(path, f"{picture.width} x {picture.height} pixels, more than {most:,}: make it smaller")
    if picture.info.get("progressive") and (scans := count_scans(path.read_bytes())) > _MOST_SCANS:
        raise UnreadablePicture(path, f"a JPEG of {scans} scans, more than {_MOST_SCANS}: save it again")
    if picture.format == "GIF" and picture.width * picture.height > _GIF_GROWTH * path.stat().st_size:
        raise UnreadablePicture(path, f"truncated: too few bytes for {picture.width} x {picture.height} pixels")
    tags = getattr(picture, "tag_v2", {})
    if path.suffix.casefold() in FOREIGN and picture.format == "TIFF":
        raise UnreadablePicture(path, _foreign(path))  # a camera's raw file, whose first picture is a small preview
    tile = [tags.get(tag, 0) for tag in (322, 323)]
    if all(isinstance(n, int) for n in tile) and tile[0] * tile[1] > MOST_PIXELS:
        raise UnreadablePicture(path, f"tiles of {tile[0]} x {tile[1]} pixels, more than {MOST_PIXELS:,}")


def _why(path: Path, error: Exception) -> str:
    """A short reason for an error of Pillow."""
    text = str(error)
    if isinstance(error, Pil.UnidentifiedImageError):
        with open(path, "rb") as file:
            start = file.read(START)
        return _foreign(path) or describe_wrong_kind(start, "picture") or f"not a picture: it starts with {start[:12]}"
    if isinstance(error, Pil.DecompressionBombError):
        return f"more than {MOST_PIXELS:,} pixels"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if "MAX_TEXT_CHUNK" in text or "text chunks" in text:
        return "its texts or its colour profile unpack to more than 1 MB: save it without them"
    cut = isinstance(error, EOFError) or "truncated" in text or "Truncated" in text
    return f"{'truncated' if cut else 'corrupt'}: {text or type(error).__name__}"


def _foreign(path: Path) -> str:
    """Reason and remedy for the suffix of a format that is not read; "" for others."""
    suffix = path.suffix.casefold()
    return f"{suffix} is not read: convert it, for example to PNG" if suffix in FOREIGN else ""


@cache
def _formats() -> tuple[str, ...]:
    Pil.init()  # loads the decoders of Pillow; a build may lack some (WebP)
    return tuple(name for name in _FORMATS if name in Pil.OPEN)


def _packed(picture: Pil.Image) -> str:
    """Pillow's name of the way in which a file stores its pixels; "" where it states none."""
    tiles = getattr(picture, "tile", None)
    found = tiles[0][3] if tiles else ""
    found = found[0] if isinstance(found, tuple) and found else found
    return found if isinstance(found, str) else ""


def _turn(picture: Pil.Image) -> int:
    """The orientation of EXIF, 1 to 8."""
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # the pixels are usable despite a damaged EXIF block
        return 1


def _factor(size: tuple[int, int], cover: tuple[int, int] | None, most: int | None) -> int:
    """By how much a large picture is made smaller before its conversion: to twice `cover` or more, or to `most`."""
    width, height = size
    if width * height <= _LARGE:
        return 1
    if cover:
        return max(1, min(height // (2 * cover[0]), width // (2 * cover[1])))
    return math.ceil(math.sqrt(width * height / most)) if most else 1


def _in_strips(picture: Pil.Image, colours: ColourConverter, factor: int) -> Pil.Image:
    """The picture in plain colours, `factor` times smaller; large ones strip by strip, which saves memory."""
    width, height = picture.size
    if width * height <= _LARGE:
        return colours.convert(picture)
    mode = "F" if colours.deep else "L" if colours.channels == 1 else "RGB"
    out = Pil.new(mode, (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, _STRIP // (width * factor))
    for top in range(0, height, rows):
        strip = colours.convert(picture.crop((0, top, width, min(height, top + rows))))
        out.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return out


def read_picture_properties(path: Path | str) -> tuple[int, tuple[int, int]]:
    """Channels (1 for grey, 3 for colour) and (H, W), upright, of a picture file, which is not decoded.

    Raises:
        UnreadablePicture: The file cannot be opened.
    """
    path = Path(path)
    if (reason := unusable_reason(path)) is not None:
        raise UnreadablePicture(path, reason)
    try:
        with Pil.open(path, formats=_formats()) as picture:
            grey = picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;")
            quarter_turn = _turn(picture) in (5, 6, 7, 8)
            size = (picture.width, picture.height) if quarter_turn else (picture.height, picture.width)
            return 1 if grey else 3, size
    except Exception as error:  # see `decode_picture`
        raise UnreadablePicture(path, _why(path, error)) from error


def covering_size(size: tuple[int, int], cover: tuple[int, int]) -> tuple[int, int]:
    """The size (H, W) of the same aspect ratio that just covers `cover` (H, W)."""
    factor = max(cover[0] / size[0], cover[1] / size[1])
    return max(cover[0], round(size[0] * factor)), max(cover[1], round(size[1] * factor))


def resize_to_cover(picture: Pil.Image, cover: tuple[int, int] | None) -> Pil.Image:
    """The picture resized to just cover (H, W) with its aspect ratio kept: bicubic, with low-pass for reduction."""
    if cover is None:
        return picture
    height, width = covering_size((picture.height, picture.width), cover)
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Pil.Resampling.BICUBIC)


def crop_picture(media: Tensor, size: tuple[int, int], rng: np.random.Generator | None = None) -> Tensor:
    """A crop of (C, H, W), at least as large, to `size` at the centre, or at a random position with `rng`."""
    top, left = media.shape[-2] - size[0], media.shape[-1] - size[1]
    if rng is None:
        top, left = top // 2, left // 2
    else:
        top, left = int(rng.integers(top + 1)), int(rng.integers(left + 1))
    return media[..., top : top + size[0], left : left + size[1]]


def media_to_uint8(media: Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] -> (H, W, 3) or (H, W) uint8; values outside [-1, 1] are clipped.

    Raises:
        BadInput: For non-finite values, and for a number of channels other than 1 or 3.
    """
    if media.ndim != 3 or media.shape[0] not in (1, 3):
        raise BadInput(f"a picture is (1 or 3, H, W); got {tuple(media.shape)}")
    media = media.detach().float().cpu()
    bad = int((~torch.isfinite(media)).sum())
    if bad:
        raise BadInput(f"a picture with {bad} of {media.numel()} values that are not finite; nothing was written")
    levels = ((media.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels[0].numpy() if len(levels) == 1 else levels.permute(1, 2, 0).contiguous().numpy()


def write_picture(path: Path | str, media: Tensor) -> Path:
    """Write (C, H, W) in [-1, 1] as an 8-bit PNG; BadInput for non-finite values."""
    return save_picture(Path(path), Pil.fromarray(media_to_uint8(media)), format="PNG")


def save_picture(path: Path, picture: Pil.Image, **options) -> Path:
    """Save to a temporary file and rename it, so that no partial picture remains. Creates missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        picture.save(part, **options)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
