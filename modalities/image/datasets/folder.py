"""Pictures from a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from ....core.data import manifest as manifests
from ....core.data.files import BadFiles, class_names, content_hash, need_folder, progress, shown
from ....core.data.files import split as sides_of
from ....core.data.listing import labelled, listed_files
from ....core.types import MediaSpec
from ....core.util.annotations import Range
from ..io import SUFFIXES, BadPicture, read_bytes
from .base import Example, Pictures


class Folder(Pictures):
    """Pictures below a folder: PNG, JPEG, WebP, BMP, GIF (first frame), TIFF, PPM and TGA, in any mode and size.

    A picture is turned upright (EXIF), laid on white where it is transparent, converted to the recipe's channels,
    resized to just cover the recipe's size, and cropped to it. All are decoded once, at the start, and kept as bytes.

    The split is decided by the hash of each file's content: copies under other names fall on the same side, and neither
    renaming, moving nor adding files changes the side of another.

    Args:
        spec: Channels and size (H, W).
        root: The folder; files and folders whose names start with a dot are skipped, links are followed once; or the
            folder or manifest that `sonolux prepare` made of it.
        manifest: What `sonolux prepare` wrote of the folder: its usable files are used, its classes and captions hold,
            and near copies stay in one part of the split.
        label: The class is the name of the first folder below root, or, with a table that has labels, its label; or
            none.
        table: CSV (with a header) or JSONL file with the columns file, label, caption; it then says which files are
            used.
        resize: False crops the picture as it is, and refuses smaller ones.
        crop: The middle, or anew each time at random (which, after resizing, moves along the longer side only).
        flip: Mirror half of the pictures left to right, anew each time.
        max_bad: Share of unusable files, 0 to 1, that is skipped with a warning; more are refused.
        cache: Memory for decoded pictures in MB; what does not fit is decoded again each time.
        split: Which part of the examples.
        valid: Share of the examples that is for validation, 0 to 1.
        seed: Decides the split.
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
        listed = listed_files(root, table, listing, SUFFIXES, f"no picture ({' '.join(SUFFIXES)})", bad)
        total = len(listed) + len(bad.reasons)
        found = labelled(listed, label, root, bad)
        names = [file.label for file in found if file.label is not None]
        classes = class_names(names, shown(root)) if label == "folder" else ()
        files = tuple(file.path for file in found)
        size, stamps = (spec.size[0], spec.size[1]), tuple(_stamp(path) for path in files)
        scanned = _scan(files, stamps, root, spec.channels, size, resize, crop == "random", cache)
        usable: list[Example] = []
        keys: list[str] = []
        for file, seen in zip(found, scanned, strict=True):
            if isinstance(seen, str):
                bad.add(file.name, seen)
                continue
            known = {"label": file.label, "caption": file.caption, "attributes": dict(file.more)}
            usable.append(replace(seen, source=file.name, **known))
            keys.append(file.key or seen.hash)
        bad.check(total)
        sides = sides_of(keys, valid, seed)
        chosen = [example for example, side in zip(usable, sides, strict=True) if side == split]
        self.root, self.bad = root, bad
        super().__init__(spec, chosen, classes, random=crop == "random", flip=flip)


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
