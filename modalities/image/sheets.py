"""Pictures of many pictures: a grid with captions, a strip of steps, an animation."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont
from torch import Tensor

from ...core.types import BadInput
from .files import as_bytes, save

_PAPER, _INK = (255, 255, 255), (70, 70, 70)
_GAP, _FONT, _LINES = 6, 11, 4
_CELL = 96


def grid(
    media: Sequence[Tensor], captions: Sequence[str] = (), columns: int | None = None, cell: int = _CELL
) -> Pil.Image:
    """A grid of (C, H, W) pictures in reading order, each under its caption if there is one.

    Pictures are enlarged by a whole number, each pixel to a square, until they have about `cell` pixels.

    columns: None: about as many as rows, and a divisor of the count where one is near, so that no row is short
    """
    if not media:
        raise BadInput("a sheet needs at least one picture")
    if captions and len(captions) != len(media):
        raise BadInput(f"{len(captions)} captions for {len(media)} pictures")
    pictures = [Pil.fromarray(as_bytes(m)).convert("RGB") for m in media]
    widest, tallest = max(p.width for p in pictures), max(p.height for p in pictures)
    scale = max(1, round(cell / max(widest, tallest)))
    wide, tall = widest * scale, tallest * scale
    font = ImageFont.load_default(_FONT)
    lines = [_wrap(text, wide, font) for text in captions] or [[]] * len(pictures)
    words = max(len(text) for text in lines) * (_FONT + 2)
    across = columns or _columns(len(pictures))
    down = math.ceil(len(pictures) / across)
    step_x, step_y = wide + _GAP, tall + words + _GAP
    sheet = Pil.new("RGB", (across * step_x + _GAP, down * step_y + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (picture, text) in enumerate(zip(pictures, lines, strict=True)):
        x, y = _GAP + i % across * step_x, _GAP + i // across * step_y
        sheet.paste(picture.resize((picture.width * scale, picture.height * scale), Pil.Resampling.NEAREST), (x, y))
        for row, line in enumerate(text):
            pen.text((x, y + tall + 1 + row * (_FONT + 2)), line, fill=_INK, font=font)
    return sheet


def strip(path: Path, steps: Sequence[Sequence[Tensor]], captions: Sequence[str] = ()) -> Path:
    """A trajectory as one PNG: a row for each sample, a column for each step, steps named by `captions`.

    steps: for each step the pictures (C, H, W) of all samples
    """
    _check(steps)
    samples = len(steps[0])
    media = [step[sample] for sample in range(samples) for step in steps]
    names = [*captions, *[""] * (len(media) - len(captions))] if captions else ()
    return save(path, grid(media, names, columns=len(steps)), format="PNG")


def animate(path: Path, steps: Sequence[Sequence[Tensor]], seconds: float = 3.0, columns: int | None = None) -> Path:
    """A trajectory as an endless GIF: each step is a grid of all samples; the last one stays for 1.5 s.

    steps:   for each step the pictures (C, H, W) of all samples
    seconds: time from the first step to the last
    """
    _check(steps)
    frames = [grid(step, columns=columns) for step in steps]
    each = max(20, round(1000 * seconds / len(frames)))
    # One palette for all frames, from the first, a middle and the last: else colours flicker from frame to frame.
    chosen = [frames[0], frames[len(frames) // 2], frames[-1]]
    both = Pil.fromarray(np.concatenate([np.asarray(f) for f in chosen]))
    palette = both.quantize(256, method=Pil.Quantize.MEDIANCUT)
    flat = [f.quantize(palette=palette, dither=Pil.Dither.NONE) for f in frames]
    times = [each] * (len(flat) - 1) + [1500]
    return save(path, flat[0], format="GIF", save_all=True, append_images=flat[1:], duration=times, loop=0)


def _check(steps: Sequence[Sequence[Tensor]]) -> None:
    if not steps or not steps[0] or len({len(step) for step in steps}) > 1:
        raise BadInput("a trajectory needs at least one step, and the same number of pictures at each")


def _columns(count: int) -> int:
    """The divisor of `count` between its root and twice that, else the root rounded up."""
    root = math.ceil(math.sqrt(count))
    return next((n for n in range(root, 2 * root + 1) if count % n == 0), root)


def _wrap(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """At most four lines that fit into `width` pixels."""
    letters = max(4, int(width / max(1.0, font.getlength("abcdefghijklmnopqrst") / 20)))
    return textwrap.wrap(text, letters, max_lines=_LINES, placeholder="…")
