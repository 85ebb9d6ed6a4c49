"""`sonolux eval`: samples of a run, or of a folder, are measured against the run's real data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config.recipe import Recipe
from ..config.spec import ComponentSpec, to_plain_values
from ..training.distributed import Ranks
from ..types import BadInput
from ..util.messages import print_lines
from . import memorization
from .adapter import DefectMeasure, EvaluationAdapter
from .classifier import LEAST
from .comparison import MAX_ROWS, FeatureSet, choose_comparison_draws
from .distances import codec_reference_function, default_metrics, measure_distances, unmeasured_distances
from .distributions import MeasureComparison, compare_distributions, distribution_measurements
from .evaluation_input import EvaluationInput
from .examples import (
    ENOUGH,
    CodecRoundTrip,
    ExampleSet,
    GeneratedSet,
    RealData,
    balanced_subset,
    data_change_remark,
    load_real_data,
)
from .features import compute_features, is_fitted_on_training_data, standardise_features
from .generated import draw_samples, read_sample_folder, run_codec_round_trip, store_samples
from .memorization import MemorizationResult, measure_memorization
from .metrics.base import Metric
from .prompt_following import measure_prompt_following
from .prompts import find_text_condition
from .recognition import RecognitionResult, measure_recognition
from .report import gallery
from .report.contents import EvaluationReport, Measurement, ReferenceValue

FEW = 100  # below this number of samples a remark says that the figures are imprecise
MEASURED = 500  # maximum number of training and of held-out examples whose distributions are measured
CODEC_LEAST = 16  # minimum number of real examples for the distance of the codec round trip


def evaluate(
    case: EvaluationInput, out: Path, folder: Path | None = None, progress: bool = False, ranks: Ranks | None = None
) -> EvaluationReport:
    """Measure samples and return the report; generated samples are written to out/samples.

    Args:
        case: The result of `open_evaluation_input`.
        out: Folder of the report.
        folder: Existing samples to measure; None: samples are generated.
        progress: Print each stage to stderr.
        ranks: The processes that share the drawing of samples, see `generated.draw_share`; None: this one alone.
    """
    recipe, settings = case.recipe, case.recipe.eval
    adapter = _adapter(recipe)
    many, cache = adapter.nouns[1], case.cache

    def stage(name: str) -> None:
        if progress:
            print_lines(f"eval: {name}", err=True)

    stage("real data")
    real = load_real_data(recipe, settings.real_examples, case.recorded)
    component, feature = _feature(recipe, adapter, real, cache)  # before sampling, since its weights may be missing
    metrics = _metrics(recipe)
    stage("samples")
    generated = _generated(case, out, folder, real, adapter, progress, ranks)
    stage(f"real {many} through the codec")
    codec = run_codec_round_trip(recipe, case.pipeline, real)
    stage("classifier")
    recognised = measure_recognition(adapter, generated, real, codec, many, cache)
    text, followed = find_text_condition(recipe), None
    if text is not None:
        stage("prompts")
        followed = measure_prompt_following(adapter, generated, real, codec, text.key, many, cache)
    stage("distances")
    report = EvaluationReport(_title(case, generated, folder), _facts(case, generated, real, folder))
    report.classes = real.classes
    distances = DistanceReporter(report, recipe, metrics, many, generated, real)
    gaps = distances.of_feature(component, feature, codec)
    distances.of_further_features(adapter, codec)
    if recognised is not None:
        if not is_fitted_on_training_data(feature):
            distances.of_classifier(recognised)
        report.measurements["Recognition"], report.confusion = recognised.measurements, recognised.confusion
    stage("copies")
    if followed is not None:
        report.measurements["Prompts"] = followed.measurements
        report.remarks += followed.remarks
    copies = None
    if settings.memorization:
        copies = measure_memorization(adapter, generated.examples, real.train, real.held_out, recipe.seed)
        report.measurements["Memorization"], report.similarity = (
            memorization.memorization_measurements(copies, many),
            copies.histogram(),
        )
    stage("defects")
    defects = _defects(case, adapter, generated, real, folder)
    report.measurements["Defects"] = _defect_lines(defects, generated, many)
    stage("distributions")
    compared = _distributions(case, adapter, generated, real, folder)
    report.distributions = [one.table for one in compared]
    report.measurements["Distributions"] = distribution_measurements(compared, many)
    report.remarks += _remarks(case, generated, real, copies, many, folder)
    findings = gallery.PerSampleResults(generated, real, recognised, copies, defects, gaps, compared, followed)
    report.samples = gallery.sample_records(findings)
    report.gallery = gallery.build_gallery(adapter, findings, report.samples, settings.page_samples)
    return report


def _adapter(recipe: Recipe) -> EvaluationAdapter:
    modality = recipe.modality.build()
    if not hasattr(modality, "evaluation"):
        raise BadInput(f"the modality {recipe.modality.use} has no evaluation(), which eval needs")
    return modality.evaluation()


def _generated(
    case: EvaluationInput,
    out: Path,
    folder: Path | None,
    real: RealData,
    adapter: EvaluationAdapter,
    progress: bool,
    ranks: Ranks | None,
) -> GeneratedSet:
    if folder is not None:
        return read_sample_folder(case.recipe, folder, real, adapter.suffixes)
    assert case.pipeline is not None
    samples = draw_samples(case.pipeline, case.recipe, real, progress, ranks)
    return store_samples(samples, case.recipe, out / "samples", real)


def _title(case: EvaluationInput, generated: GeneratedSet, folder: Path | None) -> str:
    where = f" in {folder}" if folder else f" at step {generated.settings['step']}"
    return f"{case.recipe.name}: {generated.counts['made']} samples{where}"


def _facts(case: EvaluationInput, generated: GeneratedSet, real: RealData, folder: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "source": case.source,
        "recipe": case.recipe.name,
        "samples": {**generated.counts, "measured": len(generated.examples)},
        "real": {"training": len(real.train), "held out": 0 if real.held_out is None else len(real.held_out)},
        "data": {
            k: v
            for k, v in to_plain_values(case.recipe.data).items()
            if k in ("use", "root", "table", "manifest") and v
        },
        "sampling": {k: v for k, v in generated.settings.items() if k != "recipe"},
    }
    if folder is not None:
        facts["folder"] = str(folder)
    return facts


def _feature(
    recipe: Recipe, adapter: EvaluationAdapter, real: RealData, cache: Path | None
) -> tuple[ComponentSpec, Any]:
    """The recipe's feature component, or the modality's default."""
    settings = recipe.eval
    component = settings.feature or ComponentSpec("feature", adapter.feature)
    if settings.feature is None and adapter.feature.endswith("/learned") and cache is not None:
        component.params["cache"] = cache
    spec = replace(recipe.modality.build().spec(), classes=real.classes)
    return component, component.build(spec=spec)


def _metrics(recipe: Recipe) -> list[Metric]:
    """The recipe's metrics, or the default ones."""
    return [component.build() for component in recipe.eval.metrics] or default_metrics()


@dataclass
class DistanceReporter:
    """Adds the distances of one feature after the other to the report."""

    report: EvaluationReport
    recipe: Recipe
    metrics: list[Metric]
    many: str
    generated: GeneratedSet
    real: RealData

    def of_feature(self, component: ComponentSpec, feature: Any, codec: CodecRoundTrip) -> np.ndarray:
        """Add the measurements of a feature.

        Returns:
            Each sample's distance (N,) to the nearest real example.
        """
        real, many = self.real, self.many
        if hasattr(feature, "fit"):
            feature.fit(real.train.media, real.train.labels)
        name = component.use.rpartition("/")[2] if ":" in component.use else component.use
        sets = (real.train, codec.original, codec.decoded, self.generated.examples)
        sets = sets if real.held_out is None else (*sets, real.held_out)
        found = [compute_features(feature, examples.media, name) for examples in sets]
        if getattr(feature, "standardise", True):
            found = standardise_features(found[0], *found)
        train, original, decoded, samples = found[:4]
        held_out = None if real.held_out is None else found[4]
        reference = None
        if len(original) >= CODEC_LEAST:
            labels = codec.original.labels.numpy()
            reference = codec_reference_function(
                FeatureSet(decoded, labels), FeatureSet(original, labels), f"real {many} through the codec"
            )
        lines = self._measured(
            name, self.metrics, samples, train, held_out, is_fitted_on_training_data(feature), reference
        )
        if hasattr(feature, "text_similarity") and real.classes:
            lines.append(_text_score(feature, self.generated, real, many))
        self.report.measurements[f"Distances, {name}"] = lines
        known = train if held_out is None else np.concatenate([train, held_out])
        return torch.cdist(torch.from_numpy(samples), torch.from_numpy(known)).amin(1).numpy()

    def of_further_features(self, adapter: EvaluationAdapter, codec: CodecRoundTrip) -> None:
        """Add the unbiased distances of the adapter's further features, where the recipe names no feature."""
        metrics = [m for m in self.metrics if all(result.unbiased for result in m.results)]
        if self.recipe.eval.feature is not None or not metrics:
            return
        real = replace(self.real, train=balanced_subset(self.real.train, MAX_ROWS, seed=3))
        reporter = replace(self, metrics=metrics, real=real)
        for name in adapter.further_features:
            component = ComponentSpec("feature", name)
            spec = replace(self.recipe.modality.build().spec(), classes=real.classes)
            reporter.of_feature(component, component.build(spec=spec), codec)

    def of_classifier(self, recognised: RecognitionResult) -> None:
        """Add the distances of the classifier's features."""
        train, held_out, samples = (
            f.double().numpy() for f in (recognised.train, recognised.held_out, recognised.samples)
        )
        metrics = [m for m in self.metrics if all(result.kind == "distance" for result in m.results)]
        if metrics:
            lines = self._measured("classifier", metrics, samples, train, held_out, True, None)
            self.report.measurements["Distances, classifier"] = lines

    def _measured(
        self,
        name: str,
        metrics: list[Metric],
        samples: np.ndarray,
        train: np.ndarray,
        held_out: np.ndarray | None,
        learned: bool,
        codec: Any,
    ) -> list[Measurement]:
        repeats, real = self.recipe.eval.repeats, self.real
        other = None
        if held_out is not None and real.held_out is not None:
            other = FeatureSet(held_out, real.held_out.labels.numpy())
        generated = FeatureSet(samples, self.generated.examples.labels.numpy())
        rows = choose_comparison_draws(generated, FeatureSet(train, real.train.labels.numpy()), other, learned, repeats)
        self.report.facts.setdefault("compared", {})[name] = rows.description
        if left_out := unmeasured_distances(rows, metrics):
            which = " and ".join({"samples": "samples", "real": f"real {self.many}"}[s] for s in rows.sparse_sets)
            needs = f"about four of each class are needed, and there are fewer {which}"
            remark = f"{' and '.join(left_out)}: left out, since {needs}."
            self.report.remarks += [remark] * (remark not in self.report.remarks)
        return measure_distances(rows, metrics, repeats, f"real {self.many}", self.many, codec)


def _text_score(feature: Any, generated: GeneratedSet, real: RealData, many: str) -> Measurement:
    """Similarity of samples to the names of their classes, with held-out examples as reference."""

    def score(examples: ExampleSet) -> float:
        labelled = examples.select([i for i, label in enumerate(examples.labels.tolist()) if label >= 0])
        names = [real.classes[label] for label in labelled.labels.tolist()]
        return float(np.mean(feature.text_similarity(list(labelled.media), names))) if names else float("nan")

    held_out = real.held_out
    references = () if held_out is None else (ReferenceValue(f"held-out {many}", score(held_out)),)
    meaning = "mean cosine of a sample's embedding and that of its class's name"
    return Measurement("clap_score", "text similarity", score(generated.examples), "{:.3f}", None, references, meaning)


def _defects(
    case: EvaluationInput, adapter: EvaluationAdapter, generated: GeneratedSet, real: RealData, folder: Path | None
) -> list[DefectMeasure]:
    media, loop = _measured_media(case, adapter, generated, folder)
    return adapter.defects(media, balanced_subset(real.train, 500, seed=2).unpadded(), loop)


def _measured_media(
    case: EvaluationInput, adapter: EvaluationAdapter, generated: GeneratedSet, folder: Path | None
) -> tuple[list[Tensor], bool]:
    """The samples as they are measured one by one, and whether they are loops."""
    loop = bool(generated.settings.get("loop", case.recipe.sample.loop and folder is None))
    return generated.raw if adapter.whole_files or loop else list(generated.examples.media), loop


def _distributions(
    case: EvaluationInput, adapter: EvaluationAdapter, generated: GeneratedSet, real: RealData, folder: Path | None
) -> list[MeasureComparison]:
    media, _ = _measured_media(case, adapter, generated, folder)
    real_sets = [balanced_subset(real.train, MEASURED, seed=2)]
    if real.held_out is not None and len(real.held_out) >= ENOUGH:
        real_sets.append(balanced_subset(real.held_out, MEASURED, seed=2))
    labels = [generated.examples.labels.numpy(), *(one.labels.numpy() for one in real_sets)]
    measures = [adapter.measures(media), *(adapter.measures(one.unpadded()) for one in real_sets)]
    return compare_distributions(measures, labels, real.classes)


def _defect_lines(defects: list[DefectMeasure], generated: GeneratedSet, many: str) -> list[Measurement]:
    total = generated.counts["made"]
    counted = (
        ("not finite", "not finite", "hold NaN or infinite values; none of them is written or measured"),
        ("unusable", "unusable", "could not be read back: silent, empty or damaged"),
        ("scaled", "too loud for a file", "had peaks above full scale and were scaled down as they were written"),
    )
    rows = [
        Measurement(key, name, generated.counts[key] / total, "{:.1%}", meaning=meaning)
        for key, name, meaning in counted
        if generated.counts[key]
    ]
    for d in defects:
        usual = ReferenceValue(f"real {many}", float(d.real_flags.double().mean()))
        rows.append(Measurement(d.key, d.name, float(d.flags.double().mean()), "{:.1%}", None, (usual,), d.meaning))
        if d.format:
            usual = ReferenceValue(f"real {many}", float(d.real.median()))
            value = float(d.values.median())
            rows.append(Measurement(f"{d.key}_median", f"{d.name}: median", value, d.format, None, (usual,)))
    return rows


def _remarks(
    case: EvaluationInput,
    generated: GeneratedSet,
    real: RealData,
    copies: MemorizationResult | None,
    many: str,
    folder: Path | None,
) -> list[str]:
    rows = []
    if case.checkpoint is not None:
        rows.append(data_change_remark(case.recipe, case.checkpoint, case.recorded))
    count = len(generated.examples)
    if count < FEW:
        rows.append(f"{count} samples are a first look: intervals are wide. Make 500 or more for a measurement.")
    held_out = 0 if real.held_out is None else len(real.held_out)
    if held_out < ENOUGH:
        rows.append(
            f"{held_out} {many} are held out, too few to represent the data: halves of all real {many} are used."
        )
    if real.classes and not generated.examples.labelled:
        remedy = "put them into folders named as the classes" if folder else "sample.label=cycle gives each a class"
        rows.append(f"Not every sample has a class, so none is classified: {remedy}.")
    elif real.classes and (held_out < LEAST or count < LEAST):
        rows.append(f"Classification needs {LEAST} samples and {LEAST} held-out {many} or more; there are fewer.")
    if copies is not None:
        rows += memorization.reliability_remarks(copies, many)
    return [row for row in rows if row]
