"""The benchmark of prompts reads pictures that are right as right, and others as wrong."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import MediaSpec
from sonolux.modalities.image.datasets.shapes import Shapes
from sonolux.modalities.image.synthetic.checkers import recognise_scene

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import prompts


def shares(shift, changed=lambda x: x):
    """Share of right answers, for the changed pictures of examples and captions of the examples `shift` places on."""
    data = Shapes(MediaSpec("image", 3, ("height", "width"), (32, 32)), count=100, label="none")
    items = [data.item(i) for i in range(60)]
    asked = [items[(i + shift) % len(items)].attributes for i in range(len(items))]
    rows = [prompts.read_back(a, recognise_scene(changed(item.media))) for a, item in zip(asked, items, strict=True)]
    return {name: float(np.mean([value for row in rows for value in row[name]])) for name in prompts.NAMES}


def check_real_pictures(changed=lambda x: x):
    found = shares(0, changed)
    assert all(found[name] > 0.97 for name in ("count", "colour", "size", "relation")), found
    assert found["shape"] > 0.9 and found["all"] > 0.85, found


def test_real_pictures_are_read_back():
    check_real_pictures()


def test_pictures_of_other_captions_are_wrong():
    found = shares(1)
    assert found["all"] < 0.1 and found["colour"] < 0.6 and found["relation"] < 0.4


@pytest.mark.parametrize("change", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.flip(0), lambda x: -x])
def test_planted_changes_of_pictures_are_caught(change):
    assert_caught(check_real_pictures, change)
