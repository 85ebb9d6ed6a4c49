"""Requirements of every network, as one function that raises AssertionError; plugins call it through `conformance`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.layers.init import normal_
from ..types import Conditioning, Tokens
from ..util.rng import keyed_generator

_ROWS = 3


def check_network(
    network: nn.Module,
    shape: Sequence[int],
    wrap: Sequence[int] = (),
    step: int = 1,
    concat: Sequence[int] = (),
) -> None:
    """Shape, gradients, independence of the rows, tokens, maps of noise levels, padding, and loops.

    The checks run on a copy in float64 in which layers that start at zero have random weights.

    Args:
        network: Takes (x, level, conditions), see `Conditioning`; conditions are vectors and, if its attribute
            `accepts` contains them, tokens of `embedding_width` and channels.
        shape: (C, *spatial), where all axes are multiples of `step`.
        wrap: Axes that may be circular.
        step: The network is equivariant to rolls by multiples of this number of elements.
        concat: Number of channels of each condition that the network was built to receive next to x.
    """
    network = _awake(network)
    x, level = _normal(_ROWS, *shape), torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    rows = _conditions(network, shape, concat)
    out = network(x, level, rows)
    assert out.shape == x.shape and out.isfinite().all(), "the output is finite and has the shape of the input"
    out.square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without, f"every parameter has a finite gradient, but {without[:3]}"
    with torch.no_grad():
        for row in range(_ROWS):
            alone = network(x[row : row + 1], level[row : row + 1], rows.rows([row]))
            assert _near(alone, out[row : row + 1]), "a row does not depend on the others"
        for kind in ("vector", "tokens", "concat"):
            other = replace(rows, **{kind: getattr(rows.rows([1, 2, 0]), kind)})
            assert not getattr(rows, kind) or not _near(network(x, level, other), out), f"conditions ({kind}) matter"
        assert not _near(network(x, level.flip(0), rows), out), "the noise level matters"
        _check_tokens(network, x, level, rows, out)
        _check_map(network, x, level, rows, out)
        _check_padding(network, x, level, rows)
        _check_loop(network, x, level, rows, wrap, step)


def _conditions(network: nn.Module, shape: Sequence[int], concat: Sequence[int]) -> Conditioning:
    """Conditions of every kind that the network accepts; the second row has fewer tokens."""
    width, accepts = int(network.embedding_width), getattr(network, "accepts", {"vector"})  # type: ignore[arg-type]
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, True]])
    tokens = {
        "text": Tokens(_normal(_ROWS, 3, width), mask),
        "tags": Tokens(_normal(_ROWS, 2, width), torch.ones(_ROWS, 2, dtype=torch.bool)),
    }
    vector = {"label": _normal(_ROWS, width)} if "vector" in accepts else {}
    channels = {f"reference{i}": _normal(_ROWS, n, *shape[1:]) for i, n in enumerate(concat)}
    return Conditioning(vector, tokens=tokens if "tokens" in accepts else {}, concat=channels)


def _check_tokens(network: nn.Module, x: Tensor, level: Tensor, rows: Conditioning, out: Tensor) -> None:
    """Neither the values nor the number of masked tokens matter, and each condition matters."""
    for name, (values, mask) in rows.tokens.items():
        filled = torch.where(mask[..., None], values, 100.0)
        longer = Tokens(F.pad(filled, (0, 0, 0, 2), value=-100.0), F.pad(mask, (0, 2)))
        for same in (Tokens(filled, mask), longer):
            assert _near(network(x, level, replace(rows, tokens={**rows.tokens, name: same})), out), (
                "masked tokens do not matter"
            )
        other = replace(rows, tokens={**rows.tokens, name: Tokens(values.flip(0), mask)})
        assert not _near(network(x, level, other), out), f"every token condition matters, also {name}"
        nothing = replace(rows, tokens={**rows.tokens, name: Tokens(values, torch.zeros_like(mask))})
        assert network(x, level, nothing).isfinite().all(), "a row may have no token"


def _check_map(network: nn.Module, x: Tensor, level: Tensor, rows: Conditioning, out: Tensor) -> None:
    spread = level.reshape(-1, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:]).clone()
    assert torch.equal(network(x, spread, rows), out), "a constant map gives the result of the number, bit for bit"
    spread[0, ..., -1] += 1
    mixed = network(x, spread, rows)
    assert torch.equal(mixed[1:], out[1:]) and not _near(mixed[:1], out[:1]), "a map acts where levels differ"


def _check_padding(network: nn.Module, x: Tensor, level: Tensor, rows: Conditioning) -> None:
    """Half of the last axis is padding: neither its values nor its size change the other half."""
    half = x.shape[-1] // 2
    valid = torch.ones_like(x[:, :1])
    valid[..., half:] = 0
    cut = rows.mapped(lambda field: field[..., :half])
    short = network(x[..., :half], level, replace(cut, valid=valid[..., :half]))
    for filling in (x, 100 * x.flip(0)):
        filled = torch.cat([x[..., :half], filling[..., half:]], -1)
        padded = network(filled, level, replace(rows, valid=valid))[..., :half]
        assert _near(padded, short), "padding does not matter"


def _check_loop(
    network: nn.Module, x: Tensor, level: Tensor, rows: Conditioning, wrap: Sequence[int], step: int
) -> None:
    for axis in wrap:
        loop = replace(rows, wrap=(axis,))
        plain = network(x, level, loop)
        for shift in (step, -3 * step):
            around = loop.mapped(lambda field, n=shift, at=2 + axis: field.roll(n, at))
            rolled = network(x.roll(shift, 2 + axis), level, around)
            assert _near(rolled, plain.roll(shift, 2 + axis)), f"a loop along axis {axis} may begin anywhere"
        assert not _near(network(x, level, rows), plain), "a loop differs from what has ends"


def _awake(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network).double()
    for name, p in network.named_parameters():
        if p.ndim > 1 and not p.data.any():
            normal_(p, keyed_generator(0, 0, "awake", name), 0.1)
    return network


def _normal(*shape: int) -> Tensor:
    return torch.from_numpy(keyed_generator(0, 0, "check network", shape).standard_normal(shape))


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 1e-6 * b.abs().max())
