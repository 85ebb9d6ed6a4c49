"""A folder of picture files as a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from ....core.data import manifest as manifests
from ....core.data.captions import CaptionSource
from ....core.data.files import (
    RemarkCollector,
    UnusableFiles,
    class_names,
    content_hash,
    format_path,
    warn_of_lost_classes,
    with_file_progress,
)
from ....core.data.listing import assign_labels, find_candidate_files
from ....core.data.shards import local_file, member_facts
from ....core.data.splits import assign_splits as assign_parts
from ....core.data.splits import was_trained_on
from ....core.types import MediaSpec
from ....core.util.annotations import Range
from ....core.util.paths import file_stamp
from ..io import FOREIGN, SUFFIXES, UnreadablePicture, decode_picture, decoded_to_uint8
from .base import PictureDataset, PictureExample


class Folder(PictureDataset):
    """Pictures in a folder: PNG, JPEG, WebP, BMP, GIF (first frame), TIFF, PPM and TGA, in any mode and size.

    A picture is rotated upright (EXIF), composed on white where it is transparent, converted to the recipe's channels,
    resized to just cover the recipe's size, and cropped to it. All are decoded once, at the start, and stored as bytes.

    The split depends on the hash of each file's content: copies under other names are in the same part, and renaming or
    moving files changes nothing. Every class has a file in the training part.

    Args:
        spec: Channels and size (H, W).
        root: Folder of the files; names that start with a dot are skipped, links are followed once. Or the folder or
            manifest written by `sonolux prepare`.
        manifest: Manifest of the folder written by `sonolux prepare`: its usable files are used with its classes and
            captions, and near copies are in the same part of the split.
        label: `folder`: the class is the name of the first folder below root, or the label of the table; `none`: no
            classes.
        table: CSV (with a header) or JSONL file with the columns file, label, caption; only the listed files are
            used.
        captions: Where captions are from. `auto`: the table or manifest, or else a text file next to each picture
            (a.txt for a.png), in which each line is one caption; `table` or `sidecar`: only one of these; `name`: the
            words of the file's name; `none`. Of several captions one is drawn on each access.
        resize: False: crop without resizing, and refuse smaller pictures.
        crop: At the centre, or at a random position on each access (after resizing, along the longer side only).
        flip: Mirror a random half of the pictures left to right on each access.
        max_bad: Maximum share of unusable files, 0 to 1, which are skipped with a warning.
        cache: Memory for decoded pictures in MB; others are decoded on each access.
        split: Which part of the examples.
        valid: Share of the examples for validation, 0 to 1.
        seed: Seed of the split.
        recorded: Hashes of the files that the run to continue or evaluate was trained on; they stay in that part.
    """

    stored_defaults: ClassVar[dict[str, object]] = {"captions": "table"}

    def __init__(
        self,
        spec: MediaSpec,
        root: Path,
        manifest: Path | None = None,
        label: Literal["folder", "none"] = "folder",
        table: Path | None = None,
        captions: CaptionSource = "auto",
        resize: bool = True,
        crop: Literal["centre", "random"] = "centre",
        flip: bool = False,
        max_bad: Annotated[float, Range(0, 1)] = 0.05,
        cache: Annotated[int, Range(0)] = 2000,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
        recorded: frozenset[str] = frozenset(),
    ):
        where, listing = manifests.find_manifest(root, manifest, "image")
        root, bad = manifests.require_media_folder(where, listing), UnusableFiles(max_bad)
        none = f"no picture ({' '.join(SUFFIXES)})"
        listed = find_candidate_files(root, table, listing, SUFFIXES, none, bad, FOREIGN, captions)
        total = len(listed) + len(bad.reasons) + len(bad.others)
        found = assign_labels(listed, label, root, bad, table)
        names = [file.label for file in found if file.label is not None]
        classes = class_names(names, format_path(root)) if label == "folder" else ()
        files = tuple(file.path for file in found)
        size, stamps = (spec.size[0], spec.size[1]), tuple(_stamp(path) for path in files)
        scanned = _scan(files, stamps, root, spec.channels, size, resize, crop == "random", cache)
        usable: list[PictureExample] = []
        keys: list[str] = []
        for file, result in zip(found, scanned, strict=True):
            if isinstance(result, _Unusable):
                bad.add(file.name, result.reason, result.foreign)
                continue
            known = {"label": file.label, "caption": file.caption, "attributes": dict(file.more)}
            usable.append(replace(result, source=file.name, **known))
            keys.append(file.key or result.hash)
        bad.check(total)
        warn_of_lost_classes(names, [example.label for example in usable])
        kept = was_trained_on([example.hash for example in usable], recorded)
        parts = assign_parts(keys, valid, seed, [example.label for example in usable], kept)
        chosen = [example for example, part in zip(usable, parts, strict=True) if part == split]
        self.root, self.bad = root, bad
        super().__init__(spec, chosen, classes, random=crop == "random", flip=flip)


def _stamp(path: Path) -> tuple[int, int]:
    member = member_facts(path)
    return file_stamp(path) if member is None else (member[0], 0)


class _Unusable(NamedTuple):
    reason: str
    foreign: bool = False


# The two parts of a recipe are built one after the other from the same files: the second reuses the decoded ones.
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
) -> list[PictureExample | _Unusable]:
    """Each file decoded and hashed, or the reason for failure; remarks are warned of here, once for both parts."""
    found: list[PictureExample | _Unusable] = []
    remarks = RemarkCollector("pictures")
    total_bytes, full = 0, budget * 1_000_000
    for path, (size_in_bytes, _) in zip(with_file_progress(files, "reading pictures", len(files)), stamps, strict=True):
        load = partial(_load, path, channels, size, resize, whole)
        member = member_facts(path)
        if member is not None and total_bytes >= full:  # shards may be larger than any disk: not read for nothing
            found.append(PictureExample(path.name, load, size=size_in_bytes, hash=member[1]))
            continue
        try:
            pixels: np.ndarray | Callable[[], np.ndarray] = load(remarks)
            if total_bytes + pixels.nbytes > full:
                total_bytes, pixels = full if member else total_bytes, load
            else:
                total_bytes += pixels.nbytes
            content = content_hash(path) if member is None else member[1]
            found.append(PictureExample(format_path(path, root), pixels, size=size_in_bytes, hash=content))
        except UnreadablePicture as error:
            found.append(_Unusable(error.reason, error.foreign))
        except OSError as error:
            found.append(_Unusable(str(error.strerror or error)))
    remarks.warn(sum(isinstance(result, PictureExample) for result in found), stacklevel=3)
    return found


def _load(
    path: Path, channels: int, size: tuple[int, int], resize: bool, whole: bool, remarks: RemarkCollector | None = None
) -> np.ndarray:
    """(C, H, W) uint8 that covers `size`; cropped to it unless `whole`, for random crops."""
    with local_file(path) as file:
        picture = decode_picture(file, channels, size if resize else None)
    if remarks is not None:
        remarks.add(path.name, picture.remarks)
    pixels = decoded_to_uint8(picture, channels)
    height, width = pixels.shape[1:]
    top, left = height - size[0], width - size[1]
    if top < 0 or left < 0:
        raise UnreadablePicture(
            path, f"{height} x {width} pixels, smaller than {size[0]} x {size[1]} (and data.resize=false)"
        )
    if whole or not (top or left):
        return pixels
    return pixels[:, top // 2 : top // 2 + size[0], left // 2 : left // 2 + size[1]].copy()
