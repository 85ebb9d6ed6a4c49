"""benchmarks/throughput.py: the network of every problem makes a step, and its random numbers can be drawn."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
throughput = importlib.import_module("throughput")


@pytest.mark.slow
@pytest.mark.parametrize("problem", throughput.PROBLEMS, ids=lambda problem: problem.name)
def test_a_step_of_every_problem(problem):
    small = replace(problem, batch=1)
    [first, *_] = [setting for setting in throughput.settings(small, "cpu") if setting.precision == "float32"]
    first.step()
    for setting in throughput.random_numbers(small, "cpu"):
        setting.step()
    assert first.parameters > 0
