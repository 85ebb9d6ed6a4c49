"""Reading whatever libsndfile reads, naming what is wrong with the rest, writing without clicks."""

import os
import struct

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.modalities.audio import io, io_decode

RATE = 8000


def tone(seconds=0.5, rate=RATE, channels=1, level=0.5):
    t = np.arange(round(seconds * rate)) / rate
    return np.repeat((level * np.sin(2 * np.pi * 440 * t))[:, None], channels, 1).astype(np.float32)


FORMATS = [
    *(("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")),
    *(("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("RF64", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_reads(tmp_path, kind, subtype):
    path = tmp_path / f"tone.{kind.lower()}"
    soundfile.write(path, tone(rate=16000), 16000, subtype=subtype, format=kind)
    sound = io.read_sound(path, 16000, 1)
    assert sound.wave.dtype == torch.float32 and sound.source["format"] == kind
    heard = sound.wave[0, 2000:6000].numpy() * np.hanning(4000)
    assert np.abs(np.fft.rfft(heard)).argmax() == 110  # 440 Hz in 0.25 s
    assert 0.4 < float(sound.wave[0, 2000:6000].abs().max()) < 0.6


def test_the_name_does_not_matter(tmp_path):
    soundfile.write(tmp_path / "x.flac", tone(), RATE)
    (tmp_path / "x.flac").rename(tmp_path / "ж é.WAV")
    assert io.read_sound(tmp_path / "ж é.WAV").wave.shape == (1, 4000)
    odd = os.fsdecode(bytes(tmp_path) + b"/\xff.wav")
    with open(odd, "wb") as file:
        soundfile.write(file, tone(), RATE, format="WAV")
    assert io.read_sound(odd).wave.shape == (1, 4000)


def cut_wav(path, keep=0.5):
    soundfile.write(path, tone(), RATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def cut_of(kind, **kw):
    def make(path):
        soundfile.write(path, tone(2.0, 16000), 16000, format=kind, **kw)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])

    return make


def with_sample(value):
    def make(path):
        wave = tone()
        wave[100] = value
        soundfile.write(path, wave, RATE, subtype="FLOAT")

    return make


def no_channels(path):
    soundfile.write(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    data[22:24] = struct.pack("<H", 0)
    path.write_bytes(data)


BAD = {
    "missing": (lambda p: None, "no such file"),
    "zero bytes": (lambda p: p.write_bytes(b""), "is empty"),
    "text": (lambda p: p.write_text("not a sound at all, but a letter"), "cannot be decoded as sound"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "dangling link": (lambda p: p.symlink_to(p.parent / "nowhere.wav"), "leads nowhere"),
    "no frames": (lambda p: soundfile.write(p, np.zeros((0, 1)), RATE), "holds no frames"),
    "no channels": (no_channels, "cannot be decoded as sound"),
    "truncated wav": (cut_wav, "is truncated: .* of 8000 bytes"),
    "truncated aiff": (cut_of("AIFF"), "is truncated"),
    "truncated flac": (cut_of("FLAC"), "cannot be decoded|is truncated"),
    "truncated mp3": (cut_of("MP3"), "is truncated: .* of .* frames"),
    "NaN": (with_sample(np.nan), "1 samples that are not finite"),
    "infinity": (with_sample(-np.inf), "1 samples that are not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_reason(tmp_path, name):
    make, reason = BAD[name]
    path = tmp_path / "bäd.wav"
    make(path)
    with pytest.raises(io.UnreadableSound, match=reason) as caught:
        io.read_sound(path, RATE, 1)
    assert "bäd.wav" in str(caught.value) and "\n" not in str(caught.value)


def test_planted_blindness_to_truncation_is_caught(tmp_path, monkeypatch):
    """libsndfile reads half a WAV without a word: only the header's own size tells."""
    monkeypatch.setattr(io_decode, "container_stream", lambda file, size: None)
    cut_wav(tmp_path / "x.wav")
    with pytest.raises(pytest.fail.Exception), pytest.raises(io.UnreadableSound):
        io.read_sound(tmp_path / "x.wav")


def test_wavs_of_writers_that_do_not_know_the_size(tmp_path):
    path = tmp_path / "stream.wav"
    soundfile.write(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    for size in (0xFFFFFFFF, 0x7FFFFFFF):
        at = data.index(b"data") + 4
        data[at : at + 4] = struct.pack("<I", size)
        path.write_bytes(data)
        assert io.read_sound(path).wave.shape == (1, 4000)


def check_rates_and_remarks(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.5, 22050), 22050)
    sound = io.read_sound(tmp_path / "a.wav", 8000)
    assert abs(sound.wave.shape[-1] - 4000) <= 1 and sound.remarks == []
    peak = int(torch.fft.rfft(sound.wave[0, :4000] * torch.hann_window(4000)).abs().argmax())
    assert peak == 220  # 440 Hz in half a second
    soundfile.write(tmp_path / "b.wav", tone(0.5, 8000), 8000)
    (remark,) = io.read_sound(tmp_path / "b.wav", 44100).remarks
    assert remark == "upsampled from 8000 Hz: nothing above 4000 Hz"


def test_rates_and_remarks(tmp_path):
    check_rates_and_remarks(tmp_path)


def test_planted_rate_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(io.dsp, "resample", lambda x, a, b: x)
    assert_caught(check_rates_and_remarks, tmp_path)


def check_mixing():
    left, right = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    both, opposite = torch.stack([left, right]), torch.stack([left, -0.9 * left])
    remarks = []
    assert torch.allclose(io.mix_to_channels(both, 1, "mean", remarks)[0], (left + right) / 2)
    assert torch.equal(io.mix_to_channels(both, 1, "left")[0], left)
    assert torch.equal(io.mix_to_channels(torch.stack([left, 3 * right]), 1, "loudest")[0], 3 * right)
    one_sided = torch.stack([left, torch.zeros(4000)])
    assert torch.allclose(io.mix_to_channels(one_sided, 1, "mean", remarks)[0], left / 2)
    assert remarks == []
    assert torch.equal(io.mix_to_channels(opposite, 1, "mean", remarks)[0], left)
    assert len(remarks) == 1 and "cancels 26 dB" in remarks[0]
    assert io.mix_to_channels(left[None], 2).shape == (2, 4000)
    assert io.mix_to_channels(torch.stack([left] * 6), 2).shape == (2, 4000)


def test_mixing():
    check_mixing()


def test_planted_sum_instead_of_mean_is_caught(monkeypatch):
    original = torch.Tensor.mean
    monkeypatch.setattr(torch.Tensor, "mean", lambda x, *a, **k: original(x, *a, **k) * (2 if k.get("keepdim") else 1))
    assert_caught(check_mixing)


def check_writing(tmp_path):
    wave = torch.from_numpy(tone(channels=2, level=0.9).T.copy())
    path = tmp_path / "new folder" / "out.wav"
    assert io.write_sound(path, wave, RATE) == 1.0
    assert soundfile.info(path).subtype == "PCM_16"
    assert float((io.read_sound(path).wave - wave).abs().max()) < 1.01 / 32767
    gain = io.write_sound(path, 2 * wave, RATE)
    assert gain == pytest.approx(1 / 1.8, rel=1e-3)
    back = io.read_sound(path).wave
    assert float((back - 2 * wave * gain).abs().max()) < 1.01 / 32767  # the shape is kept: nothing is clipped


def test_writing(tmp_path):
    check_writing(tmp_path)


def test_planted_clipping_is_caught(tmp_path, monkeypatch):
    original = io._encode
    monkeypatch.setattr(io, "_encode", lambda path, x, *a: original(path, np.clip(x * 1.2, -1, 1), *a))
    assert_caught(check_writing, tmp_path)


def check_formats(tmp_path):
    """Every format gives back what was written: to half its step, exactly, or (Vorbis) nearly."""
    wave = torch.from_numpy(tone(1.0, 44100, channels=2, level=0.7).T.copy())
    steps = {"PCM_16": 2.0**-16, "PCM_24": 2.0**-24, "FLOAT": 0.0, "VORBIS": 0.02}  # half a step: rounded
    for name, kind in io.FORMATS.items():
        path = tmp_path / f"tone-{name}{kind.suffix}"
        io.write_sound(path, wave, 44100, name)
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate) == (kind.container, kind.subtype, 44100)
        back = io.read_sound(path).wave
        assert back.shape == wave.shape and float((back - wave).abs().max()) <= 1.01 * steps[kind.subtype]


def test_formats(tmp_path):
    check_formats(tmp_path)


@pytest.mark.parametrize("step", [2.0**-16, 2.0**-22])
def test_planted_rounding_downwards_is_caught(tmp_path, monkeypatch, step):
    original = io._stored
    monkeypatch.setattr(
        io,
        "_stored",
        lambda x, kind, dither: original(x - step if kind.subtype.startswith("PCM") else x, kind, dither),
    )
    assert_caught(check_formats, tmp_path)


def test_float_keeps_what_passes_full_scale(tmp_path):
    loud = torch.tensor([[0.5, -3.0, 2.0]])
    assert io.write_sound(tmp_path / "x.wav", loud, RATE, "wav_float") == 1.0
    assert torch.equal(io.read_sound(tmp_path / "x.wav").wave, loud)


@pytest.mark.slow
def test_a_long_sound_is_written_to_ogg(tmp_path):
    wave = 0.1 * torch.randn(1, 1_000_000, generator=torch.Generator().manual_seed(0))
    io.write_sound(tmp_path / "long.ogg", wave, 44100, "ogg")
    assert soundfile.info(tmp_path / "long.ogg").frames == 1_000_000


def test_what_a_format_does_not_hold_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(BadInput, match="ogg supports rates up to 192000 Hz, not 384000: use wav24 or flac24"):
        io.write_sound(tmp_path / "x.ogg", torch.zeros(1, 100), 384000, "ogg")
    with pytest.raises(BadInput, match="cannot be written as FLAC PCM_24 of 9 channels at 8000 Hz"):
        io.write_sound(tmp_path / "x.flac", torch.zeros(9, 100), RATE, "flac24")
    assert list(tmp_path.iterdir()) == []


def check_dither(tmp_path):
    """A sine of 0.4 steps survives in noise whose level does not depend on it: 3 / 12 steps^2 on paper."""
    n = 200_000
    sine = 0.4 * torch.sin(2 * torch.pi * 440 * torch.arange(n) / RATE)[None]
    io.write_sound(tmp_path / "plain.wav", sine / 32768, RATE)
    io.write_sound(tmp_path / "x.wav", sine / 32768, RATE, dither=1)
    plain, noisy = (io.read_sound(tmp_path / name).wave * 32768 for name in ("plain.wav", "x.wav"))
    assert not plain.any()
    assert float((noisy * sine).sum() / sine.square().sum()) == pytest.approx(1, abs=0.03)
    assert float((noisy - sine).square().mean()) == pytest.approx(0.25, rel=0.02)
    assert float(noisy.abs().max()) <= 2
    io.write_sound(tmp_path / "again.wav", sine / 32768, RATE, dither=1)
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "x.wav").read_bytes()
    io.write_sound(tmp_path / "full.wav", torch.ones(1, 1000), RATE, dither=1)
    assert float(io.read_sound(tmp_path / "full.wav").wave.min()) > 0.999, "no wrap at full scale"


def test_dither(tmp_path):
    check_dither(tmp_path)


@pytest.mark.parametrize("error", ["half the width", "rectangular"])
def test_planted_dither_is_caught(tmp_path, monkeypatch, error):
    original = io.keyed_generator

    class Bad:
        def __init__(self, *key):
            self.rng = original(*key)

        def random(self, shape):
            drawn = self.rng.random(shape)
            if error == "rectangular":
                drawn[1] = 0.5
            return drawn / 2 if error == "half the width" else drawn

    monkeypatch.setattr(io, "keyed_generator", Bad)
    assert_caught(check_dither, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_samples_are_not_written(tmp_path, value):
    wave = torch.zeros(1, 100)
    wave[0, 3] = value
    path = tmp_path / "x.wav"
    io.write_sound(path, torch.zeros(1, 100), RATE)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="1 of 100 samples are not finite; nothing was written"):
        io.write_sound(path, wave, RATE)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(BadInput, match="at least one frame"):
        io.write_sound(path, torch.zeros(1, 0), RATE)
