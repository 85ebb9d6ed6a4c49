"""Generated examples of an evaluation: written to files, then read as the recipe's dataset reads files.

The dataset levels, crops and resizes samples in the same way as the training files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.recipe import Recipe
from ..data.files import find_files, format_path
from ..pipeline.pipeline import Pipeline
from ..pipeline.result import Samples
from ..pipeline.sample_list import read_sample_list
from ..training.build import build_dataset, fit_codec
from ..training.distributed import Ranks
from ..types import BadInput, MediaSpec
from ..util.labels import normalise_label
from ..util.notes import collect_notes, issue_note
from .evaluation_input import EvaluationInput
from .examples import ENOUGH, CodecRoundTrip, ExampleSet, GeneratedSet, RealData, balanced_subset, load_real_data
from .prompts import captioned_conditions, find_text_condition

DECODED = 500  # maximum number of real examples for the codec round trip
DRAWINGS = {
    "sheet.png",
    "trajectory.png",
    "trajectory.gif",
    "summary.png",
}  # `sonolux sample` writes them next to samples


def draw_samples(
    pipeline: Pipeline, recipe: Recipe, real: RealData, progress: bool = False, ranks: Ranks | None = None
) -> Samples:
    """eval.count samples, generated as by `sonolux sample`.

    Those of a model with a text condition have the captions of real examples as prompts, see
    `prompts.captioned_conditions`.

    Args:
        pipeline: The run.
        recipe: Its recipe.
        real: The real data.
        progress: Show a progress bar.
        ranks: The processes that share the batches, and part afterwards; None: this one alone. Rank 0 gets the samples.
    """
    pipeline.ranks = ranks = ranks or Ranks()
    pipeline.to(ranks.choose_device(recipe.sample.device, "sample.device"))
    conditions = captioned_conditions(pipeline, recipe, real, recipe.eval.count)
    if conditions:
        recipe = recipe.with_overrides([("sample.prompt", None)])
    samples = pipeline.generate(recipe, pipeline.request(recipe, recipe.eval.count, conditions), progress=progress)
    ranks.leave()  # the others do not wait for what rank 0 measures
    pipeline.ranks = Ranks()
    return samples


def draw_share(case: EvaluationInput, ranks: Ranks) -> None:
    """Draw the samples of a rank other than 0, while rank 0 calls `evaluate.evaluate`.

    Args:
        case: The result of `open_evaluation_input`.
        ranks: The processes that share the drawing.
    """
    assert case.pipeline is not None
    real = load_real_data(case.recipe, case.recipe.eval.real_examples, case.recorded)
    draw_samples(case.pipeline, case.recipe, real, ranks=ranks)


def store_samples(samples: Samples, recipe: Recipe, folder: Path, real: RealData) -> GeneratedSet:
    """Samples, written to `folder`, as they are read back."""
    text = find_text_condition(recipe)
    asked = [None if text is None else row.get(text.name) for row in samples.conditions]
    good = [i for i, media in enumerate(samples.media) if bool(torch.isfinite(media).all())]
    lost = len(samples) - len(good)
    if not good:
        raise BadInput(f"all {len(samples)} samples hold NaN or infinite values: nothing can be measured")
    samples = _rows_of(samples, good)
    written = replace(samples, output=None).write(folder)  # without levels and fades, which are not part of the model
    names = [condition.get("label") for condition in samples.conditions]
    made = read_generated_set(recipe, folder, [file.path for file in written], names, real.classes)
    made.counts |= {"made": len(good) + lost, "not finite": lost, "scaled": sum(file.scaled for file in written)}
    kept = [good[i] for i in made.places]
    made.prompts = [asked[i] for i in kept]
    made.lost_prompts = [prompt for i, prompt in enumerate(asked) if prompt and i not in set(kept)]
    made.settings = {k: v for k, v in samples.settings.items() if k != "step"} | {"step": samples.settings["step"]}
    return made


def run_codec_round_trip(recipe: Recipe, pipeline: Pipeline | None, real: RealData) -> CodecRoundTrip:
    """The effect of the codec alone: real examples encoded, decoded, written and read back.

    The examples are held-out ones, or training examples where fewer than 100 are held out. The codec is that of the
    run; without a run it is the recipe's, fitted here.
    """
    held_out = real.held_out is not None and len(real.held_out) >= ENOUGH
    original = balanced_subset(real.held_out if held_out and real.held_out is not None else real.train, DECODED, seed=3)
    if pipeline is not None:
        codec, device = pipeline.codec, pipeline.device
    else:
        data, spec = build_dataset(recipe, "train")
        assert recipe.codec is not None  # validation sets the modality's default
        codec, device = recipe.codec.build(spec=spec), torch.device("cpu")
        fit_codec(codec, data)
    modality, media = recipe.modality.build(), []
    with torch.inference_mode():
        for i in range(0, len(original), 32):
            part = torch.stack(list(original.media[i : i + 32])).to(device)
            media += list(codec.decode(codec.encode(part), codec.spec.length_of(part.shape)).float().cpu())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written = [
            modality.write(folder / f"{i:06d}{modality.suffix}", torch.nan_to_num(m)) for i, m in enumerate(media)
        ]
        back, places = read_usable_files(recipe, folder, [file.path for file in written])
    same = original.select(places)
    return CodecRoundTrip(same, ExampleSet(back, same.labels, same.sources), held_out)


def _rows_of(samples: Samples, rows: list[int]) -> Samples:
    return replace(
        samples,
        media=[samples.media[i] for i in rows],
        conditions=[samples.conditions[i] for i in rows],
        nfe=[samples.nfe[i] for i in rows] if samples.nfe else [],
    )


def read_sample_folder(recipe: Recipe, folder: Path, real: RealData, suffixes: Collection[str]) -> GeneratedSet:
    """Existing files as samples: those that samples.json lists, otherwise every readable file.

    The class of a sample is taken from samples.json, or is the name of the first folder below `folder`.
    """
    if not folder.is_dir():
        raise BadInput(f"--folder: no such folder: {format_path(folder)}")
    listing, inside = folder / "samples.json", folder.resolve()
    if listing.is_file():
        found = read_sample_list(listing)
        paths, names = [folder / sample.file for sample in found.samples], [sample.label for sample in found.samples]
        if outside := [path for path in paths if not path.resolve().is_relative_to(inside)]:
            raise BadInput(
                f"{format_path(listing)} lists {format_path(outside[0])}, which is not in this folder: put it there"
            )
        made = read_generated_set(recipe, folder, paths, names, real.classes)
        made.settings, text = dict(found.settings), find_text_condition(recipe)
        asked = [None if text is None else sample.text_of(text.name) for sample in found.samples]
        made.prompts = [asked[i] for i in made.places]
        made.lost_prompts = [prompt for i, prompt in enumerate(asked) if prompt and i not in set(made.places)]
    else:
        skipped: list[tuple[Path, str]] = []
        paths = [p for p in find_files(folder, suffixes, skipped) if p.name not in DRAWINGS]
        for unread, reason in skipped:
            issue_note(f"skipped {format_path(unread, folder)}: {reason}", stacklevel=2)
        parts = [p.relative_to(folder).parts for p in paths]
        made = read_generated_set(recipe, folder, paths, [p[0] if len(p) > 1 else None for p in parts], real.classes)
    made.counts |= {"made": len(made.examples) + made.counts["unusable"], "not finite": 0, "scaled": 0}
    return made


def read_generated_set(
    recipe: Recipe, folder: Path, paths: Sequence[Path], names: Sequence[Any], classes: tuple[str, ...]
) -> GeneratedSet:
    """Files as the recipe's dataset reads them, with the classes `names`; a name that is not a class gives no class.

    Raises:
        BadInput: If none can be read.
    """
    if not paths:
        raise BadInput(f"{format_path(folder)} holds no samples")
    modality = recipe.modality.build()
    if not hasattr(modality, "read"):
        raise BadInput(f"the modality {recipe.modality.use} cannot read files, so its samples cannot be measured")
    media, places = read_usable_files(recipe, folder, paths)
    index = {normalise_label(name): i for i, name in enumerate(classes)}
    labels = torch.tensor([index.get(normalise_label(names[i]), -1) for i in places])
    with collect_notes():  # remarks on single files
        raw = [modality.read(paths[i]) for i in places]
    examples = ExampleSet(media, labels, [format_path(paths[i], folder) for i in places])
    return GeneratedSet(
        examples, raw, [paths[i] for i in places], {"unusable": len(paths) - len(places)}, places=places
    )


def read_usable_files(recipe: Recipe, folder: Path, paths: Sequence[Path]) -> tuple[list[Tensor], list[int]]:
    """(media, indices in `paths`) of the usable files, read as by the recipe's dataset."""
    if {"root", "label", "table"} <= recipe.data.params.keys():
        return _through_dataset(recipe, folder, paths)
    return _at_recipe_size(recipe.modality.build(), paths)


def _through_dataset(recipe: Recipe, folder: Path, paths: Sequence[Path]) -> tuple[list[Tensor], list[int]]:
    """(media, indices in `paths`) of the files that the recipe's dataset of files can use."""
    by_name = {format_path(path, folder): i for i, path in enumerate(paths)}
    changes = {"root": str(folder.resolve()), "label": "none", "max_bad": 1, "manifest": None, "cache": "memory"}
    if not isinstance(recipe.data.params.get("cache"), str):
        changes.pop("cache")
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "files.jsonl"
        table.write_text("".join(json.dumps({"file": name}) + "\n" for name in by_name), encoding="utf-8")
        changes["table"] = str(table)
        given = [(f"data.{key}", value) for key, value in changes.items() if key in recipe.data.params]
        with collect_notes():  # about skipped files, which are counted instead
            data, _ = build_dataset(recipe.with_overrides([*given, ("data.split.valid", 0)]), "train")
            items = [data.item(i, None) for i in range(len(data))]
    return [item.media for item in items], [by_name[item.source] for item in items]


def _at_recipe_size(modality: Any, paths: Sequence[Path]) -> tuple[list[Tensor], list[int]]:
    """(media, indices) of files, cut or padded to the recipe's size, for a dataset that does not read files."""
    spec: MediaSpec = modality.spec()
    media, places = [], []
    for i, path in enumerate(paths):
        try:
            media.append(_resized(modality.read(path), spec.size))
        except BadInput:
            continue
        places.append(i)
    if not media:
        raise BadInput(f"none of {len(paths)} samples can be read")
    return media, places


def _resized(media: Tensor, size: tuple[int, ...]) -> Tensor:
    """(C, *spatial) cut or padded with zeros at the ends to (C, *size)."""
    out = media.new_zeros(media.shape[0], *size)
    inside = tuple(slice(0, min(a, b)) for a, b in zip(media.shape[1:], size, strict=True))
    out[(slice(None), *inside)] = media[(slice(None), *inside)]
    return out
