"""The two sides of a comparison: the recipe's real data, and samples, treated alike.

Samples are files before they are measured, and pass through the recipe's dataset, which levels, crops and resizes them
as it did the training files.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.recipe import Recipe
from ..data.files import shown, walk
from ..pipeline.pipeline import Pipeline
from ..pipeline.result import Samples
from ..training.build import build_data, fit_codec
from ..training.checkpoint import read_header
from ..types import BadInput, Dataset, MediaSpec
from .adapter import ENOUGH, Coded, ExampleSet, Made, Picked, Real

CODED = 500  # real examples that go through the codec, at the most
DRAWINGS = {"sheet.png", "trajectory.png", "trajectory.gif", "summary.png"}  # `sonolux sample` puts them beside samples


class Items(Sequence[Any]):
    """The media of a dataset, unchanged by augmentation, each read when it is asked for."""

    def __init__(self, data: Dataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.data.item(i, None).media for i in range(*index.indices(len(self.data)))]
        return self.data.item(index, None).media


def side(data: Dataset, most: int | None = None) -> ExampleSet:
    """The examples of a dataset; of more than `most`, that many, spread evenly.

    Each is read once here, for its label; datasets keep what they read as far as their budgets allow.
    """
    rows = list(range(len(data)))
    if most is not None and len(rows) > most:
        rows = [int(i * len(data) / most) for i in range(most)]
    items = [(item.label, item.source, item.length) for item in (data.item(i, None) for i in rows)]
    labels = torch.tensor([-1 if label is None else label for label, _, _ in items])
    return ExampleSet(
        Picked(Items(data), rows), labels, [source for _, source, _ in items], [length for *_, length in items]
    )


def real(recipe: Recipe, most: int) -> Real:
    """Both sides of the recipe's data. Raises BadInput where data.root is not told or holds nothing usable."""
    if recipe.data.params.get("root", "") is None:
        raise BadInput("eval compares with the real data: say where it is, with data.root=path/to/folder")
    try:
        train, spec = build_data(recipe, "train")
    except BadInput as error:
        if "root" in recipe.data.params and not Path(recipe.data.params["root"]).exists():
            raise BadInput(f"{error}; say where the real data is: data.root=path/to/folder") from error
        raise
    held = None
    if recipe.split.valid > 0:
        held = side(build_data(recipe, "valid")[0], most)
    return Real(side(train, most), held, tuple(spec.classes))


def strangers(recipe: Recipe, checkpoint: Path) -> str | None:
    """A remark where the data's classes are not those of the checkpoint, or where a run folder's list of training files
    names others; None: they agree, or nothing tells."""
    train, spec = build_data(recipe, "train")
    known = read_header(checkpoint).spec.classes
    if tuple(spec.classes) != tuple(known):
        return (
            f"The data has the classes {', '.join(spec.classes) or 'none'}; the run has {', '.join(known) or 'none'}."
        )
    listed = checkpoint.parent.parent / "data.jsonl"
    if not listed.is_file():
        return None
    rows = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    before, now = ({r["hash"] for r in some if r.get("hash")} for some in (rows, train.manifest()))
    if not before or before == now:
        return None
    return (
        f"The data is not what the run was trained on: {len(now - before)} training examples are new and "
        f"{len(before - now)} are gone, so some held-out ones may have been trained on."
    )


def from_run(trained: Pipeline, recipe: Recipe, folder: Path, real: Real, progress: bool) -> Made:
    """eval.count samples, made as `sonolux sample` makes them and written to `folder`."""
    samples = trained.make(recipe, trained.request(recipe, recipe.eval.count), progress=progress)
    good = [i for i, media in enumerate(samples.media) if bool(torch.isfinite(media).all())]
    lost = len(samples) - len(good)
    if not good:
        raise BadInput(f"all {len(samples)} samples hold NaN or infinite values: nothing can be measured")
    samples = _only(samples, good)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        paths = replace(samples, output=None).save(folder)  # levels and fades are not the model's
    names = [row.get("label") for row in samples.conditions]
    made = read_back(recipe, folder, paths, names, real.classes)
    made.counts |= {"made": len(good) + lost, "not finite": lost, "scaled": _scaled(said)}
    made.facts = {k: v for k, v in samples.settings.items() if k != "step"} | {"step": trained.step}
    return made


def coded(recipe: Recipe, trained: Pipeline | None, real: Real) -> Coded:
    """Held-out examples, or training ones where fewer than 100 are held out, encoded, decoded, written and read back:
    what the codec does to them, and nothing generated.

    The codec is the run's; without a run, the recipe's, fitted now.
    """
    held = real.held is not None and len(real.held) >= ENOUGH
    known = spread(real.held if held and real.held is not None else real.train, CODED, seed=3)
    if trained is not None:
        codec, device = trained.codec, trained.device
    else:
        data, spec = build_data(recipe, "train")
        codec, device = recipe.codec.build(spec=spec), torch.device("cpu")
        fit_codec(codec, data)
    modality, media = recipe.modality.build(), []
    with torch.inference_mode():
        for i in range(0, len(known), 32):
            part = torch.stack(list(known.media[i : i + 32])).to(device)
            media += list(codec.decode(codec.encode(part), codec.spec.length_of(part.shape)).float().cpu())
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peaks that are scaled down
        folder = Path(place)
        paths = [modality.write(folder / f"{i:06d}{modality.suffix}", torch.nan_to_num(m)) for i, m in enumerate(media)]
        back, places = read_files(recipe, folder, paths)
    same = known.pick(places)
    return Coded(same, ExampleSet(back, same.labels, same.sources), held)


def _only(samples: Samples, rows: list[int]) -> Samples:
    return replace(
        samples,
        media=[samples.media[i] for i in rows],
        conditions=[samples.conditions[i] for i in rows],
        nfe=[samples.nfe[i] for i in rows] if samples.nfe else [],
    )


def _scaled(said: list[warnings.WarningMessage]) -> int:
    """How many files were told to be too loud: `save` tells of one and counts the others."""
    if not said or "scaled down" not in str(said[0].message):
        return 0
    more = str(said[0].message).rpartition("(and ")[2].split(" ")[0]
    return 1 + (int(more) if more.isdigit() else 0)


def from_folder(recipe: Recipe, folder: Path, real: Real, suffixes: Collection[str]) -> Made:
    """Samples that are already written: what samples.json lists, else every file that can be read.

    A sample's class is what samples.json says, or the name of the first folder below `folder`.
    """
    if not folder.is_dir():
        raise BadInput(f"--folder: no such folder: {shown(folder)}")
    listing = folder / "samples.json"
    if listing.is_file():
        try:
            facts = json.loads(listing.read_text(encoding="utf-8"))
            records = [(folder / row["file"], row.get("label")) for row in facts["samples"]]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{shown(listing)} is no list of samples: {type(error).__name__}: {error}") from error
        made = read_back(recipe, folder, [p for p, _ in records], [name for _, name in records], real.classes)
        made.facts = dict(facts.get("settings", {}))
    else:
        paths = [p for p in walk(folder, suffixes) if p.name not in DRAWINGS]
        parts = [p.relative_to(folder).parts for p in paths]
        made = read_back(recipe, folder, paths, [p[0] if len(p) > 1 else None for p in parts], real.classes)
    made.counts |= {"made": len(made.side) + made.counts["unusable"], "not finite": 0, "scaled": 0}
    return made


def read_back(
    recipe: Recipe, folder: Path, paths: Sequence[Path], names: Sequence[Any], classes: tuple[str, ...]
) -> Made:
    """Files as the recipe's dataset takes them, with the classes named; `names` that are no class count as not told.

    Raises BadInput where none can be read.
    """
    if not paths:
        raise BadInput(f"{shown(folder)} holds no samples")
    modality = recipe.modality.build()
    if not hasattr(modality, "read"):
        raise BadInput(f"the modality {recipe.modality.use} cannot read files, so its samples cannot be measured")
    media, places = read_files(recipe, folder, paths)
    labels = torch.tensor([classes.index(str(names[i])) if str(names[i]) in classes else -1 for i in places])
    raw = [modality.read(paths[i]) for i in places]
    sources = [shown(paths[i], folder) for i in places]
    unusable = len(paths) - len(places)
    return Made(ExampleSet(media, labels, sources), raw, [paths[i] for i in places], {"unusable": unusable})


def read_files(recipe: Recipe, folder: Path, paths: Sequence[Path]) -> tuple[list[Tensor], list[int]]:
    """(media, places in `paths`) of the files that can be used, as the recipe's dataset takes files."""
    if {"root", "label", "table"} <= recipe.data.params.keys():
        return _through_dataset(recipe, folder, paths)
    return _as_they_are(recipe.modality.build(), paths)


def _through_dataset(recipe: Recipe, folder: Path, paths: Sequence[Path]) -> tuple[list[Tensor], list[int]]:
    """(media, places in `paths`) of the files that the recipe's dataset of files can use."""
    by_name = {shown(path, folder): i for i, path in enumerate(paths)}
    changes = {"root": str(folder.resolve()), "label": "none", "max_bad": 1, "manifest": None, "cache": "memory"}
    if not isinstance(recipe.data.params.get("cache"), str):
        changes.pop("cache")
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "files.jsonl"
        table.write_text("".join(json.dumps({"file": name}) + "\n" for name in by_name), encoding="utf-8")
        changes["table"] = str(table)
        told = [f"data.{key}={json.dumps(v)}" for key, v in changes.items() if key in recipe.data.params]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that are skipped: they are counted
            data, _ = build_data(recipe.merge([*told, "data.split.valid=0"]), "train")
            items = [data.item(i, None) for i in range(len(data))]
    return [item.media for item in items], [by_name[item.source] for item in items]


def _as_they_are(modality: Any, paths: Sequence[Path]) -> tuple[list[Tensor], list[int]]:
    """(media, places) of the files of a dataset that makes its examples: cut or padded to their size."""
    spec: MediaSpec = modality.spec()
    media, places = [], []
    for i, path in enumerate(paths):
        try:
            media.append(fitted(modality.read(path), spec.size))
        except BadInput:
            continue
        places.append(i)
    if not media:
        raise BadInput(f"none of {len(paths)} samples can be read")
    return media, places


def fitted(media: Tensor, size: tuple[int, ...]) -> Tensor:
    """(C, *spatial) cut or padded with zeros at the ends to (C, *size)."""
    out = media.new_zeros(media.shape[0], *size)
    inside = tuple(slice(0, min(a, b)) for a, b in zip(media.shape[1:], size, strict=True))
    out[(slice(None), *inside)] = media[(slice(None), *inside)]
    return out


def spread(side: ExampleSet, count: int, seed: int = 0) -> ExampleSet:
    """`count` examples of a side, the classes in turn; all, where there are no more."""
    if len(side) <= count:
        return side
    order = torch.randperm(len(side), generator=torch.Generator().manual_seed(seed))
    turn = torch.zeros(len(side))
    for label in side.labels.unique():
        rows = order[side.labels[order] == label]
        turn[rows] = torch.arange(len(rows)).float()
    chosen = order[turn[order].argsort(stable=True)][:count]
    return side.pick(chosen.sort().values.tolist())
