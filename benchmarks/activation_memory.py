"""Largest memory and time of a training step with and without `train.checkpoint_activations`.

    python benchmarks/activation_memory.py shapes train.device=cpu train.precision=float32

The memory is that of all tensors of a step, without weights, average and state of the optimizer. The time is that of
the fastest of some steps, made in turns.
"""

from __future__ import annotations

import sys

from sonolux.core.config.load import load_recipe
from sonolux.core.testing.peak_memory import PeakMemory
from sonolux.core.training.build import build_dataset, build_model_components, fit_codec, fit_conditions
from sonolux.core.training.costs import seconds_of
from sonolux.core.training.step import Trainer
from sonolux.core.util.device import choose_device

STEPS = 5


def make_trainer(recipe_name: str, changes: list[str]) -> Trainer:
    """A trainer after its first step, which makes the state of the optimizer."""
    recipe = load_recipe(recipe_name, changes)
    data, spec = build_dataset(recipe)
    parts = build_model_components(recipe, spec)
    fit_codec(parts.codec, data)
    fit_conditions(parts.model, data)
    trainer = Trainer(parts, data, choose_device(recipe.train.device))
    trainer.train_step(0.5)
    return trainer


def main() -> None:
    name, *changes = sys.argv[1:] or ["shapes"]
    trainers = [make_trainer(name, [*changes, f"train.checkpoint_activations={on}"]) for on in ("false", "true")]
    peaks, times = [], [[], []]
    for trainer in trainers:
        with PeakMemory() as memory:
            trainer.train_step(0.5)
        peaks.append(memory.peak / 2**20)
    for _ in range(STEPS):
        for trainer, own in zip(trainers, times, strict=True):
            own.append(seconds_of(lambda trainer=trainer: trainer.train_step(0.5), trainer.device))
    plain, checkpointed = (min(own) for own in times)
    print(
        f"{name}: {peaks[0]:.1f} MiB kept, {peaks[1]:.1f} MiB with checkpoint_activations ({peaks[1] / peaks[0]:.2f});"
    )
    print(f"a step takes {plain * 1e3:.0f} and {checkpointed * 1e3:.0f} ms ({checkpointed / plain:.2f})")


if __name__ == "__main__":
    main()
