"""The real-time factor is seconds of work for a second of sound, whatever the codec, count or length."""

import ast
import importlib.util
import itertools
import sys
from pathlib import Path

import pytest
import torch
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    keep_left_operand,
    planted_error,
    replace_expression,
    swap_operands,
)

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "realtime.py"


def opened():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_realtime", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def check_factor(module, monkeypatch):
    """A clock on which every run takes 3 s: two sounds of 1 s have a factor of 1.5."""
    ticks = itertools.count(0, 3)
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(ticks)))
    row = module.measure("log-mel 8 kHz", [1, 2], torch.get_num_threads(), 2, repeats=2)
    assert row["factors"] == {1: 1.5, 2: 1.5} and row["batch seconds"] == 2.0
    assert row["weights"] > 1e6 and row["memory"] >= row["base"] > 5e7


@pytest.mark.slow
def test_the_factor(monkeypatch):
    module = opened()
    check_factor(module, monkeypatch)
    row = {"case": "x", "threads": 1, "weights": 2e6, "factors": {"8": 0.25}, "base": 2**20, "memory": 3 * 2**20}
    assert "| x | 2.0 M | 1 | 0.250 | 3 MiB |" in module.table([row], [8])


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        swap_operands(ast.Div, near="median"),
        keep_left_operand(ast.Div, near="median"),
        replace_expression(call_target("sum"), "made.media[0].shape[-1]"),
    ],
)
def test_planted_error_is_caught(error, monkeypatch):
    module = opened()
    with planted_error(module, "measure", error):
        assert_caught(check_factor, module, monkeypatch)


def test_every_case_names_a_recipe_that_ships():
    from sonolux.core.config.load import load_recipe

    for name, changes in opened().CASES.values():
        assert load_recipe(name, changes, partial=True).modality.use == "audio"
