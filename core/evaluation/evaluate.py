"""`sonolux eval`: samples of a run, or in a folder, measured against the run's real data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config.load import load_recipe
from ..config.recipe import Recipe
from ..config.spec import Spec, plain
from ..pipeline.load import load
from ..pipeline.pipeline import Pipeline
from ..training.checkpoint import newest
from ..types import BadInput
from . import distances
from . import memorization as novelty
from .adapter import ENOUGH, Beside, Coded, Defect, EvaluationAdapter, EvaluationReport, Figure, Made, Real
from .examples import coded, from_folder, from_run, real, spread, strangers
from .metrics.base import as_features, standardised
from .network import LEAST
from .recognition import Recognition, recognition
from .report import exhibits

ALLOWED = ("data", "sample", "eval")
FEW = 100  # samples below which the figures are a first look


@dataclass
class Case:
    """What is measured: the recipe with its changes; the model, where samples are to be made; its checkpoint."""

    source: str
    recipe: Recipe
    trained: Pipeline | None = None
    checkpoint: Path | None = None


def opened(source: str, changes: Sequence[str], sampled: bool, allow_code: bool = False) -> Case:
    """A run folder or checkpoint; where nothing is to be sampled, a recipe's file or name too.

    changes: key=value of the sections data, sample and eval; a bare key belongs to eval. They may name code of yours.

    Raises BadInput for other sections, and for data.split.*: another split would call training examples held out.
    """
    told = [_whole(change) for change in changes]
    path = Path(source)
    if not path.exists() and not sampled:
        return Case(source, load_recipe(source, told))
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        if sampled:
            raise BadInput(f"{source} is a recipe: name a run or a checkpoint to sample from, or --folder with samples")
        return Case(source, load_recipe(path, told))
    checkpoint = newest(path)
    trained = load(
        checkpoint, device="cpu", changes=[c for c in told if c.startswith("sample.")], allow_code=allow_code
    )
    # The checkpoint's own recipe has been read; what is changed here is the user's own.
    own = replace(trained.recipe, given=replace(trained.recipe.given, allow_code=True))
    recipe = own.merge([c for c in told if not c.startswith("sample.")])
    return Case(source, recipe, trained, checkpoint)


def _whole(change: str) -> str:
    key, equals, _ = change.partition("=")
    if not equals:
        raise BadInput(f"command line: {change}: changes are key=value, such as data.root=path or count=200")
    first, dot, _ = key.partition(".")
    if dot and first in ALLOWED:
        if key.startswith("data.split"):
            raise BadInput(
                f"command line: {change}: the split is the run's: another would hold out what was trained on"
            )
        return change
    own = {"feature"}  # sections of eval that have keys of their own
    if not dot or first in own:
        return f"eval.{change}"
    raise BadInput(
        f"command line: {change}: eval changes {', '.join(f'{s}.*' for s in ALLOWED)}; the rest is the run's"
    )


def evaluate(case: Case, out: Path, folder: Path | None = None, progress: bool = False) -> EvaluationReport:
    """Measure, and say what was found; samples that are made are written to out/samples.

    folder: samples to measure instead of making some
    """
    recipe, e = case.recipe, case.recipe.eval
    judge = _judge(recipe)
    many = judge.nouns[1]

    def stage(name: str) -> None:
        if progress:
            print(f"eval: {name}", file=sys.stderr, flush=True)

    stage("real data")
    data = real(recipe, e.most)
    component, feature = _feature(recipe, judge, data)  # before anything is made: its weights may be missing
    stage("samples")
    made = _made(case, out, folder, data, judge, progress)
    stage(f"real {many} through the codec")
    after = coded(recipe, case.trained, data)
    stage("classifier")
    seen = recognition(judge, made, data, after, many, e.cache)
    stage("distances")
    report = EvaluationReport(_title(case, made, folder), _facts(case, made, data, folder), classes=data.classes)
    flat = _distances(report, recipe, (component, feature), judge, made, data, after, seen)
    if seen is not None:
        report.figures["Recognition"], report.confusion = seen.figures, seen.confusion
    stage("copies")
    found = novelty.search(judge, made.side, data.train, data.held, recipe.seed) if e.novelty else None
    if found is not None:
        report.figures["Novelty"], report.likeness = novelty.figures(found, many), found.histogram()
    stage("defects")
    loop = bool(made.facts.get("loop", recipe.sample.loop and folder is None))
    still = recipe.modality.build().spec().time_axis is None  # files may be larger than the recipe's size
    as_made = list(made.side.media) if still and not loop else made.raw
    faults = judge.defects(as_made, spread(data.train, 500, seed=2).own(), loop)
    report.figures["Defects"] = _defects(faults, made, many)
    report.remarks = _remarks(case, made, data, found, many, folder)
    report.rows = exhibits.rows(made, data, seen, found, faults)
    exhibits.add(report, judge, made, data, seen, found, faults, flat, e.shown)
    return report


def _judge(recipe: Recipe) -> EvaluationAdapter:
    modality = recipe.modality.build()
    if not hasattr(modality, "judge"):
        raise BadInput(f"the modality {recipe.modality.use} brings no judge(), which eval needs")
    return modality.judge()


def _made(case: Case, out: Path, folder: Path | None, data: Real, judge: EvaluationAdapter, progress: bool) -> Made:
    if folder is not None:
        return from_folder(case.recipe, folder, data, judge.suffixes)
    assert case.trained is not None
    case.trained.to(case.recipe.sample.device)
    return from_run(case.trained, case.recipe, out / "samples", data, progress)


def _title(case: Case, made: Made, folder: Path | None) -> str:
    name = case.recipe.name
    return f"{name}: {made.counts['made']} samples" + (f" in {folder}" if folder else f" at step {made.facts['step']}")


def _facts(case: Case, made: Made, data: Real, folder: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "source": case.source,
        "recipe": case.recipe.name,
        "samples": {**made.counts, "measured": len(made.side)},
        "real": {"training": len(data.train), "held out": 0 if data.held is None else len(data.held)},
        "data": {k: v for k, v in plain(case.recipe.data).items() if k in ("use", "root", "table", "manifest") and v},
        "sampling": {k: v for k, v in made.facts.items() if k != "recipe"},
    }
    if folder is not None:
        facts["folder"] = str(folder)
    return facts


def _feature(recipe: Recipe, judge: EvaluationAdapter, data: Real) -> tuple[Spec, Any]:
    """The recipe's feature component, or the modality's own."""
    e = recipe.eval
    component = e.feature or Spec("feature", judge.feature)
    if e.feature is None and judge.feature.endswith("/learned") and e.cache is not None:
        component.params["cache"] = e.cache
    spec = replace(recipe.modality.build().spec(), classes=data.classes)
    return component, component.build(spec=spec)


def _distances(
    report: EvaluationReport,
    recipe: Recipe,
    described: tuple[Spec, Any],
    judge: EvaluationAdapter,
    made: Made,
    data: Real,
    after: Coded,
    seen: Recognition | None,
) -> np.ndarray:
    """Adds the figures of the features; returns each sample's distance to the nearest real example in these."""
    e, many, (component, feature) = recipe.eval, judge.nouns[1], described
    if hasattr(feature, "fit"):
        feature.fit(data.train.media, data.train.labels)
    learned = bool(getattr(feature, "learned", hasattr(feature, "fit")))
    name = component.use.rpartition("/")[2] if ":" in component.use else component.use
    sides = (data.train, after.known, after.coded, made.side, *(() if data.held is None else (data.held,)))
    found = [_described(feature, side.media, name) for side in sides]
    scaled = standardised(found[0], *found) if getattr(feature, "standardise", True) else found
    train, plain_ones, coded_ones, samples, *rest = scaled
    held, told = (rest[0] if rest else None), after.known.labels.numpy()
    codec = distances.through_codec(
        distances.Set(coded_ones, told), distances.Set(plain_ones, told), f"real {many} through the codec"
    )

    def measured(
        name: str, train: np.ndarray, held: np.ndarray | None, samples: np.ndarray, learned: bool, codec: Any = None
    ):
        own = distances.Set(samples, made.side.labels.numpy())
        known = distances.Set(train, data.train.labels.numpy())
        other = None if held is None or data.held is None else distances.Set(held, data.held.labels.numpy())
        drawn = distances.draws(own, known, other, learned, e.repeats)
        report.facts.setdefault("compared", {})[name] = drawn.what
        return distances.measured(drawn, e.repeats, f"real {many}", many, codec)

    lines = measured(name, train, held, samples, learned, codec if len(told) >= 16 else None)
    if hasattr(feature, "fit_of_words") and data.classes:
        lines.append(_words(feature, made, data, many))
    report.figures[f"Distances, {name}"] = lines
    if seen is not None and not learned:
        known, other, own = (f.double().numpy() for f in (seen.train, seen.held, seen.samples))
        report.figures["Distances, classifier"] = measured("classifier", known, other, own, learned=True)[:2]
    gaps = torch.cdist(
        torch.from_numpy(samples), torch.from_numpy(train if held is None else np.concatenate([train, held]))
    )
    return gaps.amin(1).numpy()


def _described(feature: Any, media: Any, name: str) -> np.ndarray:
    """Features (N, d) of a side, in parts; BadInput where the component does not give a row an example."""
    rows = []
    for i in range(0, len(media), 128):
        part = list(media[i : i + 128])
        given = as_features(feature(part), f"what {name} returns", least=1)
        if len(given) != len(part):
            raise BadInput(f"{name} returned {len(given)} rows for {len(part)} examples: it gives (N, d), a row each")
        rows.append(given)
    return np.concatenate(rows)


def _words(feature: Any, made: Made, data: Real, many: str) -> Figure:
    """How well samples fit the names of their classes, beside held-out examples."""

    def score(side) -> float:
        rows = [i for i, label in enumerate(side.labels.tolist()) if label >= 0]
        some = side.pick(rows)
        names = [data.classes[label] for label in some.labels.tolist()]
        return float(np.mean(feature.fit_of_words(list(some.media), names))) if rows else float("nan")

    beside = () if data.held is None else (Beside(f"held-out {many}", score(data.held)),)
    means = "mean cosine of a sample's embedding and that of its class's name"
    return Figure("clap_score", "fit of words", score(made.side), "{:.3f}", None, beside, means)


def _defects(faults: list[Defect], made: Made, many: str) -> list[Figure]:
    total = made.counts["made"]
    told = (
        ("not finite", "not finite", "hold NaN or infinite values; none of them is written or measured"),
        ("unusable", "unusable", "could not be read back: silent, empty or damaged"),
        ("scaled", "too loud for a file", "had peaks above full scale and were scaled down as they were written"),
    )
    rows = [Figure(k, n, made.counts[k] / total, "{:.1%}", None, (), m) for k, n, m in told if made.counts[k]]
    for d in faults:
        beside = Beside(f"real {many}", float(d.real_flags.double().mean()))
        rows.append(Figure(d.key, d.name, float(d.flags.double().mean()), "{:.1%}", None, (beside,), d.means))
        if d.form:
            usual = Beside(f"real {many}", float(d.real.median()))
            rows.append(
                Figure(f"{d.key}_median", f"{d.name}: median", float(d.values.median()), d.form, None, (usual,), "")
            )
    return rows


def _remarks(
    case: Case, made: Made, data: Real, found: novelty.Novelty | None, many: str, folder: Path | None
) -> list[str]:
    rows = []
    if case.checkpoint is not None:
        rows.append(strangers(case.recipe, case.checkpoint))
    if len(made.side) < FEW:
        rows.append(f"{len(made.side)} samples are a first look: intervals are wide. 500 or more tell.")
    held = 0 if data.held is None else len(data.held)
    if held < ENOUGH:
        rows.append(f"{held} {many} are held out, too few to stand for the data: halves of all real {many} do.")
    if data.classes and int(made.side.labels.min()) < 0:
        remedy = "put them into folders named as the classes" if folder else "sample.label=cycle tells each its own"
        rows.append(f"Not every sample was told a class, so none is recognised: {remedy}.")
    elif data.classes and (held < LEAST or len(made.side) < LEAST):
        rows.append(f"Recognising takes {LEAST} samples and {LEAST} held-out {many} or more; there are fewer.")
    if found is not None:
        rows += novelty.doubts(found, many)
    return [row for row in rows if row]
