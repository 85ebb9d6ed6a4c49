"""Jobs as they are kept: one folder each with the request, the state and the results."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter

from ..util.atomic_replace import write_text_file
from ..util.errors import BadInput
from ..util.json_files import StoredRecord, read_json
from ..util.notes import issue_note
from .events import EventLog
from .items import SHEET_TYPE, Identifier, ItemStore, timestamp
from .limits import StudioLimits, unknown_thing

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
SUMMARY_FILES = ("samples.json", "sheet.png", "trajectory.png", "trajectory.gif")
"""Files of a part of a job that clients may read, in addition to its items and trajectory."""


class StoredJob(StoredRecord):
    """A job as it is kept.

    Attributes:
        id: Its number.
        kind: What it makes.
        state: Its state.
        created: Seconds since 1970; likewise `started` and `ended`.
        request: What the client asked for.
        seed: The seed in use.
        parts: Number of its parts.
        progress: Steps and batches done.
        trajectory: One entry for each kept step: its number and the name of its file.
        command: The same as a command line.
        python: The same in Python.
        recipe: The changed keys, YAML.
        notes: What differs from the request, one line each.
        error: Why it failed.
    """

    id: Identifier
    kind: Literal["sample", "edit", "compare", "sweep"]
    state: State = "queued"
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    request: dict[str, Any]
    seed: int | None = None
    parts: int = 1
    progress: dict[str, Any] = Field(default_factory=dict)
    trajectory: list[dict[str, Any]] = Field(default_factory=list)
    command: str = ""
    python: str = ""
    recipe: str = ""
    notes: list[str] = Field(default_factory=list)
    error: str | None = None


_JOB = TypeAdapter(StoredJob)
RECORD = "job.json"


class JobStore:
    """All jobs of a studio, in memory and on disk.

    Args:
        folder: The folder of the studio.
        items: Its items.
        limits: Its bounds.
    """

    def __init__(self, folder: Path, items: ItemStore, limits: StudioLimits):
        self.folder, self.items, self.limits = folder / "jobs", items, limits
        self._lock = threading.RLock()
        self._jobs: dict[str, StoredJob] = {}
        self._logs: dict[str, EventLog] = {}
        found = []
        for path in self.folder.glob(f"*/{RECORD}") if self.folder.is_dir() else ():
            with suppress(BadInput):  # a damaged record is left out; its files stay
                job = read_json(path, _JOB)
                if path.parent.name == job.id and not path.parent.is_symlink():
                    found.append(job)
        for job in sorted(found, key=lambda job: job.created):
            self._jobs[job.id], self._logs[job.id] = job, EventLog()
            if job.state == "running":
                self.change(job.id, state="failed", ended=timestamp(), error="the studio was stopped during this job")
            elif job.state in ENDED:
                self.publish_end(job.id)

    def add(self, job: StoredJob) -> StoredJob:
        """Add a job and write it; the oldest ended jobs are removed from the list if there are too many."""
        with self._lock:
            self._write(job)  # first: a job that cannot be kept is not listed
            self._jobs[job.id], self._logs[job.id] = job, EventLog()
            ended = [one.id for one in self._jobs.values() if one.state in ENDED]
            for identifier in ended[: max(0, len(self._jobs) - self.limits.listed_jobs)]:
                self.remove(identifier)
        return job

    def get(self, identifier: str) -> StoredJob:
        """The job of a number; raises RequestRefused if there is none."""
        job = self._jobs.get(identifier)
        if job is None:
            raise unknown_thing("job")
        return job

    def log(self, identifier: str) -> EventLog:
        """The events of a job; raises RequestRefused if there is none."""
        self.get(identifier)
        return self._logs[identifier]

    def listed(self, count: int = 100) -> list[StoredJob]:
        """Jobs, newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))[:count]

    def waiting(self) -> list[str]:
        """Numbers of the jobs that wait, oldest first."""
        with self._lock:
            return [job.id for job in self._jobs.values() if job.state == "queued"]

    def change(self, identifier: str, write: bool = True, **changes: Any) -> StoredJob:
        """Change entries of a job; an end is published. Progress need not be written.

        The change is made and published also if it cannot be written: a full disk must not stop the queue.
        """
        with self._lock:
            job = self._jobs[identifier] = self.get(identifier).model_copy(update=changes)
            if write:
                try:
                    self._write(job)
                except OSError as error:
                    issue_note(f"the record of job {identifier} cannot be written: {error}", stacklevel=2)
        if changes.get("state") in ENDED:
            self.publish_end(identifier)
        return job

    def publish_end(self, identifier: str) -> None:
        """Publish how a job ended."""
        job = self.get(identifier)
        self._logs[identifier].publish(job.state, self.to_dict(job), last=True)

    def remove(self, identifier: str) -> None:
        """Remove an ended job from the list; items that the user keeps stay, with their files."""
        with self._lock:
            folder, kept = self.place(identifier), 0
            for item in self.items.of_job(identifier):
                kept += item.kept
                if not item.kept:
                    self.items.remove(item.id)
            del self._jobs[identifier], self._logs[identifier]
            (folder / RECORD).unlink(missing_ok=True)
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)

    def place(self, identifier: str, part: int | None = None) -> Path:
        """The folder of a job, or of one of its parts."""
        folder = self.folder / self.get(identifier).id
        return folder if part is None else folder / f"part-{part}"

    def _write(self, job: StoredJob) -> None:
        write_text_file(self.folder / job.id / RECORD, job.model_dump_json() + "\n")

    def to_dict(self, job: StoredJob) -> dict[str, Any]:
        """A job as clients see it, with its items."""
        url = f"/api/jobs/{job.id}"
        waiting = self.waiting() if job.state == "queued" else []
        drawn = {**job.model_dump(), "url": url, "events_url": f"{url}/events"}
        drawn["position"] = waiting.index(job.id) + 1 if job.id in waiting else 0
        drawn["items"] = [item.to_dict() for item in self.items.of_job(job.id)]
        drawn["trajectory"] = [
            {"step": one["step"], "url": f"{url}/trajectory/{n}", "media_type": SHEET_TYPE}
            for n, one in enumerate(job.trajectory)
        ]
        return drawn
