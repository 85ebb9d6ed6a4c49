"""The part of the demo about the training: it runs in a process of its own, and its checkpoints are checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sonolux
from sonolux.core.types import BadInput
from sonolux.core.util.messages import format_command
from sonolux.modalities.image.synthetic.checkers import recognise_main_shape

RECIPE, GOAL = "shapes", 0.9  # what is trained, and the share of its samples that the checker has to recognise


@dataclass
class TrainingPart:
    """The part of the page about the training.

    Attributes:
        planned: Optimizer steps of the whole training.
        limit: Seconds after which the training is stopped, if its steps are not made before.
        count: Number of samples of a check.
        state: waits, runs, goal (reached), steps (all made, the goal missed), time (stopped by the limit before its
            goal), stopped (by the user) or failed.
        step: Optimizer steps made so far.
        seconds: Seconds of training so far.
        speed: Steps per second; 0 before it is known.
        checks: Step -> number of samples that the checker recognised.
        shown: File, relative to the page, class and recognised class of each sample.
        resume: The command that continues the training.
    """

    planned: int
    limit: float
    count: int
    state: str = "waits"
    step: int = 0
    seconds: float = 0.0
    speed: float = 0.0
    checks: dict[int, int] = field(default_factory=dict)
    shown: list[tuple[str, str, str]] = field(default_factory=list)
    resume: str = ""

    @property
    def checked(self) -> int:
        """The step of the latest check; 0: none yet."""
        return max(self.checks, default=0)

    @property
    def hits(self) -> int:
        """Number of samples of the latest check in which the checker recognises the class."""
        return self.checks.get(self.checked, 0)

    @property
    def reached(self) -> bool:
        """Whether the latest check reaches the goal."""
        return self.hits >= GOAL * self.count

    @property
    def expected(self) -> float:
        """Seconds that the whole training takes at the measured speed; 0 before that is known."""
        return self.planned / self.speed if self.speed else 0.0


class LiveTraining:
    """A training in a process of its own, with one thread, while this process checks its checkpoints.

    Args:
        out: Folder of the page; the run is out/runs/shapes.
        part: The part of the page.
        changes: Changes of the recipe, key=value.
    """

    def __init__(self, out: Path, part: TrainingPart, changes: tuple[str, ...] = ()):
        self.out, self.part, self.run = out, part, out / "runs" / RECIPE
        part.resume = format_command("sonolux", "train", "--resume", self.run, f"train.steps={2 * part.planned}")
        words = [RECIPE, f"train.steps={part.planned}", "train.minutes=null", *changes, "--out", str(self.run)]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sonolux.core.cli.main", "train", *words, "--quiet"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )

    def follow(self) -> Iterator[None]:
        """Check each new checkpoint, until the goal, the last step or the time limit. Yields about once a second."""
        part = self.part
        part.state = "runs"
        try:
            while True:
                ended = self.process.poll() is not None
                self._read_log()
                checked = self._check()
                if part.reached:
                    part.state = "goal"
                elif ended and not checked:
                    part.state = "failed" if self.process.returncode else "steps"
                elif not ended and part.seconds > part.limit:
                    self._stop()
                    self._check()
                    part.state = "goal" if part.reached else "time"
                yield
                if part.state != "runs":
                    return
                time.sleep(0 if checked else 1)
        finally:
            self._stop()

    def _stop(self) -> None:
        """Stop the process, which saves a checkpoint first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()

    def _read_log(self) -> None:
        part, log = self.part, self.run / "metrics.jsonl"
        part.seconds = time.monotonic() - self.began
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        rows = [row for row in map(json.loads, lines) if "elapsed_s" in row]  # other rows are of held-out losses
        if rows:
            row = rows[-1]
            part.step, part.speed = row["step"], row["step"] / row["elapsed_s"]

    def _check(self) -> bool:
        """Sample the newest checkpoint, unless this was done before, and check the samples; whether it was done."""
        part = self.part
        saved = sorted((self.run / "checkpoints").glob("step-*.safetensors"))
        if not saved or int(saved[-1].stem.partition("-")[2]) <= part.checked:
            return False
        try:
            pipeline = sonolux.load(saved[-1], device="cpu")
        except BadInput:  # deleted by the training, which keeps the latest ones only
            return False
        samples = pipeline.sample(count=part.count, seed=0, batch=part.count)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of values out of range: the page shows what is half-trained
            paths = samples.save(self.out / RECIPE, overwrite=True)
        labels = [str(conditions["label"]) for conditions in samples.conditions]
        found = [recognise_main_shape(media) for media in samples.media]
        part.shown = [(f"{RECIPE}/{p.name}", label, seen) for p, label, seen in zip(paths, labels, found, strict=True)]
        part.checks[pipeline.step] = sum(label == seen for label, seen in zip(labels, found, strict=True))
        part.step = max(part.step, pipeline.step)
        return True


def summary(training: TrainingPart | None) -> list[str]:
    """The result of the training in words."""
    if training is None:
        return []
    ends = {
        "goal": "the goal is reached",
        "steps": "the goal is missed",
        **dict.fromkeys(
            ("time", "stopped"),
            f"stopped before its goal, at step {training.step} of {training.planned}; go on: {training.resume}",
        ),
        "failed": "the training failed; its messages are above",
    }
    seen = f"{training.hits}/{training.count} recognised by the checker at step {training.checked}"
    return [f"{RECIPE}: {seen}: {ends[training.state]}"]
