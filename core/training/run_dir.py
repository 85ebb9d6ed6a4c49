"""A run's folder: recipe, environment, data, metrics, previews, checkpoints."""

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
from ..types import BadInput, Dataset
from ..util.folders import need_writable

OURS = ("recipe.yaml", "resolved.yaml", "env.json", "data.jsonl", "metrics.jsonl", "previews", "checkpoints")


class RunDir:
    """recipe.yaml as given, resolved.yaml, env.json, data.jsonl (the dataset's manifest), metrics.jsonl, previews/,
    checkpoints/."""

    def __init__(self, path: Path):
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.previews = path / "previews"
        self.checkpoints = path / "checkpoints"

    def refuse_if_used(self, overwrite: bool) -> None:
        """Raise BadInput where the folder holds a run already (or anything else), unless `overwrite`."""
        need_writable(self.path)
        held = (self.path / "resolved.yaml").is_file()  # previews and checkpoints alone may be somebody's own
        if held and not overwrite:
            raise BadInput(
                f"{self.path} already holds a run: continue it with --resume {self.path}, replace it with --overwrite, "
                "or name another folder with --out"
            )
        if not held and self.path.exists() and any(self.path.iterdir()):
            raise BadInput(f"{self.path} exists and is not a run: name an empty folder with --out")

    def create(self, recipe: Recipe, data: Dataset, device: torch.device) -> None:
        """Start afresh: remove an old run's own files, then write what is known before the first step."""
        # All that can fail comes before the old run is removed.
        manifest, facts = self._manifest(data), environment(device)
        for name in OURS:
            old = self.path / name
            if old.is_dir():
                shutil.rmtree(old)
            elif old.exists():
                old.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "recipe.yaml").write_text(recipe.text or recipe.dump(), encoding="utf-8")
        (self.path / "resolved.yaml").write_text(recipe.dump(), encoding="utf-8")
        (self.path / "data.jsonl").write_text(manifest, encoding="utf-8")
        facts |= {"data_sha256": hashlib.sha256(manifest.encode()).hexdigest()}
        (self.path / "env.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def go_on(self, recipe: Recipe, step: int) -> None:
        """Continue after `step`: keep the recipe with its changes, so that the next --resume has them too, and drop the
        log lines that will be made again."""
        (self.path / "resolved.yaml").write_text(recipe.dump(), encoding="utf-8")
        self.truncate_log(step)

    def same_data(self, data: Dataset) -> bool:
        """Whether the data is what the run began with, as far as the folder tells."""
        kept = self.path / "data.jsonl"
        return not kept.exists() or kept.read_text(encoding="utf-8") == self._manifest(data)

    @staticmethod
    def _manifest(data: Dataset) -> str:
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in data.manifest())

    def log(self, row: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with open(self.metrics, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop the lines after `step`: a resumed run makes them again."""
        if self.metrics.exists():
            rows = [line for line in self.metrics.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
            self.metrics.write_text("".join(row + "\n" for row in rows), encoding="utf-8")

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step goes."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def prune(self, keep: int) -> None:
        """Delete all but the last `keep` checkpoints."""
        for old in sorted(self.checkpoints.glob("step-*.safetensors"))[: -max(1, keep)]:
            old.unlink()
        for torn in self.checkpoints.glob("step-*.part"):  # of a process that was killed while it wrote
            torn.unlink()


def _step_of(line: str) -> float:
    """The step of a log line; infinite where a killed process left half a line."""
    try:
        return json.loads(line).get("step", 0)
    except (ValueError, AttributeError):
        return math.inf


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, commit, device and command: what a reader needs to run this again."""

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
