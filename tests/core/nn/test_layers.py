"""Blocks against plain torch, rolling, padding, and one code for one, two and three axes."""

import pytest
import torch
import torch.nn.functional as F
from sonolux.core.nn.layers import conv as conv_module
from sonolux.core.nn.layers.attention import Attention
from sonolux.core.nn.layers.block import ResidualBlock
from sonolux.core.nn.layers.conv import make_conv, pad_axes
from sonolux.core.nn.layers.embedding import FourierFeatures
from sonolux.core.nn.layers.init import fan_in_uniform_, normal_, reset_parameters
from sonolux.core.nn.layers.inputs import BlockInputs
from sonolux.core.nn.layers.norm import GroupNorm, ModulatedNorm, group_count
from sonolux.core.nn.layers.resample import Downsample, Upsample, channels_to_space, mean_pool, space_to_channels
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.core.util.rng import keyed_generator

SIZES = {1: (12,), 2: (6, 8), 3: (4, 6, 2)}


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(keyed_generator(3, 0, "test", shape).standard_normal(shape))


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """The module in float64 with every parameter random, also those that start at zero."""
    module = module.double()
    for name, p in module.named_parameters():
        normal_(p, keyed_generator(4, 0, "test", name), 0.3)
    return module


def rolled(x: torch.Tensor, by: int, dims: int) -> torch.Tensor:
    return x.roll([by] * dims, dims=list(range(2, 2 + dims)))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_block_keeps_batch_and_halves_or_doubles(dims):
    x = drawn(2, 8, *SIZES[dims])
    half = tuple(n // 2 for n in SIZES[dims])
    assert filled(Downsample(dims, 8, 6))(x).shape == (2, 6, *half)
    assert filled(Upsample(dims, 6, 8))(drawn(2, 6, *half)).shape == x.shape
    assert filled(Attention(8, 4))(x).shape == x.shape
    assert filled(ResidualBlock(dims, 8, 12, 5))(x, BlockInputs(drawn(2, *[1] * dims, 5))).shape == (
        2,
        12,
        *SIZES[dims],
    )


def check_conv(dims: int) -> None:
    """Wrapping equals a plain convolution of the tensor laid end to end three times, cut back to the middle."""
    layer = filled(make_conv(dims, 3, 4))
    x = drawn(2, 3, *SIZES[dims])
    plain = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    torch.testing.assert_close(layer(x), plain(x, layer.weight, layer.bias, padding=1))
    tiled = x.repeat(1, 1, *[3] * dims)
    middle = (..., *(slice(n, 2 * n) for n in SIZES[dims]))
    torch.testing.assert_close(layer(x, tuple(range(dims))), plain(tiled, layer.weight, layer.bias, padding=1)[middle])


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv_equals_torch_and_wraps(dims):
    check_conv(dims)


def test_planted_error_in_circular_padding_is_caught(monkeypatch):
    right = conv_module.pad_axes
    monkeypatch.setattr(conv_module, "pad_axes", lambda x, amounts, mode: right(x, amounts, "replicate"))
    assert_caught(check_conv, 2)


def test_conv_wraps_one_axis_and_not_the_other():
    layer, x = filled(make_conv(2, 3, 4)), drawn(1, 3, 6, 8)
    along = layer(x.roll(2, dims=3), (1,))
    torch.testing.assert_close(along, layer(x, (1,)).roll(2, dims=3))
    assert not torch.allclose(layer(x.roll(2, dims=2), (1,)), layer(x, (1,)).roll(2, dims=2))


@pytest.mark.parametrize("dims", [1, 2])
def test_block_rolls_with_its_input(dims):
    block, x, e = filled(ResidualBlock(dims, 8, 8, 5)), drawn(2, 8, *SIZES[dims]), drawn(2, *[1] * dims, 5)
    told = BlockInputs(e, wrap=tuple(range(dims)))
    torch.testing.assert_close(block(rolled(x, 1, dims), told), rolled(block(x, told), 1, dims))


def check_modulated_norm(dims: int) -> None:
    """Group norm, then (1 + scale) and shift, from the definition; the same for a map of constant scale and shift."""
    x, scale, shift = drawn(3, 8, *SIZES[dims]), drawn(3, 8, *[1] * dims), drawn(3, 8, *[2] * dims)[..., :1]
    shift = shift[(..., *[slice(0, 1)] * dims)]
    norm = ModulatedNorm(8)
    g = x.reshape(3, norm.num_groups, -1)
    g = (g - g.mean(-1, keepdim=True)) / (g.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    expected = g.reshape(x.shape) * (1 + scale) + shift
    torch.testing.assert_close(norm(x, scale, shift), expected)
    torch.testing.assert_close(norm(x, scale.expand_as(x), shift.expand_as(x)), expected)
    if dims == 2:
        torch.testing.assert_close(norm(x.contiguous(memory_format=torch.channels_last), scale, shift), expected)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_modulated_norm_from_its_definition(dims):
    check_modulated_norm(dims)


def test_planted_error_in_group_norm_is_caught(monkeypatch):
    right = F.group_norm
    monkeypatch.setattr(F, "group_norm", lambda x, g, w=None, b=None, eps=0: right(x, g, w, b, 1e-2))
    assert_caught(check_modulated_norm, 2)


def test_modulated_norm_gradients_match_finite_differences():
    x, scale, shift = (drawn(*s).requires_grad_() for s in ((2, 8, 3), (2, 8, 1), (2, 8, 1)))
    assert torch.autograd.gradcheck(ModulatedNorm(8), (x, scale, shift))


def check_attention() -> None:
    """softmax(q k^T / sqrt(d)) v, head by head."""
    layer, x = filled(Attention(8, 4)), drawn(2, 8, 3, 5)
    tokens = layer.norm(x).flatten(2).mT
    q, k, v = layer.qkv(tokens).chunk(3, dim=-1)
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        heads.append(torch.softmax(q[..., part] @ k[..., part].mT / 2, dim=-1) @ v[..., part])
    expected = x + layer.out(torch.cat(heads, dim=-1)).mT.reshape(x.shape)
    torch.testing.assert_close(layer(x), expected)


def test_attention_from_its_definition():
    check_attention()


def test_planted_error_in_attention_is_caught(monkeypatch):
    right = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv, **named: right(*qkv, scale=1.0))
    assert_caught(check_attention)


def test_bfloat16_attention_agrees_with_float32():
    layer, x = filled(Attention(8, 4)).float(), drawn(2, 8, 30).float()
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert (low - layer(x)).abs().max() < 0.05 * layer(x).abs().max()


def test_attention_refuses_a_head_that_does_not_divide():
    with pytest.raises(BadInput, match="head_dim"):
        Attention(12, 8)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_fold_and_unfold_are_inverse_and_keep_blocks_together(dims):
    x = drawn(2, 3, *[6] * dims)
    folded = space_to_channels(x, 2)
    assert folded.shape == (2, 3 * 2**dims, *[3] * dims)
    assert torch.equal(channels_to_space(folded, 2), x)
    torch.testing.assert_close(folded.unflatten(1, (3, -1)).mean(2), mean_pool(x, 2))
    if dims == 2:
        assert torch.equal(folded, F.pixel_unshuffle(x, 2))


def test_circular_padding_goes_round_more_than_once():
    x = torch.arange(3.0).reshape(1, 1, 3)
    assert pad_axes(x, [(1, 5)], "circular").flatten().tolist() == [2, 0, 1, 2, 0, 1, 2, 0, 1]
    assert pad_axes(x, [(1, 1)], "replicate").flatten().tolist() == [0, 0, 1, 2, 2]
    assert pad_axes(x, [(1, 1)]).flatten().tolist() == [0, 0, 1, 2, 0]


def test_fourier_features_have_unit_mean_square_and_tell_close_levels_apart():
    features = FourierFeatures(64)
    u = torch.linspace(-5, 5, 1001)
    torch.testing.assert_close(features(u).square().mean(-1), torch.ones(1001))
    assert (features(u[1:]) - features(u[:-1])).norm(dim=-1).min() > 0.1


def test_groups_divide_channels():
    for c in (1, 3, 4, 8, 20, 48, 64, 100, 192, 512):
        assert c % group_count(c) == 0 and (group_count(c) == 1 or c // group_count(c) >= 4)


class _Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = make_conv(2, 8, 8)
        self.zero = make_conv(2, 8, 8, zero=True)
        self.norm = GroupNorm(8)
        self.plain = torch.nn.Conv1d(8, 8, 3)
        self.table = torch.nn.Embedding(5, 8)


def check_reset() -> None:
    """Weights follow from the seed; zero layers stay zero; the global generator is not moved."""
    torch.manual_seed(1)
    one, two = _Net(), _Net()
    before = torch.get_rng_state()
    reset_parameters(one, 5)
    reset_parameters(two, 5)
    assert torch.equal(torch.get_rng_state(), before)
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q), name
    assert one.zero.weight.abs().max() == 0 and (one.norm.weight == 1).all()
    assert one.a.weight.std().item() == pytest.approx((1 / 72) ** 0.5, rel=0.1)
    assert one.plain.weight.std().item() == pytest.approx((1 / 24) ** 0.5, rel=0.15)
    reset_parameters(two, 6)
    assert not torch.equal(one.a.weight, two.a.weight) and not torch.equal(one.table.weight, two.table.weight)


def test_weights_follow_from_the_seed_alone():
    check_reset()


def test_planted_error_in_the_seed_is_caught(monkeypatch):
    monkeypatch.setattr(
        "sonolux.core.nn.layers.init.keyed_generator",
        lambda seed, *key: keyed_generator(torch.randint(99, ()).item(), *key),
    )
    assert_caught(check_reset)


def test_fan_in_rule_has_the_variance_it_says():
    weight = torch.zeros(400, 100)
    fan_in_uniform_(weight, keyed_generator(0, 0, "test"))
    assert weight.var().item() * 100 == pytest.approx(1, rel=0.02)
