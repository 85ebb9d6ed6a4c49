"""Each fault of sounds on one made with just that fault, on clean ones, and against plain numpy."""

import math

import numpy as np
import pytest
import torch
from sonolux.core.types import BadInput
from sonolux.modalities.audio import defects

RATE = 8000.0


def clean(n=12, seed=0):
    """Struck tones with a little noise, (1, 6000), as loud as they may be."""
    rng, t = torch.Generator().manual_seed(seed), torch.arange(6000) / RATE
    out = []
    for _ in range(n):
        pitch, fade = (float(x) for x in torch.rand(2, generator=rng))
        wave = torch.sin(2 * math.pi * (200 + 900 * pitch) * t) * torch.exp(-t * (4 + 8 * fade))
        wave = wave * (t * 200).clamp(max=1) + 1e-4 * torch.randn(6000, generator=rng)
        out.append(0.7 * (wave / wave.abs().max())[None])
    return out


def clicked(wave):
    wave = wave.clone()
    wave[0, [1500, 3000, 4500]] += torch.tensor([0.4, -0.4, 0.4])
    return wave


FAULTS = {
    "silent": lambda w: 5e-4 * w,
    "clipped": lambda w: (4 * w).clamp(-1, 1),
    "offset": lambda w: 0.6 * w + 0.05,
    "clicks": clicked,
    "noise_floor": lambda w: w + 0.15 * torch.randn(w.shape, generator=torch.Generator().manual_seed(1)),
    "high_share": lambda w: w * torch.cos(math.pi * 0.9 * torch.arange(w.shape[-1])),
}


def flags(sounds, loop=False):
    return {d.key: d.flags.tolist() for d in defects.measure_defects(sounds, clean(seed=1), RATE, loop)}


def check_fault(key):
    """Every faulty sound has the fault, and no clean one has any."""
    assert all(flags([FAULTS[key](w) for w in clean(6)])[key])
    assert not any(any(found) for found in flags(clean()).values())


@pytest.mark.slow
@pytest.mark.parametrize("key", FAULTS)
def test_a_fault_is_counted(key):
    check_fault(key)


def test_every_counter_has_its_fault():
    assert set(flags(clean(3))) == set(FAULTS)


def check_clicks():
    wave = clean(1)[0]
    assert defects.count_clicks(wave, RATE) == 0 and defects.count_clicks(clicked(wave), RATE) == 3
    burst = torch.zeros(1, 6000)
    burst[:, 2000:4000] = 0.5 * torch.randn(2000, generator=torch.Generator().manual_seed(2))
    assert defects.count_clicks(burst, RATE) == 0, "noise that starts and ends at once is an attack, no click"
    assert defects.count_clicks(torch.zeros(1, 6000), RATE) == 0 and defects.count_clicks(torch.zeros(1, 5), RATE) == 0


def check_numbers():
    """The definitions in plain numpy."""
    wave = clean(1, seed=4)[0]
    x = wave[0].double().numpy()
    power = np.abs(np.fft.rfft(x)) ** 2
    wanted = 10 * math.log10(power[len(power) // 2 :].sum() / power.sum())
    assert defects.high_frequency_share(wave) == pytest.approx(wanted, abs=1e-6)
    blocks = np.sqrt((x[: len(x) // 80 * 80].reshape(-1, 80) ** 2).mean(1))
    wanted = 20 * math.log10(np.quantile(blocks, 0.1) / blocks.max())
    assert defects.noise_floor(wave, RATE) == pytest.approx(wanted, abs=0.1)
    assert defects.noise_floor(torch.zeros(1, 6000), RATE) == -120 == defects.high_frequency_share(torch.zeros(1, 6000))


PLANTED = {
    "clicks": (torch, "maximum", lambda true: torch.minimum),
    "noise_floor": (torch.Tensor, "quantile", lambda true: lambda x, q: true(x, 1.0 if q == 0.1 else q)),
    "high_share": (torch.fft, "rfft", lambda true: lambda x: true(x).flip(-1)),
    "offset": (defects, "largest_dc_offset", lambda true: lambda wave: true(wave) - 1.0),
    "clipped": (defects, "is_clipped", lambda true: lambda media: true(0.5 * media)),
    "silent": (defects, "is_silent", lambda true: lambda media: true(100 * media)),
}


@pytest.mark.slow
@pytest.mark.parametrize("key", PLANTED)
def test_a_planted_error_is_caught(key, monkeypatch):
    place, name, plant = PLANTED[key]
    with monkeypatch.context() as m, pytest.raises(AssertionError):
        m.setattr(place, name, plant(getattr(place, name)))
        check_fault(key)
        check_clicks()
        check_numbers()


def test_clicks_are_counted_and_attacks_are_none():
    check_clicks()


def test_numbers_against_numpy():
    check_numbers()


def loops(shift=0.0):
    """Six tones that close, (1, 4000); with `shift`, a step of that height at the seam."""
    t, ramp = torch.arange(4000) / RATE, torch.linspace(0, shift, 4000)
    return [(0.4 * torch.sin(2 * math.pi * k * 2 * t + k) + ramp)[None] for k in range(100, 106)]


def test_seams_of_loops():
    found = {d.key: d for d in defects.measure_defects(loops(), clean(), RATE, loop=True)}
    assert not found["seam_jump"].flags.any() and not found["seam_level"].flags.any()
    assert float(found["seam_jump"].values.median()) < 1.6
    broken = {d.key: d for d in defects.measure_defects(loops(0.9), clean(), RATE, loop=True)}
    assert broken["seam_jump"].flags.all()
    faded = [
        w * (torch.arange(4000) / 200).clamp(max=1) * ((3999 - torch.arange(4000)) / 200).clamp(max=1) for w in loops()
    ]
    assert {d.key: d for d in defects.measure_defects(faded, clean(), RATE, loop=True)}["seam_level"].flags.all()
    jump, usual = defects.seam_jump(loops(0.9)[0])
    x = loops(0.9)[0][0].double().numpy()
    assert jump == pytest.approx(abs(x[0] - x[-1])) and usual == pytest.approx(np.median(np.abs(np.diff(x))), rel=1e-3)
    with pytest.raises(BadInput, match="its seam"):
        defects.seam_jump(torch.zeros(1, 3))


def test_lengths_and_channels_of_any_kind():
    sounds = [torch.rand(2, n) - 0.5 for n in (40, 400, 4001)]
    assert all(
        len(d.values) == 3 and bool(d.values.isfinite().all())
        for d in defects.measure_defects(sounds, sounds, RATE, True)
    )


def tones(n=6, frames=400):
    t = torch.arange(frames) / 8000
    return torch.stack([0.5 * torch.sin(2 * math.pi * 200 * (k + 1) * t)[None] for k in range(n)])


def check_levels():
    made = tones()
    assert not defects.is_silent(made).any() and not defects.is_clipped(made).any()
    made[0] *= 1e-3  # a peak of -66 dB
    made[1] *= 1.9  # a peak just under full scale
    made[2] = (2.6 * made[2]).clamp(-1, 1)
    made[3] = made[3].clone()
    made[3, 0, [100, 102, 104, 106]] = 1.0  # touches full scale four times, and stays nowhere
    made[4, 0, 50:52], made[4, 0, 52:54] = 1.0, -1.0  # four extremes in a row, but on two sides
    assert defects.is_silent(made).nonzero().flatten().tolist() == [0]
    assert defects.is_clipped(made).nonzero().flatten().tolist() == [2]


def test_silent_and_clipped_sounds_are_counted():
    check_levels()


@pytest.mark.parametrize("planted", [lambda at, run: at.flatten(1).sum(1) >= run, lambda at, run: at.flatten(1).any(1)])
def test_planted_errors_of_clipping_are_caught(planted, monkeypatch):
    monkeypatch.setattr(defects, "_stays", planted)
    with pytest.raises(AssertionError):
        check_levels()


def test_sounds_that_cannot_be_measured_are_refused():
    with pytest.raises(BadInput, match="1 examples hold NaN"):
        defects.is_silent(torch.tensor([[[0.0, math.nan]], [[0.0, 1.0]]]))
    with pytest.raises(BadInput, match="give"):
        defects.is_clipped(torch.zeros(4, 100))
