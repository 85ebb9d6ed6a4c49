"""The queue of a studio: one thread runs one job at a time on its device, in the order in which the jobs arrived."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from ..pipeline.observer import SamplingObserver, SamplingProgress
from ..pipeline.pipeline import Pipeline
from ..pipeline.result import Samples
from ..util.errors import BadInput
from ..util.limits import is_out_of_memory
from ..util.messages import print_lines
from ..util.notes import Note, collect_notes
from .commands import PipelineCall
from .events import EventLog
from .items import SHEET_TYPE, ItemStore, StudioItem, extent_of, new_identifier, timestamp
from .job_calls import CallBuilder, run_call
from .job_requests import JobPart, JobRequestBody
from .job_store import ENDED, JobStore, StoredJob
from .limits import RequestRefused, StudioLimits

PREVIEWED = 16  # samples of a preview
PREVIEW_EVERY = 0.4  # seconds between previews; more where drawing one takes longer
PREVIEW_SHARE = 0.2  # largest share of the time that previews take
KEPT_STEPS = 12  # of a denoising trajectory
DRAWING = threading.Lock()
"""Held while something is drawn: matplotlib is not safe in several threads."""


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
            job = self.store.add(described.model_copy(update={"created": timestamp()}))
            with self._changed:
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
            run = PartRun(self, job, n, part, call, pipeline, first)
            first += run.run()

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


class PartRun(SamplingObserver):
    """One part of a job while it runs: its progress, previews and results.

    Args:
        queue: The queue.
        job: The job.
        number: Number of the part.
        part: Its settings.
        call: Its call.
        pipeline: Its model.
        first: Number of the samples of earlier parts.
    """

    def __init__(
        self,
        queue: JobQueue,
        job: StoredJob,
        number: int,
        part: JobPart,
        call: PipelineCall,
        pipeline: Pipeline,
        first: int,
    ):
        self.queue, self.store, self.items, self.job = queue, queue.store, queue.items, job
        self.number, self.part, self.call, self.pipeline, self.first = number, part, call, pipeline, first
        self.log: EventLog = self.store.log(job.id)
        self.folder = self.store.place(job.id, number)
        self.modality: Any = pipeline.components.modality
        self._made: dict[int, StudioItem] = {}
        self._next_preview = time.monotonic() + PREVIEW_EVERY

    def run(self) -> int:
        """Sample, and keep the results; returns their number."""
        self.pipeline.observer = self
        try:
            samples = run_call(self.pipeline, self.call)
        finally:
            self.pipeline.observer = None
        self.queue.check_cancelled(self.job.id)
        self._save(samples)
        return len(samples)

    def on_sampling_step(self, progress: SamplingProgress) -> None:
        self.queue.check_cancelled(self.job.id)
        facts = {
            "step": progress.step,
            "total": progress.steps,
            "batch": progress.batch,
            "batches": progress.batches,
            "part": self.number,
            "parts": self.job.parts,
        }
        self.store.change(self.job.id, write=False, progress=facts)
        self.log.publish("progress", facts)
        if (began := time.monotonic()) >= self._next_preview and progress.step != progress.steps:
            url = self._drawn(progress.estimates(PREVIEWED))
            if url is not None:
                self.log.publish("preview", {**facts, "url": url, "media_type": SHEET_TYPE})
            now = time.monotonic()
            self._next_preview = now + max(PREVIEW_EVERY, (now - began) / PREVIEW_SHARE)

    def _drawn(self, media: list[Tensor]) -> str | None:
        """A drawing of media as a data URL; None if there are none, or they are not finite."""
        if not media or not all(bool(one.isfinite().all()) for one in media):
            return None
        with tempfile.TemporaryDirectory() as folder, DRAWING:
            drawn = self.modality.sheet(Path(folder) / "sheet.png", media)
            return f"data:{SHEET_TYPE};base64,{base64.b64encode(Path(drawn).read_bytes()).decode()}"

    def on_sampled_batch(self, media: Mapping[int, Tensor], conditions: Mapping[int, Mapping[str, Any]]) -> None:
        self.queue.check_cancelled(self.job.id)
        early = self.folder / "early"
        early.mkdir(parents=True, exist_ok=True)
        for number, one in media.items():
            path = early / f"{number:04d}{self.modality.suffix}"
            self.modality.write(path, one)
            item = self._item(number, path, one, {k: v for k, v in conditions[number].items() if k != "source"})
            self._made[number] = self.items.add(item)
            self.log.publish("item", item.to_dict())

    def _item(self, number: int, path: Path, media: Tensor, conditions: dict[str, Any]) -> StudioItem:
        parent = self._parent(number)
        caption = Samples([media], [conditions], {}, self.modality).captions[0]
        name = caption or f"{self.part.settings.model} {self.first + number}"
        if parent is not None:
            name = f"{self.call.edit} of {parent.name}"
        return StudioItem(
            id=new_identifier(),
            path=path.relative_to(self.items.folder).as_posix(),
            name=name[:120],
            caption=caption,
            origin="sample" if self.call.edit is None else "edit",
            created=timestamp(),
            model=self.part.settings.model,
            job=self.job.id,
            index=self.first + number,
            seed=self.job.seed,
            side=self.part.side,
            cell=self.part.cell,
            parent=parent and parent.id,
            conditions=conditions,
            **extent_of(self.pipeline.context.spec, media.shape[1:]),
        )

    def _parent(self, number: int) -> StudioItem | None:
        """The item that a result was made from, if it still exists; results of one file follow each other."""
        inputs = getattr(self.part.settings, "inputs", ())
        if not inputs:
            return None
        with suppress(RequestRefused):
            return self.items.get(inputs[min(len(inputs) - 1, number * len(inputs) // self._count())])
        return None

    def _count(self) -> int:
        return self.queue.calls.count(self.pipeline, self.part.settings, self.call)

    def _save(self, samples: Samples) -> None:
        """Write the results as `sonolux sample` does, and let the items name these files."""
        results = self.folder / "results"
        with DRAWING:
            paths = samples.save(results, self.call.trajectory)
            steps = self._save_trajectory(samples)
        for number, path in enumerate(paths):
            place = path.relative_to(self.items.folder).as_posix()
            with suppress(RequestRefused):  # removed by the user meanwhile
                self.items.change(self._made[number].id, path=place)
        shutil.rmtree(self.folder / "early", ignore_errors=True)
        if steps:
            known = self.store.get(self.job.id).trajectory
            self.store.change(self.job.id, trajectory=[*known, *steps])

    def _save_trajectory(self, samples: Samples) -> list[dict[str, Any]]:
        """Draw about KEPT_STEPS estimates of the denoising trajectory, the last one included."""
        frames, steps = samples.frames, list[dict[str, Any]]()
        every = max(1, -(-(len(frames) - 1) // (KEPT_STEPS - 1)))
        for frame in [*frames[:-1][::every], *frames[-1:]]:
            path = self.folder / "trajectory" / f"{frame.step:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            self.modality.sheet(path, frame.x0)
            steps.append({"step": frame.step, "file": path.relative_to(self.store.folder).as_posix()})
        return steps
