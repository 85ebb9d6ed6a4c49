"""Every prediction: round trip, gain, ends; formulas of the papers."""

import ast

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.parameterizations.edm import EDM
from sonolux.core.parameterizations.eps import Eps
from sonolux.core.parameterizations.flow import Flow
from sonolux.core.parameterizations.v import V
from sonolux.core.parameterizations.x0 import X0
from sonolux.core.testing.conformance import check_parameterization
from sonolux.core.testing.mutation import (
    assert_caught,
    keep_right_operand,
    mutated_class,
    negate_expression,
    planted_error,
    replace_expression,
    swap_attribute,
    swap_operands,
    swap_operator,
)
from sonolux.core.types import BadInput, NoiseLevel

BUILT_IN = {name: registry.find_class("prediction", name) for name in registry.builtin_files("prediction")}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_prediction_holds_the_contract(name):
    check_parameterization(BUILT_IN[name]())


def check_targets(classes):
    x0, eps = torch.tensor([2.0]).double(), torch.tensor([-1.0]).double()
    level = NoiseLevel(0.0, 0.6, 0.8)
    expected = {Eps: -1.0, X0: 2.0, V: 0.6 * -1 - 0.8 * 2, Flow: -1.0 - 2.0, EDM: 0.8 * 2 + 0.6}
    for cls, made in classes.items():
        assert float(made().target(x0, eps, level)) == pytest.approx(expected[cls], rel=1e-12), cls.__name__


def check_edm(cls):
    """Table 1 of EDM with sigma_data = 1: x0 = c_skip x + c_out F, x scaled by c_in."""
    x, output = torch.tensor([3.0]).double(), torch.tensor([0.5]).double()
    for sigma in (0.01, 1.0, 80.0):
        level = NoiseLevel(sigma, 1.0, sigma)
        c_skip, c_out, c_in = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1) ** 0.5, (1 + sigma**2) ** -0.5
        assert float(cls().x0(x, output, level)) == pytest.approx(c_skip * 3 + c_out * 0.5, rel=1e-12)
        assert cls().input_scale(level) == pytest.approx(c_in, rel=1e-12)


def test_targets():
    check_targets({cls: cls for cls in (Eps, X0, V, Flow, EDM)})


def test_edm_table():
    check_edm(EDM)


def test_targets_of_edm_have_unit_variance():
    x0, eps = torch.randn(2, 100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for alpha, sigma in ((1.0, 5.0), (0.3, 0.7), (0.0, 1.0), (1.0, 0.0)):
        assert float(EDM().target(x0, eps, NoiseLevel(0.0, alpha, sigma)).std()) == pytest.approx(1, abs=0.01)


def check_loss_carried(v, x0):
    """An x0 network trained with a v loss minimises the v error: (gain_v / gain_x0)^2 (output - x0)^2."""
    level = NoiseLevel(0.0, 0.3, 0.95)
    data, noise, output = (torch.tensor([u]).double() for u in (0.7, -0.4, 0.9))
    x = level.alpha * data + level.sigma * noise
    implied = v.target(output, (x - level.alpha * output) / level.sigma, level)
    error = (implied - v.target(data, noise, level)) ** 2
    carried = (v.gain(level) / x0.gain(level)) ** 2 * (output - data) ** 2
    assert float(carried) == pytest.approx(float(error), rel=1e-10)


def test_a_loss_is_carried_between_spaces():
    check_loss_carried(V(), X0())


def test_eps_is_refused_at_alpha_zero():
    for level in (NoiseLevel(1.0, 0.0, 1.0), NoiseLevel(torch.ones(2), torch.tensor([0.0, 0.5]), torch.ones(2))):
        with pytest.raises(BadInput, match="parameterization: v"):
            Eps().check(level)
    Eps().check(NoiseLevel(1.0, 0.01, 1.0))
    for cls in (X0, V, Flow, EDM):
        cls().check(NoiseLevel(1.0, 0.0, 1.0))


PLANTED = [
    (Eps, "coefficients", negate_expression(ast.Div, at=-1)),
    (Eps, "gain", swap_attribute("alpha", "sigma")),
    (V, "target", swap_operator(ast.Sub, ast.Add)),
    (V, "coefficients", negate_expression(ast.Div, at=-1)),
    (V, "gain", keep_right_operand(ast.Div)),
    (Flow, "target", swap_operands(ast.Sub)),
    (Flow, "coefficients", replace_expression(ast.Add, "_ * 0 + 1")),
    (Flow, "gain", keep_right_operand(ast.Mult)),
    (X0, "gain", keep_right_operand(ast.Mult)),
    (EDM, "target", swap_operator(ast.Sub, ast.Add)),
    (EDM, "coefficients", swap_operator(ast.Div, ast.Mult)),
]


@pytest.mark.parametrize(("cls", "method", "error"), PLANTED)
def test_planted_error_is_caught(cls, method, error):
    with planted_error(cls, method, error):
        assert_caught(check_parameterization, cls())


@pytest.mark.parametrize(("cls", "error"), [(Flow, swap_operands(ast.Sub)), (EDM, swap_operator(ast.Sub, ast.Add))])
def test_planted_sign_of_a_target_is_caught(cls, error):
    assert_caught(check_targets, {cls: mutated_class(cls, "target", error)})


def test_a_sign_that_is_wrong_both_ways_is_caught():
    """A round trip alone would pass a v of the wrong sign everywhere; the paper's formula does not."""
    assert_caught(check_targets, {V: mutated_class(V, "target", swap_operands(ast.Sub))})


def test_planted_gain_is_caught():
    assert_caught(check_loss_carried, mutated_class(V, "gain", keep_right_operand(ast.Div))(), X0())


def test_planted_scale_of_edm_is_caught():
    assert_caught(check_edm, mutated_class(EDM, "coefficients", swap_operator(ast.Mult, ast.Div)))
