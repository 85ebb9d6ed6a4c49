"""The joint embedding of media and texts: its loss against a loop, hashing, learning, the same result for a seed."""

import itertools
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from sonolux.core.evaluation import joint_embedding as product
from sonolux.core.evaluation import stored_networks
from sonolux.core.evaluation.classifier import ClassifierSettings
from sonolux.core.evaluation.joint_embedding import (
    JointEmbeddingSettings,
    contrastive_loss,
    embed_media,
    embed_texts,
    hash_text,
    normalise_text,
    text_groups,
    train_joint_embedding,
)
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).parents[2]))

from _captioned_pairs import pairs

SMALL = JointEmbeddingSettings(ClassifierSettings(widths=(8,), width=16, dropout=0.0), width=16, hidden=24, epochs=30)


def as_is(x, rng):
    return x


def check_loss():
    """For each example and each text: -log of the share that pairs with an equal text have, their mean."""
    torch.manual_seed(0)
    media, texts = (torch.nn.functional.normalize(torch.randn(5, 3), dim=1) for _ in range(2))
    groups, scale, total = torch.tensor([0, 1, 0, 2, 1]), math.log(4), 0.0
    for a, b in ((media, texts), (texts, media)):
        for i in range(5):
            logits = [4 * float(a[i] @ b[j]) for j in range(5)]
            norm = math.log(sum(math.exp(v) for v in logits))
            same = [j for j in range(5) if groups[j] == groups[i]]
            total += sum(norm - logits[j] for j in same) / len(same) / 10
    assert float(contrastive_loss(media, texts, torch.tensor(scale), groups)) == pytest.approx(total, rel=1e-5)


def test_the_loss_is_that_of_a_loop():
    check_loss()


@pytest.mark.parametrize("planted", ["one direction", "equal texts are different"])
def test_wrong_losses_are_caught(planted, monkeypatch):
    right = product.F.cross_entropy

    def wrong(logits, target):
        target = torch.eye(len(target)) if planted == "equal texts are different" else target
        return right(logits if planted != "one direction" else logits.T, target)

    calls = itertools.count()
    if planted == "one direction":  # the second call is turned back: both are of the same direction
        monkeypatch.setattr(product.F, "cross_entropy", lambda a, t: (wrong if next(calls) % 2 else right)(a, t))
    else:
        monkeypatch.setattr(product.F, "cross_entropy", wrong)
    assert_caught(check_loss)


def test_texts_are_compared_by_their_words():
    assert normalise_text(" A  red\tCircle") == normalise_text("a red circle") == "a red circle"
    assert text_groups(["A cat", "dog", "a  cat", "…"]).tolist() == [0, 1, 0, 2]
    assert hash_text("cat dog") != hash_text("dog cat"), "pairs of words tell the order"
    assert len(set(hash_text("playing")) & set(hash_text("played"))) >= 3, "n-grams are shared by forms of a word"
    assert min(hash_text("é 漢字 🙂 +")) > 0 and hash_text("") == []


@pytest.mark.slow
def test_pairs_are_learned_and_training_repeats():
    x, texts = pairs(160)
    model = train_joint_embedding(x, texts, as_is, replace(SMALL, batch=32))
    again = train_joint_embedding(x, texts, as_is, replace(SMALL, batch=32))
    held, told = pairs(60, seed=1)
    media, words = embed_media(model, held), embed_texts(model, told)
    assert torch.equal(media, embed_media(again, held)) and torch.equal(words, embed_texts(again, told))
    assert torch.allclose(media.norm(dim=1), torch.ones(60)) and torch.allclose(words.norm(dim=1), torch.ones(60))
    own, other = (media * words).sum(1), (media * words.roll(1, 0)).sum(1)
    different = torch.tensor([a != b for a, b in zip(told, told[-1:] + told[:-1], strict=True)])
    assert float((own > other)[different].double().mean()) > 0.9


def test_a_stored_embedding_is_read_and_a_damaged_one_replaced(tmp_path, monkeypatch, recwarn):
    x, texts = pairs(12)
    settings, trained = replace(SMALL, epochs=3), []
    train = product.train_joint_embedding
    monkeypatch.setattr(product, "train_joint_embedding", lambda *given: trained.append(1) or train(*given))

    def made(x=x, texts=texts, settings=settings, cache=tmp_path):
        stored_networks._MEMORY.clear()  # as in another process
        return product.cached_joint_embedding(x, texts, as_is, settings, cache).state_dict()

    def same(a, b):
        return all(torch.equal(value, b[name]) for name, value in a.items())

    first = made()
    (stored,) = tmp_path.iterdir()
    state = torch.get_rng_state()
    assert (
        same(first, made())
        and len(trained) == 1
        and torch.equal(torch.get_rng_state(), state)
        and stored.suffix == ".safetensors"
    )
    for other in ({"x": x + 1}, {"texts": ["other", *texts[1:]]}, {"settings": replace(settings, version=2)}):
        made(**other)
    assert len(trained) == 4 and len([*tmp_path.iterdir()]) == 4, "other data and other code train another one"
    whole, foreign = stored.read_bytes(), save({"other": torch.zeros(3)})
    nan = save({name: value * math.nan for name, value in load(whole).items()})
    assert not recwarn.list
    for damaged in (b"", whole[:5000], b"x" * 500, foreign, nan):
        stored.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"not the network that eval stored .*: it is trained again") as said:
            assert same(first, made())
        assert stored.read_bytes() == whole and len(str(said[0].message).replace(str(stored), "")) < 200
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not stored"):
        assert same(first, made(cache=tmp_path / "file"))


def test_few_pairs_are_refused_and_large_sets_take_fewer_epochs():
    with pytest.raises(BadInput, match="8 or more"):
        train_joint_embedding(torch.zeros(7, 1, 4, 4), ["a"] * 7, as_is, SMALL)
    assert SMALL.limited_to(5000, 1024).epochs == int(SMALL.budget / 5000 / 1024) < SMALL.epochs
    assert [SMALL.limited_to(n, 16).batch for n in (9, 20, 996, 9999)] == [9, 16, 62, 128]
