"""Limits of what one studio takes, and the errors that a request can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

from ..util.errors import BadInput

T = TypeVar("T")


@dataclass(frozen=True)
class StudioLimits:
    """The bounds of a studio.

    Attributes:
        upload_bytes: Bytes of one uploaded file.
        request_bytes: Bytes of any other request.
        queue: Jobs that wait.
        count: Samples of one job, over all its parts.
        steps: Sampling steps.
        cells: Cells of a sweep.
        streams: Event streams that are open at the same time.
        stream_seconds: Time after which an event stream ends; a page opens it again.
        listed_jobs: Jobs that are kept; older ones that ended are removed from the list.
        items: Files that are kept; a new job or upload is refused above it.
        models: Models that stay loaded.
    """

    upload_bytes: int = 64_000_000
    request_bytes: int = 1_000_000
    queue: int = 100
    count: int = 256
    steps: int = 1000
    cells: int = 64
    streams: int = 64
    stream_seconds: float = 1800.0
    listed_jobs: int = 500
    items: int = 20_000
    models: int = 3

    def to_dict(self) -> dict[str, float]:
        """The bounds by name."""
        return asdict(self)


class RequestRefused(BadInput):
    """A request that is refused with an HTTP status other than 400.

    Args:
        status: 403 forbidden, 404 unknown, 409 conflict, 413 too large, 429 too many.
        message: One sentence.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def unknown_thing(noun: str) -> RequestRefused:
    """The error for a name or number that is not known; it does not repeat what was asked."""
    return RequestRefused(404, f"there is no such {noun}")


def find_by_name(things: Mapping[str, T], name: str, noun: str) -> T:
    """The thing of a name; raises RequestRefused if there is none."""
    if name not in things:
        raise unknown_thing(noun)
    return things[name]
