"""Whether memory, open files and threads stay constant in a long training and in repeated sampling.

    python benchmarks/memory.py [--steps 5000] [--calls 100] [--workers 0]

Trains a tiny network and then samples from it again and again, in one process. Each line shows the resident memory in
MiB, the number of open files and that of threads; `growth` is the memory at the end less that after a fifth of the
steps or calls, when all caches are filled. Linux only: the numbers come from /proc.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.pipeline.load import load
from sonolux.core.training.callbacks import PeriodicCallback, RunState
from sonolux.core.training.run import TrainingRun

RECIPE = """
recipe: 1
name: tiny
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 200, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 16, stages: [1, 2], blocks: 1, patch: 2}
conditioning: {label: {use: class, drop: 0.2}}
train: {steps: STEPS, batch: 8, warmup: 1, workers: WORKERS, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 4, count: 4, batch: 4, guidance: {use: cfg, scale: 2.0}}
"""


@dataclass(frozen=True)
class ProcessState:
    """What this process holds.

    Attributes:
        memory: Resident memory in MiB.
        files: Number of open files.
        threads: Number of threads.
    """

    memory: float
    files: int
    threads: int


def state() -> ProcessState:
    """The state of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return ProcessState(memory, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))


class States(PeriodicCallback):
    """Records the state of the process ten times in a training."""

    def __init__(self, steps: int):
        super().__init__(max(1, steps // 10), 10)
        self.found: dict[int, ProcessState] = {}

    def act(self, run: RunState) -> None:
        self.found[run.step] = state()


def train(folder: Path, steps: int, workers: int) -> dict[int, ProcessState]:
    """Step -> state, of a training."""
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.replace("STEPS", str(steps)).replace("WORKERS", str(workers)), encoding="utf-8")
    states = States(steps)
    run = TrainingRun(load_recipe(str(path)), folder / "run", say=lambda text: None, bar=False, callbacks=[states])
    run.prepare()
    run.run()
    return states.found


def sample(run: Path, calls: int) -> dict[int, ProcessState]:
    """Number of calls -> state; every call has another seed, and every second one another number of steps."""
    pipeline, found = load(run), {}
    for call in range(1, calls + 1):
        pipeline.sample(seed=call, steps=4 + call % 2, progress=False)
        if call % max(1, calls // 10) == 0:
            found[call] = state()
    return found


def growth(found: dict[int, ProcessState]) -> float:
    """MiB from the state after a fifth to the last one."""
    states = list(found.values())
    return states[-1].memory - states[len(states) // 5].memory


def table(name: str, found: dict[int, ProcessState]) -> str:
    """The states as lines."""
    lines = [f"  {n:>7}  {s.memory:8.1f}  {s.files:5}  {s.threads:7}" for n, s in found.items()]
    head = f"  {name:>7}  {'MiB':>8}  {'files':>5}  {'threads':>7}"
    return "\n".join([head, *lines, f"  growth   {growth(found):8.1f}"])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0, help="processes that read the data")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        print(f"training of {asked.steps} steps\n{table('step', train(Path(name), asked.steps, asked.workers))}")
        print(f"\n{asked.calls} calls of Pipeline.sample\n{table('call', sample(Path(name) / 'run', asked.calls))}")


if __name__ == "__main__":
    main()
