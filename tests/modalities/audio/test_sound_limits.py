"""Limits of one file: rate, channels, samples; samples that are not finite, or on another scale."""

import io as bytesio
import struct
import tracemalloc
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.data.prepare.types import RecipeProposalContext
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import dsp, io, io_decode
from sonolux.modalities.audio.datasets.folder import Folder
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer
from sonolux.modalities.audio.prepare.recipe import propose_recipe

SPEC = MediaSpec("audio", 1, ("time",), (2000,), (8000.0,))


def encoded(kind: str = "WAV", subtype: str | None = None, rate: int = 8000, wave: np.ndarray | None = None) -> bytes:
    wave = np.random.default_rng(0).normal(size=4000).clip(-3, 3) * 0.1 if wave is None else wave
    file = bytesio.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype)
    return file.getvalue()


def saved(folder, data: bytes):
    path = folder / "x.bin"
    path.write_bytes(data)
    return path


def changed(data: bytes, place: int, field: bytes) -> bytes:
    return data[:place] + field + data[place + len(field) :]


def with_total(flac: bytes, total: int) -> bytes:
    """A FLAC file whose header states `total` frames."""
    return changed(flac, 18, (int.from_bytes(flac[18:26], "big") >> 36 << 36 | total).to_bytes(8, "big"))


BOMBS = {
    "rate 0": (changed(encoded(), 24, struct.pack("<I", 0)), "has a rate of 0 Hz: rates from 1000 to 1000000 Hz"),
    "rate 1": (changed(encoded(), 24, struct.pack("<I", 1)), "has a rate of 1 Hz: rates from 1000 to 1000000 Hz"),
    "rate 999": (changed(encoded(), 24, struct.pack("<I", 999)), "has a rate of 999 Hz"),
    "rate 2^31 - 1": (changed(encoded(), 24, struct.pack("<I", 2**31 - 1)), "has a rate of 2147483647 Hz"),
    "rate 2^31": (changed(encoded(), 24, struct.pack("<I", 2**31)), "has a rate of 2147483648 Hz"),
    "AIFF of rate 0": (
        encoded("AIFF").replace(bytes.fromhex("400bfa00000000000000"), bytes(10)),
        "has a rate of 1 Hz",
    ),
    "FLAC of 2^20 - 1 Hz": (
        changed(encoded("FLAC"), 18, b"\xff\xff\xf0" + encoded("FLAC")[21:22]),
        "has a rate of 1048575 Hz",
    ),
    "65 channels": (changed(encoded(), 22, struct.pack("<H", 65)), "has 65 channels, more than 64"),
    "65535 channels": (
        changed(encoded(), 22, struct.pack("<H", 65535)),
        "cannot be decoded as sound: Too many channels",
    ),
    "FLAC of 2^31 frames": (
        with_total(encoded("FLAC"), 2**31),
        r"has 2147483648 frames x 1 channels at 8000 Hz \(74\.6 h\), more than 268,435,456 samples in all: cut it into",
    ),
    "FLAC of 2^36 - 1 frames": (with_total(encoded("FLAC"), 2**36 - 1), "cut it into parts"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_beyond_a_limit_is_refused_with_it(tmp_path, name):
    data, said = BOMBS[name]
    for rate in (None, 8000):
        with pytest.raises(io.UnreadableSound, match=said):
            io.read_sound(saved(tmp_path, data), rate)


@pytest.mark.parametrize("rate", [1000, 1_000_000])
def test_rates_at_the_limits_are_read(tmp_path, rate):
    sound = io.read_sound(saved(tmp_path, encoded(rate=rate)), 8000, 1)
    assert abs(sound.wave.shape[1] - 4000 * 8000 / rate) <= 1


def test_64_channels_are_read(tmp_path):
    wave = np.random.default_rng(0).normal(size=(500, 64)).clip(-3, 3) * 0.1
    sound = io.read_sound(saved(tmp_path, encoded(subtype="DOUBLE", wave=wave)))
    assert np.allclose(sound.wave.numpy(), wave.T, atol=1e-7)


def check_memory(folder) -> None:
    """A header that states 2^27 frames, half a gigabyte, costs nothing before they are decoded."""
    data = with_total(encoded("FLAC"), 1 << 27)
    tracemalloc.start()
    try:
        with pytest.raises(io.UnreadableSound, match="is truncated: 4000 of 134217728 frames"):
            io.read_sound(saved(folder, data))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_the_frames_that_are_there(tmp_path):
    check_memory(tmp_path)


def test_planted_allocation_by_the_header_is_caught(tmp_path, monkeypatch):
    original = io_decode._block

    def greedy(source, frames, channels, place):
        np.empty(source.frames, np.float32)
        return original(source, frames, channels, place)

    monkeypatch.setattr(io_decode, "_block", greedy)
    assert_caught(check_memory, tmp_path)


def test_the_limit_holds_where_the_length_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(io_decode, "_BLOCK", 1000)
    path = saved(tmp_path, with_total(encoded("FLAC"), 0))
    assert io.read_sound(path, most=4000).wave.shape == (1, 4000)
    with pytest.raises(
        io.UnreadableSound, match=r"has 2000 frames x 1 channels at 8000 Hz \(0\.0 h\), more than 1,999"
    ):
        io.read_sound(path, most=1999)


def test_resampling_stays_within_the_limit(tmp_path):
    path = saved(tmp_path, encoded(rate=1000))
    assert io.read_sound(path, 8000, most=32000).wave.shape == (1, 32000)
    with pytest.raises(
        io.UnreadableSound, match=r"has 32000 frames x 1 channels at 8000 Hz .* more than 31,999 samples"
    ):
        io.read_sound(path, 8000, most=31999)


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    wave = np.random.default_rng(0).normal(size=(10_000, 3)).clip(-3, 3) * 0.1
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        path = saved(tmp_path, encoded(kind, wave=wave[:, :2]))
        whole = io.read_sound(path).wave
        monkeypatch.setattr(io_decode, "_BLOCK", 777)
        assert torch.equal(io.read_sound(path).wave, whole)
        monkeypatch.undo()


def check_filters(monkeypatch) -> None:
    """Every pair of rates: a filter bank of 64 MB or less, and a ratio within 2e-5."""
    seen = {}
    fake = SimpleNamespace(resample=lambda x, old, new, **more: seen.update(old=old, new=new) or x)
    monkeypatch.setattr(dsp, "import_torchaudio", lambda: fake)
    for rate in (1000, 1009, 7919, 8000, 11025, 17990, 22050, 44100, 48000, 96001, 192000, 999_983):
        for target in (1000, 8000, 11025, 22050, 44100, 48000, 96000, 383_999):
            if rate == target:
                continue
            dsp.resample(torch.zeros(1, 10), rate, target)
            assert seen["new"] * (seen["old"] + 136) <= 1 << 23, (rate, target)
            assert abs(Fraction(seen["new"], seen["old"]) / Fraction(target, rate) - 1) < 2e-5, (rate, target)
            if rate % 25 == 0 and target % 25 == 0 and max(rate, target) <= 192000:
                assert Fraction(seen["new"], seen["old"]) == Fraction(target, rate), "usual rates are exact"


def test_filter_banks_are_bounded(monkeypatch):
    check_filters(monkeypatch)


def test_planted_filter_bank_without_a_limit_is_caught(monkeypatch):
    monkeypatch.setattr(dsp, "_FILTERS", 1 << 60)
    assert_caught(check_filters, monkeypatch)


# --- samples ---


def floats(folder, *values: float, subtype: str = "FLOAT"):
    wave = np.random.default_rng(0).normal(size=4000).clip(-3, 3) * 0.1
    wave[100 : 100 + len(values)] = values
    return saved(folder, encoded("WAV", subtype, wave=wave))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20, -3e38, 2.2e9, 1e300])
def test_absurd_samples_are_refused(tmp_path, value):
    said = r"holds 2 samples that are not finite \(NaN or infinity\) or exceed 2\^31$"
    with pytest.raises(io.UnreadableSound, match=said):
        io.read_sound(floats(tmp_path, value, 0.1, value, subtype="DOUBLE"))


def test_integers_as_floats_are_read_and_become_finite_examples(tmp_path):
    for scale in (2.0**15, 2.0**31):
        wave = scale * np.random.default_rng(0).normal(size=4000).clip(-3, 3) / 3
        path = saved(tmp_path, encoded("WAV", "FLOAT", wave=wave))
        assert np.allclose(io.read_sound(path).wave[0].numpy(), wave, rtol=1e-6)
        path.rename(tmp_path / "x.wav")
        for level in ("peak", "rms"):
            data = Folder(SPEC, tmp_path, label="none", valid=0.0, normalise=level)
            assert 0.1 < float(data.item(0, np.random.default_rng(0)).media.abs().max()) < 1.2
        with pytest.raises(BadInput, match=r"peaks \d+ dB above full scale: .* set data\.normalise"):
            Folder(SPEC, tmp_path, label="none", valid=0.0, normalise="none")
        wave = Audio(8000, 0.25).read(tmp_path / "x.wav")
        with pytest.raises(BadInput, match="dB above full scale"):
            Audio(8000, 0.25).levelled(wave, {"normalise": "none"})
        assert Audio(8000, 0.25).levelled(wave, {"normalise": "peak"})[0] == pytest.approx(0.708 / scale, rel=0.05)


def lines(folder, *scales: float) -> list[dict]:
    found = []
    for i, scale in enumerate(scales):
        wave = np.random.default_rng(i).normal(size=4000).clip(-2, 2) / 2 * 0.9 * scale
        (folder / f"{i}.wav").write_bytes(encoded("WAV", "FLOAT", wave=wave))
        line, _ = SoundFolderAnalyzer().inspect(folder / f"{i}.wav")
        found.append({**line, "file": f"{i}.wav", "label": None})
    return found


def check_proposal(folder) -> None:
    context = RecipeProposalContext("x", folder, folder / "recipe.yaml")
    assert "normalise: none" in propose_recipe(lines(folder, *[1.0] * 30), context).text
    odd = lines(folder, *[1.0] * 30, 32768.0)
    assert any("above full scale" in remark for remark in odd[-1]["remarks"])
    assert "normalise: peak" in propose_recipe(odd, context).text


@pytest.mark.slow
def test_one_file_of_integers_as_floats_is_enough_to_normalise(tmp_path):
    check_proposal(tmp_path)


@pytest.mark.slow
def test_planted_blindness_to_one_loud_file_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr("sonolux.modalities.audio.prepare.recipe._LOUD", 1e9)
    assert_caught(check_proposal, tmp_path)
