"""Measures runs on synthetic sounds (synth_sfx, one_shots, textures): class accuracy of samples, and MMD to real data.

    python benchmarks/made_sounds.py RUN ... [--count 200] [--set steps=25]

A classifier, fitted on other synthetic sounds, recognises the family of every sample; for comparison, also that of the
same number of new real sounds before and after the codec. MMD on log-mel features (112 numbers per sound, standardised
by the real sounds) to held-out real sounds; for comparison, that of other real sounds and of real sounds after the
codec.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import torch
from _bench import Table, print_tables, runs_parser
from sonolux.core.evaluation.features import standardise_features
from sonolux.core.evaluation.metrics.mmd import median_distance, squared_mmd
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput, Item
from sonolux.modalities.audio import io
from sonolux.modalities.audio.features.logmel_stats import LogmelStats
from sonolux.modalities.audio.synthetic import checkers
from torch import Tensor
from torch.nn import functional

KINDS = {"audio/synth_sfx": "sfx", "audio/synth_drums": "drums", "audio/synth_textures": "textures"}


def through(codec: Any, items: list[Item]) -> list[Tensor]:
    """Sounds after the codec, each cut to its length."""
    whole = torch.stack([item.media for item in items])
    with torch.no_grad():
        back = codec.decode(codec.encode(whole), whole.shape[-1])
    return cut(list(back), items)


def cut(sounds: list[Tensor], items: list[Item]) -> list[Tensor]:
    """Sounds cut to the lengths of their items."""
    return [s[:, : s.shape[-1] if i.length is None else i.length] for s, i in zip(sounds, items, strict=True)]


def padded(sounds: list[Tensor], frames: int) -> list[Tensor]:
    """Sounds padded with silence to `frames`."""
    return [functional.pad(s[:, :frames], (0, max(0, frames - s.shape[-1]))) for s in sounds]


def correct(sounds: list[Tensor], families: list[str], rate: float, frames: int, kind: str) -> list[bool]:
    """Whether each sound is of the requested family."""
    found = checkers.predict_families(padded(sounds, frames), rate, kind)
    return [a == b for a, b in zip(found, families, strict=True)]


def measure(run: str, count: int, seed: int, changes: list[str]) -> Table:
    """The measurements of one run."""
    import sonolux

    trained = sonolux.load(run, device="cpu", changes=changes)
    recipe, spec = trained.recipe, trained.components.spec
    kind = KINDS.get(recipe.data.use)
    if kind is None or spec.rate is None:
        raise BadInput(f"{run} was trained on {recipe.data.use}: this benchmark requires {', '.join(KINDS)}")
    rate, frames, names = float(spec.rate), spec.size[0], trained.classes
    made = trained.sample(count=count, seed=seed, label="cycle", batch=min(count, 50))
    data, _ = build_dataset(recipe, "valid")
    if len(data) < 2 * count:  # synthetic data are unlimited; training uses other random keys than this split
        more = recipe.data.params["count"] * math.ceil(2 * count / len(data))
        data, _ = build_dataset(recipe.with_overrides([f"data.count={more}"]), "valid")
    real = [data.item(i, np.random.default_rng(i)) for i in range(2 * count)]
    first, second = real[:count], real[count:]
    families = [names[item.label or 0] for item in first]
    after = through(trained.codec, first)

    table = Table(f"{run} (step {trained.step}), {count} samples of seed {seed}")
    requested = [row["label"] for row in made.conditions]
    hits = correct(made.media, requested, rate, frames, kind)
    table.add("family as requested", float(np.mean(hits)), "{:.1%}")
    whole = cut([item.media for item in first], first)
    table.add("real sounds recognised", float(np.mean(correct(whole, families, rate, frames, kind))), "{:.1%}")
    table.add("the same after the codec", float(np.mean(correct(after, families, rate, frames, kind))), "{:.1%}")
    feature = LogmelStats(spec)
    sets = [feature(sounds) for sounds in (cut([i.media for i in second], second), made.media, whole, after)]
    reference, *others = standardise_features(sets[0], *sets)
    bandwidth = median_distance(reference)
    against = np.array([item.label for item in second])
    for name, features, labels in zip(
        ("samples", "other real sounds", "real after the codec"),
        others,
        ([names.index(label) for label in requested], [item.label for item in first], [item.label for item in first]),
        strict=True,
    ):
        value = squared_mmd(features, reference, bandwidth, (np.array(labels), against))
        table.add(f"MMD x 1000, {name}", 1000 * value)
    quiet = sum(float(s.abs().max()) < io.SILENT for s in made.media)
    table.add("silent", quiet, "{}")
    for name in names:
        class_hits = [hit for hit, label in zip(hits, requested, strict=True) if label == name]
        table.add(f"  {name}", float(np.mean(class_hits)) if class_hits else 0.0, "{:.1%}", f"of {len(class_hits)}")
    return table


def main() -> int:
    """Measure every run."""
    args = runs_parser(__doc__, 200).parse_args()

    return print_tables(args.runs, lambda run: measure(run, args.count, args.seed, args.set))


if __name__ == "__main__":
    sys.exit(main())
