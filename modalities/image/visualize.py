"""Several pictures in one: a grid with captions, a strip of steps, an animation."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pil
from PIL import ImageDraw
from torch import Tensor

from ...core.types import BadInput
from ..caption_fonts import Font, caption_font
from .io import media_to_uint8, save_picture

_PAPER, _INK = (255, 255, 255), (70, 70, 70)
_GAP, _FONT, _LINES = 6, 11, 4
_CELL = 96


def contact_sheet(
    media: Sequence[Tensor], captions: Sequence[str] = (), columns: int | None = None, cell: int = _CELL
) -> Pil.Image:
    """A grid of (C, H, W) pictures in reading order, with optional captions.

    Pictures are enlarged by a whole number, each pixel to a square, until they have about `cell` pixels.

    Args:
        media: (C, H, W) each.
        captions: One text per picture, or none.
        columns: Number of columns; None: about the number of rows, preferably a divisor of the number of pictures.
        cell: Approximate size of a picture in pixels.
    """
    if not media:
        raise BadInput("a sheet needs at least one picture")
    if captions and len(captions) != len(media):
        raise BadInput(f"{len(captions)} captions for {len(media)} pictures")
    pictures = [Pil.fromarray(media_to_uint8(m)).convert("RGB") for m in media]
    widest, tallest = max(p.width for p in pictures), max(p.height for p in pictures)
    scale = max(1, round(cell / max(widest, tallest)))
    wide, tall = widest * scale, tallest * scale
    fonts = [caption_font(text, _FONT) for text in captions]
    lines = [_wrap(text, wide, font) for font, text in fonts] or [[]] * len(pictures)
    across = columns or _columns(len(pictures))
    rows = [range(i, min(i + across, len(pictures))) for i in range(0, len(pictures), across)]
    words = [max(len(lines[i]) for i in row) * (_FONT + 2) for row in rows]
    height = _GAP + sum(tall + space + _GAP for space in words)
    sheet = Pil.new("RGB", (across * (wide + _GAP) + _GAP, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    y = _GAP
    for row, space in zip(rows, words, strict=True):
        for column, i in enumerate(row):
            x, picture = _GAP + column * (wide + _GAP), pictures[i]
            enlarged = picture.resize((picture.width * scale, picture.height * scale), Pil.Resampling.NEAREST)
            sheet.paste(enlarged, (x, y))
            for number, line in enumerate(lines[i]):
                pen.text((x, y + tall + 1 + number * (_FONT + 2)), line, fill=_INK, font=fonts[i][0])
        y += tall + space + _GAP
    return sheet


def write_trajectory_grid(path: Path, rows: Sequence[Sequence[Tensor]], captions: Sequence[str] = ()) -> Path:
    """A trajectory as one PNG: a row for each sample, (C, H, W) pictures from left to right during denoising.

    Args:
        path: Target file.
        rows: For each sample the pictures of its steps.
        captions: One per column, below the first row.
    """
    _check(rows)
    media = [picture for row in rows for picture in row]
    names = [*captions, *[""] * (len(media) - len(captions))] if captions else ()
    return save_picture(path, contact_sheet(media, names, columns=len(rows[0])), format="PNG")


def write_trajectory_gif(path: Path, frames: Sequence[Sequence[Tensor]], seconds: float = 3.0) -> Path:
    """A trajectory as a looping GIF: each frame holds the same samples; the last one stays for 1.5 s.

    Args:
        path: Target file.
        frames: For each step the pictures (C, H, W) of all samples; up to eight are in one row.
        seconds: Time from the first frame to the last.
    """
    _check(frames)
    samples = len(frames[0])
    pictures = [contact_sheet(frame, columns=samples if samples <= 8 else None) for frame in frames]
    each = max(20, round(1000 * seconds / len(pictures)))
    # One palette for all frames, to avoid flicker; the last frame has the weight of a third of them.
    chosen = pictures[:: 1 + len(pictures) // 24]
    chosen += [pictures[-1]] * (1 + len(chosen) // 3)
    together = Pil.fromarray(np.concatenate([np.asarray(picture) for picture in chosen]))
    palette = together.quantize(256, method=Pil.Quantize.MEDIANCUT)
    flat = [picture.quantize(palette=palette, dither=Pil.Dither.NONE) for picture in pictures]
    times = [each] * (len(flat) - 1) + [1500]
    return save_picture(path, flat[0], format="GIF", save_all=True, append_images=flat[1:], duration=times, loop=0)


def _check(rows: Sequence[Sequence[Tensor]]) -> None:
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise BadInput(
            "a trajectory needs at least one picture in each row or frame, and the same number in all of them"
        )


def _columns(count: int) -> int:
    """The divisor of `count` between its root and twice that, else the root rounded up."""
    root = math.ceil(math.sqrt(count))
    return next((n for n in range(root, 2 * root + 1) if count % n == 0), root)


def _wrap(text: str, width: int, font: Font) -> list[str]:
    """At most four lines that fit into `width` pixels."""
    mean = max(1.0, font.getlength("abcdefghijklmnopqrst") / 20, font.getlength(text) / max(1, len(text)))
    letters = max(4, int(width / mean))
    return textwrap.wrap(text, letters, max_lines=_LINES, placeholder="…")
