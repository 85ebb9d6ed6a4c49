"""Training from a manifest: every cache gives the same sounds, budgets hold, copies share a part, changes are said."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.data.manifest import read_manifest
from sonolux.core.data.prepare import prepare as preparing
from sonolux.core.data.prepare.prepare import prepare_folder
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import io
from sonolux.modalities.audio.datasets import folder as reading
from sonolux.modalities.audio.datasets.folder import Folder
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer

RATE = 16000


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    """Drawing takes a second, and is tested elsewhere."""
    monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path)


def noise(seconds, seed, level=0.1):
    return np.random.default_rng(seed).normal(size=(round(seconds * RATE), 1)).clip(-3, 3) * level


def run(root: Path):
    return prepare_folder(root, root.parent / "prepared", SoundFolderAnalyzer())


@pytest.fixture
def prepared(tmp_path):
    root = tmp_path / "in"
    for c, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for i in range(6):
            soundfile.write(
                root / name / f"{i}.wav", noise(0.3 + 0.1 * i, 10 * c + i, level=0.02 + 0.01 * i) + 0.02, RATE
            )
    shutil.copy(root / "a" / "0.wav", root / "a" / "copy.wav")
    soundfile.write(root / "a" / "softer.wav", soundfile.read(root / "a" / "1.wav")[0] * 0.5, RATE)
    return root, run(root).folder


SIGNAL = MediaSpec("audio", 1, ("time",), (4000,), (8000.0,))


def items(where, **kw):
    reading._LAST.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Folder(SIGNAL, where, valid=0.0, **kw)
    return data, [data.item(i, np.random.default_rng(i)).media for i in range(len(data))]


@pytest.mark.slow
@pytest.mark.parametrize("crop", ["onset", "random"])
def test_every_cache_gives_the_same_sounds(prepared, crop):
    root, folder = prepared
    _, plain = items(root, crop=crop)
    settings = [{"cache": "none"}, {"cache": "memory"}, {"cache": "disk"}, {"cache": "disk"}, {"cache": "auto"}]
    settings += [{"cache": "auto", "budget": 0.05}, {"cache": "memory", "budget": 0.05}, {"cache": 0.05}]
    settings += [{"cache": "disk", "disk": 0.06}, {"cache": "auto", "budget": 0.03, "disk": 0.03}]
    for setting in settings:
        data, mine = items(folder, crop=crop, **setting)
        assert data.classes == ("a", "b") and len(mine) == len(plain) == 14
        assert all(torch.equal(a, b) for a, b in zip(mine, plain, strict=True)), setting


def check_budgets(folder):
    data, _ = items(folder, cache="memory", budget=0.05)
    held = sum(e.prepared.wave.numel() * 4 for e in data.entries if e.prepared)
    assert 0 < held <= 50_000 and any(e.prepared is None for e in data.entries)
    items(folder, cache="disk", disk=0.06)
    on_disk = [p.stat().st_size for p in (folder / "cache").rglob("*.npy")]
    assert 0 < sum(on_disk) <= 60_000


@pytest.mark.slow
def test_budgets_hold(prepared):
    check_budgets(prepared[1])


@pytest.mark.slow
def test_planted_budget_is_caught(prepared, monkeypatch):
    from sonolux.modalities.audio.disk_cache import DiskSoundCache

    monkeypatch.setattr(DiskSoundCache, "_make_space", lambda self, size: True)
    assert_caught(check_budgets, prepared[1])


@pytest.mark.slow
def test_training_decodes_nothing_twice(prepared, monkeypatch):
    _, folder = prepared
    _, first = items(folder, cache="disk")
    monkeypatch.setattr(io, "read_sound", None)  # whoever decodes fails
    _, second = items(folder, cache="disk", crop="onset", gain=1.0)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_a_damaged_cache_is_made_anew(prepared):
    _, folder = prepared
    _, first = items(folder, cache="disk")
    for path in (folder / "cache").rglob("*.npy"):
        part = path.read_bytes()[:200]
        path.unlink()  # not in place: the sounds above are mapped from these files
        path.write_bytes(part)
    assert all(torch.equal(a, b) for a, b in zip(first, items(folder, cache="disk")[1], strict=True))
    assert not list((folder / "cache").rglob("*.part"))


@pytest.mark.slow
def test_copies_share_a_side(prepared):
    _, folder = prepared
    by = {line["file"]: line for line in read_manifest(folder / "manifest.jsonl").lines}
    assert by["a/copy.wav"]["copy_of"] == "a/0.wav" and by["a/softer.wav"]["group"] == by["a/1.wav"]["group"]
    for seed in range(6):
        sides = {}
        for split in ("train", "valid"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = Folder(SIGNAL, folder, valid=0.4, seed=seed, split=split)
            sides |= {record["file"]: split for record in data.manifest()}
        assert sides["a/copy.wav"] == sides["a/0.wav"] and sides["a/softer.wav"] == sides["a/1.wav"]


@pytest.mark.slow
def test_changed_and_moved_files(prepared, tmp_path):
    root, folder = prepared
    moved = tmp_path / "moved"
    shutil.copytree(root, moved, copy_function=shutil.copyfile)  # other dates, same content
    shutil.rmtree(root)
    with pytest.raises(BadInput, match=r"does not exist: give its new place, data\.root"):
        Folder(SIGNAL, folder)
    manifest = folder / "manifest.jsonl"
    assert len(items(moved, manifest=manifest)[1]) == 14
    soundfile.write(moved / "a" / "2.wav", noise(0.4, 77), RATE)
    (moved / "b" / "2.wav").unlink()
    with (
        warnings.catch_warnings(),
        pytest.raises(BadInput, match=r"2 of 14 files are unusable.*has changed since it was prepared: a/2\.wav"),
    ):
        warnings.simplefilter("ignore")
        Folder(SIGNAL, moved, manifest=manifest)
    assert len(items(moved, manifest=manifest, max_bad=0.2)[1]) == 12


def test_refusals(prepared, tmp_path):
    root, folder = prepared
    with pytest.raises(BadInput, match="stores sounds next to a manifest"):
        Folder(SIGNAL, root, cache="disk")
    with pytest.raises(BadInput, match="lists files of modality audio, not image"):
        from sonolux.modalities.image.datasets.folder import Folder as Pictures

        Pictures(MediaSpec("image", 3, ("height", "width"), (8, 8)), folder)
    with pytest.raises(BadInput, match="give one"):
        Folder(SIGNAL, folder, table=tmp_path / "x.csv")
    with pytest.raises(BadInput, match="no such file"):
        Folder(SIGNAL, root, manifest=tmp_path / "none.jsonl")
    (tmp_path / "list.jsonl").write_text('{"file": "a.wav"}\n')
    with pytest.raises(BadInput, match="no manifest: `sonolux prepare"):
        Folder(SIGNAL, tmp_path / "list.jsonl")
