"""Single numbers of sounds: known values, and planted errors."""

import ast
import math

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_constant, swap_operator
from sonolux.modalities.audio import measures, tonality
from sonolux.modalities.audio.measures import measure_sounds

RATE = 8000


def tone(hertz=400.0, seconds=0.5):
    return torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)[None]


def noise(seconds=0.5):
    return torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def measured(*sounds):
    return {one.key: one.values.tolist() for one in measure_sounds(sounds, RATE)}


def check_known_values():
    rise = (torch.arange(4000) / 800).clamp(max=1)
    octave = 0.4 * tone(200.0) + 0.5 * tone(400.0)  # the autocorrelation also has a small maximum at half the period
    found = measured(0.5 * tone(), torch.cat([torch.zeros(1, 800), 0.1 * noise()], 1), rise * tone(1000.0), octave)
    assert found["pitch"][3] == pytest.approx(200, rel=0.01)
    assert found["pitch"][0] == pytest.approx(400, rel=0.01) and found["pitch"][2] == pytest.approx(1000, rel=0.01)
    assert math.isnan(found["pitch"][1]) and found["pitched"][0] > 95 and found["pitched"][1] < 20
    assert found["harmonic_to_noise"][0] > 20 and found["harmonic_to_noise"][1] < 0
    assert found["flatness"][0] < -30 and found["flatness"][1] > -4
    assert found["bandwidth"][0] == pytest.approx(400, abs=5) and found["bandwidth"][1] == pytest.approx(3800, abs=60)
    assert found["level"][0] == pytest.approx(-9.03, abs=0.1) and found["level"][1] == pytest.approx(-20, abs=0.5)
    assert found["peak"][0] == pytest.approx(-6.02, abs=0.1)
    assert found["attack"][2] == pytest.approx(80, abs=6) and found["attack"][0] < 5
    assert found["length"][1] == pytest.approx(500, abs=5) and found["floor"][1] < found["floor"][0]


def test_known_values():
    check_known_values()


def test_silence_has_no_number_except_its_peak():
    found = measured(torch.zeros(2, 500), torch.zeros(1, 0))
    assert all(math.isnan(v) for key, values in found.items() for v in values if key != "peak")
    assert found["peak"] == [-120.0, -120.0]


@pytest.mark.parametrize(
    ("owner", "function", "mutation"),
    [
        (measures, "roll_off", swap_operator(ast.Mult, ast.Div)),
        (measures, "attack_time", swap_constant(0.9, 0.2)),
        (measures, "attack_time", swap_operator(ast.Sub, ast.Add)),
        (tonality, "periodicity_of_windows", swap_operator(ast.Add, ast.Sub)),
        (tonality, "periodicity_of_windows", swap_constant(0.9, 0.1)),
    ],
)
def test_planted_errors_are_caught(owner, function, mutation):
    with planted_error(owner, function, mutation):
        assert_caught(check_known_values)
