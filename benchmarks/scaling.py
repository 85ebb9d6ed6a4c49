"""Strong scaling: seconds for a training step of one process, and of several that share the same batch, in turns.

    torchrun --standalone --nproc-per-node 2 benchmarks/scaling.py RECIPE [KEY=VALUE ...] [--rounds 5] [--steps 5]

Rank 0 makes some steps alone with the whole batch, while the others wait; then all ranks make as many steps with their
rows of it; and so on. The figure is the ratio of the medians over the rounds, so that other work on the machine, which
lasts longer than a round, changes both sides alike.
"""

from __future__ import annotations

import statistics
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.config.recipe import Recipe
from sonolux.core.training.build import build_dataset, build_model_components, fit_codec, fit_conditions
from sonolux.core.training.distributed import Ranks
from sonolux.core.training.launched import join_ranks
from sonolux.core.training.step import Trainer

sys.path.insert(0, str(Path(__file__).parent))
from _bench import Table


def prepared(recipe: Recipe, ranks: Ranks, device: torch.device) -> Trainer:
    """A trainer that has made its first steps."""
    data, spec = build_dataset(recipe)
    parts = build_model_components(recipe, spec)
    fit_codec(parts.codec, data, device)
    fit_conditions(parts.model, data)
    trainer = Trainer(parts, data, device, ranks)
    seconds(trainer, 2)
    return trainer


def seconds(trainer: Trainer, steps: int) -> float:
    """Seconds for a step."""
    began = time.perf_counter()
    for _ in range(steps):
        float(trainer.train_step(0.0).loss)  # waits for a GPU
    return (time.perf_counter() - began) / steps


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="Steps in a round.")
    options = parser.parse_intermixed_args()
    recipe, ranks = load_recipe(options.recipe, options.changes), join_ranks()
    if ranks.world == 1:
        parser.error("start it with torchrun and at least two processes")
    ranks.check_batch(recipe.train.batch)
    device = ranks.choose_device(recipe.train.device)
    together = prepared(recipe, ranks, device)
    alone = prepared(recipe, Ranks(), device) if ranks.writes else None
    times: dict[str, list[float]] = {"alone": [], "together": []}
    for _ in range(options.rounds):
        ranks.wait()
        if alone is not None:
            times["alone"].append(seconds(alone, options.steps))
        ranks.wait()
        times["together"].append(seconds(together, options.steps))
    if alone is not None:
        one, all_of_them = (statistics.median(times[name]) for name in ("alone", "together"))
        ratios = [a / b for a, b in zip(times["alone"], times["together"], strict=True)]
        table = Table(f"{recipe.name}, batch {recipe.train.batch}, {device.type}, {torch.get_num_threads()} thread(s)")
        table.add("1 process, ms a step", 1e3 * one)
        table.add(f"{ranks.world} processes, ms a step", 1e3 * all_of_them)
        spread = f"in single rounds {min(ratios):.2f} to {max(ratios):.2f}; ideal {ranks.world}"
        table.add("speed-up", one / all_of_them, "{:.2f}", spread)
        print(table.text())
    ranks.leave()


if __name__ == "__main__":
    main()
