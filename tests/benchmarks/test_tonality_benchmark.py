"""The table of tones and peaks: one row for each class and set of sounds, with the figures of these sounds alone."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "tonality.py"


@pytest.fixture(scope="module")
def module():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_tonality", FILE)
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


def glide(octaves, peak=0.5):
    seconds = torch.arange(8000) / 8000
    return peak * torch.sin(2 * math.pi * torch.cumsum(600 * 2 ** (octaves * (seconds - 0.5)) / 8000, 0))[None]


def check_table(module):
    noise = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    sounds = [glide(2.0), glide(-2.0), 0.1 * noise, 1.5 * glide(0.0, 1.0)]
    lines = module.table({"some": (sounds, ["up", "down", "hiss", "up"])}, 8000.0, False)
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in lines if "some" in line}
    harmonic, flat, sweep = (float(v) for v in rows["down", "some"])
    assert harmonic > 20 and flat < -20 and abs(sweep - 2) < 0.1, "the absolute value of the slope"
    assert float(rows["up", "some"][2]) == pytest.approx(1.0, abs=0.1), "the mean of 2 and 0"
    assert float(rows["hiss", "some"][0]) < 0 and float(rows["hiss", "some"][1]) > -4
    assert lines[-1].split()[2:] == ["25%", "/", "25%", "25%", "0.50"]


def test_the_table_describes_each_class(module):
    check_table(module)


def test_planted_table_that_mixes_classes_is_caught(module, monkeypatch):
    figures = module.figures
    monkeypatch.setattr(module, "figures", lambda sounds, rate: figures(sounds[::-1], rate))
    assert_caught(check_table, module)


def test_a_run_of_pictures_is_refused(module, tiny_run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tonality.py", str(tiny_run("image"))])
    assert module.main() == 2 and "makes no sounds" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_measured_and_drawn(module, tiny_run, capsys, monkeypatch, tmp_path):
    sheet = tmp_path / "sheet.png"
    monkeypatch.setattr(
        sys, "argv", ["tonality.py", str(tiny_run("audio")), "--count", "14", "--sheet", str(sheet), "--set", "steps=2"]
    )
    assert module.main() == 0 and sheet.stat().st_size > 1000
    out = capsys.readouterr().out
    assert "codec of run" in out and "laser" in out and "median peak" in out
