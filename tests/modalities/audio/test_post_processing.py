"""Sounds made ready for use: silence cut without the attack, raised cosines, levels and true peaks as asked for."""

import math

import numpy as np
import pytest
import soundfile
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import io, loudness, post_processing
from sonolux.modalities.audio.outputs.file import File
from sonolux.modalities.audio.post_processing import PostProcessing, fade_ends, post_process, trim_ends

RATE = 16000
PLAIN = PostProcessing(trim=None, fade_in=0, fade_out=0, ceiling=None)


def tone(seconds=1.0, hertz=440.0, level=0.5, rate=RATE, phase=0.0, channels=1):
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (level * torch.sin(2 * math.pi * hertz * t + phase))[None].expand(channels, -1).float()


def amid_silence(wave, before=4000, after=6000):
    return torch.nn.functional.pad(wave, (before, after))


def check_trimming():
    """What sounds stays, and `before` ms in front of it; also where the silence is faint noise."""
    burst = tone(0.2, 2000)
    for hiss in (0.0, 1e-4):
        rng = torch.Generator().manual_seed(0)
        wave = amid_silence(burst) + hiss * torch.randn(1, 4000 + 3200 + 6000, generator=rng)
        kept = trim_ends(wave, RATE, before=2.0)
        assert kept.shape[-1] == 32 + 3200  # 2 ms and the burst: both ends lie on blocks of 5 ms
        assert torch.equal(kept, wave[:, 4000 - 32 : 7200])


def test_trimming():
    check_trimming()
    assert torch.equal(trim_ends(torch.zeros(1, 500), RATE), torch.zeros(1, 500))
    stereo = torch.cat([torch.zeros(1, 9600), amid_silence(tone(0.2), 3200, 3200)])
    assert trim_ends(stereo, RATE, before=0).shape == (2, 3200), "channels are cut at the same place"


def check_fades():
    """Of ones, the fade itself: against numpy's own raised cosine."""
    out = fade_ends(torch.ones(2, 1000), RATE, 10.0, 20.0)
    rise, fall = 160, 320
    window = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, rise, endpoint=False))
    assert np.abs(out[0, :rise].numpy() - window).max() < 1e-6
    tail = 0.5 + 0.5 * np.cos(np.linspace(np.pi, 0, fall, endpoint=False))[::-1]
    assert np.abs(out[1, -fall:].numpy() - tail).max() < 1e-6
    assert bool((out[:, rise:-fall] == 1).all()) and not out[:, [0, -1]].any()


def test_fades():
    check_fades()
    short = fade_ends(torch.ones(1, 10), RATE, 100.0, 100.0)
    assert short.shape == (1, 10) and float(short.max()) > 0.9 and torch.isfinite(short).all()
    assert torch.equal(fade_ends(torch.ones(1, 10), RATE, 0, 0), torch.ones(1, 10))


def check_levels():
    """A full-scale sine at 997 Hz is -3.01 LUFS in one channel (BS.1770): the gain to a target follows on paper."""
    for seconds in (0.2, 2.0):  # active part, integrated
        for target in (-30.0, -18.0):
            done = post_process(tone(seconds, 997, 0.1), RATE, PostProcessing(None, 0, 0, lufs=target, ceiling=None))
            assert done.gain == pytest.approx(target + 3.01 + 20, abs=0.1)
            assert done.lufs == pytest.approx(target, abs=0.01) and not done.limited
            assert done.method == ("active" if seconds < 0.4 else "integrated")
    done = post_process(tone(0.5, 997, 0.1), RATE, PostProcessing(None, 0, 0, peak=-6.0, ceiling=None))
    assert float(done.wave.abs().max()) == pytest.approx(10 ** (-6 / 20), rel=1e-5)


def check_ceiling():
    """A sine at a quarter of the rate, between whose samples the peak lies 3 dB above them (BS.1770-4, annex 2)."""
    sharp = tone(1.0, RATE / 4, 1.0, phase=math.pi / 4)
    assert float(sharp.abs().max()) == pytest.approx(0.5**0.5, rel=1e-3)
    done = post_process(sharp, RATE, PostProcessing(None, 5, 5, peak=0.0, ceiling=-1.0))
    assert done.true_peak <= -1.0 + 1e-4 and done.limited
    assert done.true_peak == pytest.approx(-1.0, abs=0.01)
    assert float(done.wave.abs().max()) == pytest.approx(10 ** (-4.01 / 20), rel=0.01)
    quiet = post_process(0.1 * sharp, RATE, PostProcessing(None, 5, 5, ceiling=-1.0))
    assert quiet.gain == 0 and not quiet.limited, "a ceiling raises nothing"


def test_levels():
    check_levels()


def test_the_ceiling_holds_between_samples():
    check_ceiling()


def test_nothing_is_clipped():
    loud = 7 * tone(0.5, 300)
    done = post_process(loud, RATE, PostProcessing(trim=None, fade_in=0, fade_out=0, lufs=0.0))
    assert done.limited and float(done.wave.abs().max()) < 0.9
    assert torch.allclose(done.wave, loud * 10 ** (done.gain / 20), atol=1e-6), "the shape is kept"


PLANTED = {
    "the attack is cut": (check_trimming, "trim_ends", lambda f: lambda w, r, *a, **k: f(w, r, *a, **k)[:, 40:]),
    "fades swapped": (check_fades, "fade_ends", lambda f: lambda w, r, a, b: f(w, r, b, a)),
    "a straight fade": (check_fades, "_ramp", lambda f: lambda n: torch.arange(n, dtype=torch.float64) / n),
    "the ramp ends at 1 at the edge": (check_fades, "_ramp", lambda f: lambda n: f(n + 1)[1:]),
    "the wrong sign of the level": (check_levels, "_gain", lambda f: lambda *a: 1 / f(*a)),
    "half a dB": (check_levels, "_gain", lambda f: lambda *a: 1.06 * f(*a)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_error_is_caught(name, monkeypatch):
    check, what, wrong = PLANTED[name]
    faulty = wrong(getattr(post_processing, what))
    monkeypatch.setattr(post_processing, what, faulty)
    if what in globals():
        monkeypatch.setitem(globals(), what, faulty)
    assert_caught(check)


def test_planted_peak_of_samples_alone_is_caught(monkeypatch):
    monkeypatch.setattr(loudness, "true_peak", lambda wave, rate: 20 * math.log10(float(wave.abs().max())))
    assert_caught(check_ceiling)


@pytest.mark.parametrize(
    ("wave", "said"),
    [(torch.full((1, 9), math.nan), "finite"), (torch.zeros(1, 0), "at least one frame"), (torch.zeros(9), "channels")],
)
def test_what_is_no_sound_is_refused(wave, said):
    with pytest.raises(BadInput, match=said):
        post_process(wave, RATE)


def test_silence_stays_as_it_is():
    done = post_process(torch.zeros(1, 4000), RATE, PostProcessing(lufs=-18.0))
    assert done.lufs is None and done.gain == 0 and done.wave.shape == (1, 4000)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"trim": 3.0}, "trim is a level"),
        ({"fade_in": -1.0}, "fade_in is a time in ms"),
        ({"lufs": -18.0, "peak": -1.0}, "give one of them"),
        ({"ceiling": 3.0}, "ceiling is a level"),
        ({"lufs": math.nan}, "lufs is a level"),
        ({"format": "ogg", "dither": True}, "dither is for 16 bits"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, said):
    with pytest.raises(BadInput, match=said):
        File(MediaSpec("audio", 1, ("time",), (8000,), (RATE,)), **wrong)


@pytest.mark.slow
@pytest.mark.parametrize("form", io.FORMATS)
def test_every_format_is_finished_and_written(tmp_path, form):
    wave = amid_silence(tone(0.6, 700, 0.05, channels=2))
    writer = File(
        MediaSpec("audio", 2, ("time",), (8000,), (float(RATE),)), form, lufs=-20.0, dither=form.endswith("16")
    )
    path = writer.write(tmp_path / f"x{writer.suffix}", wave).path
    back = io.read_sound(path)
    assert back.source["subtype"] == io.FORMATS[form].subtype
    assert back.wave.shape[-1] == pytest.approx(0.6 * RATE, abs=0.012 * RATE)
    assert loudness.measure_loudness(back.wave, RATE).level == pytest.approx(-20.0, abs=0.1)


def test_nothing_is_written_of_a_sound_with_holes(tmp_path):
    writer = File(MediaSpec("audio", 1, ("time",), (8000,), (float(RATE),)))
    with pytest.raises(BadInput, match="finite"):
        writer.write(tmp_path / "x.wav", torch.full((1, 100), math.inf))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_samples_are_written_as_the_recipe_or_the_command_line_says(tmp_path):
    import sonolux
    from sonolux.core.cli.main import main
    from sonolux.core.config.load import load_recipe
    from sonolux.core.training.run import TrainingRun

    few = ["train.steps=2", "train.minutes=null", "train.batch=4", "data.count=40", "sample.steps=2"]
    job = TrainingRun(load_recipe("synth_sfx", few), tmp_path / "run", say=lambda _: None, bar=False)
    job.prepare()
    job.run()
    trained = sonolux.load(tmp_path / "run", device="cpu")
    made = trained.sample(count=2, output={"use": "audio/file", "format": "flac24", "lufs": -20.0})
    paths = made.save(tmp_path / "a")
    assert [p.suffix for p in paths] == [".flac"] * 2 and made.settings["output"]["format"] == "flac24"
    heard = io.read_sound(paths[0]).wave
    assert (
        loudness.measure_loudness(heard, 8000).level == pytest.approx(-20, abs=0.1)
        or loudness.true_peak(heard, 8000) > -1.1
    )
    assert torch.equal(made.media[0], trained.sample(count=2).media[0]), "what the model made stays as it is"
    whole = trained.sample(count=1, loop=True, output={"use": "audio/file", "format": "wav_float"})
    assert io.read_sound(whole.save(tmp_path / "c")[0]).wave.shape == whole.media[0].shape, "a loop is not cut"
    args = ["sample", str(tmp_path / "run"), "count=1", "output=audio/file", "output.format=ogg"]
    assert main([*args, "--out", str(tmp_path / "b")]) == 0
    assert [soundfile.info(p).subtype for p in (tmp_path / "b").glob("*.ogg")] == ["VORBIS"]
    with pytest.raises(BadInput, match="one of audio/file"):
        sonolux.load(tmp_path / "run", changes=["output.format=ogg"])
    with pytest.raises(BadInput, match="did you mean 'wav16'"):
        sonolux.load(tmp_path / "run", changes=["output=audio/file", "output.format=wav_16"])


def test_an_output_of_another_modality_is_refused():
    from sonolux.core.config.load import load_recipe

    with pytest.raises(BadInput, match=r"sample\.output.*is for modality audio"):
        load_recipe("shapes", ["sample.output=audio/file"])


def check_loop():
    """Of a loop, every sample is scaled alike: nothing is cut or faded."""
    wave = torch.cat([torch.zeros(1, 2000), tone(0.3, 500, 0.5), torch.zeros(1, 1000)], 1)
    done = post_process(
        wave, RATE, File(MediaSpec("audio", 1, ("time",), (8000,), (float(RATE),)), lufs=-25.0, loop=True).settings
    )
    assert torch.allclose(done.wave, wave * 10 ** (done.gain / 20), atol=1e-6)


def test_a_loop_keeps_its_seam():
    check_loop()


def test_planted_fade_of_a_loop_is_caught(monkeypatch):
    monkeypatch.setattr("sonolux.modalities.audio.outputs.file.replace", lambda how, **changes: how)
    assert_caught(check_loop, also=RuntimeError)
