"""Images of sounds with Pillow: waveforms and spectrograms in grids, strips and animations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from ..caption_fonts import caption_font
from . import dsp

RANGE = 60.0  # dB; range of a spectrogram below its maximum
_INK, _PAPER, _WAVE, _GRID = (28, 30, 38), (255, 255, 255), (38, 92, 160), (226, 229, 235)
_GAP, _TEXT = 8, 14

# From black through violet and orange to pale yellow; lightness increases uniformly, also in greyscale.
_STOPS = np.array([
    (8, 8, 20), (34, 16, 72), (82, 22, 110), (134, 34, 112), (186, 52, 92), (226, 88, 58), (246, 142, 38),
    (250, 198, 80), (252, 250, 200),
])  # fmt: skip


def levels_to_rgb(level: np.ndarray) -> np.ndarray:
    """Levels in [0, 1], any shape -> RGB uint8 (..., 3)."""
    place = np.clip(level, 0, 1) * (len(_STOPS) - 1)
    return np.stack([np.interp(place, np.arange(len(_STOPS)), _STOPS[:, c]) for c in range(3)], -1).astype(np.uint8)


def spectrogram_image(
    sound: Tensor, rate: float, width: int, height: int, reference: float | None = None
) -> Image.Image:
    """(C, frames) as an image: time to the right, frequency upwards on the mel scale, brightness in dB.

    Args:
        reference: Magnitude of the brightest colour; None: the maximum of the sound.
    """
    n_fft = 2 ** max(6, round(math.log2(rate * 0.03)))
    sound = torch.nan_to_num(sound.detach().float().cpu())
    hop = min(max(1, round(sound.shape[-1] / width)), n_fft // 2)
    padded = functional.pad(sound, (0, -sound.shape[-1] % hop))
    power = dsp.stft(padded, n_fft, hop).abs().square().mean(0)  # not of the mean, in which channels may cancel
    magnitude = power.sqrt().numpy()
    reference = float(magnitude.max()) if reference is None else reference
    level = 20 * np.log10(np.maximum(magnitude, 1e-12) / max(reference, 1e-9))
    top = 1127 * math.log1p(rate / 2 / 700)
    hertz = 700 * np.expm1(np.linspace(top, 0, height) / 1127)  # row 0 is the highest
    place = hertz / (rate / 2) * (magnitude.shape[0] - 1)
    low = np.minimum(place.astype(int), magnitude.shape[0] - 2)
    share = (place - low)[:, None]
    rows = level[low] * (1 - share) + level[low + 1] * share
    picture = Image.fromarray(levels_to_rgb(1 + rows / RANGE))
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def waveform_image(sound: Tensor, width: int, height: int) -> Image.Image:
    """(C, frames) as an image: minimum and maximum sample of each column; full scale is the full height."""
    picture = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    wave = torch.nan_to_num(sound.detach().float().cpu()).clamp(-1, 1).numpy()
    edges = np.linspace(0, wave.shape[1], width + 1).astype(int)
    middle = (height - 1) / 2
    pen.line([(0, middle), (width, middle)], fill=_GRID)
    for x, (start, end) in enumerate(pairwise(edges)):
        piece = wave[:, start : max(end, start + 1)]
        if piece.size:
            pen.line([(x, middle - piece.max() * middle), (x, middle - piece.min() * middle)], fill=_WAVE)
    return picture


def _text(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int) -> None:
    """One line of text, cut to `width` pixels."""
    font, text = caption_font(text, 10)
    while text and pen.textlength(text, font) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    pen.text(at, text, fill=_INK, font=font)


def _tile(sound: Tensor, rate: float, width: int, caption: str | None, reference: float | None = None) -> Image.Image:
    """Caption, waveform and spectrogram, stacked vertically."""
    text = _TEXT if caption is not None else 0
    picture = Image.new("RGB", (width, text + 34 + 90), _PAPER)
    if caption:
        _text(ImageDraw.Draw(picture), (1, 0), caption, width)
    picture.paste(waveform_image(sound, width, 32), (0, text))
    picture.paste(spectrogram_image(sound, rate, width, 90, reference), (0, text + 34))
    return picture


def _compose(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _PAPER)
    for i, tile in enumerate(tiles):
        page.paste(tile, (_GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + _GAP)))
    return page


def contact_sheet(media: Sequence[Tensor], rate: float, captions: Sequence[str] = ()) -> Image.Image:
    """A grid: caption, waveform and spectrogram of each (C, frames) sound, four to eight per row."""
    columns = min(len(media), max(4, min(8, math.ceil(math.sqrt(len(media))))))
    texts = [*captions, *[""] * (len(media) - len(captions))] if captions else [None] * len(media)
    tiles = [_tile(m, rate, 190, text) for m, text in zip(media, texts, strict=False)]
    return _compose(tiles, columns)


def trajectory_grid(rows: Sequence[Sequence[Tensor]], rate: float) -> Image.Image:
    """One row per sample, one spectrogram per step; brightness is relative to the maximum of each spectrogram."""
    tiles = []
    for row in rows:
        tiles += [spectrogram_image(m, rate, 120, 96) for m in row]
    return _compose(tiles, len(rows[0]))


def animation_pages(frames: Sequence[Sequence[Tensor]], rate: float) -> list[Image.Image]:
    """One sheet per step, all with one palette so that colours are constant."""
    pages = [_compose([_tile(m, rate, 190, None) for m in media], min(len(media), 4)) for media in frames]
    palette = pages[-1].quantize(128)
    return [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]


def save_png(picture: Image.Image, path: Path) -> Path:
    """Write a PNG; a missing folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG", optimize=True)
    return path


def save_gif(pages: Sequence[Image.Image], path: Path, step: int = 120, rest: int = 1500) -> Path:
    """Write a looping GIF: `step` ms per page, `rest` ms for the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [step] * (len(pages) - 1) + [rest]
    pages[0].save(path, "GIF", save_all=True, append_images=list(pages[1:]), duration=times, loop=0, optimize=False)
    return path
