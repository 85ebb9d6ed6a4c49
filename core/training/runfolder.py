"""A run's folder: what was asked, what it ran on, what it measured, what it made."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..recipe.recipe import Recipe
from ..types import BadInput, Dataset

OURS = ("recipe.yaml", "resolved.yaml", "env.json", "data.jsonl", "metrics.jsonl", "previews", "checkpoints")


class RunFolder:
    """recipe.yaml as given, resolved.yaml, env.json, data.jsonl (the dataset's manifest), metrics.jsonl, previews/,
    checkpoints/."""

    def __init__(self, path: Path):
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.previews = path / "previews"
        self.checkpoints = path / "checkpoints"

    def refuse_if_used(self, overwrite: bool) -> None:
        """Raise BadInput where the folder holds a run already (or anything else), unless `overwrite`."""
        if self.path.exists() and not self.path.is_dir():
            raise BadInput(f"{self.path} is a file: name another folder with --out")
        held = [n for n in OURS if (self.path / n).exists()]
        if held and not overwrite:
            raise BadInput(
                f"{self.path} already holds a run: continue it with --resume {self.path}, replace it with --overwrite, "
                "or name another folder with --out"
            )
        if not held and self.path.exists() and any(self.path.iterdir()):
            raise BadInput(f"{self.path} exists and is not a run: name an empty folder with --out")

    def create(self, recipe: Recipe, data: Dataset, device: torch.device) -> None:
        """Start afresh: remove an old run's own files, then write what is known before the first step."""
        for name in OURS:
            old = self.path / name
            if old.is_dir():
                shutil.rmtree(old)
            elif old.exists():
                old.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "recipe.yaml").write_text(recipe.source.read_text() if recipe.source else recipe.dump())
        (self.path / "resolved.yaml").write_text(recipe.dump())
        manifest = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in data.manifest())
        (self.path / "data.jsonl").write_text(manifest, encoding="utf-8")
        facts = environment(device) | {"data_sha256": hashlib.sha256(manifest.encode()).hexdigest()}
        (self.path / "env.json").write_text(json.dumps(facts, indent=1) + "\n")

    def log(self, row: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with open(self.metrics, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop the lines after `step`: a resumed run makes them again."""
        if self.metrics.exists():
            rows = [line for line in self.metrics.read_text().splitlines() if json.loads(line).get("step", 0) <= step]
            self.metrics.write_text("".join(row + "\n" for row in rows))

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step goes."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def prune(self, keep: int) -> None:
        """Delete all but the last `keep` checkpoints."""
        for old in sorted(self.checkpoints.glob("step-*.safetensors"))[: -max(1, keep)]:
            old.unlink()


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, commit, device and command: what a reader needs to run this again."""

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    root = Path(__file__).resolve().parents[2]
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
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
