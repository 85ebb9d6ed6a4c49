"""Training speed of the U-Nets: examples a second of forward, backward and AdamW, by precision and memory layout.

    python benchmarks/throughput.py [--threads 2] [--seconds 5] [--only digits] [--busy] [--profile]

Rounds of the settings alternate, so that what else the machine does falls on all of them; `ratio` is to the first row.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from sonolux.core.conditioning.base import gather
from sonolux.core.conditioning.class_ import Class
from sonolux.core.types import MediaSpec
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
    """A way to run one problem, and the times of its steps in seconds."""

    problem: Problem
    precision: str
    layout: str
    step: Callable[[], None]
    parameters: int
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Examples a second at the median step."""
        return self.problem.batch / statistics.median(self.times)


def settings(problem: Problem) -> list[Setting]:
    """Float32 and bfloat16; for pictures also channels-last."""
    layouts = ["contiguous", "channels_last"] if len(problem.latent) == 3 else ["contiguous"]
    return [make(problem, precision, layout) for layout in layouts for precision in ("float32", "bf16")]


def make(problem: Problem, precision: str, layout: str) -> Setting:
    """A network with its optimiser and one training step on a fixed batch."""
    spec = MediaSpec(
        "", problem.latent[0], ("height", "width"), problem.latent[1:], classes=DIGITS, latent=problem.latent
    )
    network = problem.network(spec, **problem.options)
    label = Class(spec, network.embedding_width)
    x = torch.randn(problem.batch, *problem.latent, generator=torch.Generator().manual_seed(0))
    if layout == "channels_last":
        network, x = network.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    parameters = [*network.parameters(), *label.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    level, values = torch.linspace(-1.5, 1.5, problem.batch), {"label": [i % 10 for i in range(problem.batch)]}

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            out = network(x, level, gather({"label": label}, values))
        (out.float() - x).square().mean().backward()
        optimizer.step()

    return Setting(problem, precision, layout, step, sum(p.numel() for p in network.parameters()))


def measure(runs: list[Setting], seconds: float, clock: Callable[[], float]) -> None:
    """Warm up, then time whole rounds until each setting has run for about `seconds` on the clock."""
    for run in runs:
        run.step()
        run.step()
    end = clock() + seconds * len(runs)
    while clock() < end:
        for run in runs:
            start = clock()
            run.step()
            run.times.append(clock() - start)


def profile(run: Setting) -> None:
    """Print where four steps spend their time."""
    with torch.profiler.profile() as recorded:
        for _ in range(4):
            run.step()
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=45))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each setting")
    parser.add_argument("--only", default="", help="problems whose name contains this")
    parser.add_argument("--busy", action="store_true", help="one thread, by its processor time: for a machine at work")
    parser.add_argument("--profile", action="store_true", help="show where the fastest setting spends its time")
    args = parser.parse_args()
    threads, clock = (1, time.thread_time) if args.busy else (args.threads, time.perf_counter)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    where = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {threads} threads"
    print(where + ", processor time" * args.busy)
    for problem in (p for p in PROBLEMS if args.only in p.name):
        runs = settings(problem)
        measure(runs, args.seconds, clock)
        print(
            f"\n{problem.name}: {runs[0].parameters / 1e6:.2f} M parameters, batch {problem.batch} of {problem.latent}"
        )
        for run in runs:
            print(f"  {run.precision:8} {run.layout:14} {run.rate:7.0f} /s   ratio {run.rate / runs[0].rate:.2f}")
        if args.profile:
            profile(max(runs, key=lambda run: run.rate))


if __name__ == "__main__":
    main()
