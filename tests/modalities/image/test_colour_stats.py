"""Features of colours in closed form."""

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_call, swap_constant
from sonolux.core.types import BadInput
from sonolux.modalities.image.features.colour_stats import ColourStats


def check_stripes():
    """Columns of -1 and 1: mean 0, deviation 1, change 2 along a row at the finest scale, 0 at the next ones."""
    picture = torch.tensor([-1.0, 1.0]).repeat(4).expand(1, 8, 8)
    expected = [0, 1, -1, 1, 0, 2, 0, 0, 0, 0]
    assert ColourStats()([picture, -picture]).tolist() == [expected, expected]


def test_stripes():
    check_stripes()


@pytest.mark.parametrize(
    "error", [swap_call("amin", "amax"), swap_constant(False, True), swap_constant(2, 1, at=-1)], ids=str
)
def test_planted_errors_are_caught(error):
    with planted_error(ColourStats, "_one", error):
        assert_caught(check_stripes)


def test_any_size_and_options_in_range():
    assert ColourStats(8)([torch.zeros(3, 1, 5)]).shape == (1, 3 * 20)
    with pytest.raises(BadInput, match="scales"):
        ColourStats(0)
