"""What the quality benchmarks share: the real data's two sides, samples written to disk and read back, tables.

Real data, samples of a run and samples in a folder all pass through the dataset of the recipe, so that all are treated
alike (size, rate, level), and the split is the one the run was trained with.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sonolux.core.build import build_data
from sonolux.core.evaluation.base import Metric, bootstrap
from sonolux.core.recipe.load import load_recipe
from sonolux.core.recipe.recipe import Recipe
from sonolux.core.types import BadInput, Item, Signal
from torch import Tensor

MARK = "benchmark.json"


@dataclass
class Side:
    """Examples as one tensor: media (N, C, *spatial), labels (N,) (-1: none), and where each came from."""

    media: Tensor
    labels: Tensor
    sources: list[str]

    def __len__(self) -> int:
        return len(self.media)


@dataclass
class Real:
    """The two sides of a recipe's data."""

    train: Side
    valid: Side
    signal: Signal


@dataclass
class Figure:
    """One line of a table: what was measured, the value, how it is shown, and what it should be or stands beside."""

    name: str
    value: Any
    form: str = "{:.3g}"
    note: str = ""


@dataclass
class Table:
    """The figures of one run or folder."""

    title: str
    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, value: Any, form: str = "{:.3g}", note: str = "") -> None:
        """Append a line."""
        self.figures.append(Figure(name, value, form, note))

    def text(self) -> str:
        """The lines, aligned."""
        wide = max(len(f.name) for f in self.figures)
        lines = [f"  {f.name:<{wide}}  {f.form.format(f.value):>10}  {f.note}".rstrip() for f in self.figures]
        return "\n".join([self.title, *lines])

    def record(self) -> dict[str, Any]:
        """The same for --json."""
        return {"of": self.title, "figures": {f.name: f.value for f in self.figures}}


def parser(about: str, count: int, sub: str) -> argparse.ArgumentParser:
    """The options that every quality benchmark has; `sub` is the data's folder below SONOLUX_DATA."""
    p = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", nargs="*", metavar="RUN", help="run folder or checkpoint to sample from")
    p.add_argument("--folder", action="append", default=[], metavar="DIR", help="samples that are already written")
    p.add_argument("--data", help=f"the real data; default: SONOLUX_DATA/{sub}, else the run's own data.root")
    p.add_argument("--count", type=int, default=count, help="samples to make (default %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the samples (default %(default)s)")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the run's sample settings")
    p.add_argument("--out", default="out/benchmarks", help="where samples are written (default %(default)s)")
    p.add_argument("--json", action="store_true", help="print JSON instead of tables")
    p.set_defaults(sub=sub)
    return p


def data_root(options: argparse.Namespace) -> Path | None:
    """--data, or SONOLUX_DATA/<sub> where that is set; None: the run's own."""
    if options.data:
        return Path(options.data).resolve()
    base = os.environ.get("SONOLUX_DATA")
    return Path(base).resolve() / options.sub if base else None


def rooted(recipe: Recipe, root: Path | None, more: Sequence[str] = ()) -> Recipe:
    """The recipe with another data folder, and other changes."""
    changes = [] if root is None else [f"data.root={json.dumps(str(root))}"]
    return recipe.merge([*changes, *more])


def side(dataset: Any) -> Side:
    """All examples of a dataset, unchanged by augmentation."""
    items: list[Item] = [dataset.item(i, None) for i in range(len(dataset))]
    labels = torch.tensor([-1 if item.label is None else item.label for item in items])
    return Side(torch.stack([item.media for item in items]), labels, [item.source for item in items])


def real(recipe: Recipe) -> Real:
    """Both sides of the recipe's data. Raises BadInput where data.root is not told or holds nothing usable."""
    if getattr(recipe.data, "parameters", {}).get("root", "?") is None:
        raise BadInput("needs the real data: give --data or set SONOLUX_DATA")
    train, signal = build_data(recipe, "train")
    valid, _ = build_data(recipe, "valid")
    return Real(side(train), side(valid), signal)


def read_back(recipe: Recipe, folder: Path, classes: tuple[str, ...]) -> tuple[Side, int]:
    """The samples in a folder (one folder a class, where there are classes) and how many files could not be used."""
    changes = ["data.split.valid=0", "data.max_bad=1"]
    data, signal = build_data(rooted(recipe, folder, changes), "train")
    strangers = sorted(set(signal.classes) - set(classes))
    if strangers:
        raise BadInput(f"{folder}: {', '.join(strangers)} is no class of the real data ({', '.join(classes)})")
    found = side(data)
    if classes:
        found.labels = torch.tensor([classes.index(signal.classes[int(label)]) for label in found.labels])
    suffix = recipe.modality.build().suffix
    return found, sum(1 for _ in folder.rglob(f"*{suffix}")) - sum(s.endswith(suffix) for s in found.sources)


def files(case: Case) -> list[Tensor]:
    """Every sample as its file holds it, (C, *spatial): not levelled or cropped as the dataset's examples are."""
    modality = case.recipe.modality.build()
    return [modality.read(path) for path in sorted(case.folder.rglob(f"*{modality.suffix}"))]


def write_samples(trained: Any, options: argparse.Namespace, name: str) -> Path:
    """Sample a run and write the samples, one folder a class where it has classes; returns the folder."""
    folder = Path(options.out) / name
    if folder.exists():
        if not (folder / MARK).exists():
            raise BadInput(f"{folder} exists and is not an earlier benchmark's: give another --out")
        shutil.rmtree(folder)
    changes = dict(pair.split("=", 1) for pair in options.set)
    changes = {key: _value(text) for key, text in changes.items()}
    samples = trained.sample(count=options.count, seed=options.seed, progress=not options.json, **changes)
    folder.mkdir(parents=True)
    (folder / MARK).write_text(json.dumps({"settings": samples.settings, "count": len(samples)}, indent=1) + "\n")
    modality = samples.modality
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for i, (media, told) in enumerate(zip(samples.media, samples.told, strict=True)):
            place = folder / str(told["label"]) if told.get("label") is not None else folder
            place.mkdir(exist_ok=True)
            modality.write(place / f"{i:05d}{modality.suffix}", media)
    if said:
        print(f"{len(said)} remarks on {len(samples)} files, such as: {said[0].message}", file=sys.stderr)
    return folder


def as_files(case: Case, media: Sequence[Tensor], labels: Tensor, classes: tuple[str, ...]) -> Side:
    """Media written and read back as samples are: levelled, cropped and padded by the dataset."""
    modality = case.recipe.modality.build()
    with tempfile.TemporaryDirectory() as folder:
        for i, (one, label) in enumerate(zip(media, labels.tolist(), strict=True)):
            place = Path(folder) / classes[label] if classes else Path(folder)
            place.mkdir(exist_ok=True)
            modality.write(place / f"{i:05d}{modality.suffix}", one)
        return read_back(case.recipe, Path(folder), classes)[0]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@dataclass
class Case:
    """One thing to measure: the recipe with its real data's folder, and the folder of samples."""

    title: str
    recipe: Recipe
    folder: Path
    trained: Any = None


def cases(options: argparse.Namespace, packaged: str) -> list[Case]:
    """A case for each RUN (sampled now) and each --folder (measured against the packaged recipe's data)."""
    if not options.runs and not options.folder:
        raise BadInput("name a RUN to sample from, or --folder DIR with samples")
    root, found = data_root(options), []
    for run in options.runs:
        import sonolux

        trained = sonolux.load(run)
        folder = write_samples(trained, options, f"{options.sub}-{Path(run).resolve().name}")
        title = f"{run} (step {trained.step}), {options.count} samples of seed {options.seed} in {folder}"
        found.append(Case(title, rooted(trained.recipe, root), folder, trained))
    for folder in options.folder:
        if root is None:
            raise BadInput("needs the real data: give --data or set SONOLUX_DATA")
        recipe = load_recipe(packaged, [f"data.root={json.dumps(str(root))}"])
        found.append(Case(str(folder), recipe, Path(folder).resolve()))
    return found


def balanced(labels: Tensor, a_class: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `a_class` random examples of each class (all of a class that has fewer)."""
    classes = np.unique(labels.numpy())
    parts = [rng.permutation(np.flatnonzero(labels.numpy() == c))[:a_class] for c in classes]
    return np.concatenate(parts)


def interval(
    metric: Metric, generated: Any, reference: Any, labels: tuple[Tensor, Tensor] | None = None, repeats: int = 40
) -> str:
    """The 95 % interval of a metric as text; labels: classes of both sets, whose shares are kept."""
    groups = None if labels is None else (labels[0].numpy(), labels[1].numpy())
    low, high = bootstrap(metric, generated, reference, repeats, np.random.default_rng(0), groups=groups)
    return f"95 %: {low:.3g} to {high:.3g}"


def run(measure: Callable[[Case], Table], options: argparse.Namespace, packaged: str) -> int:
    """Measure every case and print; bad input is one message and exit code 2."""
    try:
        tables = []
        for case in cases(options, packaged):
            tables.append(measure(case))
            if not options.json:
                print(tables[-1].text() + "\n", flush=True)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([table.record() for table in tables], indent=1))
    return 0
