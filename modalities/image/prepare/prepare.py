"""Measurements of picture files by `sonolux prepare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pil
from pydantic import BaseModel, FiniteFloat, PositiveInt

from ....core.data.manifest import Line
from ....core.data.prepare.types import Pair, PrepareContext, Proposal, Summary
from ....core.util.plots import Panel
from .. import io
from . import copies as prepare_copies
from .recipe import propose

_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}


class PictureFacts(BaseModel):
    """Measurements of a picture, see `facts`."""

    width: PositiveInt
    height: PositiveInt
    format: str
    mode: str
    bits: PositiveInt
    grey: bool
    flat: FiniteFloat
    remarks: list[str]


class PicturePreparer:
    """Sizes, modes, formats and depths of pictures; near copies by comparison of their details."""

    modality = "image"
    nouns = ("picture", "pictures")
    suffixes = io.SUFFIXES
    foreign = frozenset(
        f".{name}"
        for name in (
            "heic",
            "heif",
            "avif",
            "svg",
            "psd",
            "xcf",
            "jp2",
            "jxl",
            "cr2",
            "cr3",
            "nef",
            "arw",
            "dng",
            "exr",
        )
    )
    analysis = 1
    facts = PictureFacts

    def begin(self, count: int) -> None:
        """Nothing to do: a trace has only 2 kB."""

    def inspect(self, path: Path) -> tuple[Line, Any]:
        """Measurements of one file and its thumbnail.

        Raises:
            io.BadPicture: For a file that cannot be decoded.
        """
        try:
            levels = io.read_bytes(path)
        except io.BadPicture as error:
            if path.suffix.casefold() in self.foreign and error.reason.startswith("not a picture"):
                raise io.BadPicture(
                    path, f"{path.suffix.lower()} is not read: convert it, for example to PNG"
                ) from None
            raise
        picture = Pil.fromarray(levels.transpose(1, 2, 0))
        return facts(path, levels), prepare_copies.thumbnail(picture)

    def trace(self, path: Path) -> Any:
        """Only the thumbnail of a file."""
        return prepare_copies.thumbnail(Pil.fromarray(io.read_bytes(path).transpose(1, 2, 0)))

    def similar_pairs(self, traces: Sequence[Any]) -> list[Pair]:
        """Pairs of near copies: one picture in another size, format or brightness, mirrored or slightly cropped."""
        return prepare_copies.pairs(traces)

    def summarise(self, lines: Sequence[Line]) -> Summary:
        """Sizes, modes, formats and remarks."""
        return summarise(lines)

    def propose(self, lines: Sequence[Line], context: PrepareContext) -> Proposal:
        """An image/folder recipe."""
        return propose(lines, context)


def facts(path: Path, levels: np.ndarray) -> Line:
    """The manifest entry of a picture with decoded levels (3, H, W) uint8.

    width, height: upright, in pixels; format, mode: of the file; bits: per channel; grey: whether there is no
    colour; flat: % of pixels with the most frequent level; remarks.
    """
    with Pil.open(path) as picture:
        kind, mode, frames = picture.format, picture.mode, getattr(picture, "n_frames", 1)
        clear = "A" in mode or "transparency" in picture.info
    spread = levels.max(0).astype(int) - levels.min(0).astype(int)
    remarks = [f"moves: the first of {frames} frames is used"] if frames > 1 else []
    remarks += ["is transparent: laid on white"] if clear else []
    common = np.bincount(levels[1].ravel(), minlength=256).max() / levels[1].size
    if common > 0.999:
        remarks.append("is of one colour")
    return {
        "width": levels.shape[2],
        "height": levels.shape[1],
        "format": kind,
        "mode": mode,
        "bits": _BITS.get(mode, 8),
        "grey": bool(spread.max() <= 8),
        "flat": round(100 * float(common), 1),
        "remarks": remarks,
    }


def summarise(lines: Sequence[Line]) -> Summary:
    """Summary of the measurements: numbers, lines of text and plots."""
    short = [min(line["width"], line["height"]) for line in lines]
    shape = [line["width"] / line["height"] for line in lines]
    sizes = Counter(f"{line['width']}x{line['height']}" for line in lines).most_common()
    kinds = Counter(f"{line['format']} {line['mode']}, {line['bits']} bits" for line in lines).most_common()
    remarks = Counter(remark.split(":")[0] for line in lines for remark in line["remarks"]).most_common()
    grey = sum(line["grey"] for line in lines)
    numbers = {
        "sizes": dict(sizes[:50]),
        "formats": dict(kinds),
        "grey": grey,
        "short_side": {"least": min(short), "median": float(np.median(short)), "most": max(short)},
        "remarks": dict(remarks),
    }
    more = f", {len(sizes) - 4} others" if len(sizes) > 4 else ""
    text = [
        f"  size        {', '.join(f'{size} ({n})' for size, n in sizes[:4])}{more}; shorter side {min(short)} to "
        f"{max(short)}, median {np.median(short):.0f} pixels",
        f"  shape       width / height {min(shape):.2f} to {max(shape):.2f}",
        f"  format      {', '.join(f'{kind} ({n})' for kind, n in kinds[:5])}",
        f"  colour      {len(lines) - grey} in colour, {grey} grey",
    ]
    if remarks:
        text.append("  remarks     " + ", ".join(f"{n} {what}" for what, n in remarks[:6]))
    classes = Counter(line["label"] for line in lines if line["label"] is not None)
    panels = [
        Panel("shorter side", "pixels", short, log=True),
        Panel("width / height", "", shape, log=True),
        Panel("size", "files", dict(sizes)),
        Panel("format", "files", dict(kinds)),
        Panel("most frequent level", "% of a picture's pixels", [line["flat"] for line in lines]),
    ]
    if classes:
        panels.append(Panel("classes", "files", dict(classes)))
    return Summary(numbers, text, panels)
