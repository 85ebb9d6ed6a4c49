"""Converts a decoded picture of any mode to grey or RGB levels from 0 to 255: depth, transparency, colour profiles."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image as Pil
from PIL import ImageCms

_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # mode -> colour space of its profiles
_MOST_PROFILE = 4_000_000  # bytes of a colour profile
_SAME = 2  # largest difference of a level, of 255, for which two colour spaces are the same
_DARK = 255 / 8  # brightest level of a picture that is almost black


class ColourConverter:
    """Converts parts of one loaded picture to mode L, RGB, or F with levels from 0 to 255 for deep grey.

    Transparent parts are composed on white. Levels of pictures with a colour profile are converted to sRGB.

    Args:
        picture: The loaded picture.
        channels: 1 or 3.
        packed: How the file stored its pixels, as Pillow calls it ("L;4", "RGB;16B"); "": not known.

    Attributes:
        remarks: Notes for the user.
    """

    def __init__(self, picture: Pil.Image, channels: int, packed: str = ""):
        self.channels = channels
        self.deep = picture.mode.startswith("I") or picture.mode == "F"
        tags: Any = getattr(picture, "tag_v2", {})
        self._inverted = self.deep and tags.get(262) == 0  # PhotometricInterpretation: white is zero
        bits = tags.get(258, (16,))[0]
        self._full = 1.0 if picture.mode == "F" else 2.0**bits - 1 if 8 < bits < 16 else 65535.0
        self._clear = _clear_level(picture, packed)
        self.transparent = picture.mode in _ALPHA or self._clear is not None
        self.remarks: list[str] = []
        self._profile = picture.info.get("icc_profile") or b""
        self._opaque = not self.transparent

    def convert(self, part: Pil.Image) -> Pil.Image:
        """A part of the picture.

        Raises:
            ValueError: For deep grey with levels outside of their range.
        """
        if self.deep:
            return self._grey(part)
        if not self.transparent:
            return self._output(self._to_srgb(part, "RGB" if part.mode in ("P", "YCbCr", "HSV") else part.mode))
        if self._clear is not None:
            part.info["transparency"] = self._clear
        whole = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")
        alpha = whole.getchannel("A")
        self._opaque = self._opaque or alpha.getextrema() != (0, 0)
        if self._profile:
            mode = "L" if part.mode in ("L", "LA", "La", "1") else "RGB"
            whole = self._to_srgb(whole.convert(mode), mode).convert("RGBA")
            whole.putalpha(alpha)
        return self._output(Pil.alpha_composite(Pil.new("RGBA", part.size, "white"), whole))

    def finish(self, levels: np.ndarray) -> list[str]:
        """The remarks on the picture.

        Args:
            levels: All of its levels, 0 to 255.
        """
        if not self._opaque:
            self.remarks.append("is transparent everywhere: it is read as white")
        elif (brightest := float(levels.max())) <= _DARK:
            self.remarks.append(f"is almost black: its brightest level is {brightest:.3g} of 255")
        return self.remarks

    def _output(self, part: Pil.Image) -> Pil.Image:
        if part.mode not in ("L", "RGB"):
            part = part.convert("RGB")  # Pillow converts LAB to RGB only
        return part.convert("L" if self.channels == 1 else "RGB")

    def _grey(self, part: Pil.Image) -> Pil.Image:
        stored = np.asarray(part)
        levels, full = stored.astype(np.float64), self._full
        if not np.isfinite(levels).all():
            raise ValueError("holds values that are not finite")
        low, high = float(levels.min()), float(levels.max())
        if low < 0 or high > full:
            raise ValueError(f"grey levels from {low:g} to {high:g}; expected 0 to {full:g}")
        levels *= 255 / full
        if self._inverted:
            levels = 255 - levels
        if self._profile:
            ramp = Pil.fromarray(np.arange(256, dtype=np.uint8)[None])
            levels = np.interp(levels, np.arange(256), np.asarray(self._to_srgb(ramp, "L").convert("L"))[0])
        if self._clear is not None:
            clear = stored == self._clear
            self._opaque = self._opaque or not clear.all()
            levels[clear] = 255
        return Pil.fromarray(levels.astype(np.float32))

    def _to_srgb(self, part: Pil.Image, mode: str) -> Pil.Image:
        """The part, converted to `mode` and from the colour space of the profile to sRGB."""
        if not self._profile or mode not in _SPACES:
            return part
        part = part.convert(mode)
        transform, about = _transform(self._profile, mode)
        if about and about not in self.remarks:
            self.remarks.append(about)
        return part if transform is None else ImageCms.applyTransform(part, transform) or part


def _clear_level(picture: Pil.Image, packed: str) -> Any:
    """The transparent level or palette entries of a picture without an alpha channel; None: it has none.

    Pillow scales the levels of 2 and 4 bits to 8, and drops the low byte of 16-bit colours, but leaves the transparent
    level as the file states it.
    """
    clear = picture.info.get("transparency")
    if isinstance(clear, int) and packed in ("L;2", "L;4"):
        return clear * (85 if packed == "L;2" else 17)
    if isinstance(clear, tuple) and "16" in packed:
        return tuple(level >> 8 for level in clear)
    return clear


@lru_cache(maxsize=16)
def _transform(data: bytes, mode: str) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """The transform of a colour profile to sRGB, or None where it changes nothing or cannot be used; and a remark."""
    if len(data) > _MOST_PROFILE:
        return None, f"has a colour profile of {len(data)} bytes: it is ignored"
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if str(getattr(profile.profile, "xcolor_space", "")).strip() != _SPACES[mode]:
            return None, f"has a colour profile for other than {_SPACES[mode]} pictures: it is ignored"
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
        name = "".join(c for c in ImageCms.getProfileDescription(profile).strip() if c.isprintable())[:40]
    except (ImageCms.PyCMSError, ImportError, OSError, TypeError, ValueError):
        return None, "has a colour profile that cannot be used: it is ignored"
    if mode != "CMYK":
        before = _probe(mode)
        after = np.asarray(ImageCms.applyTransform(before, transform), dtype=int)
        if np.abs(after - np.asarray(before.convert("RGB"), dtype=int)).max() <= _SAME:
            return None, ""
    return transform, f"is converted to sRGB: its colour profile is {name or 'another one'}"


def _probe(mode: str) -> Pil.Image:
    """All grey levels, or a grid of colours, in one row."""
    if mode == "L":
        return Pil.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    return Pil.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3))
