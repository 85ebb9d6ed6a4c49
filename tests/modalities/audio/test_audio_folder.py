"""Folders of sounds: classes, tables, splits, levels, attacks that survive, and an account of what is wrong."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.datasets import folder
from sonolux.modalities.audio.datasets.folder import Folder
from sonolux.modalities.audio.prepare import scan

SIGNAL = MediaSpec("audio", 1, ("time",), (4000,), (8000.0,))


@pytest.fixture(autouse=True)
def _strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def write(path, seconds=0.3, rate=8000, channels=1, start=0.0, level=0.5, pitch=440.0, **kw):
    """A stroke that begins `start` seconds into the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round((start + seconds) * rate)) / rate - start
    wave = np.where(t >= 0, np.sin(2 * np.pi * pitch * t + 1.5) * np.exp(-3 * t.clip(0)), 0) * level
    soundfile.write(path, np.repeat(wave[:, None], channels, 1), rate, **kw)
    return path


@pytest.fixture
def digits(tmp_path):
    root = tmp_path / "träin"
    for label in ("10", "2", "дом"):
        for i in range(12):
            write(root / label / f"{i} ü.wav", pitch=300 + 10 * i + 7 * len(label), level=0.1 + 0.05 * i)
    return root


def parts(root, **kw):
    return Folder(SIGNAL, root, split="train", valid=0.25, **kw), Folder(SIGNAL, root, split="valid", valid=0.25, **kw)


def test_classes_and_items(digits):
    train, valid = parts(digits)
    assert train.classes == valid.classes == ("2", "10", "дом")  # natural order
    assert len(train) + len(valid) == 36 and len(valid) > 0
    item = train.item(0, None)
    assert item.media.shape == (1, 4000) and item.media.dtype == torch.float32 and item.length is None
    assert train.classes[item.label] == item.source.split("/")[0]
    assert item.attributes["seconds"] == pytest.approx(0.3, abs=0.01)
    masked = Folder(SIGNAL, digits, padding="masked")
    assert masked.item(0, None).length == pytest.approx(2400, abs=20)
    assert Folder(SIGNAL, digits, label="none").classes == () and masked.item(0, None).label is not None


def test_manifest_is_plain(digits):
    train, _ = parts(digits)
    record = json.loads(json.dumps(train.manifest()))[0]
    assert record["file"].startswith("2/") and record["rate"] == 8000 and record["frames"] == 2400
    assert record["channels"] == 1 and len(record["hash"]) == 32 and record["seconds"] == 0.3


def check_splits_share_nothing(root):
    for seed in range(3):
        train = Folder(SIGNAL, root, split="train", valid=0.3, seed=seed)
        valid = Folder(SIGNAL, root, split="valid", valid=0.3, seed=seed)
        mine, theirs = ({r["hash"] for r in part.manifest()} for part in (train, valid))
        everything = {r["hash"] for r in Folder(SIGNAL, root, valid=0.0).manifest()}
        assert mine and theirs and not mine & theirs and mine | theirs == everything


def test_splits_share_nothing(digits):
    check_splits_share_nothing(digits)


def test_planted_overlap_of_splits_is_caught(digits, monkeypatch):
    original, calls = folder.assign_parts, []

    def drawn_anew(keys, valid, seed, labels, recorded):
        calls.append(seed)
        return original(keys, valid, len(calls), labels, recorded)

    monkeypatch.setattr(folder, "assign_parts", drawn_anew)
    assert_caught(check_splits_share_nothing, digits)


def test_copies_stay_in_one_split(digits):
    for i in range(8):
        shutil.copy(digits / "2" / "3 ü.wav", digits / "2" / f"copy {i}.wav")
    with pytest.warns(UserWarning, match=r"8 of 44 sounds are copies"):
        train, valid = parts(digits)
    sides = [sum("copy" in r["file"] for r in part.manifest()) for part in (train, valid)]
    assert sorted(sides) == [0, 8]


def test_items_are_keyed(digits):
    train, _ = parts(digits)
    one, same = (train.item(3, np.random.default_rng(5)).media for _ in range(2))
    other = train.item(3, np.random.default_rng(6)).media
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(train.item(3, None).media, train.item(3, None).media)
    again = Folder(SIGNAL, digits, split="train", valid=0.25, cache=0.0)  # decoded each time
    assert torch.equal(again.item(3, np.random.default_rng(5)).media, one)


def check_attacks_survive(tmp_path):
    """However late the stroke begins and however long it lasts, its attack is whole and comes at once."""
    for n, (start, seconds) in enumerate([(0.0, 0.2), (0.6, 0.2), (0.0, 3.0), (1.3, 3.0), (0.45, 0.6)]):
        write(tmp_path / f"{n}.wav", seconds, start=start, pitch=400 + n)
    for crop in ("onset", "random"):
        data = Folder(SIGNAL, tmp_path, label="none", valid=0.0, crop=crop, padding="masked")
        for i in range(len(data)):
            for rng in (None, *map(np.random.default_rng, range(6))):
                media = data.item(i, rng).media[0]
                if crop == "random" and rng is not None and data.entries[i].facts["seconds"] > 1:
                    continue  # begins anywhere, softly
                first = int((media.abs() > 0.05 * media.abs().max()).float().argmax())
                assert first <= round(0.015 * 8000)
                whole = 0.708 * torch.sin(2 * torch.pi * (400 + i) * torch.arange(200) / 8000 + 1.5)
                whole = whole * torch.exp(-3 * torch.arange(200) / 8000)
                mine = media[first : first + 200]
                likeness = torch.nn.functional.cosine_similarity(mine, whole, dim=0).abs()
                assert float(likeness) > 0.98


def test_attacks_survive(tmp_path):
    check_attacks_survive(tmp_path)


@pytest.mark.parametrize("error", ["starts at the file's start", "ten milliseconds late", "fades the attack"])
def test_planted_loss_of_attacks_is_caught(tmp_path, monkeypatch, error):
    onset, cut = dsp.find_onset, scan.cut_example
    if error == "fades the attack":
        fade = torch.linspace(0, 1, 200)

        def faded(prepared, plan, start):
            media, length = cut(prepared, plan, start)
            media[:, :200] *= fade**4
            return media, length

        monkeypatch.setattr(folder, "cut_example", faded)
    else:
        late = 80 if "late" in error else -(10**9)
        monkeypatch.setattr(dsp, "find_onset", lambda x, rate: max(0, onset(x, rate) + late))
    assert_caught(check_attacks_survive, tmp_path)


def test_random_crops_cover_a_long_sound_without_clicks(tmp_path):
    t = np.arange(40000) / 8000
    soundfile.write(tmp_path / "texture.wav", 0.5 * np.sin(2 * np.pi * (200 + 100 * t) * t), 8000)
    data = Folder(SIGNAL, tmp_path, label="none", valid=0.0, crop="random", gain=0.0, polarity=False)
    crops = [data.item(0, np.random.default_rng(i)).media[0] for i in range(40)]
    pitch = [int(torch.fft.rfft(c).abs().argmax()) * 2 for c in crops]
    assert min(pitch) < 450 and max(pitch) > 900
    for crop in crops:
        assert float(crop[0].abs()) < 0.6 and float(crop[-1].abs()) < 1e-6
        assert float(crop.diff().abs().max()) < 0.75  # no jump beyond the slope of the sine itself


def check_levels(tmp_path):
    for n, level in enumerate((0.01, 0.1, 0.9)):
        write(tmp_path / f"{n}.wav", level=level, subtype="FLOAT")
    peaks = [Folder(SIGNAL, tmp_path, label="none", valid=0.0).item(i, None).media.abs().max() for i in range(3)]
    assert [float(p) for p in peaks] == pytest.approx([10 ** (-3 / 20)] * 3, rel=1e-4)
    rms = Folder(SIGNAL, tmp_path, label="none", valid=0.0, normalise="rms", level=-26)
    loud = [dsp.active_rms(rms.item(i, None).media[:, :2400], 8000) for i in range(3)]
    assert loud == pytest.approx([10 ** (-26 / 20)] * 3, rel=2e-2)
    raw = Folder(SIGNAL, tmp_path, label="none", valid=0.0, normalise="none")
    assert [float(raw.item(i, None).media.abs().max()) for i in range(3)] == pytest.approx([0.01, 0.1, 0.9], rel=0.01)
    jitter = Folder(SIGNAL, tmp_path, label="none", valid=0.0, gain=2.0)
    drawn = [float(jitter.item(0, np.random.default_rng(i)).media.abs().max()) for i in range(30)]
    assert 10 ** (-5.01 / 20) < min(drawn) < 10 ** (-4 / 20) and 10 ** (-2 / 20) < max(drawn) < 10 ** (-0.99 / 20)


def test_levels(tmp_path):
    check_levels(tmp_path)


def test_planted_decibels_of_power_are_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(dsp, "db_to_amplitude", lambda level: 10 ** (level / 10))
    assert_caught(check_levels, tmp_path)


def test_mixed_rates_channels_and_formats(tmp_path):
    write(tmp_path / "a.wav", rate=44100, channels=2)
    write(tmp_path / "b.flac", rate=22050)
    write(tmp_path / "c.ogg", rate=16000, channels=6)
    write(tmp_path / "d.WAV", rate=4000, pitch=300)
    write(tmp_path / "sub" / "e.mp3", rate=44100)
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "._a.wav").write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    shutil.copy(tmp_path / "a.wav", tmp_path / "__MACOSX" / "a.wav")
    with pytest.warns(UserWarning, match=r"1 of 5 sounds: d\.WAV \(upsampled from 4000 Hz"):
        data = Folder(SIGNAL, tmp_path, label="none", valid=0.0)
    assert [r["rate"] for r in data.manifest()] == [44100, 22050, 16000, 4000, 44100]
    for i in range(5):
        media = data.item(i, None).media
        assert media.shape == (1, 4000)
        pitch = int(torch.fft.rfft(media[0, :2000]).abs().argmax()) * 4
        assert abs(pitch - (300 if i == 3 else 440)) <= 8


def test_a_link_loop_is_visited_once(digits):
    os.symlink(digits, digits / "2" / "again", target_is_directory=True)
    assert sum(map(len, parts(digits))) == 36


def break_some(root):
    (root / "2" / "empty.wav").write_bytes(b"")
    (root / "2" / "text.wav").write_text("hello")
    soundfile.write(root / "2" / "silent.wav", np.zeros(800), 8000)
    soundfile.write(root / "2" / "nothing.wav", np.zeros((0, 1)), 8000)
    wave = np.zeros(800)
    wave[4] = np.nan
    soundfile.write(root / "2" / "nan.wav", wave, 8000, subtype="FLOAT")
    soundfile.write(root / "2" / "click.wav", np.ones(3) * 0.5, 8000)
    data = (root / "2" / "1 ü.wav").read_bytes()
    (root / "2" / "cut.wav").write_bytes(data[: len(data) // 2])
    (root / "2" / "link.wav").symlink_to(root / "gone.wav")


REASONS = [
    "is empty",
    "cannot be decoded",
    "is silent",
    "no frames",
    "not finite",
    "0.38 ms only",
    "truncated",
    "nowhere",
]


def test_bad_files_are_refused_with_reasons(digits):
    break_some(digits)
    with pytest.raises(BadInput, match=r"8 of 44 files are unusable, more than data\.max_bad = 0\.05") as caught:
        Folder(SIGNAL, digits)
    assert len(str(caught.value)) <= 200 and any(reason in str(caught.value) for reason in REASONS)
    with pytest.warns(UserWarning, match="skipped 8 of 44 files") as said:
        Folder(SIGNAL, digits, max_bad=0.2)
    assert sum(reason in str(said[0].message) for reason in REASONS) >= 6  # the commonest are spelt out


def test_bad_files_are_skipped_and_counted(digits):
    break_some(digits)
    for split in ("train", "valid"):  # told for each part, though the second scan is remembered
        with pytest.warns(UserWarning, match="skipped 8 of 44 files"):
            data = Folder(SIGNAL, digits, max_bad=0.2, split=split)
    assert all(name not in {r["file"] for r in data.manifest()} for name in ("2/empty.wav", "2/nan.wav"))


def test_nothing_usable(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"")
    with pytest.raises(BadInput, match=r"0 usable of 3 files.*is empty"):
        Folder(SIGNAL, tmp_path, label="none")
    for name in "abc":
        (tmp_path / f"{name}.wav").rename(tmp_path / f"{name}.txt")
    with pytest.raises(BadInput, match=r"0 usable files: no sound.*3 files with \.txt"):
        Folder(SIGNAL, tmp_path, label="none")
    with pytest.raises(BadInput, match=r"data\.root: no such folder"):
        Folder(SIGNAL, tmp_path / "none")
    with pytest.raises(BadInput, match=r"needs data\.root"):
        Folder(SIGNAL, None)


def test_classes_are_needed_or_not(tmp_path):
    for i in range(5):
        write(tmp_path / "only" / f"{i}.wav", pitch=300 + i)
    with pytest.raises(BadInput, match=r"only one class.*data\.label=none"):
        Folder(SIGNAL, tmp_path)
    with pytest.raises(BadInput, match=r"data\.label=none"):
        Folder(SIGNAL, tmp_path / "only")
    assert len(Folder(SIGNAL, tmp_path / "only", label="none", valid=0.0)) == 5


def test_a_table(tmp_path, digits):
    table = tmp_path / "labels.csv"
    rows = [f'2/{i} ü.wav,{"ab"[i % 2]},"a stroke, number {i}",{i / 2}' for i in range(10)]
    table.write_text("file,label,caption,force\n" + "\n".join(rows), encoding="utf-8")
    data = Folder(SIGNAL, digits, table=table, valid=0.0)
    item = data.item(3, None)
    assert data.classes == ("a", "b") and item.label == 1
    assert item.caption == "a stroke, number 3" and item.attributes["force"] == 1.5
    assert data.manifest()[3]["caption"] == "a stroke, number 3"
    assert Folder(SIGNAL, digits, table=table, label="none").classes == ()
    lines = [json.dumps({"file": f"{label}/{i} ü.wav"}) for label in ("2", "10") for i in range(5)]
    (tmp_path / "files.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(UserWarning, match="no line has a label: the names of the folders are the classes"):
        assert Folder(SIGNAL, digits, table=tmp_path / "files.jsonl", valid=0.0).classes == ("2", "10")
    table.write_text("file,label\n2/nope.wav,a\n2/1 ü.wav,b\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"1 of 2 files.*no such file.*nope\.wav"):
        Folder(SIGNAL, digits, table=table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"level": 3.0}, "data.level"),
        ({"gain": -1.0}, "data.gain"),
        ({"max_bad": 2.0}, "data.max_bad"),
        ({"split": "test"}, "split is train or valid"),
        ({"valid": 1.0}, "data.split.valid"),
    ],
)
def test_bad_values(digits, values, message):
    with pytest.raises(BadInput, match=message):
        Folder(SIGNAL, digits, **values)
    with pytest.raises(BadInput, match="reads sounds"):
        Folder(MediaSpec("image", 3, ("height", "width"), (8, 8)), digits)


real = pytest.mark.skipif("SONOLUX_DATA" not in os.environ, reason="SONOLUX_DATA names no folder of real data")


@pytest.mark.slow
@real
def test_spoken_digits():
    root = Path(os.environ["SONOLUX_DATA"]) / "spoken_digits"
    spec = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))
    train, valid = Folder(spec, root), Folder(spec, root, split="valid")
    assert train.classes == tuple("0123456789") and len(train) + len(valid) == 2700
    assert 0.07 < len(valid) / 2700 < 0.13


@pytest.mark.slow
@real
def test_a_messy_folder_of_effects():
    root = Path(os.environ["SONOLUX_DATA"]) / "sfx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Folder(MediaSpec("audio", 1, ("time",), (22050,), (11025.0,)), root, label="none", valid=0.0)
    assert len(data) == 109 and {r["rate"] for r in data.manifest()} == {11025, 16000, 17990, 22050, 44100}
    for i in range(109):
        media = data.item(i, np.random.default_rng(i)).media
        assert bool(torch.isfinite(media).all()) and 0.5 < float(media.abs().max()) < 0.9
