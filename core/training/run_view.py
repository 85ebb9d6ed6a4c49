"""What a run folder says of its training, also while it goes on. Files are only read, and torch is not loaded."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config.load import read_recipe_file
from ..config.yaml import parse_yaml
from ..util.atomic_replace import PART
from ..util.errors import BadInput
from ..util.locks import LOCK, LockOwner

TAIL = 2**20  # bytes at the end of metrics.jsonl that are read
BAR = 32  # characters of the longest bar
METRICS, RESOLVED = "metrics.jsonl", "resolved.yaml"


@dataclass(frozen=True)
class RunRecord:
    """The state of a run.

    Attributes:
        run: The run folder.
        name: Name of the recipe.
        state: `training`, or `ended`: no process writes to the folder.
        step: Optimizer steps made, at the last line of the log; None: there is no line yet.
        steps: Steps of the whole run; None: it is limited by time.
        minutes: Minutes of the whole run; None: it is limited by steps.
        until: What ends the run: `limit`, or `plateau` of the held-out loss.
        left_s: Estimated seconds to the end; None: unknown, or the run has ended.
        metrics: The last line of the log that has a loss.
        held_out: The last evaluation of the held-out loss, with its step.
        previews: Paths of the previews, oldest first.
        checkpoint: The newest checkpoint.
    """

    run: str
    name: str
    state: str
    step: int | None
    steps: int | None
    minutes: float | None
    until: str
    left_s: float | None
    metrics: dict[str, Any] = field(default_factory=dict)
    held_out: dict[str, Any] = field(default_factory=dict)
    previews: list[str] = field(default_factory=list)
    checkpoint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


def read_run(folder: Path) -> RunRecord:
    """The state of the run in a folder.

    Raises:
        BadInput: The folder contains no run.
    """
    place, training = _place(folder), is_training(folder)
    settings = _settings(place / RESOLVED)
    train = settings.get("train")
    train = train if isinstance(train, dict) else {}
    metrics: dict[str, Any] = {}
    held_out: dict[str, Any] = {}
    for row in _last_rows(place / METRICS):
        if isinstance(row.get("held_out"), dict):
            held_out = {"step": row.get("step"), **row["held_out"]}
        elif _number(row.get("loss")) is not None:
            metrics = row
    step, steps, minutes = _number(metrics.get("step")), _number(train.get("steps")), _number(train.get("minutes"))
    saved = sorted((place / "checkpoints").glob("step-*.safetensors"))
    return RunRecord(
        str(folder),
        str(settings.get("name", "")),
        "training" if training else "ended",
        None if step is None else int(step),
        None if steps is None else int(steps),
        minutes,
        "plateau" if train.get("until") == "plateau" else "limit",
        _seconds_left(step, steps, minutes, _number(metrics.get("elapsed_s"))) if training else None,
        metrics,
        held_out,
        [str(path) for path in sorted((place / "previews").glob("step-*.png"))],
        str(saved[-1]) if saved else None,
    )


def is_training(folder: Path) -> bool:
    """Whether a process writes to the folder; one on another machine is taken to run while its lock is there."""
    owner = LockOwner.read(folder / LOCK)
    return owner is not None and (owner.host != platform.node() or owner.runs())


def _place(folder: Path) -> Path:
    """Where the files of the run are: in the hidden folder while it replaces an earlier one."""
    part = folder / PART
    place = part if (part / RESOLVED).is_file() and is_training(folder) else folder
    if not (place / RESOLVED).is_file():
        raise BadInput(f"{folder} is no run folder: it contains no {RESOLVED}")
    return place


def _settings(path: Path) -> dict[str, Any]:
    """The recipe of a run as plain values, without validation; empty if it cannot be read."""
    with suppress(BadInput):
        root = parse_yaml(read_recipe_file(path, str(path)), str(path), path.parent, [])
        values = None if root is None else root.plain()
        return values if isinstance(values, dict) else {}
    return {}


def _last_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The last lines of a log; damaged ones, such as one that is being written, are left out."""
    with suppress(OSError), open(path, "rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL)
        file.seek(start)
        lines = file.read(TAIL).split(b"\n")
        for line in lines[1:] if start else lines:
            with suppress(ValueError, RecursionError):
                row = json.loads(line, parse_float=_finite, parse_constant=_finite)
                if isinstance(row, dict):
                    yield row


def _finite(text: str) -> float:
    """A number in a line; raises ValueError for NaN and infinities, which other readers of the record refuse."""
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _seconds_left(
    step: float | None, steps: float | None, minutes: float | None, elapsed: float | None
) -> float | None:
    """60 minutes - elapsed, or elapsed (steps - step) / step."""
    if elapsed is None:
        return None
    if steps is not None:
        return round(elapsed * max(0.0, steps - step) / step, 1) if step else None
    return None if minutes is None else round(max(0.0, 60 * minutes - elapsed), 1)


def _number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    return value if type(value) in (int, float) and math.isfinite(value) else None


def run_lines(record: RunRecord, blocks: bool = True) -> list[str]:
    """A record as text: step, loss, loss by noise level as bars, speed, time left, previews.

    Args:
        record: The record.
        blocks: Draw bars with block characters; False: with `#`.
    """
    row = record.metrics
    whole = f" of {record.steps}" if record.steps else f" of {record.minutes:g} minutes" if record.minutes else ""
    left = "" if record.left_s is None else f", {format_seconds(record.left_s)} left"
    step = "no step yet" if record.step is None else f"step {record.step}"
    lines = [f"{record.name}  {step}{whole}  {record.state}{left}"]
    if (loss := _number(row.get("loss"))) is not None:
        held = _number(record.held_out.get("loss"))
        at = "" if held is None else f"   held out {held:.4f} at step {record.held_out.get('step')}"
        lines.append(f"loss {loss:.4f}{at}")
    lines += _bars(row.get("loss_by_tau"), "█" if blocks else "#")
    facts = [
        ("rate {:.3g}", row.get("rate")),
        ("gradient {:.3g}", row.get("grad_norm")),
        ("{:.3g} samples/s", row.get("samples_per_s")),
        ("{:.1%} waiting for data", row.get("data_wait")),
        ("memory {:.0f} MiB", row.get("peak_memory_mb")),
    ]
    shown = [form.format(number) for form, value in facts if (number := _number(value)) is not None]
    lines += [", ".join(shown)] * bool(shown)
    if record.previews:
        lines.append(f"{len(record.previews)} previews, the last: {record.previews[-1]}")
    return lines


def _bars(values: Any, block: str) -> list[str]:
    """A bar for the loss in each bin of tau = sigma / (alpha + sigma), the noise level from 0 to 1."""
    losses = [_number(value) for value in values] if isinstance(values, list) else []
    most, count = max((loss for loss in losses if loss is not None), default=0.0), len(losses)
    lines = []
    for i, loss in enumerate(losses):
        bar = "" if loss is None or most <= 0 else block * max(1, round(BAR * loss / most))
        number = "     -" if loss is None else f"{loss:6.4f}"
        lines.append(f"  noise {i / count:.2f} to {(i + 1) / count:.2f}  {number}  {bar}".rstrip())
    return lines


def format_seconds(seconds: float) -> str:
    """A duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
