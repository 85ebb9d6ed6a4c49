"""Where a sound that is kept meets one that is made: no click, whatever the codec."""

import ast

import numpy as np
import pytest
import scipy.signal
import torch
from sonolux.core.testing.mutation import assert_caught, mutated_function, replace_expression, swap_constant
from sonolux.core.types import Item, MediaSpec
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.codecs.waveform import Waveform

SIGNAL = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))


def voice(n=8000, seed=0):
    """A sound with harmonics, 0.1 RMS."""
    t = torch.arange(n) / 8000
    wave = sum(torch.sin(2 * torch.pi * 140 * k * t + k * k + seed) / k for k in range(1, 12))
    return (0.1 * wave / wave.square().mean().sqrt())[None, None]


def check_prediction(predicted):
    """Sums of sines go on exactly; an autoregressive sound goes on as its own recursion says."""
    t = torch.arange(700.0, dtype=torch.float64)
    sines = torch.stack([torch.sin(0.3 * t) + 0.5 * torch.sin(0.81 * t + 1), torch.cos(0.11 * t)])
    assert torch.allclose(predicted(sines[:, :600], 60), sines[:, 600:660], atol=5e-2)
    a = np.poly(0.97 * np.exp(1j * np.array([0.5, -0.5, 1.3, -1.3]))).real
    x = scipy.signal.lfilter([1], a, np.random.default_rng(0).standard_normal(4000))
    zi = scipy.signal.lfiltic([1], a, x[::-1][:4])
    wanted = scipy.signal.lfilter([1], a, np.zeros(20), zi=zi)[0]
    made = predicted(torch.from_numpy(x)[None], 20, order=4)[0].numpy()
    assert np.abs(made - wanted).max() < 0.1 * np.abs(wanted).max()
    assert bool((predicted(torch.zeros(1, 200), 9) == 0).all())
    assert predicted(torch.ones(1, 2), 5).shape == (1, 5)


def test_prediction_goes_on():
    check_prediction(dsp.linear_prediction)


@pytest.mark.parametrize("error", [swap_constant(2, 1), replace_expression(ast.Subscript, "a[:, :-1]", near="a")])
def test_a_planted_error_of_prediction_is_caught(error):
    assert_caught(check_prediction, mutated_function(dsp.linear_prediction, error))


def joints(codec, z, media, known):
    """Largest jump within a sample of each joint, over the 99.5 % point of the sound's own jumps."""
    made = codec.fill(z, media, known)
    assert torch.equal(made[known.expand_as(made)], media[known.expand_as(made)])
    jumps, usual = made[0, 0].diff().abs(), media[0, 0].diff().abs().quantile(0.995)
    places = [i for i in range(1, known.shape[-1]) if known[0, 0, i] != known[0, 0, i - 1]]
    return max(float(jumps[i - 1 : i + 1].max() / usual) for i in places)


def hole(*spans):
    known = torch.ones(1, 1, 8000, dtype=torch.bool)
    for a, b in spans:
        known[..., a:b] = False
    return known


def check_joints(codec):
    codec.fit([Item(voice(seed=k)[0]) for k in range(4)])
    other = codec.encode(voice(seed=2.0))  # made by somebody else: another phase
    media = voice()
    for known in (hole((3000, 4000)), hole((0, 700)), hole((5000, 8000)), hole((2000, 2030), (2060, 2100))):
        assert joints(codec, other, media, known) < 2.0


@pytest.mark.slow
def test_a_joint_does_not_click():
    check_joints(Waveform(SIGNAL, patch=16))
    check_joints(Logmel(SIGNAL, iterations=16))


@pytest.mark.slow
def test_a_bare_switch_is_caught(monkeypatch):
    monkeypatch.setattr(Waveform, "joined", lambda self, media, made, known: torch.where(known, media, made))
    assert_caught(check_joints, Waveform(SIGNAL, patch=16))


def test_griffin_lim_takes_up_the_phase_of_what_is_known():
    """Within 20 ms of the joint the made part is the known wave's own continuation; with a free phase it is not."""
    media = voice()
    magnitude = dsp.stft(media, 256, 64).abs()
    known = hole((3000, 4000))
    near = slice(3000, 3080)
    held = dsp.griffin_lim(magnitude, 256, 64, 32, known=(media, known))
    free = dsp.griffin_lim(magnitude, 256, 64, 32)
    off = [float((x - media)[..., near].square().mean() / media[..., near].square().mean()) for x in (held, free)]
    assert off[0] < 0.2 and off[0] < off[1] / 3, off
