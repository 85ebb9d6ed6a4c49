"""What `prepare_folder` measures of sounds, every kind of bad file, and recipes that follow from the data."""

import math
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.data.manifest import read_manifest
from sonolux.core.data.prepare import prepare as preparing
from sonolux.core.data.prepare.prepare import choose_analyzer, prepare_folder
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_constant
from sonolux.core.types import MediaSpec
from sonolux.modalities.audio import io
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.datasets.folder import Folder
from sonolux.modalities.audio.prepare import prepare as measuring
from sonolux.modalities.audio.prepare import quality
from sonolux.modalities.audio.prepare import recipe as proposing
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer, measure_sound
from sonolux.modalities.audio.prepare.recipe import RATES, _Choice, _choose, _codec

RATE = 16000


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    """Drawing takes a second, and is tested elsewhere."""
    monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path)


def noise(seconds=0.5, seed=0, rate=RATE, channels=1, level=0.1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(round(seconds * rate), channels)).clip(-3, 3) * level


def run(root: Path, **more):
    report = prepare_folder(root, root.parent / "prepared", SoundFolderAnalyzer(), **more)
    return report, {line["file"]: line for line in read_manifest(report.folder / "manifest.jsonl").lines}


# --- bad files: (how it is made, what is said of it) ---


def _cut(kind, keep=0.5, **kw):
    def make(path):
        soundfile.write(path, noise(2.0), RATE, format=kind, **kw)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return make


def _header(offset, value):
    def make(path):
        soundfile.write(path, noise(), RATE, format="WAV", subtype="PCM_16")
        data = bytearray(path.read_bytes())
        data[offset : offset + len(value)] = value
        path.write_bytes(data)

    return make


def _sample(value):
    def make(path):
        wave = noise()
        wave[100] = value
        soundfile.write(path, wave, RATE, subtype="FLOAT", format="WAV")

    return make


def _write(wave, **kw):
    return lambda path: soundfile.write(path, wave, RATE, **{"format": "WAV", **kw})


BAD = {
    "empty.wav": (lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
    "text.wav": (lambda p: p.write_text("no sound, a letter"), "cannot be decoded as sound"),
    "link.wav": (lambda p: p.symlink_to(p.parent / "nowhere"), "is a link that leads nowhere"),
    "channels.wav": (_header(22, struct.pack("<H", 0)), "cannot be decoded as sound"),
    "rate.wav": (_header(24, struct.pack("<I", 0)), "has a rate of 0 Hz"),
    "phone.m4a": (lambda p: p.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200)), "convert it, for example to FLAC"),
    "none.wav": (_write(np.zeros((0, 1))), "holds no frames"),
    "click.wav": (_write(np.full((5, 1), 0.5)), "ms only"),
    "cut.wav": (_cut("WAV"), "is truncated"),
    "cut.flac": (_cut("FLAC"), "is truncated|cannot be decoded"),
    "cut.mp3": (_cut("MP3"), "is truncated: .* of .* frames"),
    "nan.wav": (_sample(np.nan), "1 samples that are not finite"),
    "inf.wav": (_sample(np.inf), "1 samples that are not finite"),
    "silent.wav": (_write(np.zeros((8000, 1))), "is silent"),
    "offset.wav": (_write(np.full((8000, 1), 0.25)), "is silent"),
}


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """Every bad file, the good ones that look bad, and what is to be passed over."""
    root = tmp_path_factory.mktemp("messy") / "in"
    root.mkdir()
    for name, (make, _) in BAD.items():
        make(root / name)
    kinds = [("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM")]
    kinds += [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16")]
    kinds += [("CAF", "PCM_16"), ("RF64", "PCM_16"), ("AU", "PCM_16")]
    for i, (kind, subtype) in enumerate(kinds):
        soundfile.write(root / f"good {i}.{kind.lower()}", noise(seed=i), RATE, format=kind, subtype=subtype)
    (root / "good 8.mp3").rename(root / "good named wrong.wav")
    soundfile.write(root / "good LOUD.WAV", noise(seed=20, level=0.6), RATE, subtype="FLOAT")
    with open(os.fsencode(root) + b"/good \xff.wav", "wb") as file:
        soundfile.write(file, noise(seed=21), RATE, format="WAV")
    (root / "folder.wav").mkdir()
    (root / "._good.wav").write_bytes(b"\0\5\26\7")
    (root / "__MACOSX").mkdir()
    (root / "loop").symlink_to(root)
    (root / "notes.txt").write_text("hello")
    report, lines = run(root)
    return root, report, lines


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_listed_with_its_reason(messy, name):
    import re

    line = messy[2][name]
    assert line["status"] == "skipped" and line["label"] is None
    assert re.search(BAD[name][1].replace("(0 bytes)", r"\(0 bytes\)"), line["reason"]), line["reason"]


def test_the_counts(messy):
    _, report, lines = messy
    assert report.summary["skipped"] == len(BAD) and report.summary["usable"] == 15
    assert sum(report.summary["reasons"].values()) == len(BAD)
    assert report.summary["other_files"] == {".txt": 1}
    assert len(lines) == len(BAD) + 15 and sum(name.startswith("good") for name in lines) == 15
    assert any(f"skipped     {len(BAD)}: " in told for told in report.lines)
    loud = lines["good LOUD.WAV"]
    assert loud["peak"] > 3 and "above full scale" in loud["remarks"][0] and loud["clipped"] == 0
    odd = lines["good \\xff.wav"]
    assert odd["raw"] == b"good \xff.wav".hex() and odd["status"] == "ok"


def test_training_reads_the_usable_ones(messy):
    root, report, _ = messy
    spec = MediaSpec("audio", 1, ("time",), (4000,), (8000.0,))
    for where in (report.folder, report.folder / "manifest.jsonl"):
        data = Folder(spec, where, label="none", valid=0.0, max_bad=0.0)  # known bad files count no more
        assert len(data) == 15 and data.root == root.resolve()
        assert all(bool(torch.isfinite(data.item(i).media).all()) for i in range(15))


def test_a_file_that_does_not_end_the_run(tmp_path, monkeypatch):
    root = tmp_path / "in"
    root.mkdir()
    for i in range(3):
        soundfile.write(root / f"{i}.wav", noise(seed=i), RATE)
    inspect = SoundFolderAnalyzer.inspect
    errors = {"0.wav": MemoryError(), "1.wav": RuntimeError("odd"), "2.wav": None}

    def odd(self, path):
        if errors[path.name]:
            raise errors[path.name]
        return inspect(self, path)

    monkeypatch.setattr(SoundFolderAnalyzer, "inspect", odd)
    _, lines = run(root)
    assert lines["0.wav"]["reason"] == "does not fit into memory"
    assert lines["1.wav"]["reason"] == "cannot be measured (RuntimeError: odd)" and lines["2.wav"]["status"] == "ok"


def test_mp3_is_never_sought_in(tmp_path, monkeypatch):
    """libsndfile gives thousands of wrong samples after a seek in MP3."""
    root = tmp_path / "in"
    root.mkdir()
    soundfile.write(root / "x.mp3", noise(2.0), RATE, format="MP3")

    seeks, original = [], soundfile.SoundFile.seek

    def noted(self, frames, *args, **more):
        seeks.append(frames)
        return original(self, frames, *args, **more)

    monkeypatch.setattr(soundfile.SoundFile, "seek", noted)
    _, lines = run(root)
    assert lines["x.mp3"]["status"] == "ok"
    data = Folder(
        MediaSpec("audio", 1, ("time",), (4000,), (8000.0,)), root, label="none", valid=0.0, crop="random", cache="none"
    )
    assert data.item(0, np.random.default_rng(0)).media.abs().max() > 0.1
    assert seeks == []
    soundfile.read(root / "x.mp3", 100)
    assert seeks, "what soundfile itself does is noted"


def test_a_huge_file_is_refused_before_it_is_decoded(tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(2.0), RATE)
    with pytest.raises(io.UnreadableSound, match="cut it into parts"):
        io.read_sound(tmp_path / "x.wav", most=20000)


# --- what is measured ---


def sound(wave, rate=RATE, subtype="PCM_16"):
    wave = torch.as_tensor(wave, dtype=torch.float32)
    source = {"rate": rate, "channels": len(wave), "frames": wave.shape[1], "format": "WAV", "subtype": subtype}
    return io.DecodedSound(wave, float(rate), source)


def check_levels():
    t = torch.arange(RATE) / RATE
    tone = 0.5 * torch.sin(2 * torch.pi * 997 * t)
    line = measure_sound(sound(tone[None]))
    assert line["peak"] == pytest.approx(-6.02, abs=0.02) and line["rms"] == pytest.approx(-9.03, abs=0.02)
    assert line["lufs"] == pytest.approx(-9.03, abs=0.05) and line["seconds"] == 1.0 and line["remarks"] == []
    assert measure_sound(sound(tone[None, : RATE // 3]))["lufs"] is None


def check_silence():
    wave = torch.zeros(1, RATE)
    wave[0, 3200:8000] = torch.from_numpy(noise(0.3)[:, 0]).float()
    line = measure_sound(sound(wave + 0.05 + 1e-4 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))))
    assert line["lead"] == pytest.approx(0.2, abs=0.011) and line["trail"] == pytest.approx(0.5, abs=0.011)
    assert line["remarks"][0] == "is off zero by 0.05"


def check_clipping():
    t = torch.arange(RATE) / RATE
    over = (1.5 * torch.sin(2 * torch.pi * 100 * t)).clamp(-1, 32767 / 32768)[None]
    flat = 1 - 2 * np.arcsin(1 / 1.5) / np.pi
    assert measure_sound(sound(over))["clipped"] == pytest.approx(100 * flat, abs=0.5)
    assert "clipped" in measure_sound(sound(over))["remarks"][0]
    eight = torch.round(over * 128).clamp(-128, 127) / 128
    assert measure_sound(sound(eight, subtype="PCM_U8"))["clipped"] == pytest.approx(100 * flat, abs=2)
    touching = torch.zeros(1, RATE)
    touching[0, ::50] = 1.0  # single samples at full scale are no flat tops
    assert measure_sound(sound(touching))["clipped"] == 0


def check_bandwidth():
    spectrum = torch.fft.rfft(torch.from_numpy(noise(2.0)[:, 0]))
    spectrum[len(spectrum) // 2 :] = 0
    narrow = torch.fft.irfft(spectrum)[None]
    line = measure_sound(sound(narrow))
    assert line["bandwidth"] == pytest.approx(RATE / 4, rel=0.1) and "perhaps of a lower rate" in line["remarks"][-1]
    assert measure_sound(sound(noise(1.0).T))["bandwidth"] == RATE / 2


def check_width():
    left, right = torch.from_numpy(noise(1.0, channels=2).T).float()
    assert measure_sound(sound(left[None]))["width"] is None
    assert measure_sound(sound(torch.stack([left, left])))["width"] < -80
    assert measure_sound(sound(torch.stack([left, right])))["width"] == pytest.approx(0, abs=1)
    opposite = measure_sound(sound(torch.stack([left, -0.9 * left])))
    assert opposite["width"] > 20 and "cancels" in opposite["remarks"][0]


CHECKS = [check_levels, check_silence, check_clipping, check_bandwidth, check_width]


@pytest.mark.parametrize("check", CHECKS)
def test_values(check):
    check()


PLANTED = [
    (measuring, "_db", lambda a: round(10 * np.log10(a), 2), check_levels),
    (measuring, "_QUIET", -90.0, check_silence),
    (quality, "_BITS", {"PCM_16": 24, "PCM_U8": 16}, check_clipping),
    (measuring, "_EMPTY", -300.0, check_bandwidth),
    (measuring, "_width", lambda wave: 0.0, check_width),
]


@pytest.mark.parametrize(("where", "name", "error", "check"), PLANTED, ids=[row[1] for row in PLANTED])
def test_planted_errors_are_caught(monkeypatch, where, name, error, check):
    monkeypatch.setattr(where, name, error)
    assert_caught(check)


# --- what is proposed ---


def line(**more):
    return {
        "rate": 22050, "channels": 1, "seconds": 1.0, "lead": 0.0, "trail": 0.0, "peak": -3.0, "bandwidth": 9000,
        "width": None, "label": None, "remarks": [], **more,
    }  # fmt: skip


def test_the_rate_is_what_most_have_and_need():
    assert _choose([line()] * 20).rate == 22050
    assert _choose([line()] * 9 + [line(rate=8000)]).rate == 22050
    assert _choose([line()] * 6 + [line(rate=11025)] * 4).rate == 11025
    assert _choose([line(rate=44100, bandwidth=3900)] * 20).rate == 8000  # nothing above: upsampled once
    assert _choose([line(rate=4000, bandwidth=2000)] * 20).rate == 8000


def test_the_length_holds_nearly_all():
    assert _choose([line(seconds=0.5 + 0.01 * i) for i in range(40)]).seconds == 1.0
    assert _choose([line(seconds=3.0, trail=2.3)] * 20).seconds == 0.75
    mostly_short = _choose([line(seconds=0.2)] * 93 + [line(seconds=5.0)] * 7)
    assert mostly_short.seconds == 0.25 and "7 that are longer are cut" in " ".join(mostly_short.reasons)
    texture = _choose([line(seconds=20.0, peak=-1.0 - i) for i in range(20)])
    assert (texture.crop, texture.normalise) == ("random", "rms")


def test_lengths_are_a_condition_where_silence_would_fill_the_time():
    varied = _choose([line(seconds=0.1 + 0.02 * i) for i in range(40)])
    assert varied.shortest == 0.1 and "individual lengths" in " ".join(varied.reasons)
    assert _choose([line(seconds=0.95)] * 20).shortest is None
    assert _choose([line(seconds=20.0)] * 20).shortest is None  # parts of textures are all of one length


def check_windows(codec=_codec):
    """Windows of 21 to 32 ms (power of two) every 8 to 9 ms at every rate."""
    for rate in RATES:
        text, bands, frames = codec(_Choice(rate, 1.0, None, 1, "onset", "none", False, []))
        n_fft, hop = (int(re.search(rf"{key}: (\d+)", text)[1]) for key in ("n_fft", "hop"))
        assert n_fft & (n_fft - 1) == 0 and 0.021 <= n_fft / rate <= 0.0321, rate
        assert 0.0079 <= hop / rate <= 0.009 and frames == math.ceil(rate / hop) and bands <= n_fft / 2


def test_windows():
    check_windows()


def test_planted_long_windows_are_caught():
    with planted_error(proposing, "_window", swap_constant(0.028, 0.045)):
        assert_caught(check_windows)


def check_filled():
    """Parts of textures fill whole places of the codec proposed for them, at every rate: no silence behind them."""
    for rate in RATES:
        choice = _choose([line(seconds=20.0, rate=rate, bandwidth=rate / 2)] * 20)
        assert choice.crop == "random" and choice.seconds == pytest.approx(4.0, abs=0.05)
        frames = round(choice.seconds * choice.rate)
        n_fft, hop = (int(re.search(rf"{key}: (\d+)", _codec(choice)[0])[1]) for key in ("n_fft", "hop"))
        codec = Logmel(MediaSpec("audio", 1, ("time",), (frames,), (float(choice.rate),)), n_fft, hop, 32)
        assert codec.shape((frames,))[1] * hop == frames, rate


def test_parts_of_textures_fill_their_places():
    check_filled()


def test_planted_round_length_is_caught(monkeypatch):
    monkeypatch.setattr(proposing, "_filled", lambda seconds, rate: seconds)
    assert_caught(check_filled)


def test_channels_levels_and_classes():
    assert _choose([line(channels=2, width=-6.0)] * 20).channels == 2
    assert _choose([line(channels=2, width=-60.0)] * 20).channels == 1
    assert _choose([line()] * 20).normalise == "none"
    assert _choose([line(peak=-float(i)) for i in range(20)]).normalise == "peak"
    assert _choose([line(label="ab"[i % 2]) for i in range(20)]).labelled
    assert not _choose([line(label=str(i)) for i in range(20)]).labelled  # one file a folder is no class
    assert not _choose([line(label="a")] * 20).labelled


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "seconds", "count"), [(44100, 0.5, 3), (8000, 20.0, 3), (11025, 7.0, 3)])
def test_proposals_are_valid_for_odd_folders(tmp_path, rate, seconds, count):
    root = tmp_path / '5 "odd" $name: #1'
    root.mkdir()
    for i in range(count):
        soundfile.write(root / f"{i}.wav", noise(seconds, i, rate, 2), rate)
    report, _ = run(root)
    loaded = load_recipe(report.recipe, [])
    assert loaded.modality.params["rate"] == rate and loaded.modality.params["channels"] == 2
    assert len(loaded.data.build(spec=loaded.modality.build().spec(), split="train", valid=0.2, seed=0)) > 0


def test_detecting(tmp_path):
    (tmp_path / "x.M4A").write_bytes(b"x")
    assert choose_analyzer(tmp_path, [SoundFolderAnalyzer()]).modality == "audio"
