"""The text condition: cleaning and cutting of prompts, captions of items, word dropping, and the encoder over bytes."""

import ast
import copy

import pytest
import torch
from sonolux.core.conditioning.base import build_conditioning
from sonolux.core.conditioning.encoders import _transformer
from sonolux.core.conditioning.encoders.bytes import Bytes
from sonolux.core.conditioning.text import Text
from sonolux.core.nn.layers.init import reset_parameters
from sonolux.core.testing.mutation import (
    assert_caught,
    planted_error,
    set_argument,
    swap_operator,
)
from sonolux.core.types import BadInput, Item
from sonolux.core.util.rng import keyed_generator

TEXTS = ["a small red circle above a large blue square", "x", "привет, 日本語 😀", "á è"]


def text(length=64, **options):
    return Text(16, encoder=Bytes(16, hidden=16, layers=2), length=length, **options)


# --- values ----------------------------------------------------------------------------------------------------------


def test_prompts_are_cleaned():
    condition = text()
    assert condition.parse("  a \x00\x1b\t red\n\ncircle\u2028 ") == "a red circle"
    assert condition.parse("e\u0301") == "é" and condition.parse(3) == "3"
    assert condition.parse("a \ud83d b") == "a b"
    for value in ([], {"a": 1}, None, True):
        with pytest.raises(BadInput, match="a prompt is a text"):
            condition.parse(value)


@pytest.mark.parametrize("value", ["", "  ", "\n\x00"])
def test_an_empty_prompt_is_unconditional_and_said(value):
    with pytest.warns(UserWarning, match="an empty prompt is unconditional"):
        assert text().parse(value) is None


def test_a_cut_prompt():
    condition = text(length=10)
    with pytest.warns(
        UserWarning, match=r"cut after 6 of 15 characters \(10 tokens\), at \|: '...xxxxx日 \| 本語"
    ) as said:
        kept = condition.parse("xxxxx日本語日本語日本語x")
    assert len(said) == 1 and kept == "xxxxx日" and condition.parse(kept) == kept
    with pytest.warns(UserWarning, match="cut after 10 of 9999 characters") as said:
        condition.parse("word " * 2000)
    assert len(str(said[0].message)) < 200
    assert condition.embed(["word " * 2000]).values.shape[1] == 10
    assert condition.cut_share(["short", "x" * 11, "y" * 10]) == pytest.approx(1 / 3)


def test_values_of_items():
    condition, media = text(), torch.zeros(1, 2)
    assert condition.from_item(Item(media, caption=" a  cat ")) == "a cat"
    assert condition.from_item(Item(media)) is None and condition.from_item(Item(media, caption=" ")) is None
    tags = text(key="tags")
    assert tags.from_item(Item(media, attributes={"tags": ["red", 3]})) == "red, 3"
    with pytest.raises(BadInput, match=r"a\.png: `tags` is .*not a text"):
        tags.from_item(Item(media, attributes={"tags": [None, ["x"]]}, source="a.png"))
    with pytest.raises(BadInput, match="word_drop"):
        text(word_drop=1.0)


# --- word dropping ---------------------------------------------------------------------------------------------------


def check_word_drop():
    """Each word is left out with the probability, by the key alone; the order of the others stays."""
    condition, words = text(word_drop=0.25), [f"w{i}" for i in range(400)]

    def made(key):
        return condition.augment(" ".join(words), keyed_generator(3, key, "augment caption", 7)).split()

    kept = made(0)
    assert 0.68 < len(kept) / len(words) < 0.82, "one word in four is left out"
    assert kept == sorted(kept, key=words.index) and set(kept) < set(words)
    assert made(0) == kept and made(1) != kept, "the key determines the words"


def test_word_drop():
    check_word_drop()
    assert not text().augments and text(word_drop=0.1).augments


def test_a_planted_comparison_of_word_drop_is_caught():
    with planted_error(Text, "augment", swap_operator(ast.GtE, ast.Lt)):
        assert_caught(check_word_drop)


def test_one_word_always_stays():
    condition = text(word_drop=0.99)
    for key in range(30):
        assert condition.augment("red circle", keyed_generator(0, key, "w")) in ("red", "circle", "red circle")


# --- encoder ---------------------------------------------------------------------------------------------------------


def check_alone_and_in_a_batch(condition=None):
    """The tokens of a text are the same alone and with others; padding is masked, and zero."""
    condition = (text() if condition is None else condition).double()
    together = condition.embed(TEXTS)
    lengths = together.mask.sum(1).tolist()
    assert lengths[0] > lengths[1] and together.values.dtype == torch.float64
    for i, words in enumerate(TEXTS):
        alone = condition.embed([words])
        assert alone.mask.all() and alone.values.shape[1] == lengths[i]
        assert torch.allclose(alone.values[0], together.values[i, : lengths[i]], atol=1e-6), "other texts matter"
        assert not together.values[i, lengths[i] :].any() and not together.mask[i, lengths[i] :].any()


def test_alone_and_in_a_batch():
    check_alone_and_in_a_batch()


def test_planted_attention_to_padding_is_caught():
    with planted_error(
        _transformer._Layer,
        "forward",
        set_argument("scaled_dot_product_attention", "attn_mask", "torch.ones_like(mask)[:, None, None, :]"),
    ):
        assert_caught(check_alone_and_in_a_batch)


def test_planted_padding_in_the_convolution_is_caught():
    with planted_error(
        _transformer._Layer, "forward", set_argument("masked_fill", 0, "torch.zeros_like(mask)[..., None]")
    ):
        assert_caught(check_alone_and_in_a_batch)


def check_order():
    """The order of letters matters, also of those whose neighbours are the same."""
    condition, filler = text().double(), "x" * 12
    a, b = condition.embed([f"{filler}a{filler}b{filler}", f"{filler}b{filler}a{filler}"]).values
    assert not torch.allclose(a.sum(0), b.sum(0), atol=1e-3), "the order of tokens has no effect"


def test_order():
    check_order()


def test_planted_loss_of_positions_is_caught():
    with planted_error(_transformer, "_positions", lambda length, hidden: torch.zeros(length, hidden)):
        assert_caught(check_order)


def test_initial_weights_depend_on_the_seed_only():
    torch.manual_seed(0)
    first = text()
    torch.manual_seed(1)
    second, third = text(), text()
    for module, seed in ((first, 5), (second, 5), (third, 6)):
        reset_parameters(module, seed)
    one, two, other = (c.embed(TEXTS).values for c in (first, second, third))
    assert torch.equal(one, two) and not torch.allclose(one, other, atol=0.1)
    assert 0.5 < float(one.detach()[first.embed(TEXTS).mask].std()) < 1.5, "tokens have about unit variance"


def test_equal_texts_are_encoded_once():
    condition = text()
    values, mask = condition.embed(["red", "a circle", "red"])
    assert torch.equal(values[0], values[2]) and mask.sum(1).tolist() == [3, 8, 3]
    assert torch.equal(values[1], condition.embed(["red", "a circle"]).values[1])


def test_outline_without_values():
    with torch.device("meta"):
        assert all(p.is_meta for p in text().parameters())


def test_rows_without_a_text_are_unconditional():
    condition = text()
    made = build_conditioning({"caption": condition}, {"caption": ["red", None, "a longer one"]})
    values, mask = made.tokens["caption"]
    assert mask.sum(1).tolist() == [3, 1, 12]
    assert torch.equal(values[1, 0], condition.null) and made.unconditional["caption"].values.shape == (3, 1, 16)


def test_gradients_reach_the_encoder():
    condition = text()
    before = copy.deepcopy(condition.state_dict())
    condition.embed(TEXTS).values.square().sum().backward()
    grads = {n: p.grad for n, p in condition.named_parameters() if n != "null"}
    assert all(g is not None and bool(g.any()) for g in grads.values()), [n for n, g in grads.items() if g is None]
    assert before.keys() == condition.state_dict().keys()
