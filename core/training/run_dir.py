"""The folder of a run: recipe, environment, data, metrics, previews, checkpoints."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..config.recipe import Recipe
from ..config.trust import FOLDER, SIGNATURES, Trust, UnconfirmedPath, claim
from ..types import BadInput, Dataset
from ..util.folders import need_writable

RUN_FILES = ("recipe.yaml", "resolved.yaml", "env.json", "data.jsonl", "metrics.jsonl", "previews", "checkpoints")


class RunDir:
    """A run folder.

    It contains recipe.yaml (as written by the user), resolved.yaml, env.json, data.jsonl (the dataset's manifest),
    metrics.jsonl, previews/ and checkpoints/.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.previews = path / "previews"
        self.checkpoints = path / "checkpoints"

    def refuse_if_used(self, overwrite: bool) -> None:
        """Raise BadInput if the folder contains a run and `overwrite` is false, or if it contains other files."""
        need_writable(self.path)
        is_run = (self.path / "resolved.yaml").is_file()  # folders previews/ and checkpoints/ alone may be the user's
        if is_run and not overwrite:
            raise BadInput(
                f"{self.path} already holds a run: continue it with --resume {self.path}, replace it with --overwrite, "
                "or name another folder with --out"
            )
        if not is_run and self.path.exists() and any(self.path.iterdir()):
            raise BadInput(f"{self.path} exists and is not a run: name an empty folder with --out")

    def create(self, recipe: Recipe, data: Dataset, device: torch.device) -> None:
        """Remove the files of an old run, then write recipe, environment and data manifest."""
        # Everything that can fail is done before the old run is removed.
        manifest, facts = self._manifest(data), environment(device)
        for name in RUN_FILES:
            old = self.path / name
            if old.is_dir():
                shutil.rmtree(old)
            elif old.exists():
                old.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "recipe.yaml").write_text(recipe.text or recipe.dump(), encoding="utf-8")
        (self.path / "resolved.yaml").write_text(recipe.dump(), encoding="utf-8")
        (self.path / "data.jsonl").write_text(manifest, encoding="utf-8")
        facts |= {"data_sha256": hashlib.sha256(manifest.encode()).hexdigest(), **self._claim(recipe, started=True)}
        (self.path / "env.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def resume(self, recipe: Recipe, step: int) -> None:
        """Prepare the folder for a run that continues after `step`.

        Writes the changed recipe, so that the next --resume uses it too, and removes log lines after `step`.
        """
        self._mark_as_own(recipe)
        (self.path / "resolved.yaml").write_text(recipe.dump(), encoding="utf-8")
        self.truncate_log(step)

    def _claim(self, recipe: Recipe, started: bool = False) -> dict[str, Any]:
        """Entries of env.json that make this run the user's own; none if its recipe names paths of others."""
        if any(isinstance(path, UnconfirmedPath) for path in recipe.paths().values()):
            return {}
        written = [recipe.text] if started and recipe.text and recipe.trust == Trust.CODE else []
        return claim(self.path, [recipe.dump(), *written])

    def _mark_as_own(self, recipe: Recipe) -> None:
        """Add the changed recipe to those that make this run the user's own."""
        new, place = self._claim(recipe), self.path / "env.json"
        if not new:
            return
        try:
            facts = dict(json.loads(place.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            facts = {}
        earlier = facts.get(SIGNATURES) if facts.get(FOLDER) == new[FOLDER] else None
        kept = [str(one) for one in earlier] if isinstance(earlier, list) else []
        facts |= {**new, SIGNATURES: list(dict.fromkeys([*kept, *new[SIGNATURES]]))}
        place.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def same_data(self, data: Dataset) -> bool:
        """Whether the data is the same as at the start of the run; True if the folder has no manifest."""
        saved = self.path / "data.jsonl"
        return not saved.exists() or saved.read_text(encoding="utf-8") == self._manifest(data)

    @staticmethod
    def _manifest(data: Dataset) -> str:
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in data.manifest())

    def log(self, row: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with open(self.metrics, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")

    def truncate_log(self, step: int) -> None:
        """Remove the lines after `step`: a resumed run writes them again."""
        if self.metrics.exists():
            rows = [line for line in self.metrics.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
            self.metrics.write_text("".join(row + "\n" for row in rows), encoding="utf-8")

    def checkpoint(self, step: int) -> Path:
        """Path of the checkpoint of a step."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def prune(self, keep: int) -> None:
        """Delete all but the last `keep` checkpoints."""
        for old in sorted(self.checkpoints.glob("step-*.safetensors"))[: -max(1, keep)]:
            old.unlink()
        for partial in self.checkpoints.glob("step-*.part"):  # of a process that was killed while writing
            partial.unlink()


def _step_of(line: str) -> float:
    """The step of a log line; infinite for an incomplete line of a killed process."""
    try:
        return json.loads(line).get("step", 0)
    except (ValueError, AttributeError):
        return math.inf


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, commit, device and command, for reproducing the run."""

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    root = Path(__file__).resolve().parents[2]
    commit = ""
    if (root / ".git").exists():  # else git would describe whatever repository the package is installed in
        with suppress(OSError, subprocess.SubprocessError):
            commit = subprocess.run(
                ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5
            ).stdout.strip()
    return {
        "sonolux": of("sonolux"),
        "commit": commit or None,
        "python": platform.python_version(),
        **{p: of(p) for p in ("torch", "torchvision", "torchaudio", "numpy", "soundfile")},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "argv": sys.argv[1:],
    }
