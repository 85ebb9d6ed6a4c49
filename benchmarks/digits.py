"""Handwritten digits: are the samples recognised, and how far are they from real ones?

    python benchmarks/digits.py runs/digits --data path/to/digits
    python benchmarks/digits.py --folder my_samples --data path/to/digits      # my_samples/<0-9>/*.png

A small classifier is trained on the real training digits alone. It recognises 1000 class-conditional samples (100 a
class, seed 0, none left out), and its penultimate features give the Frechet distance to the held-out real digits,
beside that of as many real training digits, drawn with the samples' classes.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from _bench import Case, Table, balanced, interval, parser, read_back, real, run
from _classifier import Settings, accuracy, confusion, recognise, trained, warp
from sonolux.core.evaluation.frechet import Frechet
from sonolux.core.evaluation.nearest import Nearest
from sonolux.core.evaluation.precision_recall import PrecisionRecall
from torch import Tensor

DRAWS = 20
SETTINGS = Settings(widths=(32, 64, 128), width=128, epochs=30)


def deform(x: Tensor, rng: torch.Generator) -> Tensor:
    """Training digits turned, scaled, shifted and slanted a little."""
    return warp(x, rng, turn=12, zoom=0.12, shift=0.12, shear=0.15)


def measure(case: Case, settings: Settings = SETTINGS) -> Table:
    """The figures of one run or folder."""
    data = real(case.recipe)
    classes = data.signal.classes
    samples, unusable = read_back(case.recipe, case.folder, classes)
    model = trained(data.train.media, data.train.labels, len(classes), deform, settings)
    (_, train), (told, held), (guessed, made) = (recognise(model, s.media) for s in (data.train, data.valid, samples))
    rng, metric, n = np.random.default_rng(0), Frechet(), len(samples)
    a_class = round(n / len(classes))
    floors = [metric(train[balanced(data.train.labels, a_class, rng)], held) for _ in range(DRAWS)]
    loose = [metric(train[rng.permutation(len(train))[:n]], held) for _ in range(DRAWS)]
    right = int((guessed == samples.labels).sum())
    distance, floor = metric(made, held), float(np.mean(floors))
    shares, own = (
        PrecisionRecall().shares(made, held),
        PrecisionRecall().shares(train[rng.permutation(len(train))[:n]], held),
    )
    flat_made, flat_train, flat_held = (s.media.flatten(1) for s in (samples, data.train, data.valid))

    table = Table(case.title)
    table.add(
        "classifier on held-out digits", accuracy(told, data.valid.labels), "{:.2%}", f"of {len(held)}; 98.5 % or more"
    )
    table.add("samples recognised", right / (n + unusable), "{:.2%}", f"of {n}; {unusable} unusable; 98 % or more")
    table.add(
        "Frechet distance, samples", distance, note=interval(metric, made, held, (samples.labels, data.valid.labels))
    )
    table.add(
        "Frechet distance, training digits",
        floor,
        note=f"{DRAWS} draws of {a_class} a class: {min(floors):.3g} to {max(floors):.3g}",
    )
    table.add("ratio", distance / floor, "{:.2f}", "3 or less")
    table.add(
        "the same, classes as they fall",
        float(np.mean(loose)),
        note=f"{DRAWS} draws: {min(loose):.3g} to {max(loose):.3g}",
    )
    for name, value, other in zip(shares._fields, shares, own, strict=True):
        table.add(name, value, "{:.1%}", f"training digits: {other:.1%}")
    table.add(
        "novelty, features",
        Nearest()(made, train, held),
        "{:.2f}",
        "distance to training digits over that of held-out ones",
    )
    table.add("novelty, pixels", Nearest()(flat_made, flat_train, flat_held), "{:.2f}")
    for name, text in confusion(guessed, samples.labels, classes).items():
        table.add(f"class {name}", text, "{}")
    return table


if __name__ == "__main__":
    sys.exit(run(measure, parser(__doc__, 1000, "digits").parse_args(), "digits"))
