"""The sections of `gpu.py`. Each fills a table; `Options` says how large it is, and how long it may take."""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sonolux
import torch
from _bench import Table
from _gpu_networks import (
    PAIRS,
    TOY,
    PairSize,
    TimedTraining,
    make_training,
    measure_in_turns,
    output_of,
    seconds_of_step,
)
from _gpu_toys import TOY_RUNS, toy_pictures, toy_sounds
from sonolux.core.cli.main import main as command
from sonolux.core.config.load import load_recipe
from sonolux.core.training.build import build_dataset, build_model_components, fit_codec, fit_conditions
from sonolux.core.training.costs import measure_matmul_rate
from sonolux.core.training.step import Trainer
from sonolux.core.types import BadInput
from sonolux.core.util.device import autocast, choose_device


@dataclass(frozen=True)
class Options:
    """How a section is run.

    Attributes:
        out: Folder for runs and reports.
        seconds: Time budget of the section.
        smoke: Toy sizes, for a CPU.
    """

    out: Path
    seconds: float
    smoke: bool

    @property
    def size(self) -> PairSize:
        """Sizes of the compared networks."""
        return TOY if self.smoke else PairSize()

    @property
    def device(self) -> torch.device:
        """The device: that of the machine, or the CPU for toy sizes."""
        return torch.device("cpu") if self.smoke else choose_device("auto")

    @property
    def precision(self) -> str:
        """Precision of the training."""
        return "bf16" if self.device.type == "cuda" else "float32"


def measure_matmul(options: Options, table: Table) -> None:
    """The peak of matrix products, with which the other figures are compared."""
    table.title = f"Matrix products in {options.precision}"
    table.add("TFLOP/s of 2 n^3", measure_matmul_rate(options.device, options.precision) / 1e12)


def measure_training(options: Options, table: Table, compiled: bool = False) -> None:
    """Training steps of our networks and of diffusers', in turns."""
    size, device = options.size, options.device
    peak = measure_matmul_rate(device, options.precision)
    title = f"Training in {options.precision}, {'compiled' if compiled else 'not compiled'}"
    table.title = f"{title}: {size.pixels}x{size.pixels} pictures, batches of {size.batch}"
    for name, (ours, theirs) in PAIRS.items():
        runs = {}
        for who, build in (("ours", ours), ("diffusers", theirs)):
            torch.manual_seed(0)
            try:
                runs[who] = make_training(build(size), size, device, compiled)
            except ImportError as error:
                table.add(f"{name}, {who}", "-", "{}", f"not installed ({error})")
        measure_in_turns(
            list(runs.values()), device, options.seconds / (20 if compiled else 4), 2 if options.smoke else 5
        )
        for who, run in runs.items():
            _add_training(table, f"{name}, {who}", run, size.batch, peak)
        if len(runs) == 2:
            ratios = [b / a for a, b in zip(runs["ours"].times, runs["diffusers"].times, strict=True)]
            spread = f"single rounds {min(ratios):.2f} to {max(ratios):.2f}; above 1: ours is faster"
            table.add(f"{name}, ours / diffusers", statistics.median(ratios), "{:.2f}", spread)
            work = runs["ours"].flops / runs["diffusers"].flops
            table.add(f"{name}, ours / diffusers, FLOP/s", work * statistics.median(ratios), "{:.2f}")
        del runs
        if device.type == "cuda":
            torch.cuda.empty_cache()


def measure_compiled_training(options: Options, table: Table) -> None:
    """The same with our blocks compiled, as by `train.compile`, and the others' networks as a whole.

    The time to compile is not part of the figures.
    """
    measure_training(options, table, compiled=True)


def _add_training(table: Table, name: str, run: TimedTraining, batch: int, peak: float) -> None:
    seconds = statistics.median(run.times)
    share = f"{run.flops / seconds / peak:.0%} of the matmul peak"
    size = f"{run.parameters / 1e6:.1f} M weights, {run.flops / batch / 1e9:.1f} GFLOPs a picture"
    table.add(f"{name}, pictures/s", batch / seconds, "{:.4g}", f"{share}; {size}")


def measure_sampling(options: Options, table: Table) -> None:
    """Pictures per second of dpmpp_2m with 20 steps: as it is, and compiled with CUDA graphs."""
    size, device = options.size, options.device
    steps, batch = (3, 2) if options.smoke else (20, 4 * size.batch)
    table.title = f"Sampling with {steps} steps of dpmpp_2m in batches of {batch}, in {options.precision}"
    for name, (ours, _) in PAIRS.items():
        torch.manual_seed(0)
        network = ours(size).to(device).eval()
        modes: dict[str, Callable] = {"not compiled": network}
        if device.type == "cuda":
            modes["compiled, CUDA graphs"] = torch.compile(network, mode="reduce-overhead")
        for mode, call in modes.items():

            def sample(call: Callable = call) -> None:
                def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
                    with autocast(device, options.precision):
                        return output_of(call(x, t)).float()

                sonolux.sample(denoise, (batch, 3, size.pixels, size.pixels), steps=steps, device=device)

            with torch.inference_mode():
                sample()
                times = [seconds_of_step(sample, device) for _ in range(2 if options.smoke else 5)]
            table.add(f"{name}, {mode}, pictures/s", batch / statistics.median(times), "{:.4g}")


def count_host_waits(options: Options, table: Table) -> None:
    """How often a training step of a recipe waits for the device; 0 is the goal, apart from the log."""
    device, table.title = options.device, "Host waits of a training step, after the first steps"
    for name in ("text_shapes",) if options.smoke else ("text_shapes", "text_shapes_dit", "text_sfx"):
        changes = ["data.count=64", "train.batch=4", "train.workers=0", f"train.device={device.type}"]
        recipe = load_recipe(name, [*changes, "train.log_every=1000000"])
        data, spec = build_dataset(recipe)
        parts = build_model_components(recipe, spec)
        fit_codec(parts.codec, data, device)
        fit_conditions(parts.model, data)
        trainer, steps = Trainer(parts, data, device), 2 if options.smoke else 10
        for _ in range(2):
            trainer.train_step(0.1)
        places = [place for _ in range(steps) for place in waits_of(partial(trainer.train_step, 0.1), device)]
        trainer.close()
        note = "counted on a GPU only" if device.type != "cuda" else "; ".join(dict.fromkeys(places))[:200]
        table.add(name, len(places) / steps if device.type == "cuda" else "-", "{}", note)


def waits_of(act: Callable[[], object], device: torch.device) -> list[str]:
    """Where the host waits for a GPU during an action, `file:line` of each; none on a CPU."""
    if device.type != "cuda":
        act()
        return []
    torch.cuda.synchronize(device)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            act()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{Path(one.filename).name}:{one.lineno}" for one in found if "synchroniz" in str(one.message)]


def train_cifar10(options: Options, table: Table) -> None:
    """A run of the recipe cifar10 with its evaluation."""
    changes = ["train.batch=256", "train.measured_steps=null"]
    _train_and_evaluate("cifar10", options, table, changes, count=1000)


def train_game_sounds(options: Options, table: Table) -> None:
    """A run of the recipe game_sounds with its evaluation."""
    root = options.out / "toy_game_sounds" if options.smoke else _data("game_sounds")
    changes = [f"data.table={root / 'captions.jsonl'}", "train.batch=32"]
    _train_and_evaluate("game_sounds", options, table, changes, count=200)


def _train_and_evaluate(name: str, options: Options, table: Table, changes: list[str], count: int) -> None:
    """Train a recipe for most of the budget, evaluate it, and collect the figures of metrics.json."""
    began, run = time.monotonic(), options.out / name
    if options.smoke:
        maker = toy_pictures if name == "cifar10" else toy_sounds
        root, count = maker(options.out / f"toy_{name}"), 8
        changes = [*changes, *TOY_RUNS[name]]
    else:
        root = _data(name)
        changes = [*changes, f"train.minutes={0.5 * options.seconds / 60:.3g}", "sample.batch=200"]
    words = ["--out", str(run), "--overwrite", "--quiet"]
    _command("train", name, f"data.root={root}", *changes, *words)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [row for row in rows if "loss" in row][-1]
    table.title = f"{name}: trained on {root.name} for {last['elapsed_s']:.0f} s"
    table.add("steps", last["step"], "{}")
    table.add("samples/s", last["samples_per_s"], "{:.4g}", f"{last['data_wait']:.1%} of the time waiting for data")
    table.add("peak memory, MiB", last.get("peak_memory_mb", "-"), "{}")
    held = [row["held_out"]["loss"] for row in rows if "held_out" in row]
    table.add("held-out loss", held[-1] if held else "-", "{}")
    settings = [f"count={count}", f"data.root={root}", "eval.memorization=false"]  # that search takes minutes
    _command("eval", str(run), *settings, "--out", str(run / "eval"), "--overwrite")
    report = json.loads((run / "eval/metrics.json").read_text(encoding="utf-8"))
    for group, figures in report["figures"].items():
        for what, figure in figures.items():
            if not isinstance(figure["value"], (int, float)):  # nothing could be measured
                continue
            known = {about: one["value"] for about, one in figure["references"].items() if one["value"] is not None}
            references = ", ".join(f"{about} {value:.3g}" for about, value in known.items())
            table.add(f"{group}: {what}", figure["value"], "{:.3g}", references)
    table.add("seconds, all together", time.monotonic() - began, "{:.0f}")


def _data(name: str) -> Path:
    """The folder of the data, in the folder that SONOLUX_DATA names."""
    root = Path(os.environ.get("SONOLUX_DATA", "")) / name
    if not os.environ.get("SONOLUX_DATA") or not root.is_dir():
        raise BadInput(f"there is no folder {name} in SONOLUX_DATA, the folder of the data sets")
    return root


def _command(*words: str) -> None:
    """Run a command of the package in this process, without its output.

    Raises:
        BadInput: It failed; with its last message.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = command(list(words))
    if code:
        lines = [line for line in said.getvalue().splitlines() if line.strip()]
        raise BadInput(f"`sonolux {words[0]}` failed with exit code {code}: {lines[-1] if lines else 'no message'}")


SECTIONS: dict[str, tuple[Callable[[Options, Table], None], float]] = {
    "matmul": (measure_matmul, 10),
    "training": (measure_training, 45),
    "compiled training": (measure_compiled_training, 180),
    "sampling": (measure_sampling, 90),
    "host waits": (count_host_waits, 35),
    "cifar10": (train_cifar10, 130),
    "game sounds": (train_game_sounds, 110),
}
"""Name -> the section and its time budget in seconds, 600 together. A section adds its figures as it finds them."""
