"""Small photographs of ten classes: distance to real ones over the real-against-real floor, defects, near copies.

    python benchmarks/cifar10.py runs/cifar10-3min runs/cifar10-15min --data path/to/cifar10

The features are the penultimate layer of a small classifier trained on the real training pictures alone. The Frechet
distance depends on the number of pictures, so both distances use the same: half of the held-out pictures against the
other half (the floor), and as many samples against that other half, averaged over random halves.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from _bench import Case, Table, parser, read_back, real, run
from _classifier import Settings, accuracy, recognise, trained, warp
from sonolux.core.evaluation.defects import blank, contrast, extremes, saturated
from sonolux.core.evaluation.frechet import Frechet
from sonolux.core.evaluation.nearest import Nearest
from sonolux.core.evaluation.precision_recall import PrecisionRecall
from torch import Tensor

HALVES = 40
SETTINGS = Settings(widths=(32, 64, 128), width=96, epochs=25, dropout=0.4, smoothing=0.1)


def mirror(x: Tensor, rng: torch.Generator) -> Tensor:
    """Training pictures mirrored half of the time, moved and scaled a little."""
    flip = (torch.rand(len(x), 1, 1, 1, generator=rng) < 0.5).expand_as(x)
    return warp(torch.where(flip, x.flip(-1), x), rng, turn=5, zoom=0.12, shift=0.12, shear=0)


def measure(case: Case, settings: Settings = SETTINGS) -> Table:
    """The figures of one run or folder."""
    data = real(case.recipe)
    classes = data.signal.classes
    samples, unusable = read_back(case.recipe, case.folder, classes)
    model = trained(data.train.media, data.train.labels, len(classes), mirror, settings)
    (_, train), (told, held), (guessed, made) = (recognise(model, s.media) for s in (data.train, data.valid, samples))
    metric, rng, half = Frechet(), np.random.default_rng(0), len(held) // 2
    size = min(half, len(made))
    values, floors = [], []
    for _ in range(HALVES):
        rows = rng.permutation(len(held))
        values.append(metric(made[rng.permutation(len(made))[:size]], held[rows[:half]]))
        floors.append(metric(held[rows[half : half + size]], held[rows[:half]]))
    ratios = np.array(values) / np.mean(floors)
    shares = PrecisionRecall().shares(made, held)

    table = Table(case.title)
    table.add("classifier on held-out pictures", accuracy(told, data.valid.labels), "{:.1%}", f"of {len(held)}")
    table.add(
        "samples recognised", accuracy(guessed, samples.labels), "{:.1%}", f"of {len(samples)}; {unusable} unusable"
    )
    table.add("Frechet distance, samples", float(np.mean(values)), note=f"{HALVES} halves: {size} against {half}")
    table.add("Frechet distance, real pictures", float(np.mean(floors)), note=f"{min(floors):.3g} to {max(floors):.3g}")
    table.add("over the floor", float(ratios.mean()), "{:.2f}", f"{ratios.min():.2f} to {ratios.max():.2f}")
    for name, value in zip(shares._fields, shares, strict=True):
        table.add(name, value, "{:.1%}")
    flat_train, flat_held, flat_made = (s.media.flatten(1) for s in (data.train, data.valid, samples))
    table.add(
        "blank",
        int(blank(samples.media, data.train.media).sum()),
        "{}",
        f"least contrast {contrast(samples.media).min():.3f}, real {contrast(data.train.media).min():.3f}",
    )
    table.add(
        "saturated",
        int(saturated(samples.media, data.train.media).sum()),
        "{}",
        f"mean share of extremes {extremes(samples.media).mean():.2%}, real {extremes(data.train.media).mean():.2%}",
    )
    for kind, a, b, c in (("features", made, train, held), ("pixels", flat_made, flat_train, flat_held)):
        near = Nearest()
        table.add(
            f"novelty, {kind}", near(a, b, c), "{:.2f}", "distance to training pictures over that of held-out ones"
        )
        table.add(
            f"near copies, {kind}",
            len(near.copies(a, b, c)),
            "{}",
            f"nearer than half of what 1 % of the held-out ones are; held-out: {len(near.copies(c, b, c))}",
        )
    return table


if __name__ == "__main__":
    sys.exit(run(measure, parser(__doc__, 500, "cifar10").parse_args(), "cifar10"))
