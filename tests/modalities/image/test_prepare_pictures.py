"""What `prepare_folder` measures of pictures, bad files, near copies, and recipes that follow from the data."""

import io
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sonolux.core.config.load import load_recipe
from sonolux.core.data.manifest import read_manifest
from sonolux.core.data.prepare.prepare import prepare_folder
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util import progress
from sonolux.modalities.image.datasets.folder import Folder
from sonolux.modalities.image.prepare import near_copies as near
from sonolux.modalities.image.prepare import recipe as proposal
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer


def scene(seed, size=64):
    """A picture of smooth patches: some discs on a slope, with a little grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    out = np.stack([rng.uniform(0, 1) + rng.uniform(-0.5, 0.5) * y for _ in range(3)], -1)
    for _ in range(7):
        cy, cx, r = [*rng.uniform(0, 1, 2).tolist(), rng.uniform(0.05, 0.25)]
        out[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.uniform(0, 1, 3)
    return Image.fromarray((255 * (out + rng.normal(size=out.shape) * 0.02)).clip(0, 255).astype(np.uint8))


def sky(seed, size=64):
    """Blue above and pale below, with two small clouds: on the whole all skies are one."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    out = np.stack([0.3 + 0.6 * y, 0.5 + 0.4 * y, 0.9 + 0 * y], -1)
    for _ in range(2):
        cy, cx = rng.uniform(0.1, 0.9, 2)
        out[(y - cy) ** 2 + (x - cx) ** 2 < 0.004] = 1.0
    return Image.fromarray((255 * (out + rng.normal(size=out.shape) * 0.01)).clip(0, 255).astype(np.uint8))


def run(root, **more):
    report = prepare_folder(root, root.parent / "prepared", PictureFolderAnalyzer(), **more)
    return report, {line["file"]: line for line in read_manifest(report.folder / "manifest.jsonl").lines}


BAD = {
    "empty.png": (lambda p: p.write_bytes(b""), "is empty"),
    "text.jpg": (lambda p: p.write_text("no picture, a letter"), "not a picture"),
    "link.png": (lambda p: p.symlink_to(p.parent / "nowhere"), "leads nowhere"),
    "phone.heic": (lambda p: p.write_bytes(b"\0\0\0\x18ftypheic" + bytes(80)), "is not read: convert it"),
    "cut.png": (lambda p: _cut(p, "PNG"), "truncated|corrupt"),
    "cut.jpg": (lambda p: _cut(p, "JPEG"), "truncated|corrupt"),
}


def _cut(path, kind):
    file = io.BytesIO()
    scene(0).save(file, kind)
    path.write_bytes(file.getvalue()[: len(file.getvalue()) // 2])


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    root = tmp_path_factory.mktemp("messy") / "in"
    root.mkdir()
    for name, (make, _) in BAD.items():
        make(root / name)
    scene(1).save(root / "a.png")
    scene(2).convert("L").save(root / "b.jpg")
    scene(3).convert("P").save(root / "c.gif")
    Image.fromarray(np.random.default_rng(0).integers(0, 65535, (30, 40), dtype=np.uint16)).save(root / "deep.png")
    clear = scene(4).convert("RGBA")
    clear.putalpha(128)
    clear.save(root / "d.webp")
    scene(5).save(root / "wide.TIF")
    turned = scene(6).crop((0, 0, 64, 32))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(root / "turned.jpg", exif=exif)
    scene(7).save(root / "moves.gif", save_all=True, append_images=[scene(8)])
    Image.new("RGB", (20, 20), "red").save(root / "red.png")
    (root / "._a.png").write_bytes(b"x")
    report, lines = run(root)
    return root, report, lines


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_listed_with_its_reason(messy, name):
    import re

    line = messy[2][name]
    assert line["status"] == "skipped" and re.search(BAD[name][1], line["reason"]), line["reason"]


def test_the_counts_and_facts(messy):
    _, report, lines = messy
    assert (report.summary["usable"], report.summary["skipped"]) == (9, len(BAD))
    assert lines["a.png"]["mode"] == "RGB" and not lines["a.png"]["grey"] and lines["b.jpg"]["grey"]
    assert (lines["deep.png"]["bits"], lines["deep.png"]["width"], lines["deep.png"]["height"]) == (16, 40, 30)
    assert (lines["turned.jpg"]["width"], lines["turned.jpg"]["height"]) == (32, 64)  # upright
    assert "the first of 2 frames" in lines["moves.gif"]["remarks"][0]
    assert lines["red.png"]["remarks"] == ["is of one colour"] and "laid on white" in lines["d.webp"]["remarks"][0]
    assert lines["wide.TIF"]["format"] == "TIFF"


def test_training_reads_the_usable_ones(messy):
    _, report, _ = messy
    data = Folder(
        MediaSpec("image", 3, ("height", "width"), (16, 16)), report.folder, label="none", valid=0.0, max_bad=0.0
    )
    assert len(data) == 9 and data.item(0).media.shape == (3, 16, 16)


COPIES = {
    "smaller": lambda x: x.resize((40, 40), Image.Resampling.BICUBIC),
    "jpeg": lambda x: _jpeg(x, 40),
    "darker": lambda x: ImageEnhance.Contrast(ImageEnhance.Brightness(x).enhance(0.7)).enhance(0.8),
    "mirrored": lambda x: x.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cut 5 %": lambda x: x.crop((2, 1, 63, 62)),
    "cut 10 %": lambda x: x.crop((5, 0, 63, 58)),
}


def _jpeg(picture, quality):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def check_copies():
    pictures = [scene(100 + i) for i in range(60)]
    known = [near.make_thumbnail(p) for p in pictures]
    for name, change in COPIES.items():
        thumbs = [*known, *(near.make_thumbnail(change(p)) for p in pictures[:20])]
        pairs = {(p.first, p.second) for p in near.near_copy_pairs(thumbs)}
        found = [(i, 60 + i) in pairs for i in range(20)]
        assert np.mean(found) >= 0.95, (name, np.mean(found))
        assert len(pairs) == sum(found), name
    assert (
        len(near.near_copy_pairs([near.make_thumbnail(sky(i)) for i in range(40)])) <= 3
    )  # of 780: clouds in about the same places


@pytest.mark.slow
def test_copies_are_found_and_others_are_not():
    check_copies()


PLANTED = [
    ("_CUTS", []),
    ("_sampled", lambda pictures, cuts, right=near._sampled: right(pictures, [(y, x, 1.0) for y, x, _ in cuts])),
    ("COPY", 0.2),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "error"), PLANTED, ids=[row[0] for row in PLANTED])
def test_planted_errors_are_caught(monkeypatch, name, error):
    monkeypatch.setattr(near, name, error)
    if name == "COPY":
        monkeypatch.setattr(near, "_HINT", error)
        monkeypatch.setattr(near, "_stands_out", lambda likeness, usual, chosen: likeness >= error)
    assert_caught(check_copies)


def test_the_progress_counts_what_it_names(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", -1.0)
    whole = scene(0)
    near.near_copy_pairs([near.make_thumbnail(picture) for picture in (whole, COPIES["cut 5 %"](whole))])
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    views, pairs = 2 * (1 + len(near._CUTS)), sum(line.startswith("comparing") for line in lines)
    assert pairs and lines == [
        *(f"searching for copies: crop {i} of {views}" for i in range(1, views + 1)),
        *(f"comparing pictures: pair {i} of {pairs}" for i in range(1, pairs + 1)),
    ]


def check_strokes():
    """Slanted strokes, as in digits: thick, blurred, and of few kinds."""
    from PIL import ImageDraw

    strokes = []
    for i in range(60):
        rng = np.random.default_rng(i)
        picture = Image.new("L", (56, 56))
        lean, shift = rng.uniform(-8, 8), rng.uniform(-3, 3)
        ImageDraw.Draw(picture).line((28 + lean + shift, 8, 28 - lean + shift, 48), fill=255, width=5)
        strokes.append(near.make_thumbnail(picture.resize((28, 28), Image.Resampling.BILINEAR)))
    assert len(near.near_copy_pairs(strokes)) <= 15  # of 1770


@pytest.mark.slow
def test_pictures_that_are_all_alike_are_no_copies():
    check_strokes()


@pytest.mark.slow
def test_forgetting_what_is_usual_is_caught(monkeypatch):
    monkeypatch.setattr(near, "_usual", lambda whole, details: near.torch.zeros(len(whole)))
    assert_caught(check_strokes)


def folder(root, pictures, classes=1):
    for i, picture in enumerate(pictures):
        path = root / f"class {i % classes}" / f"{i}.png" if classes > 1 else root / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda i: scene(i, 28).convert("L"), (28, 1, False)),
        (lambda i: scene(i, 32), (32, 3, True)),
        (lambda i: scene(i, 200 + i), (64, 3, True)),
        (lambda i: scene(i, 10), (16, 3, True)),
    ],
)
def test_proposals(tmp_path, make, wanted):
    root = folder(tmp_path / "in", [make(i) for i in range(12)], classes=2)
    report, _ = run(root)
    recipe = load_recipe(report.recipe, [])
    modality, data = recipe.modality.build(), recipe.data
    assert (modality.size[0], modality.channels, data.params["flip"]) == wanted
    assert data.params["label"] == "folder" and "label" in recipe.conditioning
    assert len(data.build(spec=modality.spec(), split="train", valid=0.1, seed=0)) > 0


@pytest.mark.parametrize(
    ("captions", "label", "word"),
    [
        (["A bird on the LEFT"], None, "left"),
        (["a car", ["a road", "two right-hand curves"]], None, "right-hand"),
        ([None], "up_arrow", "arrow"),
        (["all is bright", "the cleft", "it leftover", "an eastern"], None, "eastern"),
        (["all is bright", "the cleft", "a beast"], None, None),
        ([None], "cat", None),
    ],
)
def test_directions_in_captions_and_classes_are_not_mirrored(captions, label, word):
    lines, reasons = [{"caption": caption, "label": label} for caption in captions], []
    flip = proposal._flip(lines, False, label is not None, any(captions), reasons)
    assert flip == (word is None) and len(reasons) == 1
    assert flip or f"of 1 picture name directions, such as {word!r} (data.flip=true to mirror)" in reasons[0]
    assert proposal._flip(lines, False, False, False, []), "captions and classes that the recipe does not use"
    assert not proposal._flip(lines, True, False, False, [])


@pytest.mark.slow
def test_copies_share_a_side_and_changes_are_reported(tmp_path):
    root = folder(tmp_path / "in", [scene(i) for i in range(12)])
    _jpeg(scene(3), 50).save(root / "again.jpg")
    shutil.copy(root / "5.png", root / "copy.png")
    report, lines = run(root)
    assert lines["again.jpg"]["group"] == lines["3.png"]["group"] and lines["copy.png"]["copy_of"] == "5.png"
    spec = MediaSpec("image", 3, ("height", "width"), (16, 16))
    for seed in range(6):
        sides = {}
        for split in ("train", "valid"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = Folder(spec, report.folder, label="none", valid=0.4, seed=seed, split=split)
            sides |= {record["source"]: split for record in data.manifest()}
        assert sides["again.jpg"] == sides["3.png"] and sides["copy.png"] == sides["5.png"]
    scene(99).save(root / "0.png")
    with pytest.raises(BadInput, match=r"has changed since it was prepared: 0\.png"):
        Folder(spec, report.folder, label="none", max_bad=0.0)
