"""Vectors, tokens and channels: one record, its rows and stacks, conditions of each kind, guidance, and networks."""

import dataclasses

import pytest
import torch
from sonolux.core.conditioning.base import Condition, build_conditioning, check_network_accepts
from sonolux.core.config.load import load_recipe_text
from sonolux.core.guidance.apg import APG
from sonolux.core.guidance.autoguidance import Autoguidance
from sonolux.core.guidance.base import AuxiliaryDenoiser, GuidanceChain, SamplingRun
from sonolux.core.guidance.cfg import CFG
from sonolux.core.guidance.composed import Composed
from sonolux.core.nn.layers.embedding import make_linear
from sonolux.core.nn.layers.init import fan_in_uniform_, normal_, reset_parameters
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    planted_error,
    replace_expression,
    swap_constant,
)
from sonolux.core.types import BadInput, Conditioning, Denoiser, Estimate, Item, MediaSpec, NoiseLevel, Tokens
from sonolux.core.util.rng import KeyedNoise, keyed_generator

B, C, N = 3, 2, 6
RUN = SamplingRun(KeyedNoise(0, range(B), (C, N)))
LEVEL = NoiseLevel(0.5, 0.5, 0.5)


def drawn(*shape, seed=0):
    return torch.from_numpy(keyed_generator(seed, 0, "kinds", shape).standard_normal(shape))


def record(length=4):
    """One condition of each kind; the unconditional tokens are shorter, the unconditional channels of any size."""
    mask = torch.arange(length) < torch.tensor([[length], [2], [1]])
    return Conditioning(
        vector={"label": drawn(B, 5)},
        tokens={"caption": Tokens(drawn(B, length, 7), mask)},
        concat={"sketch": drawn(B, 2, N)},
        unconditional={
            "label": torch.zeros(B, 5, dtype=torch.float64),
            "caption": Tokens(drawn(1, 1, 7, seed=1).expand(B, 1, 7), torch.ones(B, 1, dtype=torch.bool)),
            "sketch": torch.zeros(B, 2, 1, dtype=torch.float64),
        },
        valid=(torch.arange(N) < torch.tensor([[N], [4], [N]])).double()[:, None],
    )


class Toy(Denoiser):
    """An estimate that depends on all three kinds: masked mean of the tokens, the channels' sum, the vector's sum."""

    def __init__(self, shift=0.0):
        self.shift, self.rows = shift, []

    def denoise(self, x, level, conditions):
        self.rows.append(len(x))
        (label,), (caption,), (sketch,) = (
            d.values() for d in (conditions.vector, conditions.tokens, conditions.concat)
        )
        kept = caption.mask[..., None].double()
        attended = (caption.values * kept).sum(1) / kept.sum(1)  # (B, 7): padding does not count
        assert caption.mask.any(1).all() and sketch.shape[0] == len(x)
        total = label.sum(1) + 0.5 * attended.sum(1)
        return Estimate(torch.tanh(x / 2 + total[:, None, None] + sketch.expand(-1, -1, x.shape[2]) + self.shift))


def estimate(x, conditions, drop=(), shift=0.0):
    return Toy(shift).denoise(x, LEVEL, conditions.without(drop)).x0


# --- the record ------------------------------------------------------------------------------------------------------


def same(a, b):
    parts = [(a.values, b.values), (a.mask, b.mask)] if isinstance(a, Tokens) else [(a, b)]
    assert all(torch.equal(p, q) for p, q in parts)


def check_rows():
    """Rows of a stack are the rows of its parts, of every kind, and padding of tokens is no part of a sample."""
    whole, x = record(), drawn(B, C, N, seed=2)
    stack = Conditioning.stack([whole.without(["caption"]), whole, whole.without()])
    assert stack.names == whole.names and stack.vector and stack.tokens and stack.concat
    assert stack.tokens["caption"].values.shape == (3 * B, 4, 7) and stack.concat["sketch"].shape == (3 * B, 2, N)
    for name in ("label", "sketch"):
        same(stack.rows(slice(B, 2 * B))[name], whole[name])
        same(stack.rows([B + 2, B])[name], whole.rows(torch.tensor([2, 0]))[name])
    assert torch.equal(stack.rows(slice(B, 2 * B)).valid, whole.valid)
    together = Toy().denoise(x.repeat(3, 1, 1), LEVEL, stack).x0
    apart = [estimate(x, whole, ["caption"]), estimate(x, whole), estimate(x, whole, whole.names)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-12)
    for i in range(B):
        alone = Toy().denoise(x[i : i + 1], LEVEL, whole.rows(slice(i, i + 1))).x0
        assert torch.allclose(alone, apart[1][i : i + 1], atol=1e-12)


def test_rows_and_stacks():
    check_rows()


def test_a_stack_whose_token_padding_counts_is_caught():
    from sonolux.core import types

    with planted_error(
        types, "concatenate_batches", replace_expression(argument_target("pad", 0), "part.mask | True", near="mask")
    ):
        assert_caught(check_rows)


def test_records_with_and_without_a_mask_do_not_stack():
    """A mask of some rows only would be a mask of too few rows, or of none."""
    whole = record()
    for mixed in (dataclasses.replace(whole, valid=None), dataclasses.replace(whole, wrap=(0,))):
        for records in ([whole, mixed], [mixed, whole]):
            with pytest.raises(BadInput, match="valid"):
                Conditioning.stack(records)


def check_without():
    """Each name of each kind is exchanged alone, None exchanges all; the record itself stays."""
    whole = record()
    for name in whole.names:
        other = whole.without([name])
        for each in whole.names:
            same(other[each], whole.unconditional[each] if each == name else whole[each])
    none = whole.without()
    for name in whole.names:
        same(none[name], whole.unconditional[name])
    assert whole["label"].any()


def test_without():
    check_without()


def test_a_kind_that_is_not_exchanged_is_caught(monkeypatch):
    monkeypatch.setattr("sonolux.core.types.conditioning.CONDITIONING_KINDS", ("vector", "tokens"))
    assert_caught(check_without, also=KeyError)


def test_a_name_belongs_to_one_kind():
    with pytest.raises(BadInput, match="of one kind"):
        Conditioning(vector={"a": drawn(1, 2)}, concat={"a": drawn(1, 2, 3)})


# --- guidance --------------------------------------------------------------------------------------------------------


def guided(parts, x, conditions, network):
    return GuidanceChain(parts).wrap(network, RUN).denoise(x, LEVEL, conditions).x0


def check_guidances():
    """Every guidance on all kinds, against the formula from separate calls; one call with a row a branch."""
    x, whole = drawn(B, C, N, seed=3), record()
    D, D_u = estimate(x, whole), estimate(x, whole, whole.names)
    network = Toy()
    assert torch.allclose(guided([CFG(3.0)], x, whole, network), D_u + 3 * (D - D_u), atol=1e-12)
    assert network.rows == [2 * B]
    for name in whole.names:
        one = estimate(x, whole, [name])
        made = guided([CFG(2.0, conditions=[name])], x, whole, Toy())
        assert torch.allclose(made, one + 2 * (D - one), atol=1e-12), name
        assert not torch.allclose(made, D, atol=1e-3), f"{name} matters"
    scales = {"label": 2.0, "caption": 1.5, "sketch": 0.7}
    alone = {n: estimate(x, whole, [m for m in scales if m != n]) for n in scales}
    network = Toy()
    made = guided([Composed(scales)], x, whole, network)
    expected = D_u + sum(s * (alone[n] - D_u) for n, s in scales.items())
    assert torch.allclose(made, expected, atol=1e-12) and network.rows == [4 * B]
    steps = [D_u, alone["label"], estimate(x, whole, ["sketch"]), D]
    expected = D_u + sum(s * (b - a) for s, a, b in zip(scales.values(), steps, steps[1:], strict=False))
    assert torch.allclose(guided([Composed(scales, "nested")], x, whole, Toy()), expected, atol=1e-12)
    made = guided([APG(3.0, eta=1.0, momentum=0.0)], x, whole, Toy())
    assert torch.allclose(made, D_u + 3 * (D - D_u), atol=1e-12), "all of the delta is kept"
    weak = estimate(x, whole, shift=0.3)
    made = guided([Autoguidance(2.0, denoiser=Toy(0.3))], x, whole, Toy())
    assert torch.allclose(made, weak + 2 * (D - weak), atol=1e-12)
    other = AuxiliaryDenoiser(Toy(0.3), record(length=6).rows([2, 1, 0]))
    made = guided([Autoguidance(2.0, denoiser=other), CFG(2.0)], x, whole, Toy())
    weak = estimate(x, record(length=6).rows([2, 1, 0]), shift=0.3)
    assert torch.allclose(made, D + (D - weak) + (D - D_u), atol=1e-12), "another model embeds its own"


def test_every_guidance_takes_all_kinds():
    check_guidances()


def test_a_branch_with_other_rows_is_caught(monkeypatch):
    right = Conditioning.stack
    monkeypatch.setattr(Conditioning, "stack", staticmethod(lambda records: right(records[::-1])))
    assert_caught(check_guidances)


def test_what_is_unconditional_already_costs_no_branch():
    network = Toy()
    guided([CFG(3.0)], drawn(B, C, N), record().without(), network)
    assert network.rows == [B]


# --- conditions ------------------------------------------------------------------------------------------------------


class Words(Condition):
    """A text of one token a letter."""

    kind = "tokens"

    def __init__(self, width, drop=0.1):
        super().__init__(width, drop)
        self.letters = torch.nn.Parameter(torch.zeros(26, width))
        reset_parameters(self, 0)

    def init_weights(self, rng):
        super().init_weights(rng)
        normal_(self.letters, rng)

    def parse(self, value):
        return str(value)

    def from_item(self, item):
        return item.caption

    def embed(self, values):
        longest = max(map(len, values))
        made, mask = torch.zeros(len(values), longest, self.width), torch.zeros(len(values), longest, dtype=torch.bool)
        for i, text in enumerate(values):
            mask[i, : len(text)] = True
            made[i, : len(text)] = self.letters[[ord(letter) - 97 for letter in text]]
        return Tokens(made, mask)


class Reference(Condition):
    """A reference as channels beside x."""

    kind, dims = "concat", 1

    def __init__(self, width=2, drop=0.1):
        super().__init__(width, drop)
        reset_parameters(self, 0)

    def parse(self, value):
        return torch.as_tensor(value)

    def from_item(self, item):
        return item.media

    def embed(self, values):
        return torch.stack(list(values))


def check_gather():
    """Values stand in their rows, the unconditional ones elsewhere; shorter texts are padded and masked."""
    conditions = torch.nn.ModuleDict({"text": Words(4), "reference": Reference()})
    picture = drawn(2, N).float()
    made = build_conditioning(conditions, {"text": ["abc", None, "z"], "reference": [None, picture, None]})
    assert made.tokens and not made.vector and made.concat["reference"].shape == (3, 2, N)
    text = made.tokens["text"]
    assert text.mask.tolist() == [[True] * 3, [True, False, False], [True, False, False]]
    assert torch.equal(text.values[0], conditions["text"].letters[:3])
    assert torch.equal(text.values[1, 0], conditions["text"].null)
    assert torch.equal(text.values[2, 0], conditions["text"].letters[25])
    null = conditions["reference"].null
    assert torch.equal(made.concat["reference"][0], null[:, None].expand(2, N))
    assert torch.equal(made.concat["reference"][1], picture)
    nothing = build_conditioning(conditions, {"text": [None, None]})
    assert nothing.tokens["text"].values.shape == (2, 1, 4) and nothing.concat["reference"].shape == (2, 2, 1)
    loss = nothing.tokens["text"].values.sum() + nothing.concat["reference"].sum() + text.values.sum()
    loss.backward()
    assert all(c.null.grad is not None for c in conditions.values()), "the unconditional rows learn"


def test_gather_of_tokens_and_channels():
    check_gather()


def test_rows_one_place_off_are_caught():
    from sonolux.core.conditioning import base

    with planted_error(base, "_embedded", swap_constant(1, 2)):
        assert_caught(check_gather, also=IndexError)


# --- networks --------------------------------------------------------------------------------------------------------


class Reader(torch.nn.Module):
    """A network of one layer that attends to tokens and reads channels beside x."""

    accepts = frozenset({"tokens", "concat"})
    embedding_width = 4

    def __init__(self, spec: MediaSpec):
        super().__init__()
        channels = spec.latent[0]
        self.mix = make_linear(channels + channels, channels)
        self.attend = make_linear(self.embedding_width, channels)

    def init_weights(self, rng):
        fan_in_uniform_(self.mix.weight, rng)

    def forward(self, x, level, conditions):
        (tokens,), (beside,) = conditions.tokens.values(), conditions.concat.values()
        mean = (tokens.values * tokens.mask[..., None]).sum(1) / tokens.mask.sum(1, keepdim=True)
        both = torch.cat([x, beside.expand(-1, -1, *x.shape[2:])], dim=1)
        return self.mix(both.movedim(1, -1)).movedim(-1, 1) + self.attend(mean)[(...,) + (None,) * (x.ndim - 2)]


def test_networks_declare_what_they_take():
    plain = torch.nn.Linear(1, 1)
    check_network_accepts(
        Reader(MediaSpec("audio", 1, ("time",), (N,), (10.0,), latent=(2, N))),
        {"text": Words(4), "reference": Reference()},
    )
    check_network_accepts(plain, {})
    tokens = r"conditioning\.text yields a sequence.*Linear takes vector.*conditioning\.text=null"
    for network, conditions, said in (
        (plain, {"text": Words(4)}, tokens),
        (plain, {"reference": Reference()}, "channels next to the noisy sample"),
    ):
        with pytest.raises(BadInput, match=said):
            check_network_accepts(network, conditions)


RECIPE = """
recipe: 1
name: kinds
modality: {use: audio, rate: 4000, seconds: 0.25, channels: 1}
data: {use: audio/synth_sfx, count: 20}
codec: {use: audio/waveform, patch: 16}
network: {use: audio/unet, width: 8, stages: [1], blocks: 1}
condition: {caption: {use: 'CODE:Words'}}
train: {steps: 1, device: cpu}
"""


def test_a_recipe_that_gives_a_network_another_kind_is_refused(tmp_path):
    code = tmp_path / "words.py"
    code.write_text(
        "from sonolux.core.conditioning.base import Condition\n\n\n"
        "class Words(Condition):\n"
        '    """Tokens.\n\n    width: length of a token\n    """\n\n'
        '    kind = "tokens"\n\n'
        "    def __init__(self, width: int):\n        super().__init__(width, 0.1)\n\n"
        "    def parse(self, value):\n        return value\n\n"
        "    def from_item(self, item):\n        return item.caption\n\n"
        "    def embed(self, values):\n        raise NotImplementedError\n"
    )
    with pytest.raises(BadInput, match=r"recipe:8:\d+: conditioning\.caption: yields a sequence.*UNet takes"):
        load_recipe_text(RECIPE.replace("CODE", str(code)), allow_code=True)


def test_a_network_of_tokens_and_channels_computes():
    spec = MediaSpec("audio", 1, ("time",), (N,), (10.0,), latent=(2, N))
    network, conditions = Reader(spec), torch.nn.ModuleDict({"text": Words(4), "reference": Reference()})
    reset_parameters(network, 1)
    item = Item(drawn(2, N).float(), caption="hello")
    values = {name: [c.from_item(item), None] for name, c in conditions.items()}
    out = network(drawn(2, 2, N, seed=4).float(), torch.zeros(2), build_conditioning(conditions, values))
    assert out.shape == (2, 2, N) and out.isfinite().all()
