"""Attention to tokens: the formula, masks, several conditions, and U-Nets with and without it."""

import pytest
import torch
from sonolux.core.nn import spatial
from sonolux.core.nn.layers import attention
from sonolux.core.nn.layers.attention import CrossAttention
from sonolux.core.nn.layers.init import normal_
from sonolux.core.nn.layers.tokens import join_tokens, mean_token
from sonolux.core.nn.unet import UNetND
from sonolux.core.testing.conformance import check_network
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Conditioning, Tokens
from sonolux.core.util.rng import keyed_generator

LEVEL = torch.tensor([-1.0, 0.7], dtype=torch.float64)
MASK = torch.tensor([[True, True, False, False], [True, True, True, True]])


def drawn(*shape: int, seed: int = 6) -> torch.Tensor:
    return torch.from_numpy(keyed_generator(seed, 0, "tokens", shape).standard_normal(shape))


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """The module in float64 with every matrix random, also those that start at zero."""
    module = module.double()
    for name, p in module.named_parameters():
        if p.ndim > 1:
            normal_(p, keyed_generator(7, 0, "tokens", name), 0.3)
    return module


def net(**options) -> UNetND:
    return filled(UNetND(1, 3, **{"width": 8, "blocks": 1, "head_dim": 8, "cross_attention": [0, 1], **options}))


def check_formula() -> None:
    """W softmax(q k^T / sqrt(d)) v over the valid tokens of each row, head by head; q and k have an RMS of 1."""
    layer, x, values = filled(CrossAttention(8, 6, 4)), drawn(2, 5, 8), drawn(2, 4, 6)
    expected = []
    for row in range(2):
        q = layer.q(x[row])
        k, v = layer.kv(values[row][MASK[row]]).chunk(2, dim=-1)
        heads = []
        for h in range(2):
            part = slice(4 * h, 4 * h + 4)
            qn, kn = (a[:, part] / (a[:, part].square().mean(-1, keepdim=True) + 1e-5).sqrt() for a in (q, k))
            heads.append(torch.softmax(qn @ kn.mT / 2, dim=-1) @ v[:, part])
        expected.append(layer.out(torch.cat(heads, dim=-1)))
    torch.testing.assert_close(layer(x, Tokens(values, MASK)), torch.stack(expected))


def test_cross_attention_from_its_definition():
    check_formula()


def test_planted_a_mask_that_is_ignored_is_caught(monkeypatch):
    right = attention.attend
    monkeypatch.setattr(attention, "attend", lambda q, k, v, hidden=None: right(q, k, v))
    assert_caught(check_formula)


def test_planted_scale_of_the_logits_is_caught(monkeypatch):
    right = attention.attend
    monkeypatch.setattr(attention, "attend", lambda q, k, v, hidden=None: right(2 * q, k, v, hidden))
    assert_caught(check_formula)


def check_join() -> None:
    """All conditions along the sequence; the mean of the valid tokens, from a loop over them."""
    one, two = Tokens(drawn(2, 4, 6), MASK), Tokens(drawn(2, 1, 6), torch.tensor([[True], [False]]))
    joined = join_tokens({"text": one, "tags": two})
    assert joined.values.shape == (2, 5, 6) and joined.mask.tolist() == [
        [True, True, False, False, True],
        [True] * 4 + [False],
    ]
    for row, mean in enumerate(mean_token(joined)):
        valid = [*one.values[row][one.mask[row]], *two.values[row][two.mask[row]]]
        torch.testing.assert_close(mean, sum(valid) / len(valid))
    empty = Tokens(one.values, torch.zeros_like(MASK))
    assert mean_token(join_tokens({"text": empty})).abs().max() == 0
    assert join_tokens({}) is None


def test_conditions_are_joined_and_averaged():
    check_join()


def test_planted_mean_over_padding_is_caught(monkeypatch):
    monkeypatch.setitem(globals(), "mean_token", lambda tokens: tokens.values.mean(1))
    assert_caught(check_join)


def given(values: torch.Tensor, mask: torch.Tensor) -> Conditioning:
    return Conditioning({"label": drawn(2, 16)}, tokens={"text": Tokens(values, mask)})


def check_order_and_padding() -> None:
    """A network does not depend on the order of tokens, on padding or on how tokens are split into conditions."""
    model, x, values = net(), drawn(2, 3, 16), drawn(2, 4, 16)
    out = model(x, LEVEL, given(values, MASK))
    for order in ([3, 2, 1, 0], [2, 0, 3, 1], [0, 2, 1, 3]):
        torch.testing.assert_close(model(x, LEVEL, given(values[:, order], MASK[:, order])), out)
    nan = torch.where(MASK[..., None], values, torch.nan)
    assert torch.equal(model(x, LEVEL, given(nan, MASK)), model(x, LEVEL, given(values, MASK)))
    parts = {"a": Tokens(values[:, :1], MASK[:, :1]), "b": Tokens(values[:, 1:], MASK[:, 1:])}
    torch.testing.assert_close(model(x, LEVEL, Conditioning({"label": drawn(2, 16)}, tokens=parts)), out)
    assert (model(x, LEVEL, given(values.flip(0), MASK)) - out).abs().max() > 1e-3


def test_the_order_of_tokens_and_their_padding_do_not_matter():
    check_order_and_padding()


def test_planted_masked_tokens_that_are_kept_are_caught(monkeypatch):
    monkeypatch.setattr(spatial, "join_tokens", lambda tokens: next(iter(tokens.values())))
    assert_caught(check_order_and_padding)


def test_without_it_the_network_is_as_before():
    plain, attends = UNetND(1, 3, width=8), UNetND(1, 3, width=8, cross_attention=[1], head_dim=8)
    assert plain.accepts == {"vector"} and attends.accepts == {"vector", "tokens"}
    added = set(attends.state_dict()) - set(plain.state_dict())
    assert added and all(name.startswith("token_mean") or ".cross." in name for name in added)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, attends.state_dict()[name]), name
    x, level = drawn(2, 3, 16).float(), LEVEL.float()
    assert torch.equal(net().float()(x, level), net().float()(x, level, Conditioning()))


def test_a_stage_attends_only_if_it_is_named():
    model = UNetND(1, 3, width=8, stages=[1, 1, 1], cross_attention=[1], head_dim=8)
    assert [stage.cross is not None for stage in model.down] == [False, True, False]
    assert [stage.cross is not None for stage in model.up] == [False, True]
    with pytest.raises(BadInput, match=r"cross_attention names stages 0 \(finest\) to 1, not \[2\]"):
        UNetND(1, 3, cross_attention=[2])
    with pytest.raises(BadInput, match="head_dim"):
        UNetND(1, 3, width=12, cross_attention=[0])


def test_bfloat16_agrees_with_float32():
    model, x, record = net().float(), drawn(2, 3, 16).float(), given(drawn(2, 4, 16).float(), MASK)
    record = Conditioning({"label": drawn(2, 16).float()}, tokens=record.tokens)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x, LEVEL.float(), record)
    exact = model(x, LEVEL.float(), record)
    assert (low - exact).abs().max() < 0.05 * exact.abs().max()


def check_conformance() -> None:
    check_network(UNetND(1, 3, width=8, blocks=1, cross_attention=[0, 1], head_dim=8), (3, 16), wrap=(0,), step=2)


def test_conforms():
    check_conformance()


PLANTED = {
    "mask ignored in attention": (attention, "attend", lambda q, k, v, hidden=None, _f=attention.attend: _f(q, k, v)),
    "masked tokens count in the mean": (spatial, "mean_token", lambda tokens: tokens.values.mean(1)),
    "only the first condition": (
        spatial,
        "join_tokens",
        lambda tokens: join_tokens(dict([next(iter(tokens.items()))])),
    ),
    "no tokens": (spatial, "join_tokens", lambda tokens: None),
    "rows mixed": (
        spatial,
        "join_tokens",
        lambda tokens: Tokens(*(part.roll(1, 0) for part in join_tokens(tokens))),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(error, monkeypatch):
    monkeypatch.setattr(*PLANTED[error])
    assert_caught(check_conformance)
