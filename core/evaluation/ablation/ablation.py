"""An ablation: arms and seeds are trained in turn, compared, and stored in ablation.json after each seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from pydantic import TypeAdapter

from ...types import BadInput
from ...util.atomic_replace import reserve_folder, write_text_file
from ...util.folders import check_kinds, list_names
from ...util.interrupts import Interrupted, begin_work
from ...util.json_files import StoredRecord, read_json
from ...util.messages import format_count, format_json
from ...util.progress import progress_bar
from .arms import Arm
from .figures import BASELINE, ArmFigure, compare_figures
from .interleave import InterleavedRun, train_interleaved
from .train_arms import ERROR, SeedRuns, hash_data, held_out_errors, prepare_seed, sample_distances

RESULT, TABLE = "ablation.json", "ablation.md"


class StoredArm(StoredRecord):
    """An arm: its changes, and its whole recipe."""

    name: str
    recipe: str


class StoredArmRun(StoredRecord):
    """A finished run.

    Attributes:
        arm: Index of the arm.
        seed: Number of the seed, from 0.
        figures: Name -> value; None: the training failed.
        levels: logsnr -> weighted held-out error; their mean is the held-out error.
        steps: Optimiser steps.
        seconds: Seconds of training.
        samples_per_s: The training rate.
        data: Hash of the training and held-out examples; None: it was made before such hashes were stored.
    """

    arm: int
    seed: int
    figures: dict[str, float | None]
    levels: dict[str, float | None]
    steps: int
    seconds: float
    samples_per_s: float
    data: str | None = None


class StoredAblation(StoredRecord):
    """The content of ablation.json, without the comparison, which is computed from it."""

    arms: list[StoredArm]
    samples: int
    runs: list[StoredArmRun]


_STORED = TypeAdapter(StoredAblation)


@dataclass
class Ablation:
    """The arms, the settings and the finished runs of an ablation.

    Args:
        arms: The arms; the first is the baseline.
        samples: Samples of each run that are measured as by `sonolux eval`; 0: none.
    """

    arms: list[Arm]
    samples: int = 0

    def __post_init__(self) -> None:
        self.stored = [StoredArm(name=arm.name, recipe=arm.recipe.dump()) for arm in self.arms]
        self.runs: list[StoredArmRun] = []

    def run(self, seeds: int, folder: Path, resume: bool, say: Callable[[str], object], show: bool = True) -> None:
        """Train and measure what is not finished yet; the folder is written after each seed.

        Args:
            seeds: Number of seeds.
            folder: The output folder.
            resume: Keep the finished seeds of an ablation with the same settings.
            say: Called with lines for the user.
            show: Show a progress bar.

        Raises:
            BadInput: An arm or the folder cannot be used.
            Interrupted: A signal ended it.
        """
        with reserve_folder(folder):
            self._open(folder, resume)
            finished = {run.seed for run in self.runs}
            left = [number for number in range(seeds) if number not in finished]
            if left:
                self._check_data(folder)
            train = self.arms[0].recipe.train
            total = None if train.steps is None else train.steps * len(left) * len(self.arms)
            try:
                with progress_bar("", "step", total, show=show, delay=0) as bar:
                    for number in left:
                        seed, first = prepare_seed(self.arms, number), number == left[0]
                        if first:
                            say(self._plan(seeds, len(left), folder))
                        bar.set_description_str(f"seed {number + 1} of {seeds}")
                        self.runs += self._train(seed, number, bar.update, say if first else None)
                        self._write(folder)
            except Interrupted as error:
                done = len({run.seed for run in self.runs})
                again = "the same command with --resume continues" if done else "nothing is saved yet"
                raise Interrupted(f"stopped; {done} of {format_count(seeds, 'seed')} finished: {again}") from error

    def _open(self, folder: Path, resume: bool) -> None:
        check_kinds(folder, files=(RESULT, TABLE))
        if not resume:
            if (folder / RESULT).exists():
                raise BadInput(f"{folder} already holds an ablation: continue it with --resume, or name another --out")
            if list_names(folder):
                raise BadInput(f"{folder} exists and is not empty: name an empty folder with --out")
        elif (folder / RESULT).exists():
            stored = read_json(folder / RESULT, _STORED)
            if (stored.arms, stored.samples) != (self.stored, self.samples):
                raise BadInput(f"{folder} was made with other settings: only --seeds may change with --resume")
            self.runs = list(stored.runs)
        begin_work()

    def _check_data(self, folder: Path) -> None:
        """Raise BadInput if the data is not that of the finished seeds, since their figures could not be compared."""
        known = {run.arm: run.data for run in self.runs if run.seed == self.runs[0].seed and run.data is not None}
        if not known:
            return
        for i, now in enumerate(hash_data(self.arms, self.runs[0].seed)):
            if known.get(i, now) != now:
                raise BadInput(
                    f"{folder}: the data of {self.arms[i].name} has changed since its finished seeds were trained, so "
                    "figures could not be compared: restore the data, or start again with another --out"
                )

    def _plan(self, seeds: int, left: int, folder: Path) -> str:
        train = self.arms[0].recipe.train
        length = f"{train.steps} steps" if train.steps else format_count(train.minutes or 0.0, "minute")
        arms = format_count(len(self.arms), "arm")
        return (
            f"{arms} x {format_count(seeds, 'seed')}, {length} for each run; {left * len(self.arms)} runs to train; "
            f"writes {folder}"
        )

    def _train(
        self,
        seed: SeedRuns,
        number: int,
        count: Callable[[int], object],
        say: Callable[[str], object] | None,
    ) -> list[StoredArmRun]:
        """Train all arms with one seed; `say` is called with the time that this takes, known from the first slices."""
        fresh = set(map(id, seed.runs)) if say else set[int]()

        def report(run: InterleavedRun, steps: int) -> None:
            count(steps)
            if not fresh:
                return
            fresh.discard(id(run))
            if not fresh and say is not None:
                needed = sum(one.seconds / max(one.progress, 1e-9) for one in seed.runs)
                say(f"training takes about {format_count(round(needed / 60, 1), 'minute')} for each seed")

        train_interleaved(seed.runs, report)
        out = []
        for i, run in enumerate(seed.runs):
            errors = held_out_errors(run.trainer, seed.held_out, seed.levels) if run.finite else []
            figures = {ERROR: sum(errors) / len(errors) if errors else math.nan}
            if self.samples:
                figures |= sample_distances(run.trainer, self.samples) if run.finite else {}
            out.append(
                StoredArmRun(
                    arm=i,
                    seed=number,
                    figures={name: value if math.isfinite(value) else None for name, value in figures.items()},
                    levels={f"{level:g}": error for level, error in zip(seed.levels, errors, strict=False)},
                    steps=run.trainer.step,
                    seconds=round(run.seconds, 3),
                    samples_per_s=run.samples_per_s,
                    data=seed.data[i],
                )
            )
        return out

    def comparison(self) -> dict[str, list[ArmFigure]]:
        """Name of a figure -> the comparison of the arms, in their order."""
        out = {}
        for name in dict.fromkeys(name for run in self.runs for name in run.figures):
            by_seed = {(run.arm, run.seed): run.figures.get(name) for run in self.runs}
            seeds = sorted({run.seed for run in self.runs})
            values = [[by_seed[arm, seed] for seed in seeds] for arm in range(len(self.arms))]
            out[name] = compare_figures([[math.nan if v is None else v for v in row] for row in values])
        return out

    def to_dict(self) -> dict[str, Any]:
        """The content of ablation.json."""
        named = {
            name: [{"arm": arm.name, **vars(one)} for arm, one in zip(self.arms, found, strict=True)]
            for name, found in self.comparison().items()
        }
        return {
            "made by": "sonolux ablate",
            "comparison": named,
            "samples": self.samples,
            "runs": [run.model_dump() for run in self.runs],
            "arms": [arm.model_dump() for arm in self.stored],
        }

    def _write(self, folder: Path) -> None:
        write_text_file(folder / RESULT, format_json(self.to_dict()) + "\n")
        write_text_file(folder / TABLE, "\n".join(self.table_lines()) + "\n")

    def table_lines(self) -> list[str]:
        """The comparison as Markdown, one table for each figure."""
        out: list[str] = []
        seeds = len({run.seed for run in self.runs})
        for name, found in self.comparison().items():
            head = ["arm", name, "difference", "95 % interval", "verdict", "samples/s", "steps"]
            rows = [head, ["---"] * len(head)]
            for i, (arm, one) in enumerate(zip(self.arms, found, strict=True)):
                own = [run for run in self.runs if run.arm == i]
                rate, steps = mean(run.samples_per_s for run in own), mean(run.steps for run in own)
                compared = ["", ""] if one.verdict == BASELINE else [_number(one.difference), _interval(one)]
                rows.append([f"`{arm.name}`", _number(one.mean), *compared, one.verdict, f"{rate:.4g}", f"{steps:.0f}"])
            widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
            out += [f"| {' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))} |" for row in rows]
            out.append("")
        single = " One seed: no interval and no verdict." if seeds == 1 else ""
        out.append(
            f"Means over {format_count(seeds, 'seed')}; smaller is better. Differences from the first arm are paired "
            f"by seed; the verdicts at 95 % are corrected for the number of arms (Holm), the intervals are not.{single}"
        )
        return out


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _interval(one: ArmFigure) -> str:
    return "-" if math.isnan(one.low) else f"{_number(one.low)} to {_number(one.high)}"
