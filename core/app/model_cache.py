"""The models of a studio: packaged models, checkpoints and run folders by name; the last used stay loaded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path

from ..pipeline.load import load
from ..pipeline.pipeline import Pipeline
from ..training.checkpoint import newest_checkpoint
from ..training.packaged_models import find_packaged_model, packaged_models
from ..util.messages import escape_control_characters
from ..util.paths import file_stamp
from .limits import unknown_thing


class ModelCache:
    """Models by name.

    Args:
        sources: What the user named: packaged models, run folders or checkpoints; empty: all packaged models.
        device: The device of all models.
        most: Models that stay loaded.

    Attributes:
        places: Name -> what the command line takes: the name of a packaged model, or a path.

    Raises:
        BadInput: One of them is nothing of this.
    """

    def __init__(self, sources: Sequence[str | Path], device: str = "auto", most: int = 3):
        self.device, self.most = device, most
        self.places: dict[str, Path | str] = {}
        self._newest: dict[str, tuple[list[tuple[Path, tuple[int, int]]], Path]] = {}
        self._loaded: OrderedDict[tuple[Path, tuple[int, int]], Pipeline] = OrderedDict()
        self._lock = threading.Lock()
        for source in sources or packaged_models():
            if find_packaged_model(source) is not None:
                self.places.setdefault(str(source), str(source))
                continue
            path = Path(source).absolute()
            if not _is_run_without_checkpoint(path):
                newest_checkpoint(path)  # raises BadInput for what is nothing
            if path not in self.places.values():
                self.places[free_name(path, self.places)] = path

    @property
    def names(self) -> list[str]:
        """The names of all models."""
        return list(self.places)

    @property
    def run_folders(self) -> dict[str, Path]:
        """Name -> folder of the models that are run folders."""
        return {name: path for name, path in self.places.items() if isinstance(path, Path) and path.is_dir()}

    def place(self, name: str) -> Path | str:
        """What the command line takes for a model; raises RequestRefused if there is no such model."""
        if name not in self.places:
            raise unknown_thing("model")
        return self.places[name]

    def checkpoints(self, name: str) -> dict[str, Path]:
        """Name -> path of the checkpoints of a run folder, oldest first; empty for other models."""
        place = self.place(name)
        if not isinstance(place, Path) or not place.is_dir():
            return {}
        found = sorted((place / "checkpoints").glob("*.safetensors"))
        return {path.stem: path for path in found if path.is_file()}

    def checkpoint(self, name: str, checkpoint: str | None = None) -> Path:
        """The file of a model's checkpoint, by default the newest.

        Raises:
            RequestRefused: There is no such model or checkpoint.
            BadInput: The run has no checkpoint yet.
        """
        place = self.place(name)
        if checkpoint is not None:
            found = self.checkpoints(name).get(checkpoint)
            if found is None:
                raise unknown_thing("checkpoint")
            return found
        files = [(path, file_stamp(path)) for path in self.checkpoints(name).values()]
        known = self._newest.get(name)
        if known is None or known[0] != files or not files:  # it reads the whole file, and most requests ask for it
            known = self._newest[name] = files, newest_checkpoint(Path(place))
        return known[1]

    def pipeline(self, name: str, checkpoint: str | None = None) -> Pipeline:
        """A loaded model; only one thread at a time may sample it."""
        path = self.checkpoint(name, checkpoint)
        key = path, file_stamp(path)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load(path, self.device)
                while len(self._loaded) > self.most:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]


def free_name(path: Path, taken: Collection[str]) -> str:
    """The name of a folder or file, with a number if it is taken."""
    name, n = escape_control_characters(path.name) or "folder", 1
    while (found := name if n == 1 else f"{name}-{n}") in taken:
        n += 1
    return found


def _is_run_without_checkpoint(path: Path) -> bool:
    """Whether a folder is a run that has not saved a checkpoint yet; it is watched, and sampled later."""
    return (path / "resolved.yaml").is_file() and not any((path / "checkpoints").glob("*.safetensors"))
