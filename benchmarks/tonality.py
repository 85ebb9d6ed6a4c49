"""Compares tones, sweeps and peaks of samples with those of real sounds, for every class.

    python benchmarks/tonality.py RUN ... [--count 140] [--set steps=25] [--sheet sheet.png]

For each class: harmonic-to-noise ratio and spectral flatness in dB and the absolute sweep rate in octaves per second
(`modalities/audio/tonality.py`), as means over samples, over as many held-out real sounds and over these after the
codec. Then the shares of sounds that rise and fall by more than an octave per second, and their peaks (1 is full
scale). For a mixture of clean and noisy sounds the mean is more stable than the median, which `--medians` prints
instead. `--sheet` draws spectrograms: a row of real sounds, then a row for each run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import exit_code, runs_parser
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput, Item
from sonolux.modalities.audio.tonality import Tonality, measure_tonality
from torch import Tensor

COLUMNS = ("harmonic-to-noise, dB", "flatness, dB", "|sweep|, octaves/s")


def real_items(trained: Any, count: int) -> list[Item]:
    """Held-out sounds of all classes in turn; synthetic data are extended until there are enough."""
    recipe = trained.recipe
    data, _ = build_dataset(recipe, "valid")
    if len(data) < count and "count" in recipe.data.params:
        more = recipe.data.params["count"] * -(-count // len(data))
        data, _ = build_dataset(recipe.with_overrides([f"data.count={more}"]), "valid")
    picks = np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int))
    picks = range(count) if len(data) >= count and "count" in recipe.data.params else picks
    return [data.item(int(i), None) for i in picks]


def cut(sounds: list[Tensor], items: list[Item]) -> list[Tensor]:
    """Sounds cut to the lengths of their items."""
    return [s[:, : s.shape[-1] if i.length is None else i.length] for s, i in zip(sounds, items, strict=True)]


def through(codec: Any, items: list[Item]) -> list[Tensor]:
    """Sounds after the codec."""
    whole = torch.stack([item.media for item in items])
    with torch.no_grad():
        return cut(list(codec.decode(codec.encode(whole), whole.shape[-1])), items)


def figures(sounds: list[Tensor], rate: float) -> np.ndarray:
    """(N, 3) figures, sweeps without their sign."""
    rows = np.array([measure_tonality(sound, rate) for sound in sounds], dtype=float).reshape(-1, len(Tonality._fields))
    rows[:, 2] = np.abs(rows[:, 2])
    return rows


def rising(sounds: list[Tensor], rate: float) -> str:
    """Percentages of sounds that rise and fall by more than an octave per second."""
    sweeps = np.array([measure_tonality(sound, rate).sweep for sound in sounds])
    return f"{np.mean(sweeps > 1):.0%} / {np.mean(sweeps < -1):.0%}"


def table(named: dict[str, tuple[list[Tensor], list[str]]], rate: float, medians: bool) -> list[str]:
    """The lines of the table: for each class one row for each set of sounds, then all classes together."""
    centre = np.nanmedian if medians else np.nanmean
    measured = {name: figures(sounds, rate) for name, (sounds, _) in named.items()}
    classes = sorted({label for _, labels in named.values() for label in labels} - {"all"})
    lines = [f"{'':12} {'':16} " + " ".join(f"{column:>21}" for column in COLUMNS)]
    for label in [*classes, "all"]:
        for name, (_, labels) in named.items():
            rows = measured[name][[label in ("all", own) for own in labels]]
            if len(rows):
                lines.append(f"{label:12} {name:16} " + " ".join(f"{v:21.2f}" for v in centre(rows, axis=0)))
    lines.append(f"{'':12} {'':16} {'rising / falling':>21} {'peaks above 1':>21} {'median peak':>21}")
    for name, (sounds, _) in named.items():
        peaks = np.array([float(s.abs().max()) for s in sounds])
        lines.append(
            f"{'all':12} {name:16} {rising(sounds, rate):>21} {np.mean(peaks > 1):>21.0%} {np.median(peaks):21.2f}"
        )
    return lines


def measure(runs: list[str], count: int, seed: int, changes: list[str], medians: bool, sheet: Path | None) -> None:
    """Print the table of all runs, which share the data of the first."""
    import sonolux

    named: dict[str, tuple[list[Tensor], list[str]]] = {}
    rate, modality = 0.0, None
    for run in runs:
        trained = sonolux.load(run, device="cpu", changes=changes)
        if trained.components.spec.rate is None or trained.components.spec.modality != "audio":
            raise BadInput(f"{run} makes no sounds")
        if rate not in (0.0, own := float(trained.components.spec.rate)):
            raise BadInput(f"{run} has {own:g} Hz and {runs[0]} {rate:g}: compare runs of one rate")
        names, rate, modality = trained.classes, own, trained.components.modality
        items = real_items(trained, count)
        labels = [names[item.label] if item.label is not None else "all" for item in items]
        if not named:
            named["real"] = cut([item.media for item in items], items), labels
        name = Path(run).name if [Path(r).name for r in runs].count(Path(run).name) == 1 else run
        named[f"codec of {name}"] = through(trained.codec, items), labels
        requested: dict[str, Any] = {"label": labels} if names else {}
        made = trained.sample(count=len(items), seed=seed, batch=min(len(items), 28), **requested)
        named[f"{name} {trained.step}"] = list(made.media), labels
    print("\n".join(table(named, rate, medians)), flush=True)
    if sheet is not None and modality is not None:
        draw(sheet, named, modality)


def draw(path: Path, named: dict[str, tuple[list[Tensor], list[str]]], modality: Any) -> None:
    """Spectrograms: a row for each set of sounds (the codecs left out), with the first two of every class."""
    rows = []
    for name, (media, labels) in named.items():
        if not name.startswith("codec of"):
            places = {label: [k for k, own in enumerate(labels) if own == label][:2] for label in sorted(set(labels))}
            rows.append([media[k] for some in places.values() for k in some])
    modality.strip(path, rows)
    print(f"wrote {path}: two of each class, in the order of the table; rows: real sounds, then the runs")


def main() -> int:
    """Measure the runs."""
    parser = runs_parser(__doc__, 140)
    parser.add_argument("--medians", action="store_true", help="medians instead of means")
    parser.add_argument("--sheet", type=Path, help="draw spectrograms")
    args = parser.parse_args()
    return exit_code(lambda: measure(args.runs, args.count, args.seed, args.set, args.medians, args.sheet))


if __name__ == "__main__":
    sys.exit(main())
