"""The phase that is estimated from magnitudes, against exact phases and as the start of Griffin-Lim."""

import ast
import math

import pytest
import torch
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    drop_statement,
    keep_left_operand,
    negate_expression,
    planted_error,
    scale_expression,
    swap_operator,
    variable_target,
)
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio import dsp, phase
from sonolux.modalities.audio.codecs.logmel import Logmel

N_FFT, HOP, FRAMES = 256, 64, 40
TIME = torch.arange(FRAMES * HOP, dtype=torch.float64)


def turns(difference):
    """Distance of phases in turns, from 0 to 1/2."""
    return (difference / (2 * math.pi) + 0.5).remainder(1).sub(0.5).abs()


def check_tones():
    """The phase of a tone advances by 2 pi f hop from frame to frame, at every bin that holds it."""
    for frequency in (20.0, 33.3, 50.6):  # in bins
        spectrum = dsp.stft(torch.cos(2 * math.pi * frequency / N_FFT * TIME), N_FFT, HOP)
        found = phase.phase_from_magnitude(spectrum.abs(), N_FFT, HOP)
        bins = [math.floor(frequency), math.floor(frequency) + 1]
        advance = found[bins, 4:-3] - found[bins, 3:-4]
        assert turns(advance - 2 * math.pi * HOP * frequency / N_FFT).max() < 0.01
        across = found[bins[1], 3:-3] - found[bins[0], 3:-3]
        exact = spectrum.angle()
        assert turns(across - (exact[bins[1], 3:-3] - exact[bins[0], 3:-3])).max() < 0.03


def check_pulse():
    """The phases of a short pulse are linear in frequency, by its distance from the start of the frame."""
    hop, place = 8, 1500
    pulse = torch.exp(-(((TIME - place) / 2.0) ** 2))
    spectrum = dsp.stft(pulse, N_FFT, hop)
    found = phase.phase_from_magnitude(spectrum.abs(), N_FFT, hop)
    for frame in (place // hop - 6, place // hop, place // hop + 5):
        exact = spectrum[:60, frame].angle()  # above, the pulse is below -40 dB
        # The window is not quite Gaussian: its derivatives differ by a few hundredths of a turn at its sides.
        assert turns(found[1:60, frame] - found[:59, frame] - (exact[1:] - exact[:-1])).max() < 0.03


def convergence(sound, magnitude):
    """Spectral convergence in dB, mean over sounds: 20 log10(|| |STFT(x)| - A || / ||A||)."""
    missed = (dsp.stft(sound, N_FFT, HOP).abs() - magnitude).flatten(1).norm(dim=1)
    return float((20 * torch.log10(missed / magnitude.flatten(1).norm(dim=1))).mean())


def sounds():
    """A chirp, a decaying tone with harmonics, and both with noise, (4, frames)."""
    t = TIME / 8000
    chirp = torch.sin(2 * math.pi * (400 * t + 3000 * t**2))
    harmonics = sum(torch.sin(2 * math.pi * 170 * k * t + k) / k for k in range(1, 12)) * torch.exp(-6 * t)
    noise = 0.05 * torch.randn(len(t), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.stack([chirp, harmonics, chirp + noise, harmonics + noise])


def check_start():
    """From estimated phases 16 iterations are as good as 64 from random ones."""
    magnitude = dsp.stft(sounds(), N_FFT, HOP).abs()
    start = phase.phase_from_magnitude(magnitude, N_FFT, HOP)
    assert convergence(dsp.istft(torch.polar(magnitude, start), N_FFT, HOP), magnitude) < -15
    few = convergence(dsp.griffin_lim(magnitude, N_FFT, HOP, 16, phase=start), magnitude)
    many = convergence(dsp.griffin_lim(magnitude, N_FFT, HOP, 64), magnitude)
    assert few < many + 0.5


def check_loop():
    """Tones that fill a loop: frames at the seam are as good as those inside, and better than from random phases."""
    cycles, length = (301, 97, 613), 48 * HOP
    t = torch.arange(length, dtype=torch.float64) / length
    loop = sum(torch.sin(2 * math.pi * n * t + n) for n in cycles)[None]
    magnitude = dsp.stft(loop, N_FFT, HOP, loop=True).abs()

    def errors(iterations, start):
        made = dsp.griffin_lim(magnitude, N_FFT, HOP, iterations, loop=True, phase=start)
        error = (dsp.stft(made, N_FFT, HOP, loop=True).abs() - magnitude).square().sum((0, 1)).sqrt()
        error = error / magnitude.square().sum((0, 1)).sqrt()
        return float(torch.cat([error[:4], error[-4:]]).mean()), float(error[8:-8].mean())

    seam, inside = errors(4, phase.phase_from_magnitude(magnitude, N_FFT, HOP, loop=True))
    assert seam < 1.3 * inside and seam < errors(64, None)[0]


CHECKS = (check_tones, check_pulse, check_start, check_loop)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_estimated_phases(check):
    check()


@pytest.mark.parametrize(
    ("check", "function", "error"),
    [
        (check_tones, phase.phase_from_magnitude, scale_expression(call_target("_derivative"), -1)),
        (check_tones, phase._trapezoids, swap_operator(ast.Add, ast.Sub)),
        (check_pulse, phase.phase_from_magnitude, scale_expression(call_target("_derivative"), -1, at=1)),
        (check_pulse, phase.phase_from_magnitude, scale_expression(variable_target("_HANN_GAMMA"), 2)),
        (check_start, phase.phase_from_magnitude, scale_expression(call_target("_derivative"), -1, at=None)),
        (check_loop, phase.phase_from_magnitude, drop_statement(variable_target("left_over"), at=-1)),
        (check_start, phase._nearest_maximum, keep_left_operand(ast.BitAnd)),
    ],
)
def test_planted_errors_are_caught(check, function, error):
    with planted_error(phase, function.__name__, error):
        assert_caught(check)


def test_a_phase_does_not_depend_on_the_batch_and_silence_is_finite():
    magnitude = dsp.stft(sounds(), N_FFT, HOP).abs().float()
    together = phase.phase_from_magnitude(magnitude, N_FFT, HOP)
    for i in range(len(magnitude)):
        torch.testing.assert_close(together[i], phase.phase_from_magnitude(magnitude[i], N_FFT, HOP), atol=0, rtol=0)
    stereo = phase.phase_from_magnitude(magnitude.reshape(2, 2, *magnitude.shape[1:]), N_FFT, HOP)
    assert torch.equal(stereo.flatten(0, 1), together)
    assert torch.isfinite(phase.phase_from_magnitude(torch.zeros(129, 5), N_FFT, HOP)).all()


def test_rounding_changes_little():
    """Mel inversion makes plateaus, on which the place of a maximum would be a matter of rounding."""
    magnitude = dsp.stft(sounds(), N_FFT, HOP).abs()
    filters = dsp.mel_filters(N_FFT, 8000.0, 16).double()
    plateaus = (filters @ magnitude).repeat_interleave(9, dim=1)[:, : N_FFT // 2 + 1]
    generator = torch.Generator().manual_seed(0)
    for given in (magnitude, plateaus):
        noisy = given * (1 + 1e-7 * torch.randn(given.shape, generator=generator, dtype=torch.float64))
        a, b = (phase.phase_from_magnitude(x, N_FFT, HOP) for x in (given, noisy))
        loud = given > 1e-3 * given.amax()
        assert turns(a - b)[loud].max() < 1e-3


def test_maxima_that_depend_on_rounding_are_caught(monkeypatch):
    monkeypatch.setattr(phase, "_EQUAL", 0.0)
    assert_caught(test_rounding_changes_little)


def codec(**options):
    spec = MediaSpec("audio", 1, ("time",), (FRAMES * HOP,), (8000.0,))
    made = Logmel(spec, N_FFT, HOP, 48, limit="reference", **options).double()  # it is not fitted
    made.reference.fill_(float(dsp.stft(sounds(), N_FFT, HOP).abs().max()))
    return made


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_bands_of_amplitude_and_of_power(power):
    """A tone of twice the amplitude has bands that are twice as large; bands of power of noise add up as powers do."""
    made = codec(power=power)
    media = sounds()[:, None]
    bands = made._bands(media)
    torch.testing.assert_close(made._bands(2 * media), 2 * bands)
    spectrum = dsp.stft(media, N_FFT, HOP).abs()
    exact = (made.filters.double() @ spectrum**power) ** (1 / power)
    torch.testing.assert_close(bands, exact[:, 0])
    decoded = made.decode(made.encode(media))
    again = made._bands(decoded)
    assert float((again - bands).norm() / bands.norm()) < 0.2


def test_gradients_of_silence_are_finite():
    for power in (1.0, 2.0):
        made, media = codec(power=power), torch.zeros(1, 1, FRAMES * HOP, dtype=torch.float64, requires_grad=True)
        z = made.encode(media)
        (z.sum() + made.decode(z).sum()).backward()
        assert media.grad is not None and torch.isfinite(media.grad).all()


def test_a_bad_power_is_refused():
    with pytest.raises(BadInput, match=r"codec.power lies between 1 and 4; got 9"):
        codec(power=9.0)


def check_continued():
    """The missing middle of a tone has the phase of the whole tone, also in a loop, without iterations."""
    for loop, missing in ((False, slice(900, 1500)), (True, slice(0, 700))):
        tone = torch.cos(2 * math.pi * 523 / len(TIME) * TIME + 1)  # whole periods; 13.075 of them in a hop
        known = torch.ones(1, len(tone), dtype=torch.bool)
        known[:, missing] = False
        spectrum = dsp.stft(tone[None], N_FFT, HOP, loop)
        frames = dsp.known_frames(known, N_FFT, HOP, loop)
        assert 0 < int((~frames).sum()) < FRAMES // 2
        start = phase.phase_from_magnitude(spectrum.abs(), N_FFT, HOP, loop, (spectrum.angle(), frames))
        strong = spectrum.abs() > 0.3 * spectrum.abs().max()
        assert turns(start - spectrum.angle())[strong].max() < 0.05
        assert torch.equal(dsp.known_frames(torch.ones_like(known), N_FFT, HOP, loop), torch.ones_like(frames))


def test_the_phase_of_a_missing_part_continues_the_known_one():
    check_continued()


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("_continued", swap_operator(ast.LtE, ast.Gt)),
        ("_continued", negate_expression(variable_target("change"), at=-1)),
        ("_integrated", swap_operator(ast.Sub, ast.Add)),
    ],
)
def test_a_planted_error_of_the_continuation_is_caught(function, error):
    with planted_error(phase, function, error):
        assert_caught(check_continued)
