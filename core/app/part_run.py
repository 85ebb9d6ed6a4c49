"""One part of a job while it runs: progress and previews are published, results are kept."""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ..pipeline.observer import SamplingObserver, SamplingProgress
from ..pipeline.pipeline import Pipeline
from ..pipeline.result import Samples
from .commands import PipelineCall
from .drawing import DRAWING
from .events import EventLog
from .items import SHEET_TYPE, StudioItem, extent_of, new_identifier, timestamp
from .job_calls import run_call
from .job_requests import JobPart
from .job_store import JobStore, StoredJob
from .limits import RequestRefused

PREVIEWED = 16  # samples of a preview
PREVIEW_EVERY = 0.4  # seconds between previews; more where drawing one takes longer
PREVIEW_SHARE = 0.2  # largest share of the time that previews take
KEPT_STEPS = 12  # of a denoising trajectory


class PartRun(SamplingObserver):
    """One part of a job while it runs: its progress, previews and results.

    Args:
        store: Where the job and its results are kept.
        job: The job.
        number: Number of the part.
        part: Its settings.
        call: Its call.
        pipeline: Its model.
        first: Number of the samples of earlier parts.
        count: Number of its samples.
        check_cancelled: Raises an exception if the job was cancelled; called at each step.
    """

    def __init__(
        self,
        store: JobStore,
        job: StoredJob,
        number: int,
        part: JobPart,
        call: PipelineCall,
        pipeline: Pipeline,
        first: int,
        count: int,
        check_cancelled: Callable[[], None],
    ):
        self.store, self.items, self.job, self.check_cancelled = store, store.items, job, check_cancelled
        self.number, self.part, self.call, self.pipeline = number, part, call, pipeline
        self.first, self.count = first, count
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
        self.check_cancelled()
        self._save(samples)
        return len(samples)

    def on_sampling_step(self, progress: SamplingProgress) -> None:
        self.check_cancelled()
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
        self.check_cancelled()
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
            return self.items.get(inputs[min(len(inputs) - 1, number * len(inputs) // self.count)])
        return None

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
