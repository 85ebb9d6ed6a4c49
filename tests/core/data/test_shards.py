"""Shards give the examples of the folder, in its order, by random access; damaged and hostile ones give one message."""

import json
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from sonolux.core.config.load import load_recipe_text
from sonolux.core.data import manifest as manifests
from sonolux.core.data import shards
from sonolux.core.data.loader import StepBatchDataset
from sonolux.core.data.prepare.prepare import prepare_folder
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.paths import is_url, url_of
from sonolux.modalities.audio.datasets.folder import Folder as SoundFolder
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer
from sonolux.modalities.image.datasets.folder import Folder as PictureFolder
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer

COUNT = 3  # shards
SPECS = {
    "image": MediaSpec("image", 3, ("height", "width"), (16, 16)),
    "audio": MediaSpec("audio", 1, ("time",), (800,), (8000.0,)),
}
DATASETS = {"image": PictureFolder, "audio": SoundFolder}
ANALYZERS = {"image": PictureFolderAnalyzer, "audio": SoundFolderAnalyzer}


def write_media(folder: Path, kind: str) -> Path:
    """Eight files in two classes, two with a caption."""
    generator = np.random.default_rng(0)
    for i in range(8):
        place = folder / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        if kind == "image":
            Image.fromarray(generator.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(place / f"é {i}.png")
        else:
            soundfile.write(place / f"é {i}.wav", 0.5 * generator.standard_normal(900).clip(-1, 1), 8000)
        if i < 2:
            (place / f"é {i}.txt").write_text(f"number {i}\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_plots():
    """No summary.png, which takes most of the time of `prepare`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sonolux.core.data.prepare.prepare.plot_distributions", lambda *args: None)
        yield


@pytest.fixture(scope="module", params=["image", "audio"])
def prepared(request, tmp_path_factory):
    """(kind, folder of the media, prepared folder with shards)."""
    folder = tmp_path_factory.mktemp(request.param)
    media, out = write_media(folder / "media", request.param), folder / "prepared"
    prepare_folder(media, out, ANALYZERS[request.param](), shards=COUNT)
    return request.param, media, out


@pytest.fixture
def copied(prepared, tmp_path):
    """(kind, a copy of the prepared folder)."""
    return prepared[0], Path(shutil.copytree(prepared[2], tmp_path / "prepared"))


def build(kind: str, root, **options):
    return DATASETS[kind](SPECS[kind], root, valid=0.3, seed=1, cache=options.pop("cache", 0), **options)


def check_same_examples(prepared, **options) -> None:
    """Examples, order, both parts of the split and records equal those of the folder, bit for bit."""
    kind, media, out = prepared
    for split in ("train", "valid"):
        files = build(kind, media, manifest=out / "manifest.jsonl", split=split)
        members = build(kind, out, split=split, **options)
        assert len(files) == len(members) > 0 and files.classes == members.classes
        for i in range(len(files)):
            rngs = [np.random.default_rng(i) for _ in range(2)]
            one, other = files.item(i, rngs[0]), members.item(i, rngs[1])
            assert torch.equal(one.media, other.media)
            assert (one.label, one.caption, one.source) == (other.label, other.caption, other.source)
        assert files.manifest() == members.manifest()
        batches = [StepBatchDataset(data, 7, 2) for data in (files, members)]
        assert all(batches[0].sources(step) == batches[1].sources(step) for step in range(6))


@pytest.mark.parametrize("cache", [0, 100])
def test_shards_give_the_examples_of_the_folder(prepared, cache):
    check_same_examples(prepared, cache=cache)


def test_media_are_not_needed(copied, prepared):
    kind, out = copied
    text = (out / "manifest.jsonl").read_text()
    (out / "manifest.jsonl").write_text(text.replace(str(prepared[1]), "/gone"))
    data = build(kind, out)
    assert data.item(0).media.isfinite().all()
    again = pickle.loads(pickle.dumps(data))  # as in a process that loads data
    assert torch.equal(again.item(0).media, data.item(0).media)


def test_planted_place_of_another_file_is_caught(copied):
    kind, out = copied

    def check():
        try:
            data = build(kind, out, max_bad=0.0)
            [data.item(i) for i in range(len(data))]
        except BadInput as error:
            raise AssertionError(str(error)) from error

    check()
    with planted_error(shards, "_HEADER", 513):
        prepare_folder(Path(read_header(out)["root"]), out, ANALYZERS[kind](), shards=COUNT)
    assert "are not those of" in assert_caught(check)


def read_header(out: Path) -> dict:
    return json.loads((out / "manifest.jsonl").read_text().split("\n")[0])


def change_lines(out: Path, **entries) -> None:
    """Replace entries of all lines of files in the manifest."""
    head, *lines = (out / "manifest.jsonl").read_text().splitlines()
    changed = [json.dumps(json.loads(line) | entries) for line in lines]
    (out / "manifest.jsonl").write_text("\n".join([head, *changed]) + "\n")


def test_layout_is_that_of_webdataset(prepared):
    kind, media, out = prepared
    suffix = {"image": "png", "audio": "wav"}[kind]
    names = []
    for number in range(COUNT):
        with tarfile.open(out / shards.shard_name(number)) as tar:
            members = tar.getmembers()
            names += [member.name for member in members]
            content, facts = (tar.extractfile(member).read() for member in members[:2])
            assert content == (media / json.loads(facts)["file"]).read_bytes()
            assert {(member.mtime, member.uid, member.mode) for member in members} == {(0, 0, 0o644)}
    assert sorted(names) == sorted(f"{i:08d}.{end}" for i in range(8) for end in (suffix, "json"))


def test_same_files_give_the_same_bytes(copied):
    kind, out = copied
    before = [(out / shards.shard_name(i)).read_bytes() for i in range(COUNT)]
    prepare_folder(Path(read_header(out)["root"]), out, ANALYZERS[kind](), shards=COUNT)
    assert before == [(out / shards.shard_name(i)).read_bytes() for i in range(COUNT)]


def test_shards_are_removed_when_none_or_fewer_are_asked_for(copied):
    kind, out = copied
    media = Path(read_header(out)["root"])
    prepare_folder(media, out, ANALYZERS[kind](), shards=2)
    assert sorted(path.name for path in out.glob(shards.SHARDS)) == ["shard-00000.tar", "shard-00001.tar"]
    prepare_folder(media, out, ANALYZERS[kind]())
    assert not list(out.glob(shards.SHARDS)) and "offset" not in (out / "manifest.jsonl").read_text()


def test_shards_in_another_place(copied, tmp_path):
    kind, out = copied
    expected = build(kind, out).item(0).media
    (tmp_path / "elsewhere").mkdir()
    for path in out.glob(shards.SHARDS):
        path.rename(tmp_path / "elsewhere" / path.name)
    data = build(kind, tmp_path / "elsewhere", manifest=out / "manifest.jsonl")
    assert torch.equal(data.item(0).media, expected)


def test_shards_behind_a_url(copied):
    fsspec = pytest.importorskip("fsspec")
    kind, out = copied
    expected = build(kind, out).item(0).media
    memory = fsspec.filesystem("memory")
    for path in out.glob(shards.SHARDS):
        memory.pipe_file(f"/bucket/{kind}/{path.name}", path.read_bytes())
    root = Path(f"memory://bucket/{kind}")
    assert torch.equal(build(kind, root, manifest=out / "manifest.jsonl").item(0).media, expected)
    memory.rm(f"/bucket/{kind}/shard-00001.tar")
    with pytest.raises(BadInput, match=rf"memory://bucket/{kind}/shard-00001.tar is missing: copy it again"):
        build(kind, root, manifest=out / "manifest.jsonl")
    with pytest.raises(BadInput, match="no protocol that fsspec knows"):
        build(kind, Path("nowhere://bucket"), manifest=out / "manifest.jsonl")
    with pytest.raises(BadInput, match=r"is not a folder of this machine; of other places shards are read"):
        build(kind, root)


def test_url_in_a_recipe():
    text = "recipe: 1\nname: a\nmodality: {use: image, size: 16}\ndata: {use: image/folder, root: %s}\n"
    text += "codec: {use: image/pixels}\nnetwork: {use: image/unet}\ntrain: {steps: 1}\n"
    text += "process: {schedule: {use: edm}, parameterization: {use: edm}}\n"
    for root, expected in (("s3://bucket/a b", "s3:/bucket/a b"), ("s3:/bucket/x", "s3:/bucket/x")):
        recipe = load_recipe_text(text % root, bare_section=None)
        assert str(recipe.data.params["root"]) == expected
        assert url_of(recipe.data.params["root"]) == expected.replace(":/", "://")
    assert not is_url("C:/pictures") and not is_url("pictures/s3:/x") and is_url(Path("gs://bucket"))


@pytest.mark.parametrize("damage", ["missing", "the first is missing", "cut", "longer", "other bytes"])
def test_damaged_shard_is_one_message(copied, damage):
    kind, out = copied
    path = out / f"shard-{0 if damage == 'the first is missing' else 1:05d}.tar"
    content = bytearray(path.read_bytes())
    if "missing" in damage:
        path.unlink()
    elif damage == "other bytes":
        content[600:900] = bytes(300)
        path.write_bytes(content)
    else:
        path.write_bytes(content[:-512] if damage == "cut" else content + bytes(512))
    said = "is missing" if "missing" in damage else "and the manifest states"
    said = "is damaged: its bytes" if damage == "other bytes" else said
    with pytest.raises(BadInput, match=rf"{path.name} .*{said}.*--shards"):
        for split in ("train", "valid"):
            data = build(kind, out, split=split, max_bad=0.0)
            [data.item(i) for i in range(len(data))]


HOSTILE = {
    "before the content": {"offset": 0},
    "behind the end": {"offset": 10**12},
    "no number": {"offset": "512"},
    "another shard": {"shard": COUNT},
    "a negative shard": {"shard": -1},
    "no place": {"shard": None},
    "a flag": {"shard": True, "offset": True},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_places_are_refused(copied, name):
    kind, out = copied
    change_lines(out, **HOSTILE[name])
    with pytest.raises(BadInput, match="is not in a shard, according to the manifest"):
        build(kind, out)


def test_name_of_a_file_cannot_leave_its_temporary_folder(copied, monkeypatch, tmp_path):
    kind, out = copied
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "evil").write_text("mine")
    for odd in ("../../evil", "..", "a\0b.png", "x" * 4000, ".hidden"):
        line = {"shard": 0, "offset": 512, "size": 4, "hash": "0" * 32, "file": odd}
        path = shards.member_path(out, line, [10**6])
        assert path is not None and path.parent.parent == out / "shard-00000.tar" and ".." not in path.parts
    change_lines(out, file="../../evil")
    data = build(kind, out, max_bad=1.0)
    data.item(0)
    assert (tmp_path / "evil").read_text() == "mine" and not list((tmp_path / "temporary").iterdir())


def test_damaged_list_of_sizes_is_no_manifest(copied):
    out = copied[1]
    text = (out / "manifest.jsonl").read_text()
    for wrong in ("[-1]", '["20480"]', "7", "[true]"):
        sizes = json.dumps(read_header(out)["shards"])
        (out / "manifest.jsonl").write_text(text.replace(f'"shards": {sizes}', f'"shards": {wrong}', 1))
        with pytest.raises(BadInput, match="no manifest"):
            manifests.read_manifest(out / "manifest.jsonl")
        (out / "manifest.jsonl").write_text(text)


def test_more_shards_than_files_are_refused(prepared, tmp_path):
    kind, media, _ = prepared
    with pytest.raises(BadInput, match="--shards 9: there are 8 usable files"):
        prepare_folder(media, tmp_path / "out", ANALYZERS[kind](), shards=9)
    assert not list((tmp_path / "out").glob(shards.SHARDS))


def test_file_that_changes_meanwhile_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"new")
    line = {"status": "ok", "hash": "0" * 32, "file": "a.wav", "label": None, "caption": None}
    with pytest.raises(BadInput, match="has changed since it was measured"):
        shards.write_shards(tmp_path, [path], [line], 1)
