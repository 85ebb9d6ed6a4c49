"""Pictures from a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from ....core.data import manifest as manifests
from ....core.data.files import (
    BadFiles,
    Row,
    class_names,
    content_hash,
    folder_labels,
    need_folder,
    progress,
    read_table,
    shown,
    walk,
)
from ....core.data.files import split as sides_of
from ....core.types import BadInput, MediaSpec
from ....core.util.annotations import Range
from ..io import SUFFIXES, BadPicture, read_bytes
from .base import Example, Pictures


class Folder(Pictures):
    """Pictures below a folder: PNG, JPEG, WebP, BMP, GIF (first frame), TIFF, PPM and TGA, in any mode and size.

    A picture is turned upright (EXIF), laid on white where it is transparent, converted to the recipe's channels,
    resized to just cover the recipe's size, and cropped to it. All are decoded once, at the start, and kept as bytes.

    The split is decided by the hash of each file's content: copies under other names fall on the same side, and neither
    renaming, moving nor adding files changes the side of another.

    spec: channels and size (H, W)
    root: the folder; files and folders whose names start with a dot are skipped, links are followed once; or the folder
        or manifest that `sonolux prepare` made of it
    manifest: what `sonolux prepare` wrote of the folder: its usable files are used, its classes and captions hold, and
        near copies stay in one part of the split
    label: the class is the name of the first folder below root, or, with a table that has labels, its label; or none
    table: CSV (with a header) or JSONL file with the columns file, label, caption; it then says which files are used
    resize: false crops the picture as it is, and refuses smaller ones
    crop: the middle, or anew each time at random (which, after resizing, moves along the longer side only)
    flip: mirror half of the pictures left to right, anew each time
    max_bad: share of unusable files, 0 to 1, that is skipped with a warning; more are refused
    cache: memory for decoded pictures in MB; what does not fit is decoded again each time
    split: which part of the examples
    valid: share of the examples that is for validation, 0 to 1
    seed: decides the split
    """

    def __init__(
        self,
        spec: MediaSpec,
        root: Path,
        manifest: Path | None = None,
        label: Literal["folder", "none"] = "folder",
        table: Path | None = None,
        resize: bool = True,
        crop: Literal["centre", "random"] = "centre",
        flip: bool = False,
        max_bad: Annotated[float, Range(0, 1)] = 0.05,
        cache: Annotated[int, Range(0)] = 2000,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
    ):
        where, listing = manifests.find(root, manifest, "image")
        root, bad = need_folder(where), BadFiles(max_bad)
        if listing is not None:
            rows, files, keys = _prepared(listing, root, table, bad)
        else:
            rows = read_table(table) if table is not None else []
            files, keys = [row.path(root) for row in rows] or _pictures(root), {}
        total = len(files) + len(bad.reasons)
        labels = _labels(label, rows, files, root, bad)
        classes = class_names([name for name in labels if name is not None], shown(root)) if label == "folder" else ()
        skipped = {path for path, _ in bad.reasons}
        size = (spec.size[0], spec.size[1])
        stamps = tuple(_stamp(path) for path in files)
        scanned = _scan(tuple(files), stamps, root, spec.channels, size, resize, crop == "random", cache)
        usable: list[Example] = []
        for path, name, row, found in zip(files, labels, rows or [None] * len(files), scanned, strict=True):
            source = shown(path, root)
            if source in skipped:
                continue
            if isinstance(found, str):
                bad.add(source, found)
            else:
                example = Example(source, found.pixels, name, size=found.size, hash=found.hash)
                if row is not None:
                    example.caption, example.attributes = row.caption, dict(row.more)
                usable.append(example)
        bad.check(total)
        sides = sides_of([keys.get(example.source, example.hash) for example in usable], valid, seed)
        chosen = [example for example, side in zip(usable, sides, strict=True) if side == split]
        self.root, self.bad = root, bad
        super().__init__(spec, chosen, classes, random=crop == "random", flip=flip)


def _prepared(
    listing: manifests.Manifest, root: Path, table: Path | None, bad: BadFiles
) -> tuple[list[Row], list[Path], dict[str, str]]:
    """Rows, files and split keys of a manifest's usable lines; files that have changed are told to `bad`."""
    if table is not None:
        raise BadInput("data.table and a manifest: give one; `sonolux prepare FOLDER --table` puts the table into it")
    lines = listing.usable()
    if not lines:
        raise BadInput(f"0 usable of {len(listing.lines)} files, says {shown(listing.path)}")
    rows, files, keys = [], [], {}
    for line, key in zip(lines, manifests.split_keys(lines), strict=True):
        path = manifests.path_of(line, root)
        reason = manifests.changed(line, path)
        if reason is not None:
            bad.add(line["file"], reason)
            continue
        rows.append(Row(line["file"], line["label"], line["caption"], line.get("more", {})))
        files.append(path)
        keys[shown(path, root)] = key
    return rows, files, keys


def _pictures(root: Path) -> list[Path]:
    files = walk(root, SUFFIXES)
    if not files:
        others = Counter(path.suffix.lower() or "no suffix" for path in walk(root)).most_common(3)
        instead = ", ".join(f"{n} files with {suffix}" for suffix, n in others) or "no files at all"
        raise BadInput(f"no picture ({' '.join(SUFFIXES)}) in {shown(root)}: it holds {instead}")
    return files


def _labels(label: str, rows: list[Row], files: list[Path], root: Path, bad: BadFiles) -> list[str | None]:
    if label == "none":
        return [None] * len(files)
    if any(row.label is not None for row in rows):
        for row in rows:
            if row.label is None:
                bad.add(row.file, "lies in no class folder")
        return [row.label for row in rows]
    outside = [path for path in files if not path.is_relative_to(root)]
    if outside:
        raise BadInput(
            f"{shown(outside[0])} does not lie below {shown(root)} and the table has no labels: it has no class"
        )
    return folder_labels(files, root, bad)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return (0, 0)
    return (facts.st_mtime_ns, facts.st_size)


# The two splits of a recipe are made one after the other from the same files: the second finds them decoded already.
@lru_cache(maxsize=1)
def _scan(
    files: tuple[Path, ...],
    stamps: tuple[tuple[int, int], ...],
    root: Path,
    channels: int,
    size: tuple[int, int],
    resize: bool,
    whole: bool,
    budget: int,
) -> list[Example | str]:
    """Each file decoded and hashed, or the reason why it cannot be."""
    found: list[Example | str] = []
    held = 0
    for path, (_, size_in_bytes) in zip(progress(files, "reading pictures", len(files)), stamps, strict=True):
        load = partial(_load, path, channels, size, resize, whole)
        try:
            pixels: np.ndarray | Callable[[], np.ndarray] = load()
            held += pixels.nbytes
            if held > budget * 1_000_000:
                held -= pixels.nbytes
                pixels = load
            found.append(Example(shown(path, root), pixels, size=size_in_bytes, hash=content_hash(path)))
        except BadPicture as error:
            found.append(error.reason)
        except OSError as error:
            found.append(str(error.strerror or error))
    return found


def _load(path: Path, channels: int, size: tuple[int, int], resize: bool, whole: bool) -> np.ndarray:
    """(C, H, W) uint8 that covers `size`; cropped to it unless `whole`, which random crops need."""
    pixels = read_bytes(path, channels, size if resize else None)
    height, width = pixels.shape[1:]
    top, left = height - size[0], width - size[1]
    if top < 0 or left < 0:
        raise BadPicture(path, f"{height} x {width} pixels, smaller than {size[0]} x {size[1]} (and data.resize=false)")
    if whole or not (top or left):
        return pixels
    return pixels[:, top // 2 : top // 2 + size[0], left // 2 : left // 2 + size[1]].copy()
