"""The small network of eval: the loss without classes against a loop, learning, counting, keeping."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sonolux.core.evaluation import classifier, intervals, stored_networks
from sonolux.core.evaluation.classifier import (
    ClassifierSettings,
    accuracy,
    cached_classifier,
    classify,
    confusion_matrix,
    random_affine,
    train_classifier,
)
from sonolux.core.testing.mutation import assert_caught

SMALL = ClassifierSettings(widths=(8, 12), width=16, epochs=8, batch=16, lr=1e-2)


def as_is(x, rng):
    return x


def bars(n, seed=0):
    """Noisy pictures of lying and standing bars (n, 1, 12, 12) and their labels."""
    rng = torch.Generator().manual_seed(seed)
    x, y = 0.3 * torch.randn(n, 1, 12, 12, generator=rng), torch.arange(n) % 2
    at = torch.randint(1, 10, (n,), generator=rng)
    for i in range(n):
        x[(i, 0, at[i]) if y[i] else (i, 0, slice(None), at[i])] += 2
    return x, y


@pytest.mark.slow
def test_bars_are_learned_and_kept(tmp_path):
    (x, y), (held, told) = bars(96), bars(40, seed=1)
    model = cached_classifier(x, y, 2, as_is, SMALL, tmp_path)
    guessed, features = classify(model, held)
    assert accuracy(guessed, told) >= 0.95 and features.shape == (40, 16)
    assert len(list(tmp_path.iterdir())) == 1
    stored_networks._MEMORY.clear()
    again = cached_classifier(x, y, 2, as_is, SMALL, tmp_path)
    assert again is not model and torch.equal(classify(again, held)[1], features)
    stored_networks._MEMORY.clear()
    assert torch.equal(classify(train_classifier(x, y, 2, as_is, SMALL), held)[1], features), (
        "the same training is the same"
    )


@pytest.mark.parametrize("steps", range(1, 9))
def test_any_number_of_steps_trains(steps):
    """Five steps, as of few sounds and few epochs, are no error, and one step moves the weights."""
    x, y = bars(16)
    few = replace(SMALL, epochs=steps)
    torch.manual_seed(few.seed)
    before = classifier.Classifier(1, 2, few).state_dict()
    after = train_classifier(x, y, 2, as_is, few).state_dict()
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert float((after["last.weight"] - before["last.weight"]).abs().max()) > 1e-4


def test_labels_that_say_nothing_teach_nothing():
    (x, y), (held, told) = bars(96), bars(60, seed=1)
    shuffled = y[torch.randperm(96, generator=torch.Generator().manual_seed(0))]
    assert accuracy(classify(train_classifier(x, shuffled, 2, as_is, SMALL), held)[0], told) < 0.85


def check_contrast():
    """Without classes: -log of exp(s_ij / T) over the sum of all others, two views i, j of a picture, as a loop."""
    torch.manual_seed(0)
    x = torch.randn(5, 1, 8, 8)
    model = classifier.Classifier(1, 4, SMALL).eval()
    found = float(classifier._loss(model, x, None, lambda v, _: v, torch.Generator(), SMALL).detach())
    z = model(x).detach().double().numpy()
    z = np.concatenate([z, z]) / np.linalg.norm(np.concatenate([z, z]), axis=1, keepdims=True)
    total = 0.0
    for i in range(10):
        weights = [math.exp(z[i] @ z[j] / 0.2) for j in range(10)]
        total -= math.log(weights[(i + 5) % 10] / (sum(weights) - weights[i]))
    assert found == pytest.approx(total / 10, abs=1e-4)


def test_the_loss_without_classes():
    check_contrast()


def test_a_view_compared_with_itself_is_caught(monkeypatch):
    """Planted: the diagonal stays."""
    monkeypatch.setattr(torch.Tensor, "fill_diagonal_", lambda self, value: self)
    assert_caught(check_contrast)


def test_counts():
    rng = np.random.default_rng(0)
    told, seen = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    wanted = np.zeros((3, 3), int)
    np.add.at(wanted, (told, seen), 1)
    found = confusion_matrix(torch.from_numpy(seen), torch.from_numpy(told), 3)
    assert (found.numpy() == wanted).all()
    assert accuracy(torch.from_numpy(seen), torch.from_numpy(told)) == pytest.approx(np.trace(wanted) / 50)


def test_the_interval_of_a_share_is_wilsons():
    for right, n in ((50, 50), (0, 8), (499, 500), (3, 20)):
        wanted = binomtest(right, n).proportion_ci(0.95, method="wilson")
        assert intervals.wilson_interval(right / n, n) == pytest.approx((wanted.low, wanted.high), abs=1e-4)


def test_many_examples_are_seen_less_often():
    assert ClassifierSettings(epochs=20, budget=1e6).limited_to_budget(100, 100).epochs == 20
    assert ClassifierSettings(epochs=20, budget=1e6).limited_to_budget(1000, 100).epochs == 10
    assert ClassifierSettings(epochs=20, budget=1e6).limited_to_budget(100000, 100).epochs == 3


def test_warps_of_no_size_change_nothing():
    x = torch.rand(3, 1, 9, 7)
    rng = torch.Generator().manual_seed(0)
    assert torch.allclose(random_affine(x, rng, 0, 0, 0, 0), x, atol=1e-5)
    assert not torch.allclose(random_affine(x, rng, 20, 0.1, 0.1, 0.1), x, atol=1e-2)
