"""samples.json, as it is read back: the list of samples in a folder."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from ..util.json_files import StoredRecord, read_json


def _inside(name: str) -> str:
    parts = PurePath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or "\0" in name or any(len(p.encode()) > 255 for p in parts):
        raise ValueError("it names no file in the folder")
    return name


class StoredSample(StoredRecord):
    """One entry: the file, as a path inside the folder, and the class of the sample, a name or a mixture.

    Other entries, such as the sample's conditions, are kept unchecked, see `text_of`.
    """

    model_config = ConfigDict(extra="allow")

    file: Annotated[str, AfterValidator(_inside)]
    label: Any = None

    def text_of(self, name: str) -> str | None:
        """The text of a condition, such as the prompt; None: there is none."""
        value = (self.model_extra or {}).get(name)
        return value if isinstance(value, str) else None


class SampleList(StoredRecord):
    """The contents of samples.json: entries, and the settings of the sampling."""

    samples: list[StoredSample]
    settings: dict[str, Any] = Field(default_factory=dict)


_LIST = TypeAdapter(SampleList)


def read_sample_list(path: Path) -> SampleList:
    """The list of samples in a file; raises BadInput where the file is damaged, or names files outside its folder."""
    return read_json(path, _LIST)
