"""Uploaded files, which a model must be able to read, and drawings of items."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..types import BadInput, MediaSpec
from ..util.folders import file_stem
from ..util.messages import escape_control_characters
from .drawing import draw_file
from .items import StudioItem, extent_of, new_identifier, timestamp
from .limits import RequestRefused
from .studio import Studio

UPLOADS = "uploads"


def store_upload(studio: Studio, file: Any, role: str | None, model: str | None) -> StudioItem:
    """Keep an uploaded file, if a model reads it.

    Args:
        studio: The studio.
        file: The upload, with `filename` and an open `file`.
        role: "mask" for a file that only edits use.
        model: The model that reads it; None: the first one that can.

    Raises:
        BadInput: No model reads it.
        RequestRefused: There are too many items.
    """
    if role not in (None, "mask"):
        raise BadInput("role is mask, or left out")
    studio.items.check_room(1)
    given = Path((file.filename or "").replace("\\", "/")).name
    suffix = Path(given).suffix.lower()
    identifier = new_identifier()
    folder = studio.folder / UPLOADS / identifier
    path = folder / f"{file_stem(Path(given).stem, 'upload')}{suffix}"
    names = [model] if model is not None else studio.models.names
    readers = [(name, modality) for name in names if suffix in (modality := modality_of(studio, name)).suffixes]
    if not readers:
        known = sorted({one for name in names for one in modality_of(studio, name).suffixes})
        raise BadInput(f"no model here reads such files; there are: {', '.join(known)}")
    folder.mkdir(parents=True)
    try:
        with open(path, "xb") as target:
            shutil.copyfileobj(file.file, target)
        name, spec = _read_by(readers, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return studio.items.add(
        StudioItem(
            id=identifier,
            path=path.relative_to(studio.folder).as_posix(),
            name=escape_control_characters(given)[:120] or "upload",
            origin="upload",
            role=role,
            created=timestamp(),
            model=name,
            **extent_of(spec, spec.size),
        )
    )


class FileReader:
    """How a model reads files.

    Args:
        modality: Its modality.

    Attributes:
        suffixes: Suffixes of the files that it reads.
    """

    def __init__(self, modality: Any):
        self.modality = modality
        self.suffixes = frozenset(modality.folder_analyzer().suffixes if hasattr(modality, "folder_analyzer") else ())

    def spec(self, path: Path) -> MediaSpec:
        """The media specification of a file, which is decoded."""
        spec: MediaSpec = self.modality.file_spec(path)
        self.modality.read(path)
        return spec


def modality_of(studio: Studio, name: str) -> FileReader:
    """How a model reads files."""
    return FileReader(studio.models.pipeline(name).components.modality)


def _read_by(readers: list[tuple[str, FileReader]], path: Path) -> tuple[str, MediaSpec]:
    """The first model that reads a file, and the file's media specification."""
    error: BadInput | None = None
    for name, reader in readers:
        try:
            return name, reader.spec(path)
        except BadInput as found:
            error = found
    text = str(error).replace(f"{path.parent}/", "")
    raise BadInput(f"the file cannot be read: {text}")


def draw_item(studio: Studio, item: StudioItem) -> Path:
    """The drawing of an item, which is made once."""
    if item.model not in studio.models.places:
        raise RequestRefused(404, "the model that reads this item is not served now")
    modality: Any = studio.models.pipeline(item.model).components.modality
    return draw_file(modality, studio.items.file(item), studio.items.sheet(item))
