"""Mixtures of classes, and values between two values."""

import ast

import pytest
import torch
from sonolux.core.conditioning.class_ import Class
from sonolux.core.conditioning.labels import Labels
from sonolux.core.conditioning.scalar import Scalar
from sonolux.core.nn.layers.init import reset_parameters
from sonolux.core.testing.mutation import (
    assert_caught,
    keep_left_operand,
    mutated_class,
    replace_expression,
    variable_target,
)
from sonolux.core.types import BadInput, MediaSpec

SIGNAL = MediaSpec("image", 1, ("height", "width"), (4, 4), classes=("coin", "jump", "laser"))


def made(cls=Class):
    condition = cls(SIGNAL, 5)
    reset_parameters(condition, 1)
    return condition


def check_mixture(cls):
    """A mixture's row is the weighted mean of its classes' rows; one class alone is that class; show parses again."""
    condition = made(cls)
    value = condition.parse({"coin": 1, "jump": 3})
    rows = condition.embed([value, 2, condition.parse({"laser": 0.2, "coin": 0})])
    assert torch.allclose(rows[0], 0.25 * condition.rows.weight[0] + 0.75 * condition.rows.weight[1])
    assert torch.allclose(rows[1:], condition.rows.weight[2].expand(2, -1))
    assert condition.format_value(value) == {"coin": 0.25, "jump": 0.75}
    assert condition.parse(condition.format_value(value)) == value
    assert condition.interpolate(0, 1, 0.25) == ((0, 0.75), (1, 0.25)) and condition.interpolate(0, 0, 0.3) == 0
    assert condition.interpolate(value, 2, 0.5) == ((0, 0.125), (1, 0.375), (2, 0.5))


def test_a_mixture_is_a_weighted_mean():
    check_mixture(Class)


@pytest.mark.parametrize(
    "error",
    [
        ("_mixture", keep_left_operand(ast.Div)),
        (
            "interpolate",
            replace_expression(ast.Sub, "share"),
            replace_expression(variable_target("share"), "1 - share", at=-1),
        ),
        ("embed", replace_expression(variable_target("weight"), "1")),
    ],
)
def test_a_planted_error_of_mixtures_is_caught(error):
    method, *mutations = error
    assert_caught(check_mixture, mutated_class(Class, method, *mutations))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"coin": -1}, "0 or more"),
        ({"coin": "much"}, "0 or more"),
        ({}, "above 0"),
        ({"coyn": 1}, "coin"),
        ({"coin": 0}, "above 0"),
    ],
)
def test_a_mixture_that_is_none_is_refused(value, said):
    with pytest.raises(BadInput, match=said):
        made().parse(value)


def test_numbers_lie_between_on_their_own_scale_and_labels_take_the_nearer():
    assert Scalar(4, "seconds", [0.1, 10]).interpolate(1.0, 3.0, 0.25) == 1.5
    assert Scalar(4, "seconds", [0.1, 10], log=True).interpolate(1.0, 4.0, 0.5) == pytest.approx(2.0)
    labels = Labels(4, "shape", ["a", "b"])
    assert labels.interpolate((0,), (1,), 0.4) == (0,) and labels.interpolate((0,), (1,), 0.6) == (1,)
