"""The queue of a studio: one thread runs one job at a time on its device, in the order in which the jobs arrived."""

from __future__ import annotations

import re
import threading
import traceback
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from ..util.errors import BadInput
from ..util.limits import is_out_of_memory
from ..util.messages import print_lines
from ..util.notes import Note, collect_notes
from .items import ItemStore, new_identifier, timestamp
from .job_calls import CallBuilder
from .job_requests import JobPart, JobRequestBody
from .job_store import ENDED, JobStore, StoredJob
from .limits import RequestRefused, StudioLimits
from .part_run import PartRun

_BODY: TypeAdapter[Any] = TypeAdapter(JobRequestBody)


class JobCancelled(Exception):
    """The user cancelled a job."""


class JobQueue:
    """Accepts jobs and runs them.

    Args:
        calls: Makes calls of pipelines from requests.
        store: Where jobs are kept.
        items: Where results are kept.
        limits: Bounds.
    """

    def __init__(self, calls: CallBuilder, store: JobStore, items: ItemStore, limits: StudioLimits):
        self.calls, self.store, self.items, self.limits = calls, store, items, limits
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, list[JobPart] | None]] = deque((job, None) for job in store.waiting())
        self._cancelled: set[str] = set()
        self._running: str | None = None
        self._stopped = False
        self._accepting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="sonolux-studio", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Cancel the running job and end the thread; jobs that wait are run when the studio starts again."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def submit(self, body: Any) -> StoredJob:
        """Check a request and add its job to the queue.

        Raises:
            RequestRefused: The queue is full.
            BadInput: A setting is not valid.
        """
        self._check_room()
        parts = self.calls.parts(body)
        described = self._described(body, parts)
        with self._accepting:  # the order of the queue is that of the list, and of the times
            self._check_room()
            with self._changed:  # a job that can be seen can be cancelled
                job = self.store.add(described.model_copy(update={"created": timestamp()}))
                self._waiting.append((job.id, parts))
                self._changed.notify_all()
        return job

    def _check_room(self) -> None:
        if len(self._waiting) >= self.limits.queue:
            raise RequestRefused(429, f"{self.limits.queue} jobs are waiting already: try again later, or cancel some")

    def _described(self, body: Any, parts: list[JobPart]) -> StoredJob:
        calls, seed = [], None
        for part in parts:
            pipeline = self.calls.models.pipeline(part.settings.model, part.settings.checkpoint)
            calls.append(self.calls.call(pipeline, part.settings))
            seed = pipeline.recipe.sample_seed if part.settings.seed is None else part.settings.seed
        outs = ["out"] if len(calls) == 1 else [f"out-{part.side or n}" for n, part in enumerate(parts)]
        named = list(zip(calls, outs, strict=True))
        return StoredJob(
            id=new_identifier(),
            kind=body.kind,
            request=body.model_dump(mode="json", exclude_unset=True),
            seed=seed,
            parts=len(parts),
            command="\n".join(call.command(out) for call, out in named),
            python="\n".join(["import sonolux", "", *(call.python(out) for call, out in named)]),
            recipe="---\n".join(call.recipe() for call, _ in named),
        )

    def cancel(self, identifier: str) -> StoredJob:
        """Cancel a job that waits or runs; one that has ended stays as it is."""
        with self._changed:
            job = self.store.get(identifier)
            if job.state in ENDED:
                return job
            if job.state == "running":
                self._cancelled.add(identifier)
                return job
            self._waiting = deque(one for one in self._waiting if one[0] != identifier)
            return self.store.change(identifier, state="cancelled", ended=timestamp())

    def remove(self, identifier: str) -> StoredJob:
        """Remove a job that has ended from the list, and its items that are not kept.

        Raises:
            RequestRefused: The job waits or runs.
        """
        with self._changed:
            job = self.store.get(identifier)
            if job.state not in ENDED:
                raise RequestRefused(409, f"the job is {job.state}: cancel it first")
            self.store.remove(identifier)
            return job

    def check_cancelled(self, identifier: str) -> None:
        """Raise JobCancelled if the job was cancelled, or the studio stops."""
        if self._stopped or identifier in self._cancelled:
            raise JobCancelled

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                identifier, parts = self._waiting.popleft()
                job = self.store.change(identifier, state="running", started=timestamp())
            self._run(job, parts)

    def _run(self, job: StoredJob, parts: list[JobPart] | None) -> None:
        error, state, notes = None, "done", list[str]()
        try:
            with collect_notes() as found:
                try:
                    self._run_parts(job, parts)
                finally:
                    notes = self._notes(job, found)
        except JobCancelled:
            state = "cancelled"
        except BadInput as fault:
            state, error = "failed", str(fault)
        except Exception as fault:  # one job must not end the studio
            state = "failed"
            memory = "out of memory: choose fewer samples, a smaller size, or fewer seconds"
            error = memory if is_out_of_memory(fault) else f"{type(fault).__name__}: {fault}"
            if not is_out_of_memory(fault):
                print_lines(*traceback.format_exc().splitlines(), err=True)
        self._cancelled.discard(job.id)
        self.store.change(job.id, state=state, error=error, notes=notes, ended=timestamp())

    def _run_parts(self, job: StoredJob, parts: list[JobPart] | None) -> None:
        if parts is None:  # of an earlier process
            parts = self.calls.parts(_BODY.validate_python(job.request))
        first = 0
        for n, part in enumerate(parts):
            self.check_cancelled(job.id)
            pipeline = self.calls.models.pipeline(part.settings.model, part.settings.checkpoint)
            call = self.calls.call(pipeline, part.settings)
            count = self.calls.count(pipeline, part.settings, call)
            check = partial(self.check_cancelled, job.id)
            first += PartRun(self.store, job, n, part, call, pipeline, first, count, check).run()

    def _notes(self, job: StoredJob, found: list[Note]) -> list[str]:
        """The notes of a job; files of the studio are named as their items, without folders."""
        texts = [note.text for note in found]
        inputs = job.request.get("inputs") or ()
        for identifier in [*inputs, job.request.get("mask")]:
            with suppress(RequestRefused):
                item = self.items.get(identifier)
                texts = [text.replace(str(self.items.file(item)), item.name) for text in texts]
        results = re.compile(re.escape(f"{self.store.place(job.id)}/") + r"part-\d+/results/")
        return list(dict.fromkeys(results.sub("", text) for text in texts))[:20]
