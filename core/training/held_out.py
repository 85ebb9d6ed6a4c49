"""The held-out loss during training: by noise level, with its interval and its gap to that of training examples.

The loss of an example is that of the averaged weights, in units of the diffused tensor, whose variance is 1:

    e = (1 + 1 / rho^2) |D(alpha x0 + sigma eps) - x0|^2 / d,    rho = sigma / alpha,

at one of the levels logsnr = -2 log rho = -6, -4, ..., 6: example i has level i mod 7. d is the number of its valid
elements. Examples, levels and noise are the same in every evaluation. Training examples are measured in the same way,
not augmented and with no condition dropped, so that the gap compares like with like.

An evaluation takes (HELD_OUT + TRAINED) forward passes of one example, and a training step 3 x `train.batch` (the
backward pass costs two). One evaluation in `evaluation_interval` steps therefore takes the share SHARE of the time.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from ..config.recipe import Recipe
from ..data.loader import Batch, check_item_finite
from ..schedulers.base import Schedule
from ..types import BadInput, Dataset, Item
from ..util.device import autocast
from .callbacks import PeriodicCallback, RunState
from .checkpoint import CheckpointHeader, CheckpointNotSaved, read_header, save_checkpoint
from .data_changes import hash_examples
from .plateau import LEAST, PATIENCE, Interval, Plateau

LOGSNR = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
HELD_OUT, TRAINED = 128, 64  # largest numbers of examples
SHARE = 0.02  # of the training time
MOST_BYTES = 2**26  # of the media of held-out examples, which stay in memory
MEMORIZED = 0.2  # a gap that is surely above this share of the training loss is reported


def reachable_levels(schedule: Schedule) -> list[float]:
    """The values of LOGSNR that a noise schedule reaches."""
    lowest, highest = (-2 * float(schedule.level(t).lam) for t in (schedule.t_min, schedule.t_max))
    return [level for level in LOGSNR if lowest <= -level <= highest]


def error_weight(logsnr: float) -> float:
    """1 + 1 / rho^2, the weight of EDM at sigma_data = 1 (Karras et al. 2022, arXiv:2206.00364, table 1)."""
    return 1 + math.exp(logsnr)


def evaluation_interval(batch: int) -> int:
    """Steps between two evaluations, see the module."""
    return math.ceil((HELD_OUT + TRAINED) / (3 * SHARE * batch))


class FixedExamples:
    """Examples of a dataset in batches of one level each.

    Args:
        data: The dataset, of which evenly spaced examples are taken; those that cannot be read are left out.
        most: Largest number of them.
        levels: Values of logsnr.
    """

    def __init__(self, data: Dataset, most: int, levels: Sequence[float]):
        count, size = min(most, len(data)), 0
        found: list[tuple[int, Item]] = []
        for row in (i * len(data) // count for i in range(count)):
            with suppress(BadInput, OSError):  # a damaged file does not end the run
                item = check_item_finite(data.item(row, None))
                size += item.media.numel() * item.media.element_size()
                if size > MOST_BYTES and len(found) >= len(levels):
                    break
                found.append((row, item))
        self.levels, self.batches = list(levels[: len(found)]), []
        for k in range(len(self.levels)):
            rows, items = zip(*found[k :: len(levels)], strict=True)
            self.batches.append(Batch(0, rows, list(items), torch.stack([item.media for item in items])))

    def losses(self, run: RunState) -> list[Tensor]:
        """The losses of the examples of each level, see the module."""
        trainer, found = run.trainer, []
        with torch.no_grad(), autocast(trainer.device, trainer.train.precision):
            for level, batch in zip(self.levels, self.batches, strict=True):
                errors = trainer.x0_errors(batch, [math.exp(-level / 2)])[0]
                found.append(error_weight(level) * errors.double().cpu())
        return found


def stratified_gap(held_out: Sequence[Tensor], trained: Sequence[Tensor]) -> tuple[float, float]:
    """Mean over the levels of (mean held-out loss - mean training loss), and half of its 95 % interval.

    half = 1.96 sqrt(sum over levels of (s_h^2 / n_h + s_t^2 / n_t)) / L for L levels that have two examples in both.
    """
    pairs = [(h, t) for h, t in zip(held_out, trained, strict=False) if min(len(h), len(t)) > 1]
    if not pairs:
        return 0.0, math.inf
    gap = sum(float(h.mean() - t.mean()) for h, t in pairs) / len(pairs)
    variance = sum(float(h.var() / len(h) + t.var() / len(t)) for h, t in pairs)
    return gap, float(stdtrit(math.inf, 0.975)) * math.sqrt(variance) / len(pairs)


class HeldOutCallback(PeriodicCallback):
    """Logs the held-out loss, warns of memorisation, and ends a run with `train.until: plateau` when it is flat.

    Args:
        recipe: The recipe of the run.
        build: Builds the held-out examples; None: there are none.
        every: Steps between evaluations; None: see `evaluation_interval`.

    Attributes:
        plateau: State of the rule that ends the run, see `plateau.py`.
    """

    about = "held-out loss"

    def __init__(self, recipe: Recipe, build: Callable[[], Dataset | None], every: int | None = None):
        super().__init__(every or evaluation_interval(recipe.train.batch), 1)
        self.build, self.stops = functools.cache(build), recipe.train.until == "plateau"
        self.plateau, self.gap_was_reported = Plateau(HELD_OUT), False
        self._examples: tuple[FixedExamples, FixedExamples] | None = None
        self._digest: Tensor | None = None
        self._without = False  # there are no held-out examples
        self._best: tuple[CheckpointHeader, nn.Module] | None = None  # not written yet

    def check(self, run: RunState) -> None:
        """Raise BadInput if the run is to end at a plateau and has too few held-out examples to see one."""
        data = self.build() if self.stops else None
        if self.stops and (data is None or len(data) < LEAST):
            raise BadInput(
                f"train.until is plateau, and {0 if data is None else len(data)} examples are held out: "
                f"{LEAST} or more are needed, see data.split.valid"
            )

    def state(self) -> Mapping[str, nn.Module]:
        return {"held_out": self.plateau} if self.stops else {}

    def on_start(self, run: RunState) -> None:
        super().on_start(run)
        self._best = None
        best = run.folder.best
        if not self.stops or not int(self.plateau.count):
            return
        step = -1
        with suppress(BadInput):  # missing or damaged
            step = read_header(best).step
        if step != int(self.plateau.best_step) or not torch.equal(self.plateau.fingerprint, self._fingerprint()):
            run.say("the best checkpoint or the held-out examples have changed: the held-out loss is compared anew")
            self.plateau.forget()

    def act_once(self, run: RunState) -> None:
        """As for other callbacks, but no time is reserved for an evaluation at the end, where there is none."""
        super().act_once(run)
        self.seconds = 0.0

    def on_end(self, run: RunState) -> None:
        """Nothing: an evaluation that is not due would cost more than its share of a short run."""

    def ends(self, run: RunState) -> str | None:
        if not (self.stops and self.plateau.is_flat):
            return None
        return (
            f"held-out loss flat since step {int(self.plateau.best_step)}: no improvement beyond its interval in the "
            f"last {PATIENCE} evaluations. The checkpoint of the best one is {run.folder.best}"
        )

    def act(self, run: RunState) -> None:
        examples = self._prepared(run)
        if examples is None:
            return
        began = time.monotonic()
        held_out, trained = (one.losses(run) for one in examples)
        gap, half = stratified_gap(held_out, trained)
        whole, seen = (Interval(torch.cat(losses)) for losses in (held_out, trained))
        row: dict[str, Any] = {
            "loss": _rounded(whole.mean),
            "interval": _ends(whole.mean, whole.half),
            "by_logsnr": {
                f"{level:g}": {"loss": _rounded(one.mean), "interval": _ends(one.mean, one.half)}
                for level, one in zip(examples[0].levels, map(Interval, held_out), strict=True)
            },
            "train_loss": _rounded(seen.mean),
            "gap": _rounded(gap),
            "gap_interval": _ends(gap, half),
        }
        if self.stops:
            if self.plateau.add(run.step, torch.cat(held_out)):
                self.plateau.fingerprint.copy_(self._fingerprint())
                self._keep(run)
            row |= {"best_step": int(self.plateau.best_step), "without_improvement": int(self.plateau.waited)}
        run.log.write_row({"step": run.step, "held_out": row | {"seconds": round(time.monotonic() - began, 3)}})
        if gap - half > MEMORIZED * seen.mean and not self.gap_was_reported:
            self.gap_was_reported = True
            run.say(
                f"step {run.step}: the held-out loss is {gap / seen.mean:.0%} above that of training examples: the "
                "model memorises them. More or more varied data helps, or a smaller network, or fewer steps"
            )

    def on_save(self, run: RunState, path: Path) -> None:
        if self._best is None:
            return
        header, weights = self._best
        try:
            save_checkpoint(run.folder.best, header, {"ema": weights, "codec": run.parts.codec})
            self._best = None
        except (CheckpointNotSaved, OSError) as error:
            run.say(f"{error}: the best checkpoint is written with the next one")

    def _keep(self, run: RunState) -> None:
        """Copy the averaged weights, which are written with the next checkpoint."""
        parts = run.parts
        header = CheckpointHeader(run.recipe.dump(), parts.spec, run.step, run.budget.elapsed, parts.clip_lengths)
        self._best = header, copy.deepcopy(run.trainer.ema.model)

    def _prepared(self, run: RunState) -> tuple[FixedExamples, FixedExamples] | None:
        """The held-out and the training examples, read at the first evaluation; None: nothing is held out."""
        if self._examples is None and not self._without:
            data = self.build()
            levels = reachable_levels(run.parts.process.schedule)
            if data is not None and levels:
                both = FixedExamples(data, HELD_OUT, levels), FixedExamples(run.trainer.data, TRAINED, levels)
                self._examples = both if all(one.batches for one in both) else None
            self._without = self._examples is None
        return self._examples

    def _fingerprint(self) -> Tensor:
        if self._digest is None:
            data = self.build()
            digest = bytes(16) if data is None else bytes.fromhex(hash_examples(data))[:16]
            self._digest = torch.tensor(list(digest), dtype=torch.uint8)
        return self._digest


def _rounded(value: float) -> float:
    return round(value, 6)


def _ends(mean: float, half: float) -> list[float] | None:
    """The ends of an interval; None: unknown."""
    return [_rounded(mean - half), _rounded(mean + half)] if math.isfinite(half) else None
