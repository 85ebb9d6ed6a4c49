"""The embedded shapes: the same for a seed, splits apart, words that fit the picture, and a checker that reads them."""

import math

import numpy as np
import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.image.datasets.shapes import Shapes
from sonolux.modalities.image.synthetic import checkers, scenes
from sonolux.modalities.image.synthetic.checkers import recognise_main_shape, recognise_scene
from sonolux.modalities.image.synthetic.scenes import COLOURS, SHAPES, Scene, ShapeInstance

ATTRIBUTES = ("count", "shape", "colour", "size", "place", "relation")


def agreement(attributes, scene):
    """For each attribute of an example of `image/shapes`: whether a scene read from a picture shows the same.

    Keys: count, shape, colour, size, place (centre within a tenth of the shorter side), relation. An attribute holds if
    it holds for every thing; things are matched by place, so that a wrong colour is not also a wrong shape.
    """
    wanted = [ShapeInstance(**facts) for facts in attributes["things"]]
    if len(wanted) != len(scene.things):
        return dict.fromkeys(("count", "shape", "colour", "size", "place", "relation"), False)
    found = [min(scene.things, key=lambda t: math.hypot(t.x - w.x, t.y - w.y)) for w in wanted]
    ordered = Scene(tuple(found))
    pairs = list(zip(wanted, found, strict=True))
    return {
        "count": True,
        "shape": all(w.shape == f.shape for w, f in pairs),
        "colour": all(w.colour == f.colour for w, f in pairs),
        "size": all(w.size == f.size for w, f in pairs),
        "place": all(math.hypot(w.x - f.x, w.y - f.y) < 0.1 for w, f in pairs),
        "relation": [ordered.relation(0, i) for i in range(1, len(found))] == attributes["relations"],
    }


def shapes(size=32, channels=3, **given) -> Shapes:
    height, width = (size, size) if isinstance(size, int) else size
    most = scenes.max_shapes(min(height, width))
    return Shapes(MediaSpec("image", channels, ("height", "width"), (height, width)), **{"shapes": most, **given})


def blurred(media: np.ndarray, sigma: float) -> np.ndarray:
    reach = int(3 * sigma) + 1
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    padded = np.pad(media, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    for axis in (1, 2):
        padded = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), "valid")
    return padded


def right(data: Shapes, count: int, spoil=lambda media, rng: media) -> dict[str, float]:
    """Share of pictures whose attribute the checker reads right, for each attribute and for the main shape."""
    rng = np.random.default_rng(1)
    totals = dict.fromkeys((*ATTRIBUTES, "main"), 0)
    for i in range(count):
        item = data.item(i)
        media = spoil(item.media.numpy(), rng)
        for name, holds in agreement(item.attributes, recognise_scene(media)).items():
            totals[name] += holds
        totals["main"] += recognise_main_shape(media) == item.attributes["shape"]
    return {name: n / count for name, n in totals.items()}


def check_reading(count=300):
    shares = right(shapes(seed=11), count)
    print("clean, 32 pixels:", shares)
    assert min(shares.values()) >= 0.99


@pytest.mark.slow
def test_every_attribute_is_read_back():
    check_reading()


_coverage = scenes.pixel_coverage


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        lambda m: m.setattr(checkers, "_HARMONICS", {**checkers._HARMONICS, "star": (5, 1.0)}),
        lambda m: m.setattr(checkers, "COLOURS", {**COLOURS, "red": COLOURS["green"], "green": COLOURS["red"]}),
        lambda m: m.setattr(checkers, "shape_radius", lambda size, pixels: 0.8 * scenes.shape_radius(size, pixels)),
        lambda m: m.setattr(checkers, "_CONTRAST", 1.2),
        lambda m: m.setattr(
            scenes, "pixel_coverage", lambda s, x, y, r: _coverage("circle" if s == "star" else s, x, y, r)
        ),
        lambda m: m.setattr(scenes, "pixel_coverage", lambda s, x, y, r: _coverage(s, x + 5, y, r)),
    ],
    ids=["wrong moment", "swapped colours", "wrong radius", "blind", "stars drawn round", "drawn elsewhere"],
)
def test_planted_errors_are_caught(plant, monkeypatch):
    plant(monkeypatch)
    assert_caught(check_reading, 100)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("noise 0.05", lambda media, rng: media + rng.normal(0, 0.05, media.shape)),
        ("noise 0.1", lambda media, rng: media + rng.normal(0, 0.1, media.shape)),
        ("blur 0.7 pixels", lambda media, rng: blurred(media, 0.7)),
        ("blur 0.6, noise 0.05", lambda media, rng: blurred(media, 0.6) + rng.normal(0, 0.05, media.shape)),
        ("dim", lambda media, rng: (media + 1) * 0.8 - 1),
    ],
)
def test_noise_and_blur_are_borne(name, spoil):
    shares = right(shapes(seed=12), 100, spoil)
    print(f"{name}:", shares)
    assert min(shares.values()) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 24, (32, 48), 64])
def test_other_sizes_are_read_as_well(size):
    shares = right(shapes(size, seed=13), 100)
    assert min(shares.values()) >= 0.99


@pytest.mark.slow
def test_grey_pictures_hold_white_shapes():
    data = shapes(channels=1, seed=14)
    assert data.item(0).media.shape == (1, 32, 32)
    assert min(right(data, 100).values()) >= 0.99


def test_what_is_no_shape_is_not_called_one():
    blank = torch.full((3, 32, 32), -0.7)
    assert recognise_main_shape(blank) == "none" and recognise_scene(blank).things == ()
    bar = blank.clone()
    bar[:, 10:14, 4:28] = 0.9
    assert recognise_main_shape(bar) == "unclear"
    halves = blank.clone()
    halves[0, 8:24, 8:24] = 0.9
    halves[0, 12:20, 12:20] = -0.7
    assert recognise_main_shape(halves) == "unclear"
    rng = np.random.default_rng(0)
    judged = [recognise_main_shape(rng.uniform(-1, 1, (3, 32, 32))) for _ in range(20)]
    assert all(name in ("unclear", "none") for name in judged)


def test_a_scene_made_by_hand_is_read():
    picture = np.full((3, 40, 40), -0.8)
    picture[:, 4:16, 4:16] = np.array([0.8, -0.76, -0.76])[:, None, None]  # a red square, top left
    picture[:, 27:34, 6:13] = 0.9  # a white square below it
    scene = recognise_scene(picture)
    assert [t.format_description() for t in scene.things] == ["large red square", "small white square"]
    assert (scene.things[0].x, scene.things[0].y) == pytest.approx((0.25, 0.25), abs=0.01)
    assert scene.relation(0, 1) == "above" and scene.relation(1, 0) == "below"
    assert scene.captions()[0] == "a large red square above a small white square"


@pytest.mark.parametrize(
    ("dx", "dy", "words"),
    [(0.0, -0.5, "above"), (0.1, 0.5, "below"), (-0.5, 0.3, "left of"), (0.5, -0.3, "right of")],
)
def test_relations(dx, dy, words):
    def thing(x, y):
        return ShapeInstance("circle", "red", "small", x, y, 0.1)

    assert Scene((thing(0.5 + dx, 0.5 + dy), thing(0.5, 0.5))).relation(0, 1) == words


def test_captions_name_all_things():
    things = (
        ShapeInstance("square", "blue", "large", 0.5, 0.5, 0.17),
        ShapeInstance("circle", "red", "small", 0.5, 0.1, 0.11),
        ShapeInstance("star", "white", "small", 0.1, 0.5, 0.11),
    )
    assert Scene(things[:1]).captions()[0] == "a large blue square"
    assert Scene(things[:2]).captions(swapped=True)[0] == "a small red circle above a large blue square"
    full = "a large blue square below a small red circle and right of a small white star"
    assert Scene(things).captions(swapped=True)[0] == full


def check_areas():
    """Every kind of shape covers the area of its circle, and its centroid is its centre."""
    y, x = np.mgrid[:200, :200] - 100.0
    for shape in SHAPES:
        cover = scenes.pixel_coverage(shape, x, y, 40.0)
        assert abs(cover.sum() / (np.pi * 1600) - 1) < 0.005, shape
        assert abs((cover * x).sum() / cover.sum()) < 0.1 and abs((cover * y).sum() / cover.sum()) < 0.1, shape


def test_shapes_of_one_size_have_one_area():
    check_areas()


def test_a_wrong_reach_is_caught(monkeypatch):
    monkeypatch.setitem(scenes._REACH, "triangle", 1.5)
    assert_caught(check_areas)


def check_harmonics():
    """The moments of perfect shapes, summed over fine pixels, are what the closed form says."""
    y, x = (np.mgrid[:801, :801] - 400) / 400
    z = x + 1j * y
    for name, (k, perfect) in checkers._HARMONICS.items():
        inside = scenes.pixel_coverage(name, x * 400, y * 400, 200.0)
        area = inside.sum()
        assert abs(abs((inside * (z * 400) ** k).sum()) / area ** (1 + k / 2) / perfect - 1) < 0.02, name


@pytest.mark.slow
def test_harmonic_moments_have_their_closed_form():
    check_harmonics()
    assert checkers._HARMONICS["square"][1] == pytest.approx(1 / 60)


def test_a_wrong_closed_form_is_caught(monkeypatch):
    wrong = {name: (k, value * (k + 2) / (k + 1)) for name, (k, value) in checkers._HARMONICS.items()}
    monkeypatch.setattr(checkers, "_HARMONICS", wrong)
    assert_caught(check_harmonics)


def test_examples_are_the_same_for_a_seed_and_differ_between_seeds():
    one, two, other = shapes(seed=3), shapes(seed=3), shapes(seed=4)
    for i in (0, 7, 199):
        a, b = one.item(i, np.random.default_rng(i)), two.item(i, np.random.default_rng(i))
        assert torch.equal(a.media, b.media) and (a.label, a.caption, a.attributes) == (
            b.label,
            b.caption,
            b.attributes,
        )
        assert not torch.equal(a.media, other.item(i).media)
    assert one.item(0).media.dtype == torch.float32 and one.item(0).media.abs().max() <= 1


@pytest.mark.slow
def test_splits_share_no_example():
    train, valid = shapes(count=300, valid=0.2), shapes(count=300, valid=0.2, split="valid")
    assert (len(train), len(valid)) == (240, 60)
    seen = {train.item(i).media.numpy().tobytes() for i in range(len(train))}
    held = {valid.item(i).media.numpy().tobytes() for i in range(len(valid))}
    assert len(seen) == 240 and len(held) == 60 and not seen & held
    assert not {r["source"] for r in train.manifest()} & {r["source"] for r in valid.manifest()}
    assert len(shapes(count=300, valid=0)) == 300


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "classes"),
    [
        ("shape", SHAPES),
        ("colour", tuple(COLOURS)),
        ("size", ("small", "large")),
        ("count", ("1", "2", "3")),
        ("none", ()),
    ],
)
def test_labels(label, classes):
    data = shapes(label=label, count=200)
    assert data.classes == classes
    found = [data.item(i) for i in range(60)]
    if label == "none":
        assert all(item.label is None for item in found)
    else:
        assert all(classes[item.label] == str(item.attributes[label]) for item in found)
        assert {item.label for item in found} == set(range(len(classes)))
        assert data.manifest()[5]["label"] == classes[found[5].label]


@pytest.mark.slow
def test_the_classes_are_about_equally_common():
    data = shapes(count=4000)
    found = [data.scene(i).things[0].shape for i in range(2000)]
    assert min(found.count(name) for name in SHAPES) > 420


@pytest.mark.slow
@pytest.mark.parametrize("size", [24, 32, 48, 64])
def test_every_scene_finds_room(size):
    data = shapes(size, count=5000, valid=0)
    for i in range(1500):
        things = data.scene(i).things
        assert all(0 < t.x < 1 and 0 < t.y < 1 for t in things)
        assert len({t.colour for t in things}) == len(things)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 12}, "at least 16 pixels"),
        ({"size": 16, "shapes": 3}, "holds 1 to 1 shapes"),
        ({"channels": 4}, "1 or 3 channels"),
        ({"count": 1}, r"data\.count"),
        ({"shapes": 0}, r"data\.shapes"),
        ({"valid": 1.0}, r"data\.split\.valid"),
        ({"channels": 1, "label": "colour"}, "all pictures would be of the class 'white'"),
    ],
)
def test_impossible_parameters(given, words):
    with pytest.raises(BadInput, match=words):
        shapes(**given)
