"""Every clock: finite at both ends, elementwise; the values that the formulas give."""

import ast
import math

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.noise_conditioning.c_noise import CNoise
from sonolux.core.noise_conditioning.index import ScaledTime
from sonolux.core.noise_conditioning.logsnr import LogSNR
from sonolux.core.noise_conditioning.tau import Tau
from sonolux.core.testing.conformance import check_noise_conditioning
from sonolux.core.testing.mutation import assert_caught, keep_left_operand, mutated_class, swap_constant, swap_operator
from sonolux.core.types import BadInput, NoiseLevel


@pytest.mark.parametrize("name", registry.builtin_files("clock"))
def test_every_clock_holds_the_contract(name):
    check_noise_conditioning(registry.find_class("clock", name)())


def check_values(classes):
    middle = NoiseLevel(250.0, 0.6, 0.8)
    expected = {
        CNoise: (math.log(0.8 / 0.6) / 4, 5.0, -5.0),
        LogSNR: (math.log(0.36 / 0.64) / 4, -5.0, 5.0),
        Tau: (10 * 0.8 / 1.4 - 5, 5.0, -5.0),
        ScaledTime: (2500 / 999 - 5, None, None),
    }
    for cls, made in classes.items():
        value, noise, clean = expected[cls]
        assert made().embedding_value(middle) == pytest.approx(value, rel=1e-12), cls.__name__
        if noise is not None:
            assert (
                made().embedding_value(NoiseLevel(1.0, 0.0, 1.0)),
                made().embedding_value(NoiseLevel(0.0, 1.0, 0.0)),
            ) == (noise, clean)


def test_values():
    check_values({cls: cls for cls in (CNoise, LogSNR, Tau, ScaledTime)})
    assert ScaledTime(last=1.0).embedding_value(NoiseLevel(0.25, 0.6, 0.8)) == pytest.approx(-2.5)


@pytest.mark.parametrize(
    ("cls", "error"),
    [
        (CNoise, swap_constant(4, 2)),
        (LogSNR, swap_operator(ast.USub, ast.UAdd)),
        (Tau, keep_left_operand(ast.Sub)),
        (ScaledTime, swap_constant(10, 5)),
    ],
)
def test_planted_error_is_caught(cls, error):
    assert_caught(check_values, {cls: mutated_class(cls, "embedding_value", error)})


def test_an_empty_range_is_refused():
    with pytest.raises(BadInput, match="first < last"):
        ScaledTime(first=1.0, last=1.0)


def test_time_is_what_a_network_trained_elsewhere_expects():
    from sonolux import sample

    told = []

    class Eps(torch.nn.Module):
        def forward(self, x, t):
            told.append(t.clone())
            return x * 0.5

    x = sample(Eps(), (2, 1, 8), schedule="discrete", prediction="eps", clock="time", spacing="trailing", steps=4)
    assert x.isfinite().all()
    assert [t.tolist() for t in told] == [[v, v] for v in (999.0, 749.0, 499.0, 249.0)]
