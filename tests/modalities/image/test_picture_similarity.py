"""Similarity of pictures: planted copies with gain, shift and crop are found, other pictures are not."""

import os
from pathlib import Path

import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.evaluation.near_copies import ALTERATIONS, NearestMatches
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput
from sonolux.modalities.image import similarity
from sonolux.modalities.image.similarity import COPY, make_altered_pictures

KINDS = ALTERATIONS


def nearest(pictures, training):
    return similarity.nearest_pictures(pictures, training)


def made(n=20, seed=0, size=24):
    """Soft random fields (3, size, size) of all scales down to three pixels."""
    rng = torch.Generator().manual_seed(seed)
    out = torch.zeros(n, 3, size, size)
    for k in (3, 5, 8):
        noise = torch.randn(n, 3, k, k, generator=rng)
        out += torch.nn.functional.interpolate(noise, (size, size), mode="bicubic")
    return list((0.25 * out).clamp(-1, 1))


def check_copies(kinds=KINDS):
    """At the limit that no unrelated picture reaches, 95 % of the copies or more are found, each of the right one."""
    pictures, others = made(), made(seed=1)
    limit = max(COPY * 0.6, float(nearest(others, pictures)[0].max()))
    for kind in kinds:
        alike, which = nearest(make_altered_pictures(pictures, kind), pictures)
        found = alike > limit
        assert float(found.double().mean()) >= 0.95, (kind, limit)
        assert which[found].tolist() == torch.nonzero(found)[:, 0].tolist() and float(alike.max()) <= 1


@pytest.mark.slow
def test_copies_are_found():
    check_copies()


def check_alike_ones():
    """Pictures that many others are like stand out from none: nine shades of one are no copies of each other."""
    base = made(1)[0]
    rng = torch.Generator().manual_seed(3)
    alike = [(base + 0.05 * torch.randn(base.shape, generator=rng)).clamp(-1, 1) for _ in range(9)]
    assert float(nearest(alike[:3], alike[3:] + made(8))[0].max()) < COPY


def test_alike_ones():
    check_alike_ones()


@pytest.mark.slow
def test_a_mirrored_copy_is_found():
    pictures = made(20)
    alike, which = nearest([p.flip(-1) for p in pictures], pictures)
    assert which.tolist() == list(range(20)) and float(alike.min()) > COPY


def cut_off(monkeypatch):
    """The fine correlation never exceeds 0.3."""
    true = similarity._fine_correlation
    monkeypatch.setattr(similarity, "_fine_correlation", lambda x, known: true(x, known).clamp(max=0.3))


def last_candidate(monkeypatch):
    """The last candidate is named, not the nearest."""
    true = similarity.nearest_examples

    def wrong(candidates, compare, decide):
        return NearestMatches(true(candidates, compare, decide).similarity, candidates[:, -1])

    monkeypatch.setattr(similarity, "nearest_examples", wrong)


def nothing_else_counts(monkeypatch):
    """The fourth nearest is taken for unrelated."""
    true = similarity.make_ratio_decision

    def first_alone(rank, rounding):
        return lambda found: true(rank, rounding)(torch.cat([found[:1], torch.zeros(rank + 1)]))

    monkeypatch.setattr(similarity, "make_ratio_decision", first_alone)


PLANTED = [(cut_off, check_copies), (last_candidate, check_copies), (nothing_else_counts, check_alike_ones)]


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "check"), PLANTED)
def test_a_planted_error_is_caught(monkeypatch, plant, check):
    plant(monkeypatch)
    assert_caught(check)


def test_bad_input():
    with pytest.raises(BadInput, match="kind is 'turn'"):
        make_altered_pictures(made(1), "turn")
    with pytest.raises(BadInput, match="no training pictures"):
        nearest(made(1), [])
    assert float(nearest([torch.zeros(3, 24, 24)], made(8))[0]) < 0.5, "a flat picture is like nothing"


@pytest.mark.slow
def test_copies_among_real_pictures():
    """Recall of planted copies of digits at 1 % false alarms: 95 % or more."""
    base = os.environ.get("SONOLUX_DATA")
    if not base or not (Path(base) / "digits").is_dir():
        pytest.skip("needs SONOLUX_DATA with the real data")
    recipe = load_recipe("digits", [f"data.root={Path(base) / 'digits'}"])
    train, held = (build_dataset(recipe, split)[0] for split in ("train", "valid"))
    pictures = [train.item(i, None).media for i in range(0, len(train), 6)]
    others = [held.item(i, None).media for i in range(0, len(held), 8)]
    limit = float(nearest(others, pictures)[0].quantile(0.99))
    for kind in ALTERATIONS:
        found = nearest(make_altered_pictures(pictures[:60], kind), pictures)[0] > limit
        assert float(found.double().mean()) >= 0.95, kind
