"""Seams of loops: a circle has none, a cut has one."""

import ast

import pytest
import torch
from sonolux.core.evaluation import seams as module
from sonolux.core.evaluation.seams import measure_loop_seams, measure_window_joints
from sonolux.core.testing.mutation import (
    assert_caught,
    keep_left_operand,
    planted_error,
    replace_expression,
    set_argument,
    swap_operator,
)
from sonolux.core.types import BadInput
from sonolux.core.util.rng import keyed_generator


def circles(count=300, n=512, seed=0):
    """Smooth noise on a circle: a circular moving mean of white noise."""
    white = torch.from_numpy(keyed_generator(seed, 0, "circles").standard_normal((count, 1, n)))
    return list(sum(white.roll(k, -1) for k in range(6)) / 6**0.5)


def check(measure):
    whole = measure(circles(), 16)
    assert abs(whole.jump - 1) < 0.2 and abs(float(whole.chance.mean()) - 1) < 0.05
    assert whole.chance.quantile(0.01) <= whole.jump <= whole.chance.quantile(0.99)
    cut = measure([x[..., :300] for x in circles()], 16)
    assert cut.jump > 1.5
    faded = torch.ones(512, dtype=torch.float64)
    faded[:8] = faded[-8:] = 0.1
    dull = measure([x * faded for x in circles()], 16)
    assert float(dull.level.median()) < -12 and abs(float(dull.inside.median())) < 1
    assert dull.share_within()[0] < 0.1 < dull.share_within()[1]
    picture = torch.stack(circles(64, 128))[:, 0][None]  # rows are circles, columns are strangers
    assert measure([picture], 8).jump < 1.6


@pytest.mark.slow
def test_seams_tell_circles_from_cuts_and_fades():
    check(measure_loop_seams)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        replace_expression(ast.Sub, "x[:, 0] - x[:, 1]"),
        set_argument("roll", 0, "-n // 4"),
        swap_operator(ast.Div, ast.Mult, near="places"),
    ],
)
def test_a_planted_error_of_seams_is_caught(error):
    with planted_error(module, "measure_loop_seams", error):
        assert_caught(check, measure_loop_seams)


def test_what_is_too_short_is_refused():
    with pytest.raises(BadInput, match="four parts"):
        measure_loop_seams([torch.zeros(1, 10)], 8)


def check_joints(measure):
    """Pieces of smooth noise put in a row have their seams where they meet; a fade around a place lowers it there."""
    row = torch.cat(circles(12, 512), -1)[None, 0]  # (1, 6144): strangers meet at every 512
    meet = [512 * k for k in range(1, 12)]
    inside = [512 * k + 200 for k in range(1, 11)]
    cut = measure([row], meet, 32)
    assert cut.jump > 1.8 and abs(float(cut.chance.mean()) - 1) < 0.25 and float(cut.chance.max()) < cut.jump
    assert 0.5 < measure([row], inside, 32).jump < 1.6
    assert cut.level.shape == (11,) and abs(float(cut.level.median())) < 3
    dull = row.clone()
    for p in inside:
        dull[:, p - 16 : p + 16] *= 0.1
    assert float(measure([dull], inside, 32).level.median()) < -17 and measure([dull], inside, 32).share_within() == 0
    assert abs(float(measure([dull], [p + 100 for p in inside], 32).level.median())) < 2.5


def test_joints_tell_where_pieces_meet():
    check_joints(measure_window_joints)


@pytest.mark.parametrize(
    "error",
    [
        keep_left_operand(ast.Sub, near="by"),
        replace_expression(ast.Subscript, "x[:, p + part : p + 2 * part]", near="half"),
    ],
)
def test_a_planted_error_of_joints_is_caught(error):
    with planted_error(module, "measure_window_joints", error):
        assert_caught(check_joints, measure_window_joints)


def test_joints_outside_are_refused():
    with pytest.raises(BadInput, match="from the ends"):
        measure_window_joints([torch.zeros(1, 100)], [4], 16)
