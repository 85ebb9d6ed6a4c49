"""The transformer blocks at the coarsest resolution of the U-Nets."""

import pytest
import torch
from sonolux.core.nn import unet
from sonolux.core.nn.layers import transformer_block
from sonolux.core.nn.layers.init import normal_
from sonolux.core.nn.layers.inputs import BlockInputs
from sonolux.core.nn.layers.rotary import rotation_at
from sonolux.core.nn.layers.transformer_block import SequenceInputs
from sonolux.core.nn.unet import UNetND
from sonolux.core.testing.conformance import check_network
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Tokens
from sonolux.core.util.rng import keyed_generator

LEVEL = torch.tensor([-1.0, 0.7])


def net(**options) -> UNetND:
    return UNetND(1, 3, **{"width": 8, "blocks": 1, "head_dim": 8, "cross_attention": [0], "transformer": 2, **options})


def filled(module: UNetND) -> UNetND:
    """The module with every matrix random, also those that start at zero."""
    for name, p in module.named_parameters():
        if p.ndim > 1:
            normal_(p, keyed_generator(7, 0, "transformer", name), 0.3)
    return module


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(keyed_generator(6, 0, "x", shape).standard_normal(shape)).float()


def test_at_first_the_network_is_the_one_without_it():
    plain, with_blocks = net(transformer=0), net()
    added = set(with_blocks.state_dict()) - set(plain.state_dict())
    assert added and all(name.startswith("transformer.") for name in added)
    shared = {name: with_blocks.state_dict()[name] for name in plain.state_dict()}
    assert all(torch.equal(value, shared[name]) for name, value in plain.state_dict().items())
    filled_plain = filled(plain)
    with_blocks.load_state_dict(filled_plain.state_dict(), strict=False)
    x = drawn(2, 3, 16)
    torch.testing.assert_close(with_blocks(x, LEVEL), filled_plain(x, LEVEL))


def check_order() -> None:
    """The blocks receive the positions in row-major order, with the rotation of their place, and tokens."""
    model = filled(UNetND(2, 3, width=8, stages=[1], blocks=1, head_dim=8, cross_attention=[0], transformer=2)).eval()
    x, tokens = drawn(2, 8, 2, 3), Tokens(drawn(2, 4, 16), torch.ones(2, 4, dtype=torch.bool))
    embedding = drawn(2, 16)
    found = model._transform(x, BlockInputs(embedding[:, None, None], tokens=tokens))
    places = [(i, j) for i in range(2) for j in range(3)]
    rows = torch.stack([x[:, :, i, j] for i, j in places], dim=1)
    at = SequenceInputs(embedding[:, None], None, None, None, rotation_at((2, 3), 8, (), x), tokens)
    for block in model.transformer:
        rows = block(rows, at)
    for n, (i, j) in enumerate(places):
        torch.testing.assert_close(found[:, :, i, j], rows[:, n])


def test_order():
    check_order()


def check_conformance(**options) -> None:
    check_network(net(**options), (3, 16), wrap=(0,), step=2)


@pytest.mark.parametrize("options", [{}, {"cross_attention": []}, {"stages": [1, 2], "dropout": 0.1}], ids=str)
def test_conforms(options):
    check_conformance(**options)


PLANTED = {
    "circular axes have a border": (
        unet, "rotation_at", lambda size, d, wrap, x, _f=unet.rotation_at: _f(size, d, (), x),
    ),
    "padding is attended to": (
        transformer_block, "attend", lambda q, k, v, hidden=None, _f=transformer_block.attend: _f(q, k, v),
    ),
    "no blocks": (UNetND, "_transform", lambda self, x, inputs: x),
    "rows and columns exchanged": (
        unet, "rotation_at", lambda size, d, wrap, x, _f=unet.rotation_at: _f(size[::-1], d, wrap, x),
    ),
}  # fmt: skip


@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(error, monkeypatch):
    monkeypatch.setattr(*PLANTED[error])

    def checks() -> None:
        check_order()
        check_conformance()

    assert_caught(checks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transformer": -1}, "transformer is a number of blocks from 0 to 64, not -1"),
        ({"transformer": 65}, "not 65"),
        ({"transformer": 1, "head_dim": 1, "cross_attention": []}, "even head_dim of at least 2, not 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        net(**options)
