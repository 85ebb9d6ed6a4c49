"""What a recipe states of pictures; sheets, strips and animations."""

import numpy as np
import pytest
import torch
from PIL import Image as Pil
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec, Modality
from sonolux.modalities.image import visualize
from sonolux.modalities.image.modality import Image

GAP = visualize._GAP


def plain(level: float, size=(8, 8), channels=1) -> torch.Tensor:
    return torch.full((channels, *size), level)


def test_the_signal():
    assert Image(size=28, channels=1).spec() == MediaSpec("image", 1, ("height", "width"), (28, 28))
    assert Image(size=[24, 40]).spec() == MediaSpec("image", 3, ("height", "width"), (24, 40))
    modality: Modality = Image()  # a type checker sees that all of the contract is there
    assert (modality.name, modality.suffix) == ("image", ".png")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 0}, r"modality\.size"),
        ({"size": [8, 8, 8]}, r"modality\.size"),
        ({"size": 8.5}, r"modality\.size"),
        ({"size": True}, r"modality\.size"),
        ({"channels": 2}, r"modality\.channels is 1 \(grey\) or 3"),
    ],
)
def test_impossible_sizes(given, words):
    with pytest.raises(BadInput, match=words):
        Image(**given)


def test_reading_fits_the_recipe(tmp_path):
    levels = np.zeros((20, 40, 3), np.uint8)
    levels[:, 10:30] = 255
    Pil.fromarray(levels).save(tmp_path / "x.png")
    image = Image(size=10, channels=1)
    read = image.read(tmp_path / "x.png")
    assert read.shape == (1, 10, 10) and read.mean() > 0.8  # the middle is the bright part
    assert image.read(tmp_path / "x.png", fit=False).shape == (1, 20, 40)


def check_grid(image, media, columns, scale):
    """Every pixel of every picture is a square of `scale` pixels at its place in reading order."""
    sheet = np.asarray(image)
    tall, wide = media[0].shape[1] * scale, media[0].shape[2] * scale
    for i, picture in enumerate(media):
        y, x = GAP + i // columns * (tall + GAP), GAP + i % columns * (wide + GAP)
        shown = sheet[y : y + tall, x : x + wide].astype(float) / 127.5 - 1
        wanted = picture.numpy().transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        assert np.abs(shown - wanted).max() < 1.01 / 255


def random_media(count, size=(6, 9)):
    return [torch.rand(3, *size, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(count)]


def test_a_sheet_shows_every_pixel_in_reading_order():
    media = random_media(6)
    check_grid(visualize.contact_sheet(media, columns=3, cell=45), media, columns=3, scale=5)


def test_a_sheet_in_the_wrong_order_is_caught():
    media = random_media(6)
    assert_caught(check_grid, visualize.contact_sheet(media[::-1], columns=3, cell=45), media, columns=3, scale=5)


def test_large_pictures_are_not_enlarged_and_sizes_may_differ(tmp_path):
    path = Image(256).sheet(tmp_path / "deep" / "x.png", [plain(0, (256, 256), 3), plain(1, (100, 50))])
    assert Pil.open(path).size == (2 * 256 + 3 * GAP, 256 + 2 * GAP)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (16, 4), (10, 5), (24, 6), (7, 3), (100, 10), (13, 4)])
def test_columns(count, columns):
    assert visualize._columns(count) == columns


def test_captions_take_room_and_may_be_of_any_script():
    media = [plain(0)] * 2
    bare = visualize.contact_sheet(media, columns=2)
    named = visualize.contact_sheet(media, ["a large red circle above a small blue square", "日本 é \n"], columns=2)
    assert named.height > bare.height and named.width == bare.width
    assert np.asarray(named)[bare.height :].min() < 200  # something is written there
    with pytest.raises(BadInput, match="1 captions for 2 pictures"):
        visualize.contact_sheet(media, ["a"])
    with pytest.raises(BadInput, match="at least one picture"):
        visualize.contact_sheet([])


def test_a_sheet_refuses_values_that_are_not_finite(tmp_path):
    with pytest.raises(BadInput, match="not finite"):
        Image().sheet(tmp_path / "x.png", [plain(float("inf"))])
    assert not list(tmp_path.iterdir())


def test_a_strip_has_a_row_for_each_sample(tmp_path):
    rows = [[plain(-1), plain(0), plain(1)], [plain(1), plain(0), plain(-1)]]
    path = Image(8, 1).strip(tmp_path / "strip.png", rows)
    scale = round(visualize._CELL / 8)
    with Pil.open(path) as picture:
        check_grid(picture, [p.expand(3, -1, -1) for row in rows for p in row], columns=3, scale=scale)
    assert Pil.open(Image(8, 1).strip(tmp_path / "named.png", rows, ["0", "1", "2"])).height > picture.height
    with pytest.raises(BadInput, match="same number in all"):
        Image().strip(path, [rows[0], rows[1][:2]])


def test_an_animation_has_every_frame_in_order_and_holds_the_last(tmp_path):
    levels = [-1.0, -0.5, 0.0, 0.5, 1.0]
    path = Image(8, 1).animate(tmp_path / "x.gif", [[plain(level), plain(-level)] for level in levels], seconds=1)
    with Pil.open(path) as film:
        assert film.n_frames == len(levels) and film.info["loop"] == 0
        for i, level in enumerate(levels):
            film.seek(i)
            seen = np.asarray(film.convert("L"))[film.height // 2]
            assert abs(seen[2 * GAP] / 127.5 - 1 - level) < 0.05 and abs(seen[-2 * GAP] / 127.5 - 1 + level) < 0.05
            assert film.info["duration"] == (1500 if i == 4 else 200)
    with pytest.raises(BadInput, match="at least one picture"):
        Image().animate(path, [])
