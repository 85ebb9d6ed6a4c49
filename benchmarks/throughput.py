"""Training speed: of the networks alone by precision and memory layout, and of whole training steps of recipes.

    python benchmarks/throughput.py [--threads 2] [--seconds 5] [--only digits] [--busy] [--profile] [--device cuda]
    python benchmarks/throughput.py --steps [--against PATH]

Networks: examples per second of forward, backward and AdamW; `ratio` is relative to the first row. The last line of a
problem is the share of random numbers: the time to draw all random numbers of a step (noise, levels, dropped
conditions, and the masks of a network with dropout 0.1), relative to the step. Steps: milliseconds of a whole step, and
the shares of reading its data and of drawing its noise; with --against, the ratio to the same steps of another checkout
of sonolux, such as `git worktree add PATH REVISION`. Rounds alternate, so that other load on the machine affects all of
them equally.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sonolux.core.conditioning.base import build_conditioning
from sonolux.core.conditioning.class_ import Class
from sonolux.core.nn.layers.dropout import Dropout, dropout_mask
from sonolux.core.types import MediaSpec
from sonolux.core.util.rng import KeyedNoise, stratified_uniforms
from sonolux.modalities.audio.networks.unet import UNet as UNet1D
from sonolux.modalities.image.networks.unet import UNet as UNet2D

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Problem:
    """One network and the batch it is trained with."""

    name: str
    network: type
    latent: tuple[int, ...]
    batch: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> MediaSpec:
        """Classes, and axes of the latent tensor."""
        channels, *size = self.latent
        axes = ("height", "width") if len(size) == 2 else ("time",)
        return MediaSpec("", channels, axes, tuple(size), classes=DIGITS, latent=self.latent)


PROBLEMS = [
    Problem(
        "digits",
        UNet2D,
        (1, 28, 28),
        64,
        {"width": 64, "stages": [1, 2], "blocks": 2, "attention": [1], "patch": 2},
    ),
    Problem("spoken digits, stft", UNet1D, (254, 126), 32, {"width": 192, "stages": [1, 1, 1], "attention": [2]}),
    Problem("spoken digits, log-mel", UNet1D, (48, 126), 32, {"width": 96, "stages": [1, 1, 1], "attention": [2]}),
]


@dataclass
class Setting:
    """One way to run a problem, and the times of its steps in seconds."""

    problem: Problem
    precision: str
    layout: str
    step: Callable[[], None]
    parameters: int
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Examples per second at the median step."""
        return self.problem.batch / statistics.median(self.times)


def settings(problem: Problem, device: str) -> list[Setting]:
    """Float32 and bfloat16; for images also channels-last."""
    layouts = ["contiguous", "channels_last"] if len(problem.latent) == 3 else ["contiguous"]
    return [make(problem, precision, layout, device) for layout in layouts for precision in ("float32", "bf16")]


def make(problem: Problem, precision: str, layout: str, device: str = "cpu") -> Setting:
    """A network with its optimizer and one training step on a fixed batch."""
    network = problem.network(problem.spec, **problem.options)
    label = Class(problem.spec, network.embedding_width)
    network, label = network.to(device), label.to(device)
    x = torch.randn(problem.batch, *problem.latent, generator=torch.Generator().manual_seed(0)).to(device)
    if layout == "channels_last":
        network, x = network.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    parameters = [*network.parameters(), *label.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    level, values = (
        torch.linspace(-1.5, 1.5, problem.batch, device=device),
        {"label": [i % 10 for i in range(problem.batch)]},
    )

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            out = network(x, level, build_conditioning({"label": label}, values))
        (out.float() - x).square().mean().backward()
        optimizer.step()

    return Setting(problem, precision, layout, step, sum(p.numel() for p in network.parameters()))


def random_numbers(problem: Problem, device: str) -> list[Setting]:
    """Functions that draw the random numbers of a training step, without dropout and with the masks of dropout 0.1."""
    network, shapes = problem.network(problem.spec, **problem.options, dropout=0.1), []
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.register_forward_hook(lambda _, inputs, out: shapes.append(inputs[0].shape[1:]))
    label = build_conditioning({"label": Class(problem.spec, network.embedding_width)}, {"label": [0]})
    with torch.no_grad():
        network(torch.zeros(1, *problem.latent), torch.zeros(1), label)
    rows = range(problem.batch)

    def plain() -> None:
        KeyedNoise(0, rows, problem.latent, device).normal("train", 1)
        stratified_uniforms(0, 1, problem.batch, rows)
        KeyedNoise(0, rows, problem.latent).uniform("drop label", 1)

    def masks() -> None:
        plain()
        for layer, shape in enumerate(shapes):
            dropout_mask(0, list(rows), (1, layer), 0.1, torch.empty(problem.batch, *shape, device=device))

    return [Setting(problem, "", name, draw, 0) for name, draw in (("no dropout", plain), ("dropout 0.1", masks))]


def timer_of(device: str, busy: bool) -> Callable[[], float]:
    """A timer that waits until all work on the device is finished.

    Args:
        device: cpu or cuda.
        busy: Measure the processor time of this thread instead of elapsed time.
    """

    def timer() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return timer if device == "cuda" else time.thread_time if busy else time.perf_counter


def measure(runs: list[Setting], seconds: float, timer: Callable[[], float]) -> None:
    """Warm up, then time whole rounds until each setting has run for about `seconds`."""
    for run in runs:
        run.step()
        run.step()
    end = timer() + seconds * len(runs)
    while timer() < end:
        for run in runs:
            start = timer()
            run.step()
            run.times.append(timer() - start)


def profile(run: Setting) -> None:
    """Print the time spent in each operation of four steps."""
    with torch.profiler.profile() as recorded:
        for _ in range(4):
            run.step()
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=45))


RECIPES = {  # whole steps: networks of the recipes digits and spoken_digits, on synthetic data
    "digits": ["image/shapes", "modality.size=28", "modality.channels=1", "train.batch=64", "data.count=2000"],
    "spoken digits": ["audio/one_shots", "network.width=128", "data.count=2000"],
}


class Steps:
    """Times whole training steps in a separate process.

    Args:
        root: The checkout of sonolux to run.
        arguments: Recipe and changes.
        threads: Number of processor threads.
    """

    def __init__(self, root: Path, arguments: list[str], threads: int):
        # The folder of a checkout may have any name; the package is called sonolux.
        self._place = tempfile.TemporaryDirectory()
        (Path(self._place.name) / "sonolux").symlink_to(root.resolve(), target_is_directory=True)
        env = {**os.environ, "PYTHONPATH": self._place.name, "OMP_NUM_THREADS": str(threads)}
        worker = Path(__file__).resolve().with_name("_train_speed.py")
        command = [sys.executable, "-W", "ignore", str(worker), *arguments]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.rounds: list[dict[str, float]] = []

    def round(self, count: int, keep: bool = True) -> None:
        """Time `count` steps."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(count, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process that times steps ended early; see its message above")
        if keep:
            self.rounds.append({k: v / count for k, v in json.loads(line).items()})

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._place.cleanup()

    def median(self, what: str) -> float:
        """Seconds per step of "step", "read" or "noise" in the median round."""
        return statistics.median(r[what] for r in self.rounds)


def compare_steps(name: str, arguments: list[str], against: Path | None, seconds: float, threads: int) -> None:
    """Print the cost of a step of a recipe, here and in another checkout."""
    roots = [Path(__file__).resolve().parent.parent, *([against] if against else [])]
    runs = [Steps(root, [*arguments, "train.precision=float32", "train.device=cpu"], threads) for root in roots]
    for run in runs:
        run.round(2, keep=False)
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(runs[0].rounds) < 3:
        for run in runs:
            run.round(2)
    print(f"\n{name}: a training step")
    for run, root in zip(runs, roots, strict=True):
        step = run.median("step")
        shares = f"reading {run.median('read') / step:.1%}, noise {run.median('noise') / step:.1%} of it"
        ratios = [other["step"] / own["step"] for own, other in zip(runs[0].rounds, run.rounds, strict=True)]
        ratio = "" if run is runs[0] else f"   this checkout takes {1 / statistics.median(ratios):.2f} times as long"
        print(f"  {1e3 * step:7.1f} ms   {shares}   {root}{ratio}")
        run.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each setting")
    parser.add_argument("--only", default="", help="problems whose name contains this")
    parser.add_argument(
        "--busy", action="store_true", help="one thread, by its processor time: for a machine with other load"
    )
    parser.add_argument("--profile", action="store_true", help="show where the fastest setting spends its time")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", action="store_true", help="whole training steps of recipes instead of networks")
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout, to compare whole steps with")
    args = parser.parse_args()
    if args.steps or args.against:
        for name, arguments in RECIPES.items():
            if args.only in name:
                compare_steps(name, arguments, args.against, args.seconds, args.threads)
        return
    threads, timer = 1 if args.busy else args.threads, timer_of(args.device, args.busy)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    where = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {threads} threads"
    where = torch.cuda.get_device_name() if args.device == "cuda" else where
    print(where + ", processor time" * args.busy)
    for problem in (p for p in PROBLEMS if args.only in p.name):
        runs, draws = settings(problem, args.device), random_numbers(problem, args.device)
        measure([*runs, *draws], args.seconds, timer)
        print(
            f"\n{problem.name}: {runs[0].parameters / 1e6:.2f} M parameters, batch {problem.batch} of {problem.latent}"
        )
        for run in runs:
            print(f"  {run.precision:8} {run.layout:14} {run.rate:7.0f} /s   ratio {run.rate / runs[0].rate:.2f}")
        step = statistics.median(runs[0].times)
        for draw in draws:
            own = statistics.median(draw.times)
            print(f"  random numbers, {draw.layout:12} {1000 * own:7.2f} ms   {own / step:.2%} of a step in float32")
        if args.profile:
            profile(max(runs, key=lambda run: run.rate))


if __name__ == "__main__":
    main()
