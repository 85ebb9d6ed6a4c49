"""Measurements of picture files by `sonolux prepare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image as Pil
from pydantic import Field, PositiveInt, model_validator

from ....core.data.manifest import ManifestLine
from ....core.data.prepare.types import MediaSummary, NearCopyPair, ProposedRecipe, RecipeProposalContext
from ....core.util.json_files import StoredRecord
from ....core.util.notes import ignore_library_warnings
from ....core.util.plots import DistributionPlot
from .. import io
from . import near_copies as prepare_copies
from .recipe import propose_recipe

_MEASURED = 4_000_000  # pixels of a large picture when it is measured
_COUNTED = 1_000_000  # bytes of a file whose frames are counted
_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}


class PictureFacts(StoredRecord):
    """Measurements of a picture, see `measure_picture`: values that a file within the limits of reading can have."""

    width: PositiveInt
    height: PositiveInt
    format: str
    mode: str
    bits: Annotated[int, Field(ge=1, le=32)]
    grey: bool
    flat: Annotated[float, Field(ge=0, le=100)]
    remarks: list[str]

    @model_validator(mode="after")
    def _within_limits(self) -> PictureFacts:
        if self.width * self.height > io.MOST_PIXELS:
            raise ValueError(f"more than {io.MOST_PIXELS:,} pixels")
        return self


class PictureFolderAnalyzer:
    """Sizes, modes, formats and depths of pictures; near copies by comparison of their details."""

    modality = "image"
    nouns = ("picture", "pictures")
    suffixes = io.SUFFIXES
    foreign = io.FOREIGN
    analysis = 2
    facts = PictureFacts

    def begin(self, count: int) -> None:
        """Nothing to do: a fingerprint has only 2 kB."""

    def inspect(self, path: Path) -> tuple[ManifestLine, Any]:
        """Measurements of one file and its thumbnail.

        Raises:
            io.UnreadablePicture: For a file that cannot be decoded.
        """
        picture = io.decode_picture(path, most=_MEASURED)
        levels = io.decoded_to_uint8(picture, 3)
        return measure_picture(path, picture, levels), _thumbnail(levels)

    def fingerprint(self, path: Path) -> Any:
        """Only the thumbnail of a file."""
        return _thumbnail(io.decoded_to_uint8(io.decode_picture(path, most=_MEASURED), 3))

    def near_copy_pairs(self, fingerprints: Sequence[Any]) -> list[NearCopyPair]:
        """Pairs of near copies: one picture in another size, format or brightness, mirrored or slightly cropped."""
        return prepare_copies.near_copy_pairs(fingerprints)

    def summarise(self, lines: Sequence[ManifestLine]) -> MediaSummary:
        """Sizes, modes, formats and remarks."""
        return summarise_pictures(lines)

    def propose(self, lines: Sequence[ManifestLine], context: RecipeProposalContext) -> ProposedRecipe:
        """An image/folder recipe."""
        return propose_recipe(lines, context)


def _thumbnail(levels: np.ndarray) -> np.ndarray:
    return prepare_copies.make_thumbnail(Pil.fromarray(levels.transpose(1, 2, 0)))


def measure_picture(path: Path, picture: io.DecodedPicture, levels: np.ndarray) -> ManifestLine:
    """The manifest entry of a decoded picture with levels (3, H, W) uint8.

    width, height: upright, in pixels; format, mode: of the file; bits: per channel; grey: whether there is no
    colour; flat: % of pixels with the most frequent level; remarks.
    """
    moves = _moves(path)
    remarks = [*([moves] if moves else []), *picture.remarks]
    remarks += ["has transparent parts: laid on white"] if picture.transparent else []
    common = np.bincount(levels[1].ravel(), minlength=256).max() / levels[1].size
    if common > 0.999:
        remarks.append("is of one colour")
    return {
        "width": picture.size[0],
        "height": picture.size[1],
        "format": picture.format,
        "mode": picture.mode,
        "bits": _BITS.get(picture.mode, 8),
        "grey": bool((np.maximum.reduce([*levels]) - np.minimum.reduce([*levels])).max() <= 8),
        "flat": round(100 * float(common), 1),
        "remarks": remarks,
    }


def _moves(path: Path) -> str | None:
    """A remark for a file of several frames, which are counted in small files only; None for others."""
    with ignore_library_warnings(), Pil.open(path) as picture:
        if path.stat().st_size <= _COUNTED:
            count = getattr(picture, "n_frames", 1)
            return f"moves: the first of {count} frames is used" if count > 1 else None
        return "moves: the first frame is used" if getattr(picture, "is_animated", False) else None


def summarise_pictures(lines: Sequence[ManifestLine]) -> MediaSummary:
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
        DistributionPlot("shorter side", "pixels", short, log=True),
        DistributionPlot("width / height", "", shape, log=True),
        DistributionPlot("size", "files", dict(sizes)),
        DistributionPlot("format", "files", dict(kinds)),
        DistributionPlot("most frequent level", "% of a picture's pixels", [line["flat"] for line in lines]),
    ]
    if classes:
        panels.append(DistributionPlot("classes", "files", dict(classes)))
    return MediaSummary(numbers, text, panels)
