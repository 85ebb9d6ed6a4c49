"""The parts of one studio, which all routes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..util.atomic_replace import reserve_folder
from ..util.device import choose_device
from .datasets import PreparedFolder
from .events import StreamCounter
from .items import ItemStore
from .job_calls import CallBuilder
from .job_store import JobStore
from .jobs import JobQueue
from .limits import StudioLimits
from .model_cache import ModelCache, free_name
from .runs import RunWatcher


@dataclass
class Studio:
    """What a studio serves.

    Attributes:
        folder: Folder of its jobs and items, which is the only one that it writes to.
        models: Its models.
        items: Its items.
        jobs: Its jobs.
        queue: Runs the jobs.
        streams: Counts event streams.
        limits: Its bounds.
        runs: Name -> run folder that is watched.
        data: Name -> prepared folder.
    """

    folder: Path
    models: ModelCache
    items: ItemStore
    jobs: JobStore
    queue: JobQueue
    streams: StreamCounter
    limits: StudioLimits
    runs: dict[str, RunWatcher] = field(default_factory=dict)
    data: dict[str, PreparedFolder] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        folder: Path,
        models: Sequence[str | Path] = (),
        data: Sequence[Path] = (),
        device: str = "auto",
        limits: StudioLimits | None = None,
    ) -> Studio:
        """Open the studio of a folder, with the jobs and items that it holds.

        Args:
            folder: The folder; created if missing.
            models: Packaged models, run folders or checkpoints; empty: all packaged models.
            data: Folders that `sonolux prepare` wrote.
            device: The device of all models.
            limits: Its bounds; None: the usual ones.

        Raises:
            BadInput: One of these is nothing of its kind.
        """
        limits, folder = limits or StudioLimits(), folder.absolute()
        cache = ModelCache(models, str(choose_device(device)), limits.models)
        items = ItemStore(folder, limits)
        jobs = JobStore(folder, items, limits)
        queue = JobQueue(CallBuilder(cache, items, limits), jobs, items, limits)
        runs = {name: RunWatcher(name, path, folder / "logs") for name, path in cache.run_folders.items()}
        prepared: dict[str, PreparedFolder] = {}
        for path in dict.fromkeys(one.absolute() for one in data):
            name = free_name(path, prepared)
            prepared[name] = PreparedFolder(name, path)
        return cls(folder, cache, items, jobs, queue, StreamCounter(limits.streams), limits, runs, prepared)

    def data_number(self, name: str) -> int:
        """The position of a prepared folder among those of this studio."""
        return list(self.data).index(name)

    def reserve(self) -> Any:
        """A context in which no other process writes to the folder."""
        return reserve_folder(self.folder)
