"""Times training steps of one recipe, for `throughput.py`, with the sonolux that PYTHONPATH selects.

    python _train_speed.py RECIPE [KEY=VALUE ...]

For each line on standard input, a number of steps, it prints a line of JSON: seconds of the steps, of reading their
data and of drawing their noise. It also runs the first edition, whose modules have other names.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any


def first_of(*places: str) -> Any:
    """The first `module:name` that exists."""
    for place in places:
        module, name = place.split(":")
        try:
            return getattr(import_module(f"sonolux.core.{module}"), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"this revision of sonolux has none of {', '.join(places)}")


def reader(trainer: Any, train: Any) -> Callable[[int], Any]:
    """A function that loads the batch of a step."""
    if hasattr(trainer, "data_of_steps"):
        return lambda step: trainer.data_of_steps[step]
    load_batch = first_of("training.batches:load_batch")
    return lambda step: load_batch(trainer.data, trainer.order, step, train.batch, range(train.batch))


def main() -> None:
    load_recipe = first_of("config.load:load_recipe", "recipe.load:load_recipe")
    names = ("build_data", "build_parts", "fit_codec")
    build_data, build_parts, fit_codec = (first_of(f"training.build:{n}", f"build:{n}") for n in names)
    noise_class = first_of("util.rng:Noise", "noise:Noise")
    trainer_class = first_of("training.step:Trainer", "training.loop:Trainer")
    choose_device = first_of("util.device:choose_device", "device:choose_device")
    recipe = load_recipe(sys.argv[1], sys.argv[2:])
    device = choose_device(recipe.train.device)
    data, spec = build_data(recipe)
    parts = build_parts(recipe, spec)
    fit_codec(parts.codec, data)
    trainer = trainer_class(parts, data, device)
    one_step = trainer.train_step if hasattr(trainer, "train_step") else trainer.one
    read, latent = reader(trainer, recipe.train), (parts.spec if hasattr(parts, "spec") else parts.signal).latent

    def spent(action: Callable[[int], Any], count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            action(trainer.step)
        return time.perf_counter() - began

    def noise(step: int) -> Any:
        return noise_class(recipe.seed, range(recipe.train.batch), latent, device).normal("train", step)

    for line in sys.stdin:
        count = int(line)
        found = {
            "read": spent(read, count),
            "noise": spent(noise, count),
            "step": spent(lambda step: float(one_step(0.5).loss), count),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
