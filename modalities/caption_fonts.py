"""Fonts for captions of pictures, and what is written for letters that no font has."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def caption_font(text: str, size: int) -> tuple[Font, str]:
    """A font for a caption, and the caption as this font can show it, with single spaces.

    Pillow's own font for what it has, such as English; otherwise DejaVu Sans of matplotlib, which has Greek, Cyrillic,
    Hebrew, Arabic and others. An emoji that it lacks is written as its name, `:dog face:`, and a letter as its number,
    `\\u65e5`.

    Args:
        text: The caption.
        size: Size of the letters in pixels.
    """
    text = " ".join(text.split())
    default = _default_font(size)
    if all(_has_letter(default, letter) for letter in text):
        return default, text
    font = _wide_font(size) or default
    return font, "".join(letter if _has_letter(font, letter) else _written(letter) for letter in text)


@lru_cache(maxsize=4)
def _default_font(size: int) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=4)
def _wide_font(size: int) -> Font | None:
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    try:
        return ImageFont.truetype(Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)
    except (OSError, ImportError):  # another place of the file, or Pillow without FreeType
        return None


@lru_cache(maxsize=2**12)
def _has_letter(font: Font, letter: str) -> bool:
    """Whether a font has a letter: it is drawn otherwise than a code point that no font has."""
    if isinstance(font, ImageFont.FreeTypeFont):  # without layout, which draws a circle below a mark
        font = font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    try:
        masks = map(font.getmask, (letter, "\U0010ffff"))
        shapes = [(mask.size, bytes(mask)) for mask in masks]  # pyright: ignore[reportArgumentType] (it is a buffer)
    except UnicodeEncodeError:  # Pillow without FreeType supports only Latin letters
        return letter.isascii()
    return shapes[0] != shapes[1]


def _written(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind[0] == "M" or kind == "Cf":  # marks and joiners of other letters
        return ""
    if kind in ("So", "Sk") and (name := unicodedata.name(letter, "")):
        return f":{name.lower()}:"
    return letter.encode("ascii", "backslashreplace").decode()
