"""Train two recipes with synthetic data on a laptop, sample images and sounds, check them, and write one HTML page.

    python examples/demo.py --out demo

This takes about five minutes on two cores without a GPU. Training ends after --minutes; on a slow machine it makes
fewer steps than the recipes need, and the page says so. The page, demo/index.html, also plays the sounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sonolux
import torch
from sonolux.core.pipeline.result import Samples
from sonolux.core.training.lr import TrainingBudget
from sonolux.core.util.html_templates import template_engine
from sonolux.core.util.messages import print_lines
from sonolux.core.util.progress import progress_bar
from sonolux.modalities.audio.synthetic.checkers import predict_family
from sonolux.modalities.image.synthetic.checkers import recognise_main_shape

TEMPLATE = "demo.html.j2"


@dataclass
class Result:
    """The samples of one recipe, and what the checker recognised in them.

    `shortfall` says that training made fewer steps than those with which the recipe was measured, and how to continue.
    """

    name: str
    samples: Samples
    paths: list[Path]
    recognised: list[str]
    seconds: float
    steps: int
    shortfall: str | None = None

    @property
    def labels(self) -> list[str]:
        """The class that each sample was conditioned on."""
        return [str(conditions["label"]) for conditions in self.samples.conditions]

    @property
    def hits(self) -> int:
        """Number of samples in which the checker recognises the class."""
        return sum(label == found for label, found in zip(self.labels, self.recognised, strict=True))

    @property
    def shown(self) -> list[tuple[Path, str, str]]:
        """File, class and recognised class of each sample."""
        return list(zip(self.paths, self.labels, self.recognised, strict=True))


def train(recipes: list[str], out: Path, minutes: float) -> dict[str, int]:
    """Train the recipes in parallel, one process with one thread for each.

    A network of this size does not use two cores efficiently; two processes do.

    Args:
        recipes: Names of the recipes.
        out: Output folder.
        minutes: Training time.

    Returns:
        Peak memory of each recipe in bytes.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sonolux.core.cli.main", "train"]
    running = {
        r: subprocess.Popen(
            [*command, r, f"train.minutes={minutes}", "--out", str(out / "runs" / r), "--overwrite", "--quiet"],
            env=env,
            stdout=subprocess.DEVNULL,
        )
        for r in recipes
    }
    memory = dict.fromkeys(recipes, 0)
    with progress_bar("training", "second", round(60 * minutes), delay=0, leave=True) as shown:
        while any(process.poll() is None for process in running.values()):
            time.sleep(1)
            shown.set_postfix_str(", ".join(f"{r} {_latest(out / 'runs' / r)}" for r in recipes))
            shown.update(min(1, round(60 * minutes) - shown.n))
            memory = {r: max(memory[r], _memory(p.pid)) for r, p in running.items()}
    for recipe, process in running.items():
        if process.returncode:
            raise SystemExit(f"training {recipe} failed with exit code {process.returncode}; its messages are above")
    return memory


def _latest(run: Path) -> str:
    """Step and loss in the last line of a run's metrics."""
    if not (run / "metrics.jsonl").exists():
        return "starts"
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return f"step {row['step']} loss {row['loss']:.3f}"


def _memory(pid: int) -> int:
    """Peak resident memory of a process in bytes; 0 if the system does not report it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def make(recipe: str, out: Path, count: int, check: Callable[[torch.Tensor], str]) -> Result:
    """Sample a trained recipe, with all labels in turn, and check every sample."""
    start = time.monotonic()
    trained = sonolux.load(out / "runs" / recipe)
    samples = trained.sample(count=count, seed=0, batch=count, trajectory=True, progress=True)
    paths = samples.save(out / recipe, trajectory=True, overwrite=True)
    recognised = [check(media) for media in samples.media]
    shortfall = TrainingBudget(trained.recipe.train).shortfall(trained.step, out / "runs" / recipe)
    return Result(recipe, samples, paths, recognised, time.monotonic() - start, trained.step, shortfall)


def page(out: Path, results: list[Result]) -> Path:
    """Write the static page into the folder of the files that it shows; the template engine escapes all names."""
    template = template_engine(Path(__file__).resolve().parent).get_template(TEMPLATE)
    target = out / "index.html"
    target.write_text(template.render(results=results) + "\n", encoding="utf-8")
    return target


def main() -> int:
    """Run the demo; with --check, return exit code 1 if less than 90 % of the samples of a recipe are recognised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--minutes", type=float, default=3.6, help="training time; both recipes train in parallel")
    parser.add_argument("--count", type=int, default=56, help="number of samples of each recipe")
    parser.add_argument("--check", action="store_true", help="fail if less than 90 %% are recognised")
    args = parser.parse_args()
    start = time.monotonic()
    if args.out.exists() and any(args.out.iterdir()) and not (args.out / "runs").is_dir():
        parser.error(f"{args.out} holds something else than a demo: choose another folder")
    shutil.rmtree(args.out, ignore_errors=True)
    memory = train(["shapes", "synth_sfx"], args.out, args.minutes)
    results = [
        make("shapes", args.out, args.count, recognise_main_shape),
        make("synth_sfx", args.out, args.count, lambda sound: predict_family(sound, 8000)),
    ]
    target = page(args.out, results)
    for r in results:
        gigabytes = f"training took {memory[r.name] / 2**30:.2f} GiB of memory"
        print_lines(f"{r.name}: {r.hits}/{len(r.paths)} recognised by the checker after {r.steps} steps; {gigabytes}")
        if r.shortfall:
            print_lines(f"{r.name} is not trained to the end: {r.shortfall}")
    print_lines(f"{time.monotonic() - start:.0f} s in total; open {target}")
    figures = {r.name: {"recognised": r.hits, "of": len(r.paths), "steps": r.steps} for r in results}
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return int(args.check and any(r.hits < 0.9 * len(r.paths) for r in results))


if __name__ == "__main__":
    sys.exit(main())
