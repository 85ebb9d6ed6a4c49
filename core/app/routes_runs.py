"""Routes of training runs and of prepared folders."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from .datasets import LONGEST, PreparedFolder, Selection
from .drawing import draw_file
from .events import HEARTBEAT, format_event
from .items import SHEET_TYPE, media_type_of
from .limits import find_by_name
from .routes_jobs import LastEvent, number_of_event
from .runs import RunWatcher
from .studio import Studio

POLL = 1.0  # seconds between looks at a run


def run_routes(studio: Studio) -> APIRouter:
    """The routes under /api/runs."""
    routes = APIRouter(prefix="/api/runs", tags=["runs"])

    def found(name: str) -> RunWatcher:
        return find_by_name(studio.runs, name, "run")

    @routes.get("/{name}")
    def read_run(name: str) -> dict[str, Any]:
        """State, progress, loss and previews of a run."""
        return found(name).describe()

    @routes.get("/{name}/metrics")
    def read_metrics(name: str, after: Annotated[int, Query(ge=0, lt=2**62)] = 0) -> dict[str, Any]:
        """Rows of metrics.jsonl after a number of bytes."""
        return found(name).metrics(after)

    @routes.get("/{name}/previews/{step}")
    def read_preview(name: str, step: int) -> FileResponse:
        """The preview of a step."""
        return FileResponse(found(name).preview(step), media_type=SHEET_TYPE)

    @routes.get("/{name}/events")
    async def follow_run(name: str, last: LastEvent = None) -> Response:
        """Server-sent events: `metrics` with new rows, and `state` where it has changed.

        The number of an event is the number of bytes of metrics.jsonl that the client has.
        """
        watcher = found(name)
        stream = follow(watcher, number_of_event(last), studio.limits.stream_seconds)
        return studio.streams.respond(stream)

    @routes.post("/{name}/stop")
    def stop_run(name: str) -> dict[str, Any]:
        """Ask the training to save a checkpoint and end."""
        found(name).stop()
        return found(name).describe()

    @routes.post("/{name}/resume")
    def resume_run(name: str) -> dict[str, Any]:
        """Continue the training in a process of its own."""
        found(name).resume()
        return found(name).describe()

    return routes


async def follow(watcher: RunWatcher, after: int, seconds: float) -> AsyncIterator[bytes]:
    """The events of a run from a number of bytes of its log on, for some time."""
    end, state, quiet = time.monotonic() + seconds, None, 0.0
    yield b"retry: 2000\n\n"
    while time.monotonic() < end:
        new = await asyncio.to_thread(watcher.metrics, after)
        after, now = new["next"], await asyncio.to_thread(watcher.describe)
        quiet += POLL
        if new["rows"] or new["restarted"]:
            yield format_event("metrics", json.dumps(new, allow_nan=False), after)
            quiet = 0.0
        if now != state:
            state, quiet = now, 0.0
            yield format_event("state", json.dumps(now, default=str), after)
        if quiet >= HEARTBEAT:
            quiet = 0.0
            yield b": alive\n\n"
        await asyncio.sleep(POLL)


class CaptionChange(BaseModel):
    """A new caption; several stand in lines of their own, and an empty text removes it."""

    model_config = ConfigDict(extra="forbid")

    caption: Annotated[str, Field(max_length=LONGEST)]


def data_routes(studio: Studio) -> APIRouter:
    """The routes under /api/data."""
    routes = APIRouter(prefix="/api/data", tags=["data"])

    def found(name: str) -> PreparedFolder:
        return find_by_name(studio.data, name, "data")

    @routes.get("/{name}")
    def list_files(
        name: str,
        page: Annotated[int, Query(ge=1, le=10**6)] = 1,
        per_page: Annotated[int, Query(ge=1, le=500)] = 48,
        only: Selection | None = None,
        find: Annotated[str, Query(max_length=200)] = "",
    ) -> dict[str, Any]:
        """A page of files with captions, faults and near copies."""
        return found(name).page(page, per_page, only, find)

    @routes.get("/{name}/{identifier}/file")
    def read_example(name: str, identifier: str) -> FileResponse:
        """A file."""
        path = found(name).file(identifier)
        return FileResponse(path, media_type=media_type_of(path))

    @routes.get("/{name}/{identifier}/sheet")
    def read_drawing(name: str, identifier: str) -> FileResponse:
        """A drawing of a file, for media that cannot be shown as they are."""
        folder = found(name)
        path = folder.file(identifier)
        target = studio.folder / "sheets" / f"data-{studio.data_number(name)}-{identifier}.png"
        return FileResponse(draw_file(folder.modality(), path, target), media_type=SHEET_TYPE)

    @routes.patch("/{name}/{identifier}")
    def change_caption(name: str, identifier: str, change: CaptionChange) -> dict[str, Any]:
        """Change the caption of a file, in the manifest."""
        return found(name).change_caption(identifier, change.caption)

    return routes
