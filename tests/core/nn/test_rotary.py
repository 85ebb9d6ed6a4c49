"""Rotary positions: logits depend on differences of positions, along loops on differences around the circle."""

import ast
import math

import pytest
import torch
from sonolux.core.nn.layers import rotary
from sonolux.core.nn.layers.rotary import BASE, rotate, rotation_at
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    condition_target,
    drop_call,
    planted_error,
    replace_expression,
    set_argument,
    swap_operator,
)
from sonolux.core.util.rng import keyed_generator

DIM = 14  # seven pairs: uneven shares of the axes


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(keyed_generator(5, 0, "rotary", shape).standard_normal(shape))


def logits(size: tuple[int, ...], wrap: tuple[int, ...] = ()) -> torch.Tensor:
    """Products of one query with one key at all pairs of positions, (N, N)."""
    q, k = drawn(2, DIM).unbind()
    rotation = rotation_at(size, DIM, wrap, q)
    count = math.prod(size)
    return rotate(q.expand(count, -1), rotation) @ rotate(k.expand(count, -1), rotation).mT


def closed_form(size: tuple[int, ...], wrap: tuple[int, ...] = ()) -> torch.Tensor:
    """Re sum over pairs of q conj(k) exp(i f (position of q - position of k)) with complex numbers."""
    q, k = (torch.complex(v[: DIM // 2], v[DIM // 2 :]) for v in drawn(2, DIM).unbind())
    shares = [DIM // 2 // len(size) + (axis < DIM // 2 % len(size)) for axis in range(len(size))]
    grid = torch.cartesian_prod(*(torch.arange(n) for n in size)).reshape(-1, len(size)).double()
    total, start = torch.zeros(len(grid), len(grid), dtype=torch.complex128), 0
    for axis, share in enumerate(shares):
        difference = grid[:, None, axis] - grid[None, :, axis]
        for j in range(share):
            f = BASE ** (-j / share)
            if axis in wrap:
                f = round(f * size[axis] / (2 * math.pi)) * 2 * math.pi / size[axis]
            total += q[start + j] * k[start + j].conj() * torch.exp(1j * f * difference)
        start += share
    return total.real


def check_closed_form(size: tuple[int, ...], wrap: tuple[int, ...] = ()) -> None:
    torch.testing.assert_close(logits(size, wrap), closed_form(size, wrap), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "wrap"), [((9,), ()), ((9,), (0,)), ((4, 5), ()), ((4, 5), (1,)), ((2, 3, 4), (0, 2))]
)
def test_logits_are_the_closed_form(size, wrap):
    check_closed_form(size, wrap)


def check_shift() -> None:
    """Logits of a part of the grid do not depend on where the part is, nor on the size of the grid."""
    whole = logits((6, 7)).reshape(6, 7, 6, 7)
    torch.testing.assert_close(whole[2:, 3:, 2:, 3:], logits((4, 4)).reshape(4, 4, 4, 4), rtol=1e-12, atol=1e-12)


def test_logits_do_not_change_with_a_shift():
    check_shift()


def check_roll() -> None:
    """Along a loop, rolling both positions leaves the logits."""
    whole = logits((3, 7), (1,)).reshape(3, 7, 3, 7)
    torch.testing.assert_close(whole.roll((2, 2), (1, 3)), whole, rtol=1e-12, atol=1e-12)
    assert (whole.roll((1, 1), (0, 2)) - whole).abs().max() > 0.1


def test_logits_do_not_change_with_a_roll_of_a_loop():
    check_roll()


def test_the_norm_is_kept_and_bfloat16_is_rotated_in_float32():
    x = drawn(5, DIM)
    rotation = rotation_at((5,), DIM, (), x)
    torch.testing.assert_close(rotate(x, rotation).norm(dim=-1), x.norm(dim=-1))
    low = x.bfloat16()
    exact = rotate(low.float(), rotation_at((5,), DIM, (), low))
    assert rotation_at((5,), DIM, (), low).cos.dtype == torch.float32
    assert torch.equal(rotate(low, rotation_at((5,), DIM, (), low)), exact.bfloat16())


def check_cache() -> None:
    """A rotation is computed once for each grid, circular axis, head, dtype; training can use one of inference mode."""
    rotary._rotation.cache_clear()
    with torch.inference_mode():
        first = rotation_at((4, 5), DIM, (), torch.zeros(1))
    assert rotation_at([4, 5], DIM, [], torch.zeros(1, dtype=torch.bfloat16)) is first, "the same is computed again"
    assert not first.cos.is_inference() and not first.cos.requires_grad
    x = torch.zeros(20, DIM, requires_grad=True)
    rotate(x, first).sum().backward()
    others = [
        rotation_at((5, 4), DIM, (), x),
        rotation_at((4, 5), DIM, (1,), x),
        rotation_at((4, 5), 2 * DIM, (), x),
        rotation_at((4, 5), DIM, (), x.double()),
    ]
    assert all(
        one.cos.shape != first.cos.shape or one.cos.dtype != first.cos.dtype or not torch.equal(one.cos, first.cos)
        for one in others
    )
    assert rotary._rotation.cache_info().currsize <= 4, "the kept rotations have no bound"


def test_a_rotation_is_computed_once():
    check_cache()


def test_a_planted_tensor_of_inference_mode_is_caught():
    with planted_error(rotary, "rotation_at", set_argument("inference_mode", 0, "True")):
        assert_caught(check_cache)


@pytest.mark.slow
def test_graphs_compute_rotations_themselves():
    """Under torch.compile and torch.export nothing is kept, and the results are the same."""
    x = drawn(20, DIM)
    expected = rotate(x, rotation_at((4, 5), DIM, (), x))

    class Rotate(torch.nn.Module):
        def forward(self, x):
            return rotate(x, rotation_at((4, 5), DIM, (), x))

    rotary._rotation.cache_clear()
    torch._dynamo.reset()
    compiled = torch.compile(Rotate(), backend="eager", fullgraph=True)(x)
    exported = torch.export.export(Rotate(), (x,), strict=False).module()(x)
    torch.testing.assert_close([compiled, exported], [expected, expected])
    assert not rotary._rotation.cache_info().currsize


PLANTED = {
    "wrong direction of a half": (rotary.rotate, swap_operator(ast.Sub, ast.Add), check_closed_form, ((9,),)),
    "absolute positions": (rotary.rotate, swap_operator(ast.Add, ast.Sub), check_shift, ()),
    "frequencies of a loop not rounded": (rotary._rotation, drop_call("round"), check_roll, ()),
    "no loop": (rotary._rotation, replace_expression(condition_target(), "False", at=1), check_roll, ()),
    "equal frequencies": (
        rotary._rotation,
        replace_expression(call_target("arange"), "0 * _", at=0),
        check_closed_form,
        ((9,),),
    ),
}


@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(error):
    function, mutation, check, args = PLANTED[error]
    with planted_error(rotary, function.__name__, mutation):
        assert_caught(check, *args)
