"""Two channels: mid and side, correlation and level difference, codecs, synthetic stereo, mono files."""

import ast
import math
import warnings

import numpy as np
import pytest
import sonolux
import soundfile
import torch
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_constant, swap_operator
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.modalities.audio import stereo
from sonolux.modalities.audio.codecs import _log_magnitude
from sonolux.modalities.audio.codecs.log_spectrum import LogSpectrum
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.codecs.stft import Stft
from sonolux.modalities.audio.codecs.waveform import Waveform
from sonolux.modalities.audio.datasets import folder
from sonolux.modalities.audio.datasets.folder import Folder
from sonolux.modalities.audio.datasets.synth_textures import SynthTextures
from sonolux.modalities.audio.measures import measure_sounds
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.audio.synthetic import stereo_image

SPEC = MediaSpec("audio", 2, ("time",), (8192,), (8000.0,))


def noises(count=2, frames=8192, seed=0):
    return torch.randn(count, frames, generator=torch.Generator().manual_seed(seed))


def placed(count=24, spec=SPEC, **kw):
    return [SynthTextures(spec, count=60, **kw).item(i) for i in range(count)]


def check_mid_side_is_exact():
    """In float64 the inverse is exact up to rounding; a sound in the middle has no side."""
    wave = noises().double()
    planes = stereo.to_mid_side(wave)
    torch.testing.assert_close(stereo.to_left_right(planes), wave, atol=1e-15, rtol=0)
    torch.testing.assert_close(planes[0], 0.5 * (wave[0] + wave[1]), atol=1e-15, rtol=0)
    assert not stereo.to_mid_side(wave[:1].repeat(2, 1))[1].any()
    assert not stereo.to_mid_side(torch.stack([wave[0], -wave[0]]))[0].any()


def check_channel_measures():
    a, b = noises(frames=200_000).double()
    b = b - a * (a @ b) / (a @ a)
    b = b * (a.norm() / b.norm())
    assert stereo.channel_correlation(torch.stack([a, 0.3 * a])) == pytest.approx(1.0)
    assert stereo.channel_correlation(torch.stack([a, -a])) == pytest.approx(-1.0)
    assert stereo.channel_correlation(torch.stack([a, 5 * b])) == pytest.approx(0.0, abs=1e-9)
    assert stereo.channel_correlation(torch.stack([a, 0.6 * a + 0.8 * b])) == pytest.approx(0.6)
    assert stereo.channel_level_difference(torch.stack([2 * a, b])) == pytest.approx(20 * math.log10(2))
    assert stereo.channel_level_difference(torch.stack([a, 2 * b])) == pytest.approx(-20 * math.log10(2))
    assert stereo.channel_level_difference(torch.stack([a, 0 * b])) == 60
    assert stereo.channel_level_difference(torch.stack([0 * a, b])) == -60
    assert math.isnan(stereo.channel_correlation(torch.stack([a, 0 * b])))
    assert math.isnan(stereo.channel_level_difference(torch.zeros(2, 9)))


def check_side_is_split():
    """Where S = p M + D with D independent of M, both return from magnitudes and level difference."""
    m, d = (torch.complex(*noises(seed=s).double()) for s in (1, 2))
    d = d - m * (m.conj() * d).sum() / (m.abs().square().sum())
    p = -0.4
    s = p * m + 0.5 * d
    size = [x.abs().square().mean().sqrt() for x in (m, s, m + s, m - s)]
    share, rest = stereo.split_side(size[0], size[1], (size[2] / size[3]).log())
    assert float(share) == pytest.approx(p, abs=1e-6)
    assert float(rest) == pytest.approx(float(0.5 * d.abs().square().mean().sqrt()), abs=1e-6)
    share, rest = stereo.split_side(torch.ones(1), torch.tensor([0.1]), torch.tensor([9.0]))
    assert float(share) == pytest.approx(0.1) and float(rest) == 0, "a difference that cannot be is limited"


def check_exact_codecs():
    """Mid and side are exact where the codec is, for any length; the scales of mid and side differ."""
    for cls in (Waveform, Stft):
        spec = MediaSpec("audio", 2, ("time",), (777,), (8000.0,))
        items = [Item(0.1 * (noises(1, 777, i) + 0.1 * noises(2, 777, 99 + i))) for i in range(8)]
        codec = cls(spec, stereo="mid_side").double()
        codec.fit(items)
        x = torch.stack([item.media for item in items]).double()
        torch.testing.assert_close(codec.decode(codec.encode(x), 777), x, atol=1e-7, rtol=0)
        power = codec.encode(x).unflatten(1, [n for _, n in codec.channel_axes]).square().mean((0, 2, -1)).flatten()
        assert float(power.min()) > 0.2 * float(power.max())


def check_parametric_codecs():
    """Log-magnitude codecs with mid and side keep the correlation and the level difference of the channels."""
    items = placed()
    x = torch.stack([item.media for item in items])
    for cls, kw in ((Logmel, {"mels": 40}), (LogSpectrum, {})):
        codec = cls(SPEC, stereo="mid_side", **kw)
        codec.fit(items)
        z = codec.encode(x)
        assert z.shape[1:] == codec.shape((8192,)) and abs(float(z.std()) - 1) < 0.02
        found = codec.decode(z, 8192)
        for measure, most in ((stereo.channel_correlation, 0.08), (stereo.channel_level_difference, 0.5)):
            errors = [abs(measure(a) - measure(b)) for a, b in zip(found, x, strict=True)]
            assert sum(errors) / len(errors) < most, (cls.__name__, measure.__name__)


def check_known_parts_stay():
    """Where a sound is known it returns unchanged, also with mid and side."""
    items = placed(12)
    x = torch.stack([item.media for item in items[:2]])
    known = torch.ones(2, 1, 8192, dtype=torch.bool)
    known[..., 3000:5000] = False
    for cls in (Logmel, Stft, Waveform):
        codec = cls(SPEC, stereo="mid_side")
        codec.fit(items)
        out = codec.fill(codec.encode(x), x, known)
        assert torch.equal(out[..., :2900], x[..., :2900]) and torch.equal(out[..., 5100:], x[..., 5100:])
        inside = out[..., 3200:4800].square().mean((-1, -2)) / x[..., 3200:4800].square().mean((-1, -2))
        assert bool(((inside > 0.3) & (inside < 3)).all())


def check_synthetic_ground_truth():
    """The stereo image of a whole recording is the one that its attributes state."""
    data = SynthTextures(SPEC, recording=8192 / 8000, count=40)
    for i in range(9):
        item = data.item(i)
        assert item.media.shape == (2, 8192) and float(item.media.abs().max()) <= 0.951
        assert stereo.channel_correlation(item.media) == pytest.approx(item.attributes["correlation"], abs=1e-4)
        difference = stereo.channel_level_difference(item.media)
        assert difference == pytest.approx(item.attributes["level_difference"], abs=1e-3)
        words = item.caption
        assert ("left" in words, "right" in words) == (difference > 3, difference < -3)
    assert {data.item(i).attributes["level_difference"] > 0 for i in range(9)} == {True, False}


CHECKS = {
    "mid_side": check_mid_side_is_exact,
    "measures": check_channel_measures,
    "split": check_side_is_split,
    "exact codecs": check_exact_codecs,
    "parametric codecs": check_parametric_codecs,
    "known parts": check_known_parts_stay,
    "ground truth": check_synthetic_ground_truth,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_stereo(name):
    CHECKS[name]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "owner", "function", "mutation"),
    [
        ("mid_side", stereo, "to_mid_side", swap_operator(ast.Sub, ast.Add)),
        ("mid_side", stereo, "to_mid_side", swap_constant(2, 3, at=1)),
        ("mid_side", stereo, "to_left_right", swap_operator(ast.Sub, ast.Add)),
        ("measures", stereo, "channel_correlation", swap_operator(ast.Div, ast.Mult)),
        ("measures", stereo, "channel_level_difference", swap_constant(10, 20)),
        ("measures", stereo, "channel_level_difference", swap_operator(ast.Sub, ast.Add)),
        ("split", stereo, "split_side", swap_constant(2, 1)),
        ("split", stereo, "split_side", swap_operator(ast.Sub, ast.Add)),
        ("ground truth", stereo_image, "render_stereo", swap_operator(ast.Sub, ast.Add)),
        ("ground truth", stereo_image, "render_stereo", swap_constant(20, 10)),
    ],
)
def test_planted_errors_are_caught(check, owner, function, mutation):
    with planted_error(owner, function, mutation):
        assert_caught(CHECKS[check])


@pytest.mark.slow
def test_planted_decoder_without_level_differences_is_caught(monkeypatch):
    share = stereo.split_side
    monkeypatch.setattr(_log_magnitude, "split_side", lambda m, s, d: share(m, s, 0 * d))
    assert_caught(check_parametric_codecs)


@pytest.mark.slow
def test_planted_known_signals_that_are_left_and_right_are_caught(monkeypatch):
    monkeypatch.setattr(Stft, "to_planes", lambda self, media: media)
    assert_caught(check_exact_codecs)


def check_log_det_of_mid_and_side():
    codec = Waveform(MediaSpec("audio", 2, ("time",), (16,), (8000.0,)), patch=8, stereo="mid_side")
    codec.fit([Item(0.1 * noises(2, 16, i)) for i in range(50)])
    jacobian = codec.encode(torch.eye(32).reshape(32, 2, 16)).flatten(1)
    assert float(torch.linalg.slogdet(jacobian).logabsdet) == pytest.approx(codec.log_det((16,)), rel=1e-4)


def test_log_det_of_mid_and_side():
    check_log_det_of_mid_and_side()


def test_planted_log_det_without_the_mixing_is_caught():
    with planted_error(Waveform, "log_det", swap_constant(2, 1)):
        assert_caught(check_log_det_of_mid_and_side)


def test_mid_and_side_need_two_channels():
    for cls in (Waveform, Stft, Logmel, LogSpectrum):
        with pytest.raises(BadInput, match=r"is for two channels, and modality\.channels is 1: leave it out"):
            cls(MediaSpec("audio", 1, ("time",), (8000,), (8000.0,)), stereo="mid_side")


def test_mono_is_as_it_was():
    mono = MediaSpec("audio", 1, ("time",), (8192,), (8000.0,))
    item = SynthTextures(mono, count=60).item(4)
    assert item.media.shape == (1, 8192) and "correlation" not in item.attributes
    assert "left" not in item.caption and SynthTextures(SPEC, count=60).texture(4).pace in item.caption


def test_evaluation_measures_the_channels():
    sounds = [item.media for item in placed(6)]
    found = {one.key: one.values for one in Audio(8000, 1.024, 2).evaluation().measures(sounds)}
    assert found["correlation"].tolist() == [stereo.channel_correlation(s) for s in sounds]
    assert found["level_difference"].tolist() == [stereo.channel_level_difference(s) for s in sounds]
    mono = Audio(8000, 1.024, 1).evaluation().measures([s[:1] for s in sounds])
    assert "correlation" not in {one.key for one in mono}
    assert [one.key for one in measure_sounds([], 8000, stereo=True)][-2:] == ["correlation", "level_difference"]


# --- files ---


def written(root, kinds):
    """Sound files, mono (m), stereo (s), or two equal channels (d)."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for i, kind in enumerate(kinds):
        a, b = 0.1 * rng.standard_normal((2, 4000))
        wave = {"m": a, "s": np.stack([a, b], 1), "d": np.stack([a, a], 1)}[kind]
        soundfile.write(root / f"{i}.wav", wave, 8000)
    return root


def said(root, spec=SPEC, **kw):
    folder._LAST.clear()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data = Folder(spec, root, label="none", **kw)
    return data, [str(w.message) for w in found]


def test_mono_files_for_a_stereo_recipe(tmp_path):
    with pytest.raises(BadInput, match=r"all 4 sounds are mono, and modality.channels is 2: set modality.channels=1"):
        said(written(tmp_path / "mono", "mmmm"))
    data, notes = said(written(tmp_path / "some", "smms"))
    assert any("2 of 4 sounds: 1.wav (mono: its 2 channels get the same signal)" in n for n in notes), notes
    assert len(data.manifest()) >= 3
    _, notes = said(written(tmp_path / "dual", "dddd"))
    assert any("4 of 4 sounds" in n and "mono in two channels: left and right are equal" in n for n in notes), notes
    mono = MediaSpec("audio", 1, ("time",), (4000,), (8000.0,))
    assert said(tmp_path / "dual", mono)[1] == [] and said(tmp_path / "mono", mono)[1] == []
    with pytest.warns(UserWarning, match="mono: its 2 channels get the same signal"):
        assert Audio(8000, 0.5, 2).read(tmp_path / "mono/0.wav").shape == (2, 4000)


def test_what_training_files_lost_is_said(tmp_path):
    """8 bits, clipping, and clips shorter than an example of which random parts are used."""
    mono = MediaSpec("audio", 1, ("time",), (4000,), (8000.0,))
    t = np.arange(4000) / 8000
    (tmp_path / "d").mkdir()
    loud = np.clip(2 * np.sin(2 * np.pi * 200 * t), -1, 1)
    soundfile.write(tmp_path / "d/eight.wav", 0.3 * loud, 8000, subtype="PCM_U8")
    soundfile.write(tmp_path / "d/clipped.wav", loud, 8000)
    soundfile.write(tmp_path / "d/fine.wav", 0.5 * np.sin(2 * np.pi * 300 * t), 8000)
    soundfile.write(tmp_path / "d/short.wav", 0.5 * np.sin(2 * np.pi * 300 * t[:2000]), 8000)
    notes = said(tmp_path / "d", mono, crop="random", valid=0.0)[1]
    short = "sounds, such as short.wav, are shorter than a part of 0.5 s, and the silence after them is learnt"
    for part in ("eight.wav (8 bits", "clipped.wav (clipped: ", short):
        assert any(part in note and note.startswith("1 of 4") for note in notes), (part, notes)
    assert not any(short in note for note in said(tmp_path / "d", mono, crop="random", padding="masked", valid=0.0)[1])
    assert len(notes) == 3
    resampled = said(tmp_path / "d", MediaSpec("audio", 1, ("time",), (2000,), (4000.0,)))[1]
    assert any("clipped.wav (clipped: " in note for note in resampled), "measured before resampling"


@pytest.mark.slow
def test_a_stereo_run_from_end_to_end(tiny_run, tmp_path):
    """Samples, loops, long sounds, edits and files of a stereo run have two channels that differ."""
    run = tiny_run(
        "audio", "modality.rate=8000", "modality.seconds=1.024", "modality.channels=2",
        "data={use: audio/synth_textures, count: 24, split: {by: hash, valid: 0.2}}",
        "codec={use: audio/logmel, mels: 32, stereo: mid_side}", "network.attention=[]",
    )  # fmt: skip
    trained = sonolux.load(run, device="cpu")
    made = trained.sample(label="wind", count=2)
    paths = made.save(tmp_path / "s")
    assert soundfile.info(paths[0]).channels == 2
    found = [
        made, trained.sample(loop=True, seconds=1.024, count=1), trained.sample(windows=0.5, seconds=3, count=1),
        trained.vary(paths[0], 0.5), trained.inpaint(paths[0], [(0.3, 0.6)]), trained.extend(paths[0], 0.5),
        trained.morph(paths[0], paths[1], 3),
    ]  # fmt: skip
    for samples in found:
        for media in samples.media:
            assert media.shape[0] == 2 and bool(torch.isfinite(media).all())
            assert not torch.equal(media[0], media[1])
    with pytest.warns(UserWarning, match="mono: its 2 channels"):
        soundfile.write(tmp_path / "mono.wav", 0.1 * np.random.default_rng(0).standard_normal(8192), 8000)
        trained.vary(tmp_path / "mono.wav", 0.5)
