"""Captions of the embedded shapes in several wordings, and pairs of colour and shape that training leaves out."""

from dataclasses import replace

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.image.datasets import shapes as module
from sonolux.modalities.image.datasets.shapes import Shapes
from sonolux.modalities.image.synthetic.scenes import COLOURS, SHAPES, SIZES, SYNONYMS, Scene, ShapeInstance

SPEC = MediaSpec("image", 3, ("height", "width"), (32, 32))


def shapes(**given):
    return Shapes(SPEC, **{"label": "none", "count": 400, **given})


def scenes(count=40):
    data = shapes()
    return [data.scene(i) for i in range(count)]


def changed(scene):
    """The scene with one attribute changed: a shape, colour, size or relation to the main shape."""
    main = scene.things[0]
    for i, thing in enumerate(scene.things):
        unused = next(colour for colour in COLOURS if colour not in [t.colour for t in scene.things])
        other = [{"shape": next(s for s in SHAPES if s != thing.shape)}, {"colour": unused}]
        other.append({"size": next(s for s in SIZES if s != thing.size)})
        if i:
            other.append({"x": 2 * main.x - thing.x, "y": 2 * main.y - thing.y})
        for values in other:
            yield values, Scene((*scene.things[:i], replace(thing, **values), *scene.things[i + 1 :]))


def check_captions_state_everything():
    """A change of any attribute changes every caption."""
    for scene in scenes():
        for swapped in (False, True):
            captions = scene.captions(swapped)
            assert len(captions) == len(set(captions)) == 4 and max(map(len, captions)) <= 128, captions
            for values, other in changed(scene):
                pairs = list(zip(captions, other.captions(swapped), strict=True))
                assert all(one != two for one, two in pairs), (values, pairs)


def test_captions_state_everything():
    check_captions_state_everything()


def test_wordings():
    large = ShapeInstance("square", "blue", "large", 0.5, 0.5, 0.17)
    scene = Scene((large, ShapeInstance("circle", "red", "small", 0.5, 0.1, 0.11)))
    assert Scene((large,)).captions() == [
        "a large blue square",
        "square, large, blue",
        "a blue square that is large",
        "one square: blue and large",
    ]
    assert scene.captions() == [
        "a large blue square below a small red circle",
        "a small red circle above a large blue square",
        "a blue square (large) below a red circle (small)",
        "a large blue square, a small red circle: red above blue",
    ]
    three = Scene((*scene.things, ShapeInstance("star", "white", "small", 0.1, 0.5, 0.11)))
    assert three.captions()[2:] == [
        "a blue square (large) below a red circle (small), right of a white star (small)",
        "a large blue square, a small red circle, a small white star: blue right of white, below red",
    ]


@pytest.mark.parametrize(
    ("word", "other"), [("small", "large"), ("red", "blue"), ("star", "circle"), ("below", "above")]
)
def test_planted_caption_that_confuses_two_words_is_caught(monkeypatch, word, other):
    captions = Scene.captions
    monkeypatch.setattr(Scene, "captions", lambda *given: [text.replace(word, other) for text in captions(*given)])
    assert_caught(check_captions_state_everything)


def check_training_draws_captions():
    data = shapes()
    for i in range(8):
        first = data.item(i)
        drawn = [data.item(i, keyed_generator(0, row, "augment")) for row in range(24)]
        again = [data.item(i, keyed_generator(0, row, "augment")).caption for row in range(24)]
        assert all(torch.equal(item.media, first.media) for item in drawn)
        assert [item.caption for item in drawn] == again and len(set(again)) == 4 and first.caption in again


@pytest.mark.slow
def test_training_draws_captions():
    check_training_draws_captions()


def test_planted_first_caption_only_is_caught(monkeypatch):
    monkeypatch.setattr(module, "draw_caption", lambda captions, rng: captions[0])
    assert_caught(check_training_draws_captions)


def check_synonyms(table=SYNONYMS):
    """Captions have each word of the table, and none of its synonyms."""
    texts = [c for scene in scenes(120) for swapped in (False, True) for c in scene.captions(swapped)]
    words = {word.strip(",:()") for text in texts for word in text.split()}
    assert not set(table) - words and not set(table.values()) & words
    assert len({*table.values()}) == len(table)


def test_synonyms_are_in_no_caption():
    check_synonyms()


def test_planted_synonym_that_captions_use_is_caught():
    assert_caught(check_synonyms, {**SYNONYMS, "red": "blue"})


# --- pairs that training leaves out ----------------------------------------------------------------------------------

HELD = ["red circle", "blue star"]


def pairs(data, count=None):
    return {f"{t.colour} {t.shape}" for i in range(count or len(data)) for t in data.scene(i).things}


def check_held_out():
    data, plain = shapes(held_out=HELD), shapes()
    assert len(data) == len(plain) and pairs(data) == pairs(plain) - {*HELD}
    kept = 0
    for i in range(60):
        one, other = data.item(i), plain.item(i)
        if not {f"{t['colour']} {t['shape']}" for t in other.attributes["things"]} & {*HELD}:
            kept += 1
            assert torch.equal(one.media, other.media) and one.caption == other.caption
    assert 30 < kept < 60
    assert not any(data.is_held_out(i) for i in range(60))


@pytest.mark.slow
def test_training_leaves_pairs_out():
    check_held_out()


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["red circle", "blue star"])
def test_planted_pair_that_stays_is_caught(monkeypatch, pair):
    parse = module._parse_pairs
    monkeypatch.setattr(module, "_parse_pairs", lambda given, colours: parse([p for p in given if p != pair], colours))
    assert_caught(check_held_out)


def test_validation_has_the_pairs():
    data, plain = shapes(held_out=HELD, split="valid", valid=0.2), shapes(split="valid", valid=0.2)
    assert all(torch.equal(data.item(i).media, plain.item(i).media) for i in range(10))
    marked = [data.is_held_out(i) for i in range(len(data))]
    assert marked == [bool(pairs_of(data, i) & {*HELD}) for i in range(len(data))] and 0 < sum(marked) < len(data)


def pairs_of(data, index):
    return {f"{t.colour} {t.shape}" for t in data.scene(index).things}


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        (["red cirle"], "'red cirle' is no pair of colour and shape; did you mean 'red circle'"),
        (["x"], "colours: red, green, .*; shapes: circle, "),
        ([f"{c} circle" for c in COLOURS], "no training example that is circle"),
        ([f"red {s}" for s in SHAPES], "no training example that is red"),
    ],
)
def test_impossible_pairs(held_out, words):
    with pytest.raises(BadInput, match=words) as raised:
        shapes(held_out=held_out)
    assert len(str(raised.value)) <= 200
