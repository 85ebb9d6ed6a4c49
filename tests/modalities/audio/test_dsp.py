"""MediaSpec processing against librosa and closed forms."""

import builtins

import librosa
import numpy as np
import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.synthetic.effects import FAMILIES, draw_description, render_sound
from torch.nn import functional


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def check_stft_is_librosa():
    x = noise(4096)
    for n_fft, hop in ((254, 64), (256, 64), (512, 100)):
        x = x[: len(x) // hop * hop]
        left, right = (n_fft - hop) // 2, n_fft - hop - (n_fft - hop) // 2
        theirs = librosa.stft(np.pad(x.numpy(), (left, right)), n_fft=n_fft, hop_length=hop, center=False)
        np.testing.assert_allclose(dsp.stft(x, n_fft, hop).numpy(), theirs, atol=1e-11)


def check_istft_inverts():
    for loop in (False, True):
        for frames in (1, 2, 5, 40):
            x = noise(2, 3, frames * 64)
            back = dsp.istft(dsp.stft(x, 254, 64, loop), 254, 64, loop)
            torch.testing.assert_close(back, x, atol=1e-11, rtol=0)


def check_mel_filters_are_librosas():
    for n_fft, rate, mels in ((256, 8000, 64), (1024, 44100, 80)):
        theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=mels, norm=None)
        np.testing.assert_allclose(dsp.mel_filters(n_fft, float(rate), mels).numpy(), theirs, atol=3e-5)


def check_resample_is_librosas():
    t = np.arange(4000) / 8000
    x = sum(np.sin(2 * np.pi * f * t + f) for f in (200.0, 900.0, 2100.0)) * np.hanning(4000)
    for rate in (11025, 16000, 6000):
        ours = dsp.resample(torch.from_numpy(x), 8000, rate).numpy()
        theirs = librosa.resample(x, orig_sr=8000, target_sr=rate, res_type="soxr_hq")
        assert abs(len(ours) - len(theirs)) <= 1
        n = min(len(ours), len(theirs))
        assert np.abs(ours[:n] - theirs[:n]).max() < 5e-3


def check_griffin_lim_is_as_good_as_librosas():
    """Spectral convergence || |STFT(x)| - A || / ||A|| after 32 steps, mean over sounds of every family."""
    sounds = torch.stack([torch.from_numpy(made_sound(i)) for i in range(7)]).double()
    wanted = dsp.stft(sounds, 256, 64).abs()

    def error(found):
        missed = (dsp.stft(found, 256, 64).abs() - wanted).flatten(1).norm(dim=1)
        return float((missed / wanted.flatten(1).norm(dim=1)).mean())

    ours = error(dsp.griffin_lim(wanted, 256, 64, 32))
    theirs = librosa.griffinlim(wanted.numpy(), n_iter=32, hop_length=64, n_fft=256, center=False, random_state=0)
    assert ours < 0.12 and ours < 1.15 * error(torch.from_numpy(theirs[:, 96 : 96 + sounds.shape[-1]]))


def made_sound(i):
    rng = np.random.default_rng(i)
    return render_sound(draw_description(rng, FAMILIES[i]), 8000.0, 1.0, rng)[:4096]


CHECKS = [
    check_stft_is_librosa,
    check_istft_inverts,
    check_mel_filters_are_librosas,
    check_resample_is_librosas,
    check_griffin_lim_is_as_good_as_librosas,
]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_against_the_referee(check):
    check()


def _symmetric(n, **kw):
    return torch.signal.windows.hann(n, sym=True, **kw)


def _late(n_fft, hop):
    return (n_fft - hop) // 2 + 1, n_fft - hop - (n_fft - hop) // 2 - 1


def _stuck(original):  # Griffin-Lim that keeps its first phase
    return lambda m, n_fft, hop, iterations=32, **kw: original(m, n_fft, hop, 0, **kw)


PLANTED = {
    "symmetric window": (check_stft_is_librosa, lambda m: m.setattr(torch, "hann_window", _symmetric)),
    "frames one sample late": (check_stft_is_librosa, lambda m: m.setattr(dsp, "_margins", _late)),
    "loop wrapped one sample off": (
        check_istft_inverts,
        lambda m: m.setattr(dsp, "_wrapped", lambda v, left, size, f=dsp._wrapped: f(v, left + 1, size)),
    ),
    "overlap of the next hop": (
        check_istft_inverts,
        lambda m: m.setattr(
            dsp, "_overlap", lambda p, hop, f=dsp._overlap: f(p, hop).roll(1, -1) ** 1 if p.shape[0] > 1 else f(p, hop)
        ),
    ),
    "another mel scale": (
        check_mel_filters_are_librosas,
        lambda m: m.setattr(
            dsp,
            "mel_filters",
            lambda n, r, k: dsp.import_torchaudio().melscale_fbanks(n // 2 + 1, 0, r / 2, k, int(r)).T,
        ),
    ),
    "rate a percent off": (
        check_resample_is_librosas,
        lambda m: m.setattr(dsp, "resample", lambda x, a, b, f=dsp.resample: f(x, a, round(b * 1.01))),
    ),
    "phase never refined": (
        check_griffin_lim_is_as_good_as_librosas,
        lambda m: m.setattr(dsp, "griffin_lim", _stuck(dsp.griffin_lim)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_error_is_caught(name, monkeypatch):
    check, plant = PLANTED[name]
    plant(monkeypatch)
    assert_caught(check)


def test_a_loop_has_no_seam():
    t = torch.arange(1024, dtype=torch.float64) / 1024
    x = torch.sin(2 * torch.pi * 37 * t)
    spectrum = dsp.stft(x, 256, 64, loop=True).abs()
    assert float((spectrum - spectrum[:, 8:9]).abs().max()) < 1e-3 * float(spectrum.max())  # the end meets the start
    cut = dsp.stft(x, 256, 64).abs()
    assert float((cut - cut[:, 8:9]).abs().max()) > 0.1 * float(cut.max())
    torch.testing.assert_close(dsp.stft(x.roll(64), 256, 64, loop=True), dsp.stft(x, 256, 64, loop=True).roll(1, -1))


def test_griffin_lim_is_keyed_and_independent_of_the_batch():
    magnitude = dsp.stft(noise(3, 1024), 256, 64).abs()
    together = dsp.griffin_lim(magnitude, 256, 64, 8)
    torch.testing.assert_close(together[1:2], dsp.griffin_lim(magnitude[1:2], 256, 64, 8), atol=1e-10, rtol=0)
    assert not torch.equal(together, dsp.griffin_lim(magnitude, 256, 64, 8, seed=1))


def test_griffin_lim_and_from_mel_pass_gradients():
    magnitude = dsp.stft(noise(512), 256, 64).abs().requires_grad_()
    filters = dsp.mel_filters(256, 8000.0, 32)
    rebuilt = dsp.griffin_lim(dsp.mel_to_spectrum(filters.double() @ magnitude, filters), 256, 64, 4)
    (gradient,) = torch.autograd.grad(rebuilt.square().sum(), magnitude)
    assert bool(torch.isfinite(gradient).all()) and float(gradient.abs().max()) > 0
    silence = torch.zeros(129, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(dsp.griffin_lim(silence, 256, 64, 4).sum(), silence)
    assert bool(torch.isfinite(gradient).all())


def test_mel_bands_are_undone_better_than_by_the_pseudo_inverse():
    magnitude = dsp.stft(
        functional.pad(noise(4096), (0, 0)).cumsum(0).diff(prepend=torch.zeros(1).double()), 256, 64
    ).abs()
    filters = dsp.mel_filters(256, 8000.0, 64).double()
    bands = filters @ magnitude
    ours = dsp.mel_to_spectrum(bands, filters)
    pseudo = (torch.linalg.pinv(filters) @ bands).clamp(min=0)
    assert float((filters @ ours - bands).norm() / bands.norm()) < 0.02
    assert float((ours - magnitude).norm()) <= 1.02 * float((pseudo - magnitude).norm())
    assert float(ours.min()) >= 0


def test_levels():
    x = torch.zeros(1, 8000)
    x[:, 2000:4000] = 0.1 * torch.sin(torch.arange(2000) * 0.3)
    assert abs(dsp.active_rms(x, 8000) - 0.1 / 2**0.5) < 2e-3  # silence around does not count
    assert dsp.active_rms(torch.zeros(1, 100), 8000) == 0.0
    assert dsp.audible_bounds(x, -60)[1] == 4000 and 2000 <= dsp.audible_bounds(x, -60)[0] <= 2002
    assert dsp.audible_bounds(torch.zeros(1, 9)) == (0, 0)
    assert dsp.trim_silence(x, 8000).shape[-1] == 2000
    assert float(dsp.amplitude_to_db(torch.tensor(0.5))) == pytest.approx(-6.0206, abs=1e-3)
    assert float(dsp.amplitude_to_db(torch.tensor(0.0))) == -120.0


def test_a_constant_offset_is_distinguished_from_asymmetric_sound():
    t = torch.arange(8000) / 8000
    tone = 0.3 * torch.sin(2 * torch.pi * 200 * t)[None]
    assert float(dsp.dc_offset(tone + 0.05)) == pytest.approx(0.05, rel=0.1)
    pulses = (torch.sin(2 * torch.pi * 100 * t) > 0.9).float()[None]
    assert float(dsp.dc_offset(pulses - pulses.mean()).abs()) < 1e-6
    stroke = torch.zeros(1, 8000)
    stroke[:, :500] = 0.4
    assert float(dsp.dc_offset(stroke)) == 0.0


def test_onset_is_before_the_attack_and_not_long_before():
    for rate in (8000, 44100):
        for attack in (0.0005, 0.01):  # seconds of rise: a click, a soft stroke
            start = round(0.3 * rate)
            t = (torch.arange(rate) - start).clamp(min=0) / rate
            x = (t / attack).clamp(max=1) * torch.exp(-6 * t) * torch.sin(2 * torch.pi * 440 * t)
            x = x[None] + 1e-4 * torch.randn(1, rate, generator=torch.Generator().manual_seed(0))
            assert start - 0.02 * rate < dsp.find_onset(x, rate) <= start
    assert dsp.find_onset(torch.zeros(1, 100), 8000) == 0


def test_odd_rates_are_resampled():
    x = torch.sin(torch.arange(17990) * 2 * torch.pi * 440 / 17990)
    y = dsp.resample(x, 17990, 8009)
    assert abs(y.shape[-1] - 8009) <= 1
    peak = int(torch.fft.rfft(y).abs().argmax())
    assert peak == 440


def test_too_many_bands_are_refused():
    with pytest.raises(BadInput, match="fewer mels or a larger n_fft"):
        dsp.mel_filters(64, 8000.0, 64)
    with pytest.raises(BadInput, match="multiple of hop"):
        dsp.stft(torch.zeros(100), 256, 64)


def test_a_torchaudio_that_does_not_load_is_one_clear_line(monkeypatch):
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.startswith("torchaudio"):
            raise OSError("undefined symbol")
        return real(name, *args, **kwargs)

    dsp.import_torchaudio.cache_clear()
    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(
        BadInput, match=r"torchaudio cannot be imported with torch .*undefined symbol.*pip install"
    ) as caught:
        dsp.resample(torch.zeros(100), 8000, 16000)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    dsp.import_torchaudio.cache_clear()
