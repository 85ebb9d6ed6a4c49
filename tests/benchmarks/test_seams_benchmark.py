"""Where windows meet in a long sound, and the step of the spectrum there."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sonolux.core.testing.mutation import argument_target, assert_caught, mutated_function, replace_expression
from sonolux.core.types import MediaSpec
from sonolux.modalities.audio.codecs.waveform import Waveform

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import seams

RATE = 8000.0


def run():
    """A run of 1 s at 8 kHz whose codec has a place for every 16 samples."""
    spec = MediaSpec("audio", 1, ("time",), (8000,), (RATE,))
    return SimpleNamespace(codec=Waveform(spec), components=SimpleNamespace(spec=SimpleNamespace(latent=(16, 500))))


def check_places(find):
    assert find(run(), 16000, 0.0) == [8000]
    assert find(run(), 16000, 0.5) == [4000, 8000, 12000]
    padded = find(run(), 15990, 0.0)  # fills no whole number of places: windows stay where they are
    assert padded and all(p % 16 == 0 for p in padded)
    assert find(run(), 15985, 0.0) == [8000]


def test_joints_lie_where_windows_begin_and_end():
    check_places(seams.places_of_joints)


def test_planted_share_of_the_length_is_caught():
    assert_caught(
        check_places, mutated_function(seams.places_of_joints, replace_expression(ast.Mult, "at * frames // full[0]"))
    )


def check_steps(measure):
    """A tone that gives way to another has a step there and none elsewhere; a step of 20 dB in level is 20 dB."""
    t = torch.arange(16000) / RATE
    change = torch.cat([torch.sin(6.2832 * 440 * t[:8000]), torch.sin(6.2832 * 1600 * t[:8000])])[None]
    steps = measure([change], [4000, 8000], RATE)
    assert steps.shape == (1, 2) and float(steps[0, 1]) > 5 > 1 > float(steps[0, 0])
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    noise[:, 8000:] *= 10
    steps = measure([noise], [4000, 8000], RATE)
    assert float(steps[0, 1]) == pytest.approx(20, abs=2) and float(steps[0, 0]) < 3


def test_steps_of_spectra():
    check_steps(seams.steps_of_spectra)


def test_planted_place_is_caught():
    assert_caught(
        check_steps,
        mutated_function(seams.steps_of_spectra, replace_expression(argument_target("bands", 0), "mono[p - half : p]")),
    )
