"""Picture files: any that Pillow reads -> (C, H, W) float32 in [-1, 1]; and (C, H, W) -> PNG, written atomically."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pil
from PIL import ImageOps
from torch import Tensor

from ...core.data.files import shown
from ...core.types import BadInput

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"),
    *(".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".tga"),
)
MOST_PIXELS = 100_000_000
"""Maximum pixels of a picture, checked before decoding: a small file can decompress to more than the memory."""

# Formats that Pillow decodes itself; others (EPS) start external programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "TGA")


class BadPicture(BadInput):
    """A file that cannot be read as a picture, with `path` and `reason`."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{shown(path)}: {reason}")
        self.path, self.reason = path, reason


def read(path: Path | str, channels: int = 3, cover: tuple[int, int] | None = None) -> Tensor:
    """A picture file as (C, H, W) float32 in [-1, 1], upright; the first frame of an animation.

    Transparent pixels are composed on white, as most viewers do: drawings and logos with a transparent background are
    mostly dark. 16-bit grey keeps its precision, 16-bit colour is read as 8-bit.

    Args:
        path: The file.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB); pictures of the other kind are converted.
        cover: (H, W) that the resized picture just covers with its aspect ratio kept (bicubic with low-pass); None: no
            resizing.

    Raises:
        BadPicture: With the file and the reason.
    """
    levels = np.asarray(_open(Path(path), channels, cover), dtype=np.float32)
    return torch.from_numpy(_channels_first(levels, channels)).div(127.5).sub(1).clamp(-1, 1)


def read_bytes(path: Path | str, channels: int = 3, cover: tuple[int, int] | None = None) -> np.ndarray:
    """As `read`, rounded to (C, H, W) uint8."""
    levels = np.asarray(_open(Path(path), channels, cover))
    if levels.dtype != np.uint8:
        levels = levels.clip(0, 255).round().astype(np.uint8)
    return _channels_first(levels, channels)


def _channels_first(levels: np.ndarray, channels: int) -> np.ndarray:
    """(H, W) or (H, W, C) -> (C, H, W), contiguous and writable; grey is repeated for RGB."""
    levels = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
    return np.array(np.broadcast_to(levels, (channels, *levels.shape[1:])))


def _open(path: Path, channels: int, cover: tuple[int, int] | None) -> Pil.Image:
    if path.is_dir():
        raise BadPicture(path, "is a folder")
    if not path.exists():
        raise BadPicture(path, "a link that leads nowhere" if path.is_symlink() else "no such file")
    try:
        if path.stat().st_size == 0:
            raise BadPicture(path, "zero bytes")
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow warns about half the limit below, about unusual EXIF blocks, and so on
            with Pil.open(path, formats=_formats()) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise BadPicture(path, f"{picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}")
                if cover and picture.format == "JPEG":
                    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which saves most of the time.
                    picture.draft(None, (2 * max(cover), 2 * max(cover)))
                picture.load()
                return resize(_plain(_upright(picture), channels), cover)
    except BadInput:
        raise
    except Pil.UnidentifiedImageError:
        raise BadPicture(path, f"not a picture: it starts with {_start(path)}") from None
    except Pil.DecompressionBombError:
        raise BadPicture(path, f"more than {MOST_PIXELS:,} pixels") from None
    except PermissionError:
        raise BadPicture(path, "may not be read (permission denied)") from None
    except MemoryError:
        raise BadPicture(path, "does not fit into memory") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        text = str(error)
        cut = isinstance(error, EOFError) or "truncated" in text or "Truncated" in text
        raise BadPicture(path, f"{'truncated' if cut else 'corrupt'}: {text or type(error).__name__}") from error


@cache
def _formats() -> tuple[str, ...]:
    Pil.init()  # loads the decoders of Pillow; a build may lack some (WebP)
    return tuple(name for name in _FORMATS if name in Pil.OPEN)


def _upright(picture: Pil.Image) -> Pil.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # the pixels are usable despite a damaged EXIF block
        return picture


def _plain(picture: Pil.Image, channels: int) -> Pil.Image:
    """Mode L, RGB, or F with levels from 0 to 255."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep(picture)
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        background = Pil.new("RGBA", picture.size, "white")
        picture = Pil.alpha_composite(background, picture).convert("RGB")
    return picture.convert("L" if channels == 1 else "RGB")


def _deep(picture: Pil.Image) -> Pil.Image:
    levels = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("holds values that are not finite")
    low, high = float(levels.min()), float(levels.max())
    full = 1.0 if picture.mode == "F" else 65535.0
    if low < 0 or high > full:
        raise ValueError(f"grey levels from {low:g} to {high:g}; expected 0 to {full:g}")
    return Pil.fromarray((levels * (255 / full)).astype(np.float32))


def properties(path: Path | str) -> tuple[int, tuple[int, int]]:
    """Channels (1 for grey, 3 for colour) and (H, W), upright, of a picture file, which is not decoded.

    Raises:
        BadPicture: The file cannot be opened.
    """
    try:
        with Pil.open(path, formats=_formats()) as picture:
            grey = picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;")
            with suppress(Exception):  # the size is usable despite a damaged EXIF block
                if picture.getexif().get(0x0112) in (5, 6, 7, 8):  # turned by a quarter
                    return 1 if grey else 3, (picture.width, picture.height)
            return 1 if grey else 3, (picture.height, picture.width)
    except (OSError, ValueError) as error:
        raise BadPicture(Path(path), str(error)) from error


def covering(size: tuple[int, int], cover: tuple[int, int]) -> tuple[int, int]:
    """The size (H, W) of the same aspect ratio that just covers `cover` (H, W)."""
    factor = max(cover[0] / size[0], cover[1] / size[1])
    return max(cover[0], round(size[0] * factor)), max(cover[1], round(size[1] * factor))


def resize(picture: Pil.Image, cover: tuple[int, int] | None) -> Pil.Image:
    """The picture resized to just cover (H, W) with its aspect ratio kept: bicubic, with low-pass for reduction."""
    if cover is None:
        return picture
    height, width = covering((picture.height, picture.width), cover)
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Pil.Resampling.BICUBIC)


def crop(media: Tensor, size: tuple[int, int], rng: np.random.Generator | None = None) -> Tensor:
    """A crop of (C, H, W), at least as large, to `size` at the centre, or at a random position with `rng`."""
    top, left = media.shape[-2] - size[0], media.shape[-1] - size[1]
    if rng is None:
        top, left = top // 2, left // 2
    else:
        top, left = int(rng.integers(top + 1)), int(rng.integers(left + 1))
    return media[..., top : top + size[0], left : left + size[1]]


def _start(path: Path) -> str:
    with open(path, "rb") as file:
        return repr(file.read(12))


def as_bytes(media: Tensor) -> np.ndarray:
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


def write(path: Path | str, media: Tensor) -> Path:
    """Write (C, H, W) in [-1, 1] as an 8-bit PNG; BadInput for non-finite values."""
    return save(Path(path), Pil.fromarray(as_bytes(media)), format="PNG")


def save(path: Path, picture: Pil.Image, **options) -> Path:
    """Save to a temporary file and rename it, so that no partial picture remains. Creates missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        picture.save(part, **options)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
