"""Recognising: what a network trained on samples learns does not hang on the order of their files."""

import pytest
import torch
from sonolux.core.evaluation import recognition as product
from sonolux.core.evaluation.classifier import ClassifierSettings
from sonolux.core.evaluation.examples import CodecRoundTrip, ExampleSet, GeneratedSet, RealData
from sonolux.core.evaluation.recognition import measure_recognition
from sonolux.core.testing.mutation import assert_caught

CLASSES = ("lying", "standing", "plain")


class Adapter:
    """Pictures as they are, not varied."""

    classifier = ClassifierSettings(widths=(6,), width=12, epochs=10, batch=16, lr=1e-2)

    def classifier_input(self, media):
        return torch.stack(list(media))

    def augment(self, x, rng):
        return x


def side(counts, seed):
    """So many noisy pictures (1, 8, 8) of each class, in the order of classes: lying bars, standing bars, none."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    media = 0.3 * torch.randn(len(labels), 1, 8, 8, generator=rng)
    for picture, label in zip(media, labels.tolist(), strict=True):
        at = int(torch.randint(1, 7, (), generator=rng))
        if label < 2:
            picture[(0, at) if label == 0 else (0, slice(None), at)] += 2
    return ExampleSet(list(media), labels, [str(i) for i in range(len(labels))])


def found(order=None, unusable=0):
    """More samples than training examples, so that some of the samples have to do."""
    samples, real = side((60, 60, 60), 0), RealData(side((30, 30, 30), 1), side((12, 12, 12), 2), CLASSES)
    samples = samples if order is None else samples.select(order)
    made = GeneratedSet(samples, list(samples.media), [], {"made": len(samples) + unusable})
    result = measure_recognition(Adapter(), made, real, CodecRoundTrip(real.held_out, real.held_out, False), "pictures")
    assert result is not None
    return result


def check_files_in_the_order_of_classes():
    """All three classes are learned from samples as good as the data, as well as from the data."""
    figures = {f.key: f for f in found().measurements}
    taught = figures["train_on_samples"]
    assert taught.references[0].value >= 0.9 and taught.value >= 0.9
    assert figures["recognised"].value >= 0.95


@pytest.mark.slow
def test_files_in_the_order_of_classes_teach_every_class():
    check_files_in_the_order_of_classes()


@pytest.mark.slow
def test_the_first_samples_alone_are_caught(monkeypatch):
    """Planted: the first ones are taken, which show one class and half of another."""
    monkeypatch.setattr(product, "balanced_subset", lambda side, count, seed: side.select(range(min(count, len(side)))))
    assert_caught(check_files_in_the_order_of_classes)


@pytest.mark.slow
def test_labels_stay_with_their_pictures():
    """Samples in another order are other rows of the same figures; one that is unusable counts as not recognised."""
    order = torch.randperm(180, generator=torch.Generator().manual_seed(3)).tolist()
    one, other = found(), found(order, unusable=20)
    assert other.predicted.tolist() == [int(one.predicted[i]) for i in order]
    assert torch.equal(one.confusion, other.confusion) and int(one.confusion.sum()) == 180
    assert other.measurements[0].value == pytest.approx(one.measurements[0].value * 180 / 200)
    assert other.measurements[1].value >= 0.9
