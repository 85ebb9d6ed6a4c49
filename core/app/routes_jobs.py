"""Routes of jobs: start, look, follow, cancel, remove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query
from fastapi.responses import FileResponse, Response

from .items import SHEET_TYPE, media_type_of
from .job_requests import JobRequestBody
from .job_store import SUMMARY_FILES
from .limits import unknown_thing
from .studio import Studio

LastEvent = Annotated[str | None, Header(alias="Last-Event-ID")]


def job_routes(studio: Studio) -> APIRouter:
    """The routes under /api/jobs."""
    routes = APIRouter(prefix="/api/jobs", tags=["jobs"])
    jobs, queue = studio.jobs, studio.queue

    @routes.post("", status_code=202)
    def start_job(body: Annotated[JobRequestBody, Body()]) -> dict[str, Any]:
        """Add a job to the queue."""
        return jobs.to_dict(queue.submit(body))

    @routes.get("")
    def list_jobs(count: Annotated[int, Query(ge=1, le=500)] = 100) -> list[dict[str, Any]]:
        """The newest jobs."""
        return [jobs.to_dict(job) for job in jobs.listed(count)]

    @routes.get("/{identifier}")
    def read_job(identifier: str) -> dict[str, Any]:
        """A job with its items."""
        return jobs.to_dict(jobs.get(identifier))

    @routes.post("/{identifier}/cancel")
    def cancel_job(identifier: str) -> dict[str, Any]:
        """Cancel a job that waits or runs; one that has ended stays as it is."""
        return jobs.to_dict(queue.cancel(identifier))

    @routes.delete("/{identifier}")
    def remove_job(identifier: str) -> dict[str, Any]:
        """Remove a job that has ended from the list, and its items that are not kept with it."""
        return jobs.to_dict(queue.remove(identifier))

    @routes.get("/{identifier}/events")
    async def follow_job(identifier: str, last: LastEvent = None) -> Response:
        """Server-sent events: progress, preview, item, and one of done, failed and cancelled at the end."""
        log = jobs.log(identifier)
        return studio.streams.respond(log.follow(number_of_event(last), studio.limits.stream_seconds))

    @routes.get("/{identifier}/trajectory/{number}")
    def read_trajectory(identifier: str, number: int) -> FileResponse:
        """The estimates of x0 at a kept step, as one drawing."""
        steps = jobs.get(identifier).trajectory
        if not 0 <= number < len(steps):
            raise unknown_thing("step")
        return FileResponse(_existing(jobs.folder / steps[number]["file"]), media_type=SHEET_TYPE)

    @routes.get("/{identifier}/parts/{part}/{name}")
    def read_summary(identifier: str, part: int, name: str) -> FileResponse:
        """samples.json, sheet.png, trajectory.png or trajectory.gif of a part of a job."""
        if name not in SUMMARY_FILES or not 0 <= part < jobs.get(identifier).parts:
            raise unknown_thing("file")
        path = jobs.place(identifier, part) / "results" / name
        return FileResponse(_existing(path), media_type=media_type_of(path))

    return routes


def number_of_event(text: str | None) -> int:
    """The number in a header `Last-Event-ID`; 0 for any other text."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _existing(path: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        raise unknown_thing("file")
    return path
