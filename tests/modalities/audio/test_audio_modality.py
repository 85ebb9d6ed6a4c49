"""The modality of sound: its facts, its files, its pictures."""

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Modality
from sonolux.modalities.audio import visualize
from sonolux.modalities.audio.modality import Audio


def sweep(rate=8000, seconds=1.0, start=500.0, end=500.0):
    t = torch.arange(round(rate * seconds)) / rate
    return 0.5 * torch.sin(2 * torch.pi * (start * t + (end - start) * t**2 / (2 * seconds)))[None]


def test_facts():
    audio = Audio(rate=11025, seconds=2.0, channels=2)
    assert isinstance(audio, Audio) and callable(audio.sheet) and audio.suffix == ".wav"
    spec = audio.spec()
    assert (spec.modality, spec.channels, spec.size, spec.rate) == ("audio", 2, (22050,), 11025.0)
    contract: Modality = audio
    assert contract.name == "audio"


@pytest.mark.parametrize("values", [{"rate": 10}, {"seconds": 0.0}, {"seconds": 1e9}, {"channels": 0}])
def test_bad_facts(values):
    with pytest.raises(BadInput, match=f"modality.{next(iter(values))}"):
        Audio(**values)


def test_write_and_read(tmp_path):
    audio = Audio()
    file = audio.write(tmp_path / "a.wav", sweep())
    path = file.path
    assert path == tmp_path / "a.wav" and not file.scaled and file.peak == pytest.approx(float(sweep().abs().max()))
    assert float((audio.read(path) - sweep()).abs().max()) < 1e-4
    loud = audio.write(path, 4 * sweep())
    assert loud.scaled and loud.peak == pytest.approx(4 * file.peak)
    assert float(audio.read(path).abs().max()) == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(BadInput, match="not finite"):
        audio.write(path, sweep() * float("nan"))
    soundfile.write(tmp_path / "s.flac", np.zeros((4410, 2)) + 0.1, 44100)
    assert audio.read(tmp_path / "s.flac").shape == (1, 800)


def brightest_row(sound, rate=8000, height=200):
    pixels = np.asarray(visualize.spectrogram_image(sound, rate, 64, height)).astype(float).sum(-1)
    return pixels[:, 16:48].mean(1).argmax()


def check_spectrogram_shows_frequency():
    """Row of a tone: (1 - mel(f) / mel(rate / 2)) height with mel(f) = 1127 ln(1 + f / 700)."""

    def mel(f):
        return 1127 * np.log1p(f / 700)

    for f in (400.0, 1000.0, 3000.0):
        expected = (1 - mel(f) / mel(4000)) * 199
        assert abs(brightest_row(sweep(start=f, end=f)) - expected) < 6
    pixels = np.asarray(visualize.spectrogram_image(sweep(start=500, end=3000), 8000, 64, 200)).astype(float).sum(-1)
    rows = pixels.argmax(0)
    assert rows[8] > rows[32] > rows[56]  # time runs to the right, frequency upwards


def test_spectrogram_shows_frequency():
    check_spectrogram_shows_frequency()


def test_planted_upside_down_spectrogram_is_caught(monkeypatch):
    original = visualize.spectrogram_image
    monkeypatch.setattr(
        visualize, "spectrogram_image", lambda *a, **k: original(*a, **k).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    )
    assert_caught(check_spectrogram_shows_frequency)


def test_colours_grow_lighter():
    grey = visualize.levels_to_rgb(np.linspace(0, 1, 64)).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all() and grey[0] < 20 and grey[-1] > 235


def test_sheets(tmp_path):
    audio = Audio()
    sounds = [sweep(start=300 + 100 * i, end=900) for i in range(5)]
    path = audio.sheet(tmp_path / "new" / "sheet.png", sounds, ["a short высокий laser with a long caption"] * 5)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 4 * 190
        small = picture.size
    with Image.open(audio.sheet(tmp_path / "one.png", sounds[:1])) as picture:
        assert picture.width < small[0]
    odd = [
        torch.zeros(1, 8000),
        torch.full((1, 8000), float("nan")),
        sweep()[:, :3],
        9 * sweep(),
        sweep().expand(2, -1),
    ]
    audio.sheet(tmp_path / "odd.png", odd)
    with pytest.raises(BadInput, match="no sounds"):
        audio.sheet(tmp_path / "none.png", [])


def test_strip_and_animation(tmp_path):
    audio = Audio()
    steps = [[sweep() * (i / 4) + (1 - i / 4) * torch.randn(1, 8000) for _ in range(2)] for i in range(5)]
    rows = [[step[k] for step in steps] for k in range(2)]
    with Image.open(audio.strip(tmp_path / "strip.png", rows)) as picture:
        assert picture.width > 5 * 120 and picture.height > 2 * 96
    with Image.open(audio.animate(tmp_path / "steps.gif", steps)) as picture:
        assert picture.format == "GIF" and picture.n_frames == 5
    with pytest.raises(BadInput, match="no sounds"):
        audio.strip(tmp_path / "none.png", [])
    with pytest.raises(BadInput, match="no sounds"):
        audio.animate(tmp_path / "none.gif", [[]])
