"""Loss weightings: the contract, and the formulas of the papers in every space."""

import ast
import itertools

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.objectives.weightings.edm import EDM
from sonolux.core.objectives.weightings.min_snr import MinSNR
from sonolux.core.objectives.weightings.none import Unweighted
from sonolux.core.testing.conformance import check_weighting
from sonolux.core.testing.mutation import (
    assert_caught,
    drop_call,
    keep_right_operand,
    mutated_class,
    swap_attribute,
    swap_call,
    swap_constant,
    swap_operator,
)
from sonolux.core.types import BadInput, NoiseLevel

PREDICTIONS = {name: registry.find_class("prediction", name)() for name in registry.builtin_files("prediction")}
ALPHA = torch.tensor([1.0, 1.0, 0.6, 0.05, 0.7, 0.0, 1.0], dtype=torch.float64)
SIGMA = torch.tensor([0.01, 60.0, 0.8, 0.95, 0.3, 1.0, 0.0], dtype=torch.float64)
INSIDE = NoiseLevel(ALPHA[:5], ALPHA[:5], SIGMA[:5])
BOTH_ENDS = NoiseLevel(ALPHA, ALPHA, SIGMA)


@pytest.mark.parametrize(
    ("name", "space"),
    list(itertools.product(registry.builtin_files("weighting"), registry.builtin_files("prediction"))),
)
def test_every_weighting_holds_the_contract(name, space):
    check_weighting(registry.find_class("weighting", name)(), PREDICTIONS[space])


def close(a, b):
    assert torch.allclose(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-9), (a, b)


def check_edm(cls):
    a, s = INSIDE.alpha, INSIDE.sigma
    weight = {space: cls().weight(INSIDE, PREDICTIONS[space]) for space in PREDICTIONS}
    close(weight["edm"], torch.ones(5).double())
    close(weight["x0"], (a**2 + s**2) / s**2)  # the paper's (sigma^2 + 1) / sigma^2 at alpha = 1
    close(weight["eps"], (a**2 + s**2) / a**2)
    close(weight["v"], 1 / (a**2 + s**2))
    close(weight["flow"], (a**2 + s**2) / (a + s) ** 2)


def check_min_snr(cls):
    snr = (INSIDE.alpha / INSIDE.sigma) ** 2
    weight = {space: cls(gamma=5.0).weight(INSIDE, PREDICTIONS[space]) for space in PREDICTIONS}
    close(weight["x0"], snr.clamp(max=5))
    close(weight["eps"], snr.clamp(max=5) / snr)
    vp = NoiseLevel(0.0, *torch.tensor([[0.6, 0.96], [0.8, 0.28]], dtype=torch.float64))
    snr = (vp.alpha / vp.sigma) ** 2
    close(cls().weight(vp, PREDICTIONS["v"]), snr.clamp(max=5) / (snr + 1))  # section 3.4 of the paper
    # The limits: at alpha = 0 and at sigma = 0 nothing is divided by zero.
    ends = {space: cls().weight(BOTH_ENDS, PREDICTIONS[space])[5:] for space in PREDICTIONS}
    close(ends["x0"], torch.tensor([0.0, 5.0]).double())
    close(ends["eps"], torch.tensor([1.0, 0.0]).double())
    close(ends["v"], torch.tensor([0.0, 0.0]).double())


def check_same_loss(cls):
    """A weighted squared error is the same number in whichever space it is taken."""
    x0, eps, guess = (torch.tensor([v]).double() for v in (0.7, -0.4, 0.9))
    for a, s in zip(INSIDE.alpha, INSIDE.sigma, strict=True):
        level = NoiseLevel(a, a, s)
        x = a * x0 + s * eps
        losses = []
        for prediction in PREDICTIONS.values():
            error = prediction.target(guess, (x - a * guess) / s, level) - prediction.target(x0, eps, level)
            losses.append(cls().weight(level, prediction) * error**2)
        close(torch.stack(losses), losses[0].expand(len(losses), 1))


def test_edm():
    check_edm(EDM)


def test_min_snr():
    check_min_snr(MinSNR)


@pytest.mark.parametrize("cls", [EDM, MinSNR])
def test_the_loss_does_not_depend_on_the_space(cls):
    check_same_loss(cls)


def test_none_is_one_of_the_levels_shape():
    assert torch.equal(Unweighted().weight(INSIDE, PREDICTIONS["v"]), torch.ones(5).double())


@pytest.mark.parametrize(
    ("cls", "check", "error"),
    [
        (EDM, check_edm, swap_operator(ast.USub, ast.UAdd)),
        (EDM, check_same_loss, swap_constant(2, 1)),
        (MinSNR, check_min_snr, swap_attribute("sigma", "alpha")),
        (MinSNR, check_min_snr, swap_call("minimum", "maximum")),
        (MinSNR, check_min_snr, drop_call("clamp_level")),
        (MinSNR, check_min_snr, keep_right_operand(ast.Mult, at=1)),
    ],
)
def test_planted_error_is_caught(cls, check, error):
    assert_caught(check, mutated_class(cls, "weight", error))


def test_gamma_is_positive():
    with pytest.raises(BadInput, match="gamma"):
        MinSNR(gamma=0)
