"""JSON that is read back: checked against a model, within limits, with one message for whatever is wrong with it.

pydantic's parser reads at most 200 levels of nesting, integers of at most 4300 digits, and Unicode text only.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .errors import BadInput
from .messages import shorten

T = TypeVar("T")
MOST_MEGABYTES = 256  # of a file; the metrics of a hundred thousand samples have 30


class StoredRecord(BaseModel):
    """An object of a file that sonolux wrote. Values have exactly the types of the fields; other keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def parse_json(text: str | bytes, kind: TypeAdapter[T], place: str) -> T:
    """The value of a JSON text.

    Args:
        text: The text.
        kind: The type of the value.
        place: The file, or its part, for the message.

    Raises:
        BadInput: The text is not JSON, or not of this type; the message names the first wrong value.
    """
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        raise BadInput(f"{place}: damaged: {first_validation_error(error)}") from None
    except BadInput as error:
        raise BadInput(f"{place}: damaged: {error}") from error
    except ValueError as error:  # text that is not Unicode
        raise BadInput(f"{place}: damaged: {shorten(str(error), 120)}") from None


def first_validation_error(error: ValidationError) -> str:
    """The first error of a validation, in one line: where it is, and what is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = shorten(".".join(map(str, first["loc"])))
    what = "it is missing" if first["type"] == "missing" else shorten(first["msg"].removeprefix("Value error, "), 120)
    return f"{where}: {what}" if where else what


def read_json(path: Path, kind: TypeAdapter[T]) -> T:
    """The value of a JSON file; raises the errors of `parse_json`, and BadInput for a file that cannot be read."""
    return parse_json(read_stored_bytes(path), kind, str(path))


def read_json_lines(path: Path, kind: TypeAdapter[T]) -> list[T]:
    """The values of a file with one JSON value on each line; raises the errors of `read_json`."""
    lines = read_stored_bytes(path).split(b"\n")
    return [parse_json(line, kind, f"{path}:{i}") for i, line in enumerate(lines, 1) if line.strip()]


def read_stored_bytes(path: Path) -> bytes:
    """The content of a file that sonolux may have written; raises BadInput if it cannot be read, or is no file.

    It never waits, as the opening of a pipe would.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadInput(f"{path}: cannot be read: not a file")
            if found.st_size > MOST_MEGABYTES * 1e6:
                raise BadInput(f"{path}: larger than {MOST_MEGABYTES} MB: sonolux did not write it")
            return file.read()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
