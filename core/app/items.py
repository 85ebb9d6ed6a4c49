"""Items: the files of a studio, results of jobs and uploads, with what the user says of them.

Items are found by random numbers only; a path never comes from a request.
"""

from __future__ import annotations

import mimetypes
import os
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from ..types import MediaSpec
from ..util.atomic_replace import write_text_file
from ..util.errors import BadInput
from ..util.json_files import StoredRecord, read_json
from .limits import RequestRefused, StudioLimits, unknown_thing

Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Name = Annotated[str, Field(min_length=1, max_length=120)]
Rating = Annotated[int, Field(ge=0, le=5)]
SHEET_TYPE = mimetypes.guess_type("sheet.png")[0] or ""


def new_identifier() -> str:
    """A random number that nobody can guess, as text."""
    return secrets.token_hex(8)


def media_type_of(path: Path | str) -> str:
    """The MIME type of a file, by its suffix."""
    found = mimetypes.guess_type(str(path))[0] or "application/octet-stream"
    return found.replace("/x-", "/")


class StudioItem(StoredRecord):
    """One file of the studio.

    Attributes:
        id: Its number.
        path: The file, relative to the folder of the studio.
        name: Name that the user gave, or that it had.
        caption: Its conditions as a short text.
        origin: Where it is from.
        role: "mask" for an upload that is used as a mask and not listed.
        created: Seconds since 1970.
        model: The model that made it, or that reads it.
        job: Number of the job that made it.
        index: Number of the sample in its job.
        seed: Seed of the job.
        side: Side of a comparison.
        cell: Settings of its cell of a sweep.
        parent: Number of the item that it was made from.
        conditions: Its conditions by name.
        size: Number of elements along each axis that is not time.
        seconds: Its length, of media with a time axis.
        rating: 0: not rated.
        kept: Whether the user keeps it.
    """

    id: Identifier
    path: str
    name: str
    caption: str = ""
    origin: Literal["sample", "edit", "upload"] = "sample"
    role: str | None = None
    created: float = 0.0
    model: str | None = None
    job: str | None = None
    index: int = 0
    seed: int | None = None
    side: str | None = None
    cell: dict[str, Any] | None = None
    parent: str | None = None
    conditions: dict[str, Any] = Field(default_factory=dict)
    size: list[int] = Field(default_factory=list)
    seconds: float | None = None
    rating: int = 0
    kept: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The item as clients see it."""
        media_type, url = media_type_of(self.path), f"/api/items/{self.id}"
        drawn = media_type.partition("/")[0] != SHEET_TYPE.partition("/")[0]
        height, width = self.size if len(self.size) == 2 else (None, None)
        return {
            **self.model_dump(exclude={"path"}),
            "url": f"{url}/file",
            "sheet_url": f"{url}/sheet" if drawn else None,
            "media_type": media_type,
            "width": width,
            "height": height,
        }


def extent_of(spec: MediaSpec, size: Iterable[int]) -> dict[str, Any]:
    """The entries `size` and `seconds` of an item whose media have this number of elements along each axis."""
    size = list(size)
    length = spec.length_of(size)
    seconds = None if length is None or spec.rate is None else round(length / spec.rate, 6)
    return {"size": [size[axis] for axis in spec.other_axes], "seconds": seconds}


_ITEM = TypeAdapter(StudioItem)


class ItemStore:
    """All items of a studio, in memory and as one JSON file each.

    Args:
        folder: The folder of the studio.
        limits: Its bounds.
    """

    def __init__(self, folder: Path, limits: StudioLimits):
        self.folder, self.limits = folder, limits
        self._records = folder / "items"
        self._lock = threading.RLock()
        self._items: dict[str, StudioItem] = {}
        self._of_job: dict[str, set[str]] = {}
        for path in self._records.glob("*.json") if self._records.is_dir() else ():
            with suppress(BadInput):  # a damaged record is left out; its file stays
                item = read_json(path, _ITEM)
                if path.stem == item.id and self._file(item) is not None:
                    self._note(item)

    def __len__(self) -> int:
        return len(self._items)

    def check_room(self, count: int) -> None:
        """Raise RequestRefused if so many more items are too many."""
        if len(self) + count > self.limits.items:
            raise RequestRefused(429, f"a studio keeps at most {self.limits.items} files: remove some first")

    def add(self, item: StudioItem) -> StudioItem:
        """Add an item, or replace the one of the same number."""
        with self._lock:
            write_text_file(self._records / f"{item.id}.json", item.model_dump_json() + "\n")
            self._note(item)
        return item

    def _note(self, item: StudioItem) -> None:
        self._items[item.id] = item
        if item.job is not None:
            self._of_job.setdefault(item.job, set()).add(item.id)

    def get(self, identifier: str) -> StudioItem:
        """The item of a number; raises RequestRefused if there is none."""
        item = self._items.get(identifier)
        if item is None:
            raise unknown_thing("item")
        return item

    def file(self, item: StudioItem) -> Path:
        """The file of an item; raises RequestRefused if it is gone."""
        path = self._file(item)
        if path is None:
            raise RequestRefused(404, "the file of this item is gone")
        return path

    def _file(self, item: StudioItem) -> Path | None:
        """The file, which lies in the folder of the studio and is no link; None otherwise, as in a changed record."""
        path, root = self.folder / item.path, os.path.realpath(self.folder)
        if os.path.isabs(item.path) or ".." in PurePath(item.path).parts:
            return None
        inside = os.path.realpath(path) == os.path.join(root, item.path)
        return path if inside and path.is_file() else None

    def listed(self, kept: bool | None = None) -> list[StudioItem]:
        """Items without masks, newest first; `kept` selects those that are kept, or are not."""
        with self._lock:
            found = [item for item in self._items.values() if item.role is None]
        found = [item for item in found if kept is None or item.kept == kept]
        return sorted(found, key=lambda item: (-item.created, item.index, item.id))

    def of_job(self, job: str) -> list[StudioItem]:
        """The results of a job in their order."""
        with self._lock:
            found = [self._items[identifier] for identifier in self._of_job.get(job, ())]
        return sorted(found, key=lambda item: item.index)

    def change(self, identifier: str, **changes: Any) -> StudioItem:
        """Change the name, the rating or whether an item is kept."""
        with self._lock:
            return self.add(self.get(identifier).model_copy(update=changes))

    def remove(self, identifier: str) -> None:
        """Remove an item and its files."""
        with self._lock:
            item = self.get(identifier)
            del self._items[identifier]
            self._of_job.get(item.job or "", set()).discard(identifier)
            (self._records / f"{identifier}.json").unlink(missing_ok=True)
        path = self._file(item)
        if path is not None:
            path.unlink(missing_ok=True)
        self.sheet(item).unlink(missing_ok=True)

    def sheet(self, item: StudioItem) -> Path:
        """Where the drawing of an item is kept."""
        return self.folder / "sheets" / f"{item.id}.png"


def timestamp() -> float:
    """Seconds since 1970, to milliseconds."""
    return round(time.time(), 3)
