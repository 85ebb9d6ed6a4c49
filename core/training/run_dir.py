"""The folder of a run: recipe, environment, data, metrics, previews, checkpoints."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from ..config.recipe import Recipe
from ..config.trust import FOLDER, SIGNATURES, TrustLevel, UnconfirmedPath, ownership_entries
from ..types import BadInput, Dataset
from ..util.atomic_replace import PART, FolderReplacement, recover_folder, write_text_file
from ..util.folders import OWN, check_kinds, check_writable, clear_own_name, list_names
from ..util.json_files import StoredRecord, parse_json, read_json, read_stored_bytes
from ..util.locks import FolderLock
from ..util.messages import format_command, format_count
from ..util.notes import issue_note
from ..util.packages import package_version, required_versions
from .checkpoint import is_whole_checkpoint
from .data_changes import describe_data_changes, manifest_hash, manifest_text

RUN_FILES = ("recipe.yaml", "resolved.yaml", "env.json", "data.jsonl", "metrics.jsonl")
CODEC, LATENTS = "codec.safetensors", "latents.bin"
BEST = "best.safetensors"  # in checkpoints/
RUN_FOLDERS = ("checkpoints", "previews", "tensorboard", "wandb")
UNSAVED = f"{OWN}unsaved"
"""File in the folder of a run that has not saved a checkpoint yet: the same command may replace it."""

TRAINING = "training"
"""What the lock of a run folder is for while the run is trained; `sonolux calibrate`, for example, locks it too."""


class RunDir:
    """A run folder.

    It contains recipe.yaml (as written by the user), resolved.yaml, env.json, data.jsonl (the dataset's manifest),
    metrics.jsonl, previews/ and checkpoints/; with a trained codec also codec.safetensors, and
    with cached examples latents.bin.

    A process locks the folder before it writes to it. A run that replaces another one is written to a hidden folder in
    it until the first checkpoint is saved; until then the earlier run is unchanged.

    Args:
        path: The folder.

    Attributes:
        place: The folder to which files are written.
    """

    def __init__(self, path: Path):
        self.path = self.place = path
        self._lock = FolderLock(path, TRAINING)
        self._replacement: FolderReplacement | None = None
        self._recipe: Recipe
        self._texts: dict[str, str] = {}  # name -> content of the files that describe the run
        self._rows: list[str] = []  # lines of the log that are not written yet

    @property
    def resume_command(self) -> str:
        """The command that continues the run."""
        return format_command("sonolux", "train", "--resume", self.path)

    @property
    def metrics(self) -> Path:
        """The log, JSON lines."""
        return self.place / "metrics.jsonl"

    @property
    def previews(self) -> Path:
        """Folder of the previews."""
        return self.place / "previews"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.place / "checkpoints"

    @property
    def best(self) -> Path:
        """The checkpoint with the best held-out loss, of runs with `train.until: plateau`."""
        return self.checkpoints / BEST

    @property
    def codec(self) -> Path:
        """File of the codec that was trained in this run, for the option `file` of other runs."""
        return self.place / CODEC

    @property
    def latents(self) -> Path:
        """File of the encoded examples."""
        return self.place / LATENTS

    # --- before the first step ---

    def lock(self) -> None:
        """Lock the folder, and remove what killed processes left in it.

        Raises:
            BadInput: The folder cannot be written to, or another process writes to it; or it contains links.
        """
        check_writable(self.path)
        check_kinds(self.path, (*RUN_FILES, CODEC, LATENTS), RUN_FOLDERS)
        if self._lock.acquire():
            recover_folder(self.path)
            clear_own_name(self.path / UNSAVED)
            clear_own_name(self.checkpoints / PART, folder=True)
            shutil.rmtree(self.checkpoints / PART, ignore_errors=True)
            for part in (*self.previews.glob(".*.part"), *self.checkpoints.glob("step-*.part")):
                part.unlink(missing_ok=True)

    def close(self) -> None:
        """Unlock the folder; a run that replaces another one and has saved no checkpoint is removed."""
        if self._replacement is not None:
            self._replacement.discard()
        self._replacement, self.place = None, self.path
        self._lock.release()

    def check_unused(self, overwrite: bool) -> None:
        """Raise BadInput if the folder contains a run and `overwrite` is false, or if it contains other files."""
        if self._never_saved():
            return
        is_run = (self.path / "resolved.yaml").is_file()  # folders previews/ and checkpoints/ alone may be the user's
        if is_run and not overwrite:
            raise BadInput(
                f"{self.path} already holds a run: continue it with --resume {self.path}, replace it with --overwrite, "
                "or name another folder with --out"
            )
        if not is_run and list_names(self.path):
            raise BadInput(f"{self.path} exists and is not a run: name an empty folder with --out")

    def create(self, recipe: Recipe, data: Dataset, device: torch.device) -> None:
        """Write recipe, environment and data manifest; those of an earlier run stay until `saved`."""
        manifest, facts = manifest_text(data), describe_environment(device)
        facts |= {"data_sha256": manifest_hash(manifest), **self._claim(recipe, started=True)}
        self._recipe = recipe
        self._texts = {
            "recipe.yaml": recipe.text or recipe.dump(),
            "resolved.yaml": recipe.dump(),
            "data.jsonl": manifest,
            "env.json": json.dumps(facts, indent=1) + "\n",
        }
        if (self.path / "resolved.yaml").is_file() and not self._never_saved():
            self._replacement = FolderReplacement(self.path)
            self.place = self._replacement.part
        else:
            for name in self._files():
                (self.path / name).unlink()
            (self.path / UNSAVED).touch()
        try:
            self._write_texts()
        except OSError:
            for name in (*self._files(), UNSAVED) if self._replacement is None else ():
                (self.path / name).unlink(missing_ok=True)
            raise

    def _never_saved(self) -> bool:
        return (self.path / UNSAVED).exists() and not any(self.checkpoints.glob("step-*.safetensors"))

    def _files(self) -> list[str]:
        """Names of the files in the folder that a run makes; the user may have added others."""
        patterns = (
            *RUN_FILES,
            CODEC,
            LATENTS,
            "previews/step-*.png",
            "tensorboard/events.out.tfevents.*.sonolux",
            "checkpoints/step-*.safetensors*",
            f"checkpoints/{BEST}",
        )
        found = (path for pattern in patterns for path in self.path.glob(pattern) if path.is_file())
        return [path.relative_to(self.path).as_posix() for path in found]

    def _write_texts(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        for name, text in self._texts.items():
            write_text_file(self.place / name, text)

    def resume(self, recipe: Recipe, step: int, data: Dataset | None = None) -> None:
        """Prepare the folder for a run that continues after `step`.

        Writes the changed recipe, so that the next --resume uses it too, removes log lines after `step`, and renames
        damaged checkpoints of later steps.

        Args:
            recipe: The recipe of the continued run.
            step: Its first step less one.
            data: The data, if it has changed: its list replaces that of the start.
        """
        texts = {name: self._text(name) for name in RUN_FILES if name != "metrics.jsonl"}
        self._texts = {name: text for name, text in texts.items() if text} | {"resolved.yaml": recipe.dump()}
        self._recipe = recipe
        if data is not None:
            self._renew_data(data)
        self._mark_as_own()
        write_text_file(self.path / "resolved.yaml", recipe.dump())
        self.truncate_log(step)
        for path in self.checkpoints.glob("step-*.safetensors"):
            if path > self.checkpoint(step) and path.is_file() and not is_whole_checkpoint(path):
                path.rename(path.with_name(f"{path.name}.damaged"))

    def _renew_data(self, data: Dataset) -> None:
        """Replace the list of the data, and its hash in env.json."""
        self._texts["data.jsonl"] = manifest = manifest_text(data)
        facts: dict[str, Any] = {}
        with suppress(KeyError, BadInput):
            facts = parse_json(self._texts["env.json"], _FACTS, "")
        self._texts["env.json"] = json.dumps(facts | {"data_sha256": manifest_hash(manifest)}, indent=1) + "\n"
        for name in ("data.jsonl", "env.json"):
            write_text_file(self.place / name, self._texts[name])

    def _claim(self, recipe: Recipe, started: bool = False) -> dict[str, Any]:
        """Entries of env.json that make this run the user's own; none if its recipe names paths of others."""
        if any(isinstance(path, UnconfirmedPath) for path in recipe.paths().values()):
            return {}
        written = [recipe.text] if started and recipe.text and recipe.trust == TrustLevel.CODE else []
        return ownership_entries(self.path, [recipe.dump(), *written])

    def _mark_as_own(self) -> None:
        """Add the changed recipe to those that make this run the user's own."""
        new = self._claim(self._recipe)
        if not new:
            return
        try:
            facts = parse_json(self._texts["env.json"], _FACTS, "")
        except (KeyError, BadInput):
            facts = {}
        earlier = facts.get(SIGNATURES) if facts.get(FOLDER) == new[FOLDER] else None
        kept = [str(one) for one in earlier] if isinstance(earlier, list) else []
        facts |= {**new, SIGNATURES: list(dict.fromkeys([*kept, *new[SIGNATURES]]))}
        self._texts["env.json"] = json.dumps(facts, indent=1) + "\n"
        write_text_file(self.place / "env.json", self._texts["env.json"])

    def _text(self, name: str) -> str:
        """The content of a file; empty if it cannot be read."""
        with suppress(BadInput):
            return read_stored_bytes(self.path / name).decode(errors="replace")
        return ""

    def data_changes(self, data: Dataset) -> str | None:
        """What has changed in the data since the start of the run; None: nothing."""
        try:
            at_start = read_json(self.path / "env.json", _FACTS).get("data_sha256")
        except BadInput:
            at_start = None
        return describe_data_changes(self.path / "data.jsonl", at_start, data)

    # --- during the run ---

    def log(self, row: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl; after an error, the lines are kept for the next call.

        Raises:
            OSError: The file cannot be written.
        """
        self._rows.append(json.dumps(row) + "\n")
        self.need_intact()
        text = "".join(self._rows).encode()
        with open(self.metrics, "ab", buffering=0) as f:
            end = f.seek(0, os.SEEK_END)
            try:
                if f.write(text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.metrics))
            except OSError:
                f.truncate(end)
                raise
        self._rows.clear()

    def write_rest(self) -> Path | None:
        """Write the lines of the log that could not be written, if there are any; to another file if the log is there.

        Returns:
            The other file; None if there is none, or it cannot be written either.
        """
        path, n = self.metrics, 1
        while path.exists():
            n += 1
            path = self.metrics.with_name(f"metrics-{n}.jsonl")
        if self._rows:
            with suppress(OSError):
                write_text_file(path, "".join(self._rows))
                return None if path == self.metrics else path
        return None

    def truncate_log(self, step: int) -> None:
        """Remove the lines after `step`: a resumed run writes them again."""
        if self.metrics.is_file():
            *rows, _ = self.metrics.read_bytes().split(b"\n")  # the last one is empty, or incomplete
            damaged = sum(_step_of(row) == math.inf for row in rows)
            if damaged:
                issue_note(f"{self.metrics}: {format_count(damaged, 'damaged line')} removed", stacklevel=2)
            write_text_file(self.metrics, "".join(f"{row.decode()}\n" for row in rows if _step_of(row) <= step))

    def checkpoint(self, step: int) -> Path:
        """Path of the checkpoint of a step."""
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def saved(self, keep: int) -> None:
        """Called after a checkpoint was written: replace an earlier run, delete all but the last `keep` checkpoints."""
        if self._replacement is not None:
            self._replacement.commit(self._files())
            self._replacement, self.place = None, self.path
        old = sorted(p for p in self.checkpoints.glob("step-*.safetensors") if p.is_file())[: -max(1, keep)]
        for path in (self.place / UNSAVED, *old):
            with suppress(OSError):
                path.unlink()

    @property
    def replaces(self) -> bool:
        """Whether the folder still holds an earlier run, which the first checkpoint replaces."""
        return self._replacement is not None

    def is_intact(self) -> bool:
        """Whether the folder was not moved, removed or replaced by another one since it was locked."""
        return self._lock.intact()

    def need_intact(self) -> None:
        """Raise OSError unless `is_intact`: nothing must be written to a folder of another run."""
        if not self.is_intact():
            raise OSError(errno.ENOENT, "the folder was moved, removed or replaced", str(self.path))

    def move(self) -> None:
        """Continue in a new folder: at the same path if nothing is there, otherwise next to it.

        Raises:
            OSError: It cannot be written.
        """
        here = self.is_intact()
        if self._replacement is not None and here:
            self._replacement.discard()
        self._lock.abandon([] if here else [UNSAVED, PART])
        path, n = self.path, 1
        while path.exists():
            n += 1
            path = self.path.with_name(f"{self.path.name}-{n}")
        self._replacement, self.path, self.place = None, path, path
        self._lock = FolderLock(path, TRAINING)
        self._lock.acquire()
        self._mark_as_own()
        self._write_texts()


class StoredStep(StoredRecord):
    """A line of metrics.jsonl."""

    step: int = 0


_STEP, _FACTS = TypeAdapter(StoredStep), TypeAdapter(dict[str, Any])


def _step_of(line: bytes) -> float:
    """The step of a log line; infinite for a damaged one, such as the incomplete line of a killed process."""
    try:
        return parse_json(line, _STEP, "").step
    except BadInput:
        return math.inf


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, commit, device and command, for reproducing the run."""
    root = Path(__file__).resolve().parents[2]
    commit = ""
    if (root / ".git").exists():  # else git would describe whatever repository the package is installed in
        with suppress(OSError, subprocess.SubprocessError):
            commit = subprocess.run(
                ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5
            ).stdout.strip()
    return {
        "sonolux": package_version("sonolux"),
        "commit": commit or None,
        "python": platform.python_version(),
        **required_versions(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "argv": sys.argv[1:],
    }
