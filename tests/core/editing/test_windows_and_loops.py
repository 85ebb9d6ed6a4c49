"""Windows and loops on data that is known exactly: what they make at their borders is what they make inside."""

import ast

import numpy as np
import pytest
import torch
from sonolux.core.editing import loops
from sonolux.core.editing import window_operator as operators
from sonolux.core.editing.loops import LoopEdit, roll_each_sample
from sonolux.core.editing.window_operator import WindowOperator
from sonolux.core.editing.windows import WindowedEdit
from sonolux.core.guidance.base import SamplingRun
from sonolux.core.pipeline.functional import sample
from sonolux.core.testing.dense import ar1_sequences
from sonolux.core.testing.field import band_limited_field
from sonolux.core.testing.mutation import (
    assert_caught,
    attribute_target,
    call_target,
    planted_error,
    replace_expression,
    rewrite_node,
    swap_operator,
)
from sonolux.core.types import BadInput, Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

CASES = [
    ((8,), (8,), 0.5, ()),
    ((8,), (29,), 0.0, ()),
    ((8,), (29,), 0.5, ()),
    ((8,), (29,), 0.9, (0,)),
    ((4, 6), (9, 13), 0.5, ()),
    ((4, 6), (9, 13), 0.25, (0, 1)),
]


def at_random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check_operator(cls):
    """A^+ A = 1, A^+ is the weighted least-squares inverse, every window has the size asked for."""
    for size, full, overlap, wrap in CASES:
        A = cls(size, full, overlap, wrap)
        x = at_random(2, 3, *full)
        made = [A.cut_window(x, i).clone() for i in range(len(A))]
        assert all(y.shape[2:] == size for y in made)
        assert torch.allclose(A.inverse(iter(made)), x, atol=1e-12)
        y = [at_random(1, 1, *size, seed=i) for i in range(len(A))]
        matrix, weight = [], []
        for i in range(len(A)):
            index = torch.arange(int(np.prod(full))).reshape(1, 1, *full)
            matrix.append(torch.nn.functional.one_hot(A.cut_window(index, i).flatten(), int(np.prod(full))).double())
            weight.append(operators._outer([operators._bell(n) for n in size]).flatten())
        M, w = torch.cat(matrix), torch.cat(weight).sqrt()[:, None]
        solved = torch.linalg.lstsq(w * M, w * torch.cat([one.flatten() for one in y])[:, None]).solution
        assert torch.allclose(A.inverse(iter(y)).flatten(), solved.flatten(), atol=1e-9)


def test_windows_have_a_pseudo_inverse():
    check_operator(WindowOperator)


PLANTED = [
    (
        WindowOperator,
        "__init__",
        rewrite_node("+= becomes =", ast.AugAssign, lambda n: ast.Assign([n.target], n.value, lineno=0)),
    ),
    (operators, "_places", replace_expression(ast.Mod, "(torch.arange(n) + start) % (whole - 1)")),
    (WindowOperator, "inverse", replace_expression(attribute_target("share"), "self.weights")),
]


@pytest.mark.parametrize(("owner", "function", "error"), PLANTED)
def test_a_planted_error_in_windows_is_caught(owner, function, error):
    with planted_error(owner, function, error):
        assert_caught(check_operator, WindowOperator, also=(IndexError, RuntimeError))


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match="do not fit"):
        WindowOperator((9,), (8,))
    with pytest.raises(BadInput, match=r"0 to 0\.9"):
        WindowOperator((4,), (8,), 1.0)


# --- windows of a correlated sequence -------------------------------------------------------------------------------

SMALL = ar1_sequences(16, 0.9)


def jumps(x):
    """Mean squared difference of neighbours at every place, (n - 1,)."""
    return x[:, 0].double().diff(dim=-1).square().mean(0)


def check_long_sequences(edit):
    """Sequences three times as long as the data: neighbours differ as in the data, at every place."""
    x = sample(SMALL, (1500, 1, 48), "edm", sampler="heun", steps=24, edits=[edit])
    found = jumps(x)
    assert torch.isfinite(x).all() and abs(x.double().var().item() - 1) < 0.15
    assert found.max() < 1.3 * 0.2 and found.min() > 0.6 * 0.2, found


@pytest.mark.slow
def test_windows_leave_no_seam_in_a_long_sequence():
    check_long_sequences(WindowedEdit((16,), 0.75))


def test_windows_that_do_not_overlap_are_caught():
    assert_caught(check_long_sequences, WindowedEdit((16,), 0.0))


def test_windows_take_maps_masks_and_stacked_rows():
    """A constant map gives what the number gives; a guidance may stack the rows."""
    seen = []

    class Sees:
        def denoise(self, x, level, conditions):
            seen.append((tuple(x.shape), tuple(level.sigma.shape), tuple(conditions.valid.shape), conditions.wrap))
            return Estimate(x * level.sigma)

    denoiser = WindowedEdit((4,), 0.5).wrap_network(Sees(), SamplingRun(KeyedNoise(0, [0], (1, 10))))
    x, sigma = at_random(6, 1, 10), torch.full((6, 1, 10), 0.3, dtype=torch.float64)
    told = Conditioning(valid=torch.ones(6, 1, 10), wrap=(0,))
    made = denoiser.denoise(x, NoiseLevel(sigma, 1 - sigma, sigma), told).x0
    assert torch.allclose(made, 0.3 * x, atol=1e-12)
    assert set(seen) == {((6, 1, 4), (6, 1, 4), (6, 1, 4), ())}


class SeesConcat:
    """The estimate is x plus the channels that the network receives next to it."""

    def denoise(self, x, level, conditions):
        (name,) = conditions.concat
        assert conditions.unconditional[name].shape[2:] in (conditions.concat[name].shape[2:], (1,) * (x.ndim - 2))
        return Estimate(x + conditions.concat[name] - 2 * conditions.unconditional[name])


def check_concat(edit):
    """Channels next to x are rolled and cut like x, and so are the unconditional ones; axes of size 1 stay."""
    denoiser = edit.wrap_network(SeesConcat(), SamplingRun(KeyedNoise(0, range(3), (1, 10))))
    x, channels = at_random(3, 1, 10), at_random(3, 1, 10, seed=1)
    for null in (at_random(3, 1, 10, seed=2), at_random(3, 1, 1, seed=2)):
        conditions = Conditioning(concat={"edges": channels}, unconditional={"edges": null})
        made = denoiser.denoise(x, NoiseLevel(0.5, 0.5, 0.5), conditions).x0
        assert torch.allclose(made, x + channels - 2 * null)


@pytest.mark.parametrize("edit", [LoopEdit((0,)), WindowedEdit((4,), 0.5)], ids=lambda edit: type(edit).__name__)
def test_channels_next_to_x_are_rolled_and_cut_with_it(edit):
    check_concat(edit)


@pytest.mark.parametrize("edit", [LoopEdit((0,)), WindowedEdit((4,), 0.5)], ids=lambda edit: type(edit).__name__)
def test_planted_channels_that_stay_where_they_are_are_caught(edit):
    for part in ("unconditional=unconditional", "concat=concat"):
        with planted_error(
            Conditioning, "mapped", replace_expression(call_target("replace"), f"replace(self, {part})")
        ):
            assert_caught(check_concat, edit, also=(RuntimeError,))


# --- loops ----------------------------------------------------------------------------------------------------------


def check_turns(function):
    x = at_random(3, 2, 5, 7)
    by = (torch.tensor([0, 3, -2]), torch.tensor([6, 1, 10]))
    made = function(x, [(2, by[0]), (3, by[1])])
    for row in range(3):
        assert torch.equal(made[row], x[row].roll((int(by[0][row]), int(by[1][row])), (1, 2)))


def test_turns_are_rolls():
    check_turns(roll_each_sample)


def test_a_turn_the_wrong_way_is_caught():
    assert_caught(check_turns, lambda x, turns: roll_each_sample(x, [(dim, -by) for dim, by in turns]))


def check_nothing_changes(cls):
    field = band_limited_field((24,))
    plain, looped = (
        sample(field, (4, *field.shape), "edm", sampler="heun", steps=6, edits=edits) for edits in ([], [cls((0,))])
    )
    assert torch.allclose(plain, looped, atol=1e-4)


def test_turns_change_nothing_where_the_denoiser_knows_no_place():
    check_nothing_changes(LoopEdit)


def test_a_planted_turn_that_is_not_undone_is_caught():
    with planted_error(loops._RolledDenoiser, "denoise", swap_operator(ast.USub, ast.UAdd)):
        assert_caught(check_nothing_changes, LoopEdit)


def seam(edits, seed=0):
    """Mean squared jump from the last element to the first, over that inside, of sequences whose ends are strangers."""
    x = sample(SMALL, (1500, 1, 16), "edm", sampler="heun", steps=24, edits=edits, seed=seed)[:, 0].double()
    return float((x[:, 0] - x[:, -1]).square().mean() / x.diff(dim=-1).square().mean())


def check_seam(edits):
    assert abs(seam(edits) - 1) < 0.1


def test_a_loop_has_no_seam_whatever_the_denoiser_does_at_its_edges():
    check_seam([LoopEdit((0,))])


@pytest.mark.slow
def test_a_loop_of_windows_has_no_seam():
    x = sample(SMALL, (1500, 1, 40), "edm", sampler="heun", steps=24, edits=[WindowedEdit((16,), 0.6, (0,))])[
        :, 0
    ].double()
    assert abs(float((x[:, 0] - x[:, -1]).square().mean() / x.diff(dim=-1).square().mean()) - 1) < 0.15


def test_loops_without_turns_are_caught(monkeypatch):
    monkeypatch.setattr(LoopEdit, "wrap_network", lambda self, denoiser, run: denoiser)
    assert_caught(check_seam, [LoopEdit((0,))])


def test_the_batch_does_not_change_a_loop():
    whole = sample(SMALL, (5, 1, 16), "edm", steps=6, edits=[LoopEdit((0,))], seed=3)
    for i in range(5):
        alone = sample(SMALL, (1, 1, 16), "edm", steps=6, edits=[LoopEdit((0,))], seed=3, first=i)
        assert torch.allclose(alone[0], whole[i], atol=1e-5)
    assert loops.roll_each_sample(whole, []) is whole
