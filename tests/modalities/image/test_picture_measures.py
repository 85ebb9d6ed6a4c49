"""Single numbers of pictures: known values, and planted errors."""

import ast
import math

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.modalities.image import measures
from sonolux.modalities.image.measures import measure_pictures


def check_known_values():
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 8, 8)
    stripes = torch.ones(3, 8, 8)
    stripes[:, ::2] = -1
    found = {one.key: one.values.tolist() for one in measure_pictures([red, stripes, torch.zeros(1, 8, 8)])}
    assert found["brightness"] == pytest.approx([1 / 3, 0.5, 0.5])
    assert found["contrast"][:2] == pytest.approx([0, 1])
    assert found["saturation"][:2] == pytest.approx([1, 0]) and math.isnan(found["saturation"][2])
    assert found["sharpness"][1] == pytest.approx(10 * math.log10(2), abs=0.01)


def test_known_values():
    check_known_values()


@pytest.mark.parametrize("mutation", [swap_operator(ast.Add, ast.Sub), swap_operator(ast.Sub, ast.Add)])
def test_planted_errors_are_caught(mutation):
    with planted_error(measures, "measure_pictures", mutation):
        assert_caught(check_known_values)
