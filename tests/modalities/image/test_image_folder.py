"""Pictures from folders and tables, with all that real folders hold; torchvision's collections."""

import os
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pil
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.image.datasets import base
from sonolux.modalities.image.datasets.cifar10 import CIFAR10
from sonolux.modalities.image.datasets.fashion_mnist import FashionMNIST
from sonolux.modalities.image.datasets.folder import Folder
from sonolux.modalities.image.datasets.mnist import MNIST

SIGNAL = MediaSpec("image", 3, ("height", "width"), (8, 8))
DIGITS = Path(os.environ.get("SONOLUX_DATA", "/nowhere")) / "digits"


def picture(path: Path, seed: int, size=(8, 8), mode: str = "RGB") -> Path:
    """A random picture; the suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Pil.fromarray(levels).convert(mode).save(path)
    return path


def pictures(root: Path, classes=("cat", "dog"), each: int = 10) -> Path:
    for c, name in enumerate(classes):
        for i in range(each):
            picture(root / name / f"{i}.png", 1000 * c + i)
    return root


def sources(data) -> list[str]:
    return [record["source"] for record in data.manifest()]


def both(root, **given):
    return [Folder(SIGNAL, root, split=split, **given) for split in ("train", "valid")]


def test_classes_are_folders_in_natural_order(tmp_path):
    train, valid = both(pictures(tmp_path, ("10", "9", "B", "a")), valid=0.25)
    assert train.classes == valid.classes == ("9", "10", "a", "B")
    for data in (train, valid):
        for i in range(len(data)):
            item = data.item(i)
            assert item.source.split("/")[0] == data.classes[item.label]
            assert item.media.shape == (3, 8, 8) and item.media.dtype == torch.float32


def check_split(root, other):
    """Every picture is on one side, and stays there when files are added, the folder moves, or a copy is made."""
    train, valid = both(root, valid=0.3)
    assert len(train) + len(valid) == 40 and 4 <= len(valid) <= 20
    assert not set(sources(train)) & set(sources(valid))
    held = {record["hash"] for record in valid.manifest()}
    root.rename(other)
    picture(other / "cat" / "new.png", 77)
    (other / "dog" / "copy of 3.png").write_bytes((other / "cat" / "3.png").read_bytes())
    train, valid = both(other, valid=0.3)
    assert len(train) + len(valid) == 42
    assert held <= {record["hash"] for record in valid.manifest()}
    assert not {record["hash"] for record in train.manifest()} & {record["hash"] for record in valid.manifest()}
    assert sources(both(other, valid=0.3, seed=5)[1]) != sources(valid)


def test_the_split_is_of_contents(tmp_path):
    check_split(pictures(tmp_path / "a", each=20), tmp_path / "b")


def test_a_split_by_name_is_caught(tmp_path, monkeypatch):
    from sonolux.modalities.image.datasets import folder

    monkeypatch.setattr(folder, "content_hash", lambda path: str(path))
    assert_caught(check_split, pictures(tmp_path / "a", each=20), tmp_path / "b")


def test_pixels_are_the_files(tmp_path):
    path = pictures(tmp_path) / "cat" / "0.png"
    data = Folder(SIGNAL, tmp_path, valid=0)
    wanted = np.asarray(Pil.open(path)).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(data.item(0).media.numpy() - wanted).max() < 1e-6
    record = data.manifest()[0]
    assert (record["source"], record["label"], record["size"]) == ("cat/0.png", "cat", path.stat().st_size)


def test_a_real_folder_holds_all_sorts(tmp_path):
    root = tmp_path / "photos"
    picture(root / "cat" / "A.PNG", 0, (30, 20))
    picture(root / "cat" / "b.JPeG", 1, (20, 31))
    picture(root / "cat" / "c.webp", 2, (9, 9))
    picture(root / "cat" / "d.bmp", 3, (4, 5), "L")
    picture(root / "日本" / "e.png", 4, (64, 8), "P")
    picture(root / "日本" / unicodedata.normalize("NFD", "é.png"), 5, (8, 8), "LA")
    picture(root / "日本" / "deep" / "er" / "f.tif", 6, (8, 8), "CMYK")
    picture(root / "__MACOSX" / "cat" / "g.png", 7)
    picture(root / ".thumbs" / "h.png", 8)
    (root / "cat" / "._A.PNG").write_bytes(b"\0\5\26\7")
    (root / "cat" / "notes.txt").write_text("hello")
    (root / "日本" / "loop").symlink_to(root)
    data = Folder(SIGNAL, root, valid=0)
    assert data.classes == ("cat", "日本")
    assert sorted(sources(data)) == sorted(
        ["cat/A.PNG", "cat/b.JPeG", "cat/c.webp", "cat/d.bmp", "日本/e.png", "日本/é.png", "日本/deep/er/f.tif"]
    )
    assert all(data.item(i).media.shape == (3, 8, 8) for i in range(len(data)))


def broken(root: Path) -> Path:
    (root / "cat" / "empty.png").write_bytes(b"")
    whole = (root / "cat" / "0.png").read_bytes()
    (root / "cat" / "half.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "text.jpg").write_bytes(b"no picture at all")
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    return root


def test_bad_files_are_named_and_skipped_up_to_a_share(tmp_path):
    root = broken(pictures(tmp_path, each=20))
    with pytest.raises(BadInput, match=r"4 of 44 files are unusable, more than data\.max_bad = 0\.05") as caught:
        Folder(SIGNAL, root)
    assert "is empty (0 bytes): cat/empty.png" in str(caught.value)
    with pytest.warns(UserWarning, match="skipped 4 of 44 files") as said:
        data = Folder(SIGNAL, root, max_bad=0.1, valid=0)
    for words in ("is empty (0 bytes): cat/empty.png", "cat/half.png", "not a picture", "leads nowhere: dog/gone.png"):
        assert words in str(said[0].message)
    assert len(data) == 40 and len(data.bad.reasons) == 4


def test_nothing_usable(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"")
    (tmp_path / "dog" / "b.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"0 usable of 2 files: is empty \(0 bytes\): cat/a\.png, dog/b\.png"):
        Folder(SIGNAL, tmp_path, max_bad=1)


def test_no_pictures_says_what_is_there(tmp_path):
    with pytest.raises(BadInput, match="no files at all"):
        Folder(SIGNAL, tmp_path)
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"no picture .*1 files with \.wav"):
        Folder(SIGNAL, tmp_path)


def test_missing_folders(tmp_path):
    with pytest.raises(BadInput, match=r"data\.root: no such folder"):
        Folder(SIGNAL, tmp_path / "nowhere")
    with pytest.raises(BadInput, match="is a file"):
        Folder(SIGNAL, picture(tmp_path / "x.png", 0))


def test_classes_where_there_are_none(tmp_path):
    pictures(tmp_path / "flat", ("",))
    with pytest.raises(BadInput, match=r"all 10 files are directly in .*data\.label=none"):
        Folder(SIGNAL, tmp_path / "flat")
    with pytest.raises(BadInput, match=r"only one class, 'flat'.*data\.label=none"):
        Folder(SIGNAL, tmp_path)
    data = Folder(SIGNAL, tmp_path / "flat", label="none", valid=0)
    assert data.classes == () and data.item(0).label is None and len(data) == 10


def test_pictures_outside_class_folders_count_as_bad(tmp_path):
    pictures(tmp_path, each=20)
    picture(tmp_path / "stray.png", 99)
    with pytest.warns(UserWarning, match=r"is not in a class folder: stray\.png"):
        assert len(Folder(SIGNAL, tmp_path, valid=0)) == 40


def test_a_table_gives_labels_captions_and_more(tmp_path):
    pictures(tmp_path, each=3)
    table = tmp_path / "labels.csv"
    table.write_text("file,label,caption,weight\ncat/0.png,old,an old cat,3.5\ndog/1.png,young,,2\ncat/2.png,old,x,1\n")
    data = Folder(SIGNAL, tmp_path, table=table, valid=0)
    assert data.classes == ("old", "young") and len(data) == 3
    assert [data.item(i).label for i in range(3)] == [0, 1, 0]
    assert data.item(0).caption == "an old cat" and data.item(0).attributes == {"weight": 3.5}
    assert data.item(1).caption is None and data.manifest()[0]["caption"] == "an old cat"
    assert Folder(SIGNAL, tmp_path, table=table, label="none").classes == ()


def test_a_table_without_labels_takes_the_folders(tmp_path):
    pictures(tmp_path, each=3)
    (tmp_path / "t.jsonl").write_text('{"file": "cat/0.png", "caption": "c"}\n{"file": "dog/1.png", "caption": "d"}\n')
    data = Folder(SIGNAL, tmp_path, table=tmp_path / "t.jsonl", valid=0)
    assert data.classes == ("cat", "dog") and [data.item(i).caption for i in range(2)] == ["c", "d"]
    picture(tmp_path.parent / "outside.png", 1)
    (tmp_path / "t.jsonl").write_text('{"file": "cat/0.png"}\n{"file": "../outside.png"}\n')
    with pytest.raises(BadInput, match=r"outside\.png is not inside"):
        Folder(SIGNAL, tmp_path, table=tmp_path / "t.jsonl")


def test_a_table_that_names_missing_files(tmp_path):
    pictures(tmp_path, each=3)
    (tmp_path / "t.csv").write_text("file,label\ncat/0.png,a\ncat/99.png,b\n")
    with pytest.raises(BadInput, match=r"1 of 2 files are unusable.*no such file: cat/99\.png"):
        Folder(SIGNAL, tmp_path, table=tmp_path / "t.csv")


def test_crops_and_flips_follow_the_rng(tmp_path):
    for i in range(4):
        picture(tmp_path / "ab"[i % 2] / f"{i}.png", i, (8, 24))
    plain = Folder(SIGNAL, tmp_path, valid=0, crop="random", flip=True)
    whole = Folder(MediaSpec("image", 3, ("height", "width"), (8, 24)), tmp_path, valid=0).item(0).media
    seen = {}
    for step in range(200):
        media = plain.item(0, keyed_generator(0, 0, "crop", step)).media
        assert torch.equal(media, plain.item(0, keyed_generator(0, 0, "crop", step)).media)
        place = [
            (left, turned)
            for left in range(17)
            for turned in (False, True)
            if torch.equal(media.flip(-1) if turned else media, whole[..., left : left + 8])
        ]
        assert len(place) == 1
        seen[place[0]] = seen.get(place[0], 0) + 1
    assert {left for left, _ in seen} == set(range(17))
    assert 60 < sum(n for (_, turned), n in seen.items() if turned) < 140
    assert torch.equal(plain.item(0).media, whole[..., 8:16])
    centre = Folder(SIGNAL, tmp_path, valid=0).item(0, keyed_generator(0, 0, "crop"))
    assert torch.equal(centre.media, whole[..., 8:16])


def test_without_resizing_small_pictures_are_refused(tmp_path):
    pictures(tmp_path, each=20)
    picture(tmp_path / "cat" / "small.png", 1, (7, 30))
    big = picture(tmp_path / "cat" / "big.png", 2, (20, 30))
    with pytest.warns(UserWarning, match=r"7 x 30 pixels, smaller than 8 x 8.*cat/small\.png"):
        data = Folder(SIGNAL, tmp_path, resize=False, valid=0)
    index = sources(data).index("cat/big.png")
    wanted = np.asarray(Pil.open(big)).transpose(2, 0, 1)[:, 6:14, 11:19] / 127.5 - 1
    assert np.abs(data.item(index).media.numpy() - wanted).max() < 1e-6


def test_what_exceeds_the_cache_is_read_again(tmp_path):
    pictures(tmp_path)
    held, read = Folder(SIGNAL, tmp_path, valid=0), Folder(SIGNAL, tmp_path, valid=0, cache=0)
    assert not any(callable(e.pixels) for e in held.examples) and all(callable(e.pixels) for e in read.examples)
    assert all(torch.equal(held.item(i).media, read.item(i).media) for i in range(20))
    assert held.manifest() == read.manifest()


def test_both_splits_decode_once_and_changes_are_seen(tmp_path, monkeypatch):
    from sonolux.modalities.image.datasets import folder

    pictures(tmp_path)
    count, load = [], folder._load
    monkeypatch.setattr(folder, "_load", lambda *given: count.append(1) or load(*given))
    train, _ = both(tmp_path)
    assert len(count) == 20
    before = train.item(0).media.clone()
    path = tmp_path / train.item(0).source
    picture(path, 4321)
    os.utime(path, ns=(1, 1))
    changed = next(d for d in both(tmp_path) if train.item(0).source in sources(d))
    again = changed.item(sources(changed).index(train.item(0).source))
    assert len(count) == 40 and not torch.equal(before, again.media)


@pytest.mark.slow
@pytest.mark.skipif(not DIGITS.is_dir(), reason="SONOLUX_DATA is unset or holds no digits")
def test_real_digits():
    spec = MediaSpec("image", 1, ("height", "width"), (28, 28))
    train, valid = Folder(spec, DIGITS, valid=0.2), Folder(spec, DIGITS, split="valid", valid=0.2)
    assert train.classes == tuple("0123456789") and len(train) + len(valid) == 6500
    assert abs(len(valid) / 6500 - 0.2) < 0.02
    assert all(train.item(i).media.shape == (1, 28, 28) for i in range(0, len(train), 500))


def made_mnist(root: Path, name: str, pictures: np.ndarray, labels: np.ndarray) -> Path:
    """The files of the training and test part as the collection's authors publish them, unpacked."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        head = struct.pack(">IIII", 0x803, *pictures.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + pictures.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + labels.tobytes())
    return root


RAW = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8)
TARGETS = (np.arange(200) % 10).astype(np.uint8)


@pytest.mark.parametrize(("kind", "name"), [(MNIST, "MNIST"), (FashionMNIST, "FashionMNIST")])
def test_mnist_and_fashion_mnist(tmp_path, kind, name):
    root = made_mnist(tmp_path, name, RAW, TARGETS)
    spec = MediaSpec("image", 1, ("height", "width"), (28, 28))
    train, valid = kind(spec, root), kind(spec, root, split="valid")
    assert len(train) + len(valid) == 200 and 8 <= len(valid) <= 40
    assert not {r["hash"] for r in train.manifest()} & {r["hash"] for r in valid.manifest()}
    for i in (0, 50):
        item = train.item(i)
        number = int(item.source.split()[-1])
        assert item.label == TARGETS[number] and len(train.classes) == 10
        assert np.abs((item.media[0].numpy() + 1) * 127.5 - RAW[number]).max() < 1e-3
    assert kind(MediaSpec("image", 3, ("height", "width"), (32, 32)), root).item(0).media.shape == (3, 32, 32)
    assert kind(spec, root, label="none").item(0).label is None


def test_cifar10(tmp_path, monkeypatch):
    import torchvision

    class Made:
        def __init__(self, root, train, download):
            assert train and not download
            self.data = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
            self.targets = list(range(10)) * 5

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Made)
    data = CIFAR10(MediaSpec("image", 3, ("height", "width"), (32, 32)), tmp_path, valid=0, flip=True)
    assert data.classes[3] == "cat" and data.item(13).label == 3
    assert np.abs((data.item(7).media.numpy() + 1) * 127.5 - Made(0, 1, 0).data[7].transpose(2, 0, 1)).max() < 1e-3
    flipped = sum(
        not torch.equal(data.item(0).media, data.item(0, keyed_generator(0, 0, "x", i)).media) for i in range(100)
    )
    assert 30 < flipped < 70


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, CIFAR10])
def test_absent_collections_say_how_to_get_them(tmp_path, kind):
    with pytest.raises(BadInput, match=r"does not hold .*data\.download=true"):
        kind(SIGNAL, tmp_path)
    with pytest.raises(BadInput, match=r"data\.root: no such folder"):
        kind(SIGNAL, tmp_path / "nowhere")


def test_a_failed_download_is_reported(tmp_path, monkeypatch):
    import torchvision

    def offline(*given, **more):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "MNIST", offline)
    with pytest.raises(BadInput, match=r"MNIST could not be downloaded to .*no route to host"):
        MNIST(SIGNAL, tmp_path, download=True)


def test_the_bytes_become_the_right_levels(monkeypatch):
    def check():
        pixels = np.arange(192, dtype=np.uint8).reshape(3, 8, 8)
        item = base.PictureDataset(SIGNAL, [base.PictureExample("x", pixels)], (), random=False, flip=False).item(0)
        assert np.abs(item.media.numpy() - (pixels / 255 * 2 - 1)).max() < 1e-6

    check()
    monkeypatch.setattr(base, "crop_picture", lambda media, size, rng: media.roll(1, -1))
    assert_caught(check)
