"""The diffusion transformer in one to four dimensions."""

import pytest
import torch
from sonolux.core.nn import dit
from sonolux.core.nn.dit import SIZES, DiTND, TransformerSize
from sonolux.core.nn.layers import attention, rotary, transformer_block
from sonolux.core.nn.layers.dropout import keyed_dropout
from sonolux.core.nn.layers.init import normal_
from sonolux.core.nn.layers.inputs import BlockInputs
from sonolux.core.nn.layers.norm import RMSNorm
from sonolux.core.nn.layers.transformer_block import Modulation, SequenceInputs
from sonolux.core.testing.conformance import check_network
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Conditioning, Tokens
from sonolux.core.util.rng import keyed_generator

LEVEL = torch.tensor([-1.0, 0.7], dtype=torch.float64)
SMALL = TransformerSize(3, 16, 2)


def plain(dims: int, **options) -> DiTND:
    return DiTND(dims, 3, **{"size": SMALL, "patch": 2, "cross_attention": True, **options})


def net(dims: int, **options) -> DiTND:
    """A small transformer in float64 whose zero layers have random weights, so that every path counts."""
    made = plain(dims, **options).double()
    for name, p in made.named_parameters():
        if p.ndim > 1 and p.abs().max() == 0:
            normal_(p, keyed_generator(0, 0, "wake", name), 0.1)
    return made


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(keyed_generator(seed, 0, "x", shape).standard_normal(shape))


def given(dtype: torch.dtype = torch.float64) -> Conditioning:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    return Conditioning({"label": drawn(2, 16).to(dtype)}, tokens={"text": Tokens(drawn(2, 3, 16).to(dtype), mask)})


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1,), (7,), (16,), (5, 3), (13, 8), (5, 6, 7), (3, 2, 4, 3)])
def test_any_size_gives_its_own_size_with_finite_gradients(size):
    model, x = net(len(size), skips=True), drawn(2, 3, *size)
    out = model(x, LEVEL, given())
    assert out.shape == x.shape
    out.square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name


def check_zero() -> None:
    """The output is 0 at first, and each block is the identity (adaLN-Zero)."""
    model, x = plain(2), drawn(2, 3, 8, 8).float()
    record = given(torch.float32)
    assert model(x, LEVEL.float(), record).abs().max() == 0
    inputs = BlockInputs(drawn(2, 1, 1, 16).float(), tokens=record.tokens["text"])
    rows = drawn(2, 16, 16).float()
    at = SequenceInputs.flattened(inputs, rotary.rotation_at((4, 4), 8, (), rows))
    for block in model.blocks:
        assert torch.equal(block(rows, at), rows)


def test_output_is_zero_and_blocks_are_the_identity_at_first():
    check_zero()


def test_planted_modulation_that_is_not_zero_is_caught(monkeypatch):
    monkeypatch.setattr(transformer_block, "make_linear", lambda a, b, zero=False, _f=dit.make_linear: _f(a, b))
    assert_caught(check_zero)


def check_gradients() -> None:
    """Gradients reach the output layer first, then the gates, then everything: all at the third step."""
    model, x = plain(1, skips=True).double(), drawn(2, 3, 16)
    for _ in range(3):
        model.zero_grad()
        (model(x, LEVEL, given()) - x.flip(-1)).square().mean().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0 if p.grad is None else p.grad
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_gradients_reach_every_parameter():
    check_gradients()


def test_planted_unused_join_is_caught(monkeypatch):
    body = DiTND._body

    def without_skips(self, x, inputs):
        joins, self._modules["joins"] = self.joins, torch.nn.ModuleList()
        try:
            return body(self, x, inputs)
        finally:
            self._modules["joins"] = joins

    monkeypatch.setattr(DiTND, "_body", without_skips)
    assert_caught(check_gradients)


def check_map(size: tuple[int, ...]) -> None:
    """A constant map is the number, bit for bit; at the patch where it differs, the output differs most."""
    model, x = net(len(size)), drawn(2, 3, *size)
    number = model(x, LEVEL, given())
    level = LEVEL.reshape(-1, *[1] * (x.ndim - 1)).expand(-1, -1, *size)
    assert torch.equal(model(x, level, given()), number)
    far = level.clone()
    far[..., -1] += 1
    change = (model(x, far, given()) - number).abs()
    assert change[..., -1].max() > 1e-3 * number.abs().max()
    assert change[..., -1].mean() > 3 * change[..., 0].mean()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16,), (13,), (8, 12), (7, 9)])
def test_constant_map_equals_the_number(size):
    check_map(size)


def test_planted_levels_of_the_whole_sample_are_caught(monkeypatch):
    monkeypatch.setattr(Modulation, "forward", lambda self, i: self.linear(i.embedding).chunk(self.count, dim=-1))
    assert_caught(check_map, (16,))


def check_padding(size: int = 16, part: int = 7) -> None:
    """The valid part of a padded sample is what the network makes without padding, also within a patch."""
    model, x = net(1).float(), drawn(2, 3, size).float()
    valid = torch.zeros(2, 1, size)
    valid[..., :part] = 1
    record = Conditioning({"label": drawn(2, 16).float()})
    short = model(x[..., :part], LEVEL.float(), record)
    padded = model(x, LEVEL.float(), Conditioning(record.vector, valid=valid))[..., :part]
    assert (padded - short).abs().max() < 1e-5 * short.abs().max()


def test_padding_does_not_matter():
    check_padding()
    check_padding(part=8)


def test_planted_padding_that_is_attended_to_is_caught(monkeypatch):
    right = attention.attend
    monkeypatch.setattr(transformer_block, "attend", lambda q, k, v, hidden=None: right(q, k, v))
    assert_caught(check_padding)


def test_skips_join_mirror_images():
    """With joins that pass the skip only, the second half of 4 blocks starts from the first half's results."""
    model = plain(1, size=TransformerSize(4, 16, 2), skips=True)
    assert len(model.joins) == 2 and len(plain(1, skips=True).joins) == 1 and len(plain(1).joins) == 0
    seen = []
    for i, block in enumerate(model.blocks):
        block.forward = lambda x, at, _i=i: seen.append((_i, x)) or x + 1
    for join in model.joins:
        torch.nn.init.zeros_(join.weight)
        join.weight.data[:, 16:] = torch.eye(16)
    torch.nn.init.zeros_(model.embed.weight)
    with torch.no_grad():
        model(drawn(1, 3, 8).float(), LEVEL[:1].float())
    assert [(i, float(x.mean())) for i, x in seen] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 1.0)]


def test_dropout_does_not_depend_on_the_rest_of_the_batch():
    model, x = net(1, dropout=0.3).train(), drawn(2, 3, 16)
    with keyed_dropout(0, [4, 9], 2):
        both = model(x, LEVEL)
    with keyed_dropout(0, [9], 2):
        alone = model(x[1:], LEVEL[1:])
    torch.testing.assert_close(both[1:], alone)
    assert not torch.allclose(both, model(x, LEVEL))


def test_positions_are_used_except_along_a_loop_and_limit_the_size():
    model, x = net(1, positions=3, places=(16,)), drawn(2, 3, 16)
    loop = Conditioning(wrap=(0,))
    torch.testing.assert_close(model(x.roll(8, -1), LEVEL, loop), model(x, LEVEL, loop).roll(8, -1))
    assert not torch.allclose(model(x.roll(8, -1), LEVEL), model(x, LEVEL).roll(8, -1), atol=1e-2)
    with pytest.raises(BadInput, match=r"network\.positions=0"):
        model.check_size((18,))
    model.check_size((18,), wrap=(0,))
    net(1).check_size((999,))


def test_bfloat16_agrees_with_float32():
    model, x = net(2).float(), drawn(2, 3, 8, 8).float()
    record = given(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x, LEVEL.float(), record)
    exact = model(x, LEVEL.float(), record)
    assert (low - exact).abs().max() < 0.05 * exact.abs().max()


def test_building_is_deterministic_and_leaves_the_global_generator():
    before = torch.get_rng_state()
    one, two = plain(1), plain(1)
    assert torch.equal(torch.get_rng_state(), before)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)


def test_sizes_are_those_of_the_table():
    for name, (depth, width, heads) in SIZES.items():
        with torch.device("meta"):
            model = DiTND(2, 3, name)
        assert (len(model.blocks), model.embedding_width, model.head_dim) == (depth, width, width // heads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 0}, "patch is at least 1"),
        ({"patch": [2, 2]}, "one for each of the 1 axes"),
        ({"size": TransformerSize(0, 16, 2)}, "depth is at least 1"),
        ({"size": TransformerSize(1, 18, 4)}, "even number of channels"),
        ({"size": TransformerSize(1, 16, 8), "dims": 2}, "for each of the 2 axes"),
        ({"dropout": 1.0}, "probability"),
        ({"positions": 3}, "needs a size for each axis"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        DiTND(**{"dims": 1, "channels": 3, "size": SMALL, **options})


def check_conformance(dims: int = 2, **options) -> None:
    size = (12, 16)[-dims:]
    check_network(plain(dims, **options), (3, *size), wrap=tuple(range(dims)), step=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"skips": True, "positions": 2, "places": (12, 16)}, {"dims": 1, "cross_attention": False}],
    ids=str,
)
def test_conforms(options):
    check_conformance(**options)


def _mixed(self, x, level, conditions=None, _true=DiTND.forward):
    out = _true(self, x, level, conditions)
    return out + 1e-3 * out.mean(0, keepdim=True)


PLANTED = {
    "frequencies of a loop not rounded": (
        dit,
        "rotation_at",
        lambda size, d, wrap, x: rotary.rotation_at(size, d, (), x),
    ),
    "mask ignored": (
        transformer_block,
        "attend",
        lambda q, k, v, hidden=None: attention.attend(q, k, v),
    ),
    "mask of tokens ignored": (attention, "attend", lambda q, k, v, hidden=None, _f=attention.attend: _f(q, k, v)),
    "positions along a loop": (DiTND, "_positions", lambda self, x, wrap, _f=DiTND._positions: _f(self, x, ())),
    "rows mixed": (DiTND, "forward", _mixed),
    "one level for a whole sample": (
        Modulation,
        "forward",
        lambda self, inputs: self.linear(inputs.embedding).chunk(self.count, dim=-1),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(error, monkeypatch):
    monkeypatch.setattr(*PLANTED[error])
    assert_caught(check_conformance, positions=2, places=(12, 16))


def test_planted_attention_without_positions_is_caught(monkeypatch):
    monkeypatch.setattr(transformer_block, "rotate", lambda x, rotation: x)
    assert_caught(check_conformance, 1)


def check_rms_norm() -> None:
    x, norm = drawn(2, 5, 8), RMSNorm(8).double()
    norm.weight.data = drawn(8)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    low = x.bfloat16()
    assert norm(low).dtype == torch.bfloat16 and (norm(low) - norm(x)).abs().max() < 0.05 * expected.abs().max()


def test_rms_norm_from_its_definition():
    check_rms_norm()


def test_planted_norm_without_scale_is_caught(monkeypatch):
    right = torch.nn.functional.rms_norm
    monkeypatch.setattr(torch.nn.functional, "rms_norm", lambda x, shape, weight, eps: right(x, shape, None, eps))
    assert_caught(check_rms_norm)
