"""Likeness of pictures: planted copies with gain, shift and crop are found, other pictures are not."""

import ast
import os
from pathlib import Path
from typing import get_args

import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.testing import mutation
from sonolux.core.testing.mutation import caught
from sonolux.core.training.build import build_data
from sonolux.core.types import BadInput
from sonolux.modalities.image import likeness
from sonolux.modalities.image.likeness import COPY, Kind, planted

KINDS = get_args(Kind)


def nearest(pictures, training):
    return likeness.nearest(pictures, training)


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
        alike, which = nearest(planted(pictures, kind), pictures)
        found = alike > limit
        assert float(found.double().mean()) >= 0.95, (kind, limit)
        assert which[found].tolist() == torch.nonzero(found)[:, 0].tolist() and float(alike.max()) <= 1


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


def test_a_mirrored_copy_is_found():
    pictures = made(20)
    alike, which = nearest([p.flip(-1) for p in pictures], pictures)
    assert which.tolist() == list(range(20)) and float(alike.min()) > COPY


PLANTED = [
    ("_close", mutation.replace(mutation.call("max"), "min(0.3, float(_))", at=-1), check_copies),
    ("nearest", mutation.swap_constant(0, -1, at=-1), check_copies),
    ("nearest", mutation.take_left(ast.Sub, at=-1), check_alike_ones),
]


@pytest.mark.parametrize(("name", "error", "check"), PLANTED)
def test_a_planted_error_is_caught(name, error, check):
    with mutation.planted(likeness, name, error):
        caught(check)


def test_bad_input():
    with pytest.raises(BadInput, match="kind is 'turn'"):
        planted(made(1), "turn")
    with pytest.raises(BadInput, match="no training pictures"):
        nearest(made(1), [])
    assert float(nearest([torch.zeros(3, 24, 24)], made(8))[0]) < 0.5, "a flat picture is like nothing"


def test_copies_among_real_pictures():
    """Recall of planted copies of digits at 1 % false alarms: 95 % or more."""
    base = os.environ.get("SONOLUX_DATA")
    if not base or not (Path(base) / "digits").is_dir():
        pytest.skip("needs SONOLUX_DATA with the real data")
    recipe = load_recipe("digits", [f"data.root={Path(base) / 'digits'}"])
    train, held = (build_data(recipe, split)[0] for split in ("train", "valid"))
    pictures = [train.item(i, None).media for i in range(0, len(train), 6)]
    others = [held.item(i, None).media for i in range(0, len(held), 8)]
    limit = float(nearest(others, pictures)[0].quantile(0.99))
    for kind in get_args(Kind):
        found = nearest(planted(pictures[:60], kind), pictures)[0] > limit
        assert float(found.double().mean()) >= 0.95, kind
