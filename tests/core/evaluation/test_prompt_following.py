"""Following prompts: good samples are found, shuffled captions and shuffled training are chance, held-out stays out."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from sonolux.core.evaluation import prompt_following as product
from sonolux.core.evaluation.classifier import ClassifierSettings
from sonolux.core.evaluation.examples import CodecRoundTrip, ExampleSet, GeneratedSet, RealData
from sonolux.core.evaluation.joint_embedding import JointEmbedding, JointEmbeddingSettings, normalise_text
from sonolux.core.evaluation.prompt_following import CaptionPool, measure_prompt_following
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import Item

sys.path.insert(0, str(Path(__file__).parents[2]))

from _captioned_pairs import pairs

NEW = "much red some green no blue"


class Adapter:
    """Pictures as they are, not varied."""

    classifier = ClassifierSettings(widths=(8,), width=16, dropout=0.0)

    def classifier_input(self, media):
        return torch.stack(list(media))

    def augment(self, x, rng):
        return x


def examples(n, seed, shuffled=False, without=""):
    """So many captioned pictures."""
    x, texts = pairs(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist() if shuffled else range(n)
    kept = [i for i in range(n) if texts[i] != without]
    items = [Item(torch.empty(0), caption=texts[order[i]]) for i in kept]
    return ExampleSet([x[i] for i in kept], torch.full((len(kept),), -1), [str(i) for i in kept], None, items)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(
        product,
        "JointEmbeddingSettings",
        lambda media: JointEmbeddingSettings(media, width=16, hidden=24, epochs=25, batch=32),
    )


@cache
def measured(shuffled_samples=False, shuffled_training=False, lost=()):
    """Samples as good as the data, of which one caption is not in the training part."""
    real = RealData(examples(200, 0, shuffled_training, NEW), examples(120, 1), ())
    samples = examples(100, 2, shuffled_samples)
    made = GeneratedSet(samples, list(samples.media), [], {}, prompts=samples.texts("caption"), lost_prompts=[*lost])
    result = measure_prompt_following(
        Adapter(), made, real, CodecRoundTrip(real.held_out, real.held_out, True), "caption", "pictures"
    )
    assert result is not None
    return result, {line.key: line for line in result.measurements}


def check_samples(shuffled=False):
    """Samples and held-out pictures are found, also through a codec that changes nothing."""
    result, lines = measured(shuffled_samples=shuffled)
    line = lines["known_captions"]
    assert [one.name for one in line.references] == ["held-out pictures", "the same through the codec"]
    assert all(one.value > 0.6 for one in line.references) and not result.remarks
    assert line.value > 0.6


@pytest.mark.slow
def test_good_samples_are_found():
    check_samples()


@pytest.mark.slow
def test_shuffled_captions_are_caught():
    """Planted: the samples are of other captions than asked."""
    assert_caught(check_samples, True)
    _, lines = measured(shuffled_samples=True)
    assert lines["known_captions"].value < 0.25, "about chance: 5 %, and captions that share words"


@pytest.mark.slow
def test_training_on_shuffled_pairs_finds_nothing():
    result, lines = measured(shuffled_training=True)
    assert all(one.value < 0.2 for one in lines["known_captions"].references)
    assert lines["known_captions"].value < 0.2
    assert "close to chance" in result.remarks[0]


@pytest.mark.slow
def test_lost_samples_count_as_wrong_and_new_captions_are_apart():
    _, whole = measured()
    _, lines = measured(lost=("Much red  some green no blue",) * 5 + ("no red no green no blue",) * 10)
    for key, lost in (("new_captions", 5), ("known_captions", 10)):
        count = int(whole[key].meaning.split()[1])
        assert lines[key].value == pytest.approx(whole[key].value * count / (count + lost))
    assert int(whole["new_captions"].meaning.split()[1]) == sum(t == NEW for t in pairs(100, 2)[1]) > 0


def check_training_pairs(monkeypatch):
    """The embedding is trained on the training pairs, each once, and on nothing else."""
    seen = []

    def spy(x, texts, augment, settings, cache):
        seen.append((x, list(texts)))
        return JointEmbedding(x.shape[1], settings).eval()

    monkeypatch.setattr(product, "cached_joint_embedding", spy)
    measured.__wrapped__()
    train = examples(200, 0, without=NEW)
    ((x, texts),) = seen
    assert texts == train.texts("caption") and torch.equal(x, torch.stack(list(train.media)))


def test_held_out_pairs_are_not_trained_on(monkeypatch):
    check_training_pairs(monkeypatch)


def test_a_leak_is_caught(monkeypatch):
    """Planted: held-out pairs are among the training examples."""
    right, held_out = product._captioned, examples(120, 1)

    def leaking(adapter, some, texts):
        x, kept = right(adapter, some, texts)
        more, others = right(adapter, held_out, held_out.texts("caption"))
        return (torch.cat([x, more]), kept + others) if len(some) > 150 else (x, kept)

    monkeypatch.setattr(product, "_captioned", leaking)
    assert_caught(check_training_pairs, monkeypatch)


def test_other_captions_are_never_equal_and_of_the_same_kind():
    pool = CaptionPool(dict.fromkeys(f"known {i}" for i in range(30)), [f"new {i}" for i in range(25)])
    for text, kind in (("Known  3", "known"), ("new 4", "new"), ("of a user", "new")):
        for row in range(30):
            others = pool.others(text, 0, row)
            assert len(set(others)) == 19 and normalise_text(text) not in others
            assert {one.split()[0] for one in others} == {kind}
    assert pool.others("new 4", 0, 7) == pool.others("new 4", 0, 7) != pool.others("new 4", 0, 8)
    few = replace(pool, new=["new 1", "new 2"])
    assert len(few.others("new 1", 0, 0)) == 19 and few.candidates == 20
    assert CaptionPool({"a": None}, ["b"]).others("a", 0, 0) == ["b"]


def test_samples_without_prompts_and_data_without_captions_are_not_measured():
    real, samples = RealData(examples(20, 0), None, ()), examples(10, 1)
    codec = CodecRoundTrip(samples, samples, False)
    made = GeneratedSet(samples, [], [], {}, prompts=[None] * 10)
    assert measure_prompt_following(Adapter(), made, real, codec, "caption", "pictures") is None
    made.prompts = samples.texts("caption")
    assert measure_prompt_following(Adapter(), made, real, codec, "other", "pictures") is None
