"""Training runs as they are watched: state, log, previews; and how they are stopped and continued."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from ..config.registry import PACKAGE
from ..training.plateau import PATIENCE
from ..training.run_dir import TRAINING
from ..training.run_view import RunRecord, read_run
from ..util.errors import BadInput
from ..util.json_files import parse_json
from ..util.locks import find_lock_owner
from ..util.messages import format_command
from .limits import RequestRefused, unknown_thing

MOST_BYTES = 1_000_000  # of the log in one answer
_PREVIEW = re.compile(r"step-(\d{1,12})\.png")
_ROW = TypeAdapter(dict[str, Any])


class RunWatcher:
    """A run folder that is watched; only stopping and continuing changes anything.

    Args:
        name: Name of the run.
        folder: The folder.
        logs: Folder for what the processes print that this studio starts.
    """

    def __init__(self, name: str, folder: Path, logs: Path):
        self.name, self.folder, self.logs = name, folder, logs
        self._process: subprocess.Popen[bytes] | None = None

    def describe(self) -> dict[str, Any]:
        """The entries of `GET /api/runs/NAME`.

        Raises:
            BadInput: The folder contains no run.
        """
        record, running = read_run(self.folder), self._is_running()
        metrics, held_out = record.metrics, record.held_out or None
        plateau = self._plateau(held_out)
        return {
            "name": self.name,
            "state": "running" if running else "finished" if self._is_finished(record, plateau) else "stopped",
            "step": record.step or 0,
            "steps": record.steps,
            "minutes": record.minutes,
            "loss": metrics.get("loss"),
            "rate": metrics.get("samples_per_s"),
            "elapsed": metrics.get("elapsed_s"),
            "left": record.left_s if running else None,
            "checkpoint": None if record.checkpoint is None else Path(record.checkpoint).stem,
            "previews": [{"step": one, "url": self._preview_url(one)} for one in self._preview_steps()],
            "held_out": held_out,
            "plateau": plateau,
            "command": format_command("sonolux", "train", "--resume", self.folder),
            "message": self._message(),
        }

    def metrics(self, after: int = 0) -> dict[str, Any]:
        """The rows of the log after a number of bytes, and the number of bytes after them.

        Where the log has become shorter, since the run was continued from an earlier step, `restarted` is true, and the
        rows are those from the beginning.
        """
        path = self.folder / "metrics.jsonl"
        size = path.stat().st_size if path.is_file() and not path.is_symlink() else 0
        restarted = after > size
        start = 0 if restarted else after
        data = b""
        if size > start:
            with open(path, "rb") as file:
                file.seek(start)
                data = file.read(MOST_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        return {"rows": _rows(whole), "next": start + len(whole), "restarted": restarted}

    def preview(self, step: int) -> Path:
        """The preview of a step; raises RequestRefused if there is none."""
        path = self.folder / "previews" / f"step-{step:08d}.png"
        if step not in self._preview_steps() or path.is_symlink() or not path.is_file():
            raise unknown_thing("preview")
        return path

    def stop(self) -> None:
        """Ask the training to save a checkpoint and end, as Ctrl-C does.

        Raises:
            RequestRefused: It is not trained now; another command may be writing to its folder.
        """
        owner = find_lock_owner(self.folder)
        if owner is None or owner.pid == os.getpid():
            raise RequestRefused(409, f"{self.name} is not running")
        if owner.purpose != TRAINING:
            raise RequestRefused(409, f"{self.name} is not trained now: {owner} writes to its folder; stop it there")
        os.kill(owner.pid, signal.SIGTERM)  # a process in the background may ignore SIGINT

    def resume(self) -> None:
        """Continue the run in a process of its own, which goes on if the studio ends.

        Raises:
            RequestRefused: It is running, or another command writes to its folder.
            BadInput: It has no checkpoint.
        """
        if self._is_running():
            raise RequestRefused(409, f"{self.name} is running already")
        if (owner := find_lock_owner(self.folder)) is not None:
            raise RequestRefused(409, f"{owner} writes to the folder of {self.name}: wait until it ends")
        if not any((self.folder / "checkpoints").glob("step-*.safetensors")):
            raise BadInput(f"{self.name} has no checkpoint to continue from: start it with `sonolux train`")
        self.logs.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", f"{PACKAGE}.core.cli", "train", "--resume", str(self.folder)]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [*words, "--quiet"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def _log(self) -> Path:
        return self.logs / f"run-{''.join(c if c.isalnum() else '_' for c in self.name)[:80]}.log"

    def _is_running(self) -> bool:
        if self._process is not None and self._process.poll() is None:
            return True
        owner = find_lock_owner(self.folder)
        return owner is not None and owner.purpose == TRAINING

    def _message(self) -> str | None:
        """The last line of a process that this studio started and that failed."""
        if self._process is None or self._process.poll() in (None, 0):
            return None
        lines = self._log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the training ended with exit code {self._process.returncode}"

    @staticmethod
    def _is_finished(record: RunRecord, plateau: dict[str, Any] | None) -> bool:
        elapsed, done = record.metrics.get("elapsed_s"), False
        if record.steps is not None:
            done = (record.step or 0) >= record.steps
        elif record.minutes is not None and isinstance(elapsed, (int, float)):
            done = elapsed >= 60 * record.minutes * 0.98
        return done or bool(record.until == "plateau" and plateau and plateau["flat"])

    @staticmethod
    def _plateau(held_out: Any) -> dict[str, Any] | None:
        """How many evaluations the held-out loss has not improved; None unless the run ends by it."""
        if not isinstance(held_out, dict) or not isinstance(held_out.get("without_improvement"), int):
            return None
        waited = held_out["without_improvement"]
        facts = {"best_step": held_out.get("best_step"), "waited": waited, "patience": PATIENCE}
        return {**facts, "flat": waited >= PATIENCE}

    def _preview_steps(self) -> list[int]:
        folder = self.folder / "previews"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() and not folder.is_symlink() else []
        return sorted(int(match[1]) for name in names if (match := _PREVIEW.fullmatch(name)))

    def _preview_url(self, step: int) -> str:
        return f"/api/runs/{quote(self.name, safe='')}/previews/{step}"


def _rows(data: bytes) -> list[dict[str, Any]]:
    """The rows of some lines; damaged ones are left out."""
    found = []
    for line in data.split(b"\n"):
        try:
            row = parse_json(line, _ROW, "")
            json.dumps(row, allow_nan=False)
            found.append(row)
        except (BadInput, ValueError):
            continue
    return found
