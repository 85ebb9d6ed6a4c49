"""Classification in both directions: a classifier trained on real data on samples, and the reverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from .adapter import EvaluationAdapter
from .classifier import LEAST, accuracy, cached_classifier, classify, confusion_matrix, real_data_classifier
from .examples import CodecRoundTrip, ExampleSet, GeneratedSet, RealData, balanced_subset
from .intervals import wilson_interval
from .report.contents import Measurement, ReferenceValue

STEPS = 400  # minimum training steps on samples, and on the same number of real examples
MIN_TRAIN = 64  # minimum number of samples to train a classifier on


@dataclass(frozen=True)
class RecognitionResult:
    """Results of the classifier of the real data.

    Attributes:
        predicted: (N,) predicted class of each sample.
        confusion: (K, K) counts: row: requested class, column: predicted class.
        measurements: Lines of the report's table.
        samples: Penultimate features (N, d) of the samples.
        train: Penultimate features (M, d) of the training examples.
        held_out: Penultimate features (L, d) of the held-out examples.
    """

    predicted: Tensor
    confusion: Tensor
    measurements: list[Measurement]
    samples: Tensor
    train: Tensor
    held_out: Tensor


def measure_recognition(
    adapter: EvaluationAdapter,
    generated: GeneratedSet,
    real: RealData,
    codec: CodecRoundTrip,
    many: str,
    cache: Path | None = None,
) -> RecognitionResult | None:
    """Classify the samples; None where there are no classes, or samples or held-out examples have none.

    Unusable samples count as not recognised.
    """
    held_out, samples = real.held_out, generated.examples
    if not real.classes or held_out is None or len(held_out) < LEAST or len(samples) < LEAST:
        return None
    if not all(examples.labelled for examples in (samples, real.train, held_out)):
        return None
    of_samples, of_held_out, of_train = (adapter.classifier_input(e.media) for e in (samples, held_out, real.train))
    model = real_data_classifier(
        of_train, real.train.labels, len(real.classes), adapter.augment, adapter.classifier, cache=cache
    )
    predicted, features = classify(model, of_samples)
    predicted_held_out, held_out_features = classify(model, of_held_out)
    references = [ReferenceValue(f"held-out {many}", accuracy(predicted_held_out, held_out.labels))]
    if codec.held_out:
        decoded = classify(model, adapter.classifier_input(codec.decoded.media))[0]
        references.append(ReferenceValue("the same through the codec", accuracy(decoded, codec.decoded.labels)))
    count = generated.counts["made"]
    right = int((predicted == samples.labels).sum()) / count
    lines = [
        Measurement(
            "recognised",
            "samples recognised",
            right,
            "{:.1%}",
            wilson_interval(right, count),
            tuple(references),
            f"share that a small classifier, trained on the real {many}, assigns to the requested class",
        )
    ]
    if len(samples) >= MIN_TRAIN:
        lines.append(_trained_on_samples(adapter, samples, real, of_samples, of_held_out, many))
    confusion = confusion_matrix(predicted, samples.labels, len(real.classes))
    return RecognitionResult(predicted, confusion, lines, features, classify(model, of_train)[1], held_out_features)


def _trained_on_samples(
    adapter: EvaluationAdapter, samples: ExampleSet, real: RealData, x: Tensor, of_held_out: Tensor, many: str
) -> Measurement:
    """Trained on samples, tested on held-out examples; compared with training on the same number of real ones."""
    held_out = real.held_out
    assert held_out is not None
    n = min(len(x), len(real.train))
    per_epoch = max(1, n // adapter.classifier.batch)
    settings = replace(adapter.classifier, epochs=max(adapter.classifier.epochs, STEPS // per_epoch))
    settings = replace(settings, batch=min(settings.batch, n)).limited_to_budget(n, x.shape[-2] * x.shape[-1])

    def score(inputs: Tensor, labels: Tensor) -> float:
        model = cached_classifier(inputs, labels, len(real.classes), adapter.augment, settings)
        return accuracy(classify(model, of_held_out)[0], held_out.labels)

    chosen = balanced_subset(samples, n, seed=1)  # files are ordered by class: the first n would lack most classes
    known = balanced_subset(real.train, n, seed=1)
    value = score(x if chosen is samples else adapter.classifier_input(chosen.media), chosen.labels)
    reference = ReferenceValue(
        f"trained on {n} real {many}", score(adapter.classifier_input(known.media), known.labels)
    )
    meaning = f"accuracy on held-out {many} of a classifier trained on {n} samples only: low where samples lack variety"
    return Measurement("train_on_samples", "learned from samples", value, "{:.1%}", None, (reference,), meaning)
