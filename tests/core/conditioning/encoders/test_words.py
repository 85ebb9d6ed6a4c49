"""The encoder over words: what a token is, which words share rows, padding, and cutting."""

import ast
import re
import unicodedata

import pytest
import torch
from sonolux.core.conditioning.encoders import _transformer, words
from sonolux.core.conditioning.encoders.words import Words
from sonolux.core.conditioning.text import Text
from sonolux.core.nn.layers.init import reset_parameters
from sonolux.core.testing.mutation import assert_caught, planted_error, set_argument, swap_constant, swap_operator

TEXTS = ["a small Red circle, above a large blue square", "x", "привет, 日本語 😀", "¿?"]


def encoder() -> Words:
    made = Words(16, hidden=16)
    reset_parameters(made, 3)
    return made


def similarity(one: str, other: str) -> float:
    """Cosine of the vectors of two words, before the transformer."""
    table = torch.randn(4096, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = (table[[n % 4096 for n in words._hashes(word)]].sum(0) for word in (one, other))
    return float(a @ b / (a.norm() * b.norm()))


def test_a_token_for_each_word_and_sign():
    found = encoder()(TEXTS, 64)
    assert found.mask.sum(1).tolist() == [10, 1, 4, 2]
    assert torch.equal(*encoder()(["A RED circle", "a red circle"], 8).values)


SCRIPTS = {
    "नमस्ते दुनिया": ["नमस्ते", "दुनिया"],  # vowel signs and a virama
    "สวัสดีครับ น้ำ": ["สวัสดีครับ", "น้ำ"],  # vowels and tones above
    "مُحَمَّد": ["مُحَمَّد"],
    "می\u200cخواهم": ["می\u200cخواهم"],  # a non-joiner in a word
    "क्\u200dष": ["क्\u200dष"],
    "q\u0303 a\u0308\u0304": ["q\u0303", "a\u0308\u0304"],
    "👩\u200d👩\u200d👧 👍🏽": ["👩\u200d👩\u200d👧", "👍🏽"],
    "👩🏽\u200d❤\ufe0f\u200d💋\u200d👨🏿!": ["👩🏽\u200d❤\ufe0f\u200d💋\u200d👨🏿", "!"],
    "🇫🇷🇩🇪": ["🇫🇷", "🇩🇪"],
    "#\ufe0f\u20e3 1\ufe0f\u20e3": ["#\ufe0f\u20e3", "1\ufe0f\u20e3"],
    "🙂🙂": ["🙂", "🙂"],
    "\u0301a": ["\u0301", "a"],
}


def check_scripts():
    """Marks and joiners belong to their word or emoji."""
    for text, tokens in SCRIPTS.items():
        assert words._pattern().findall(text) == tokens, text
    assert encoder()([*SCRIPTS], 16).mask.sum(1).tolist() == [len(tokens) for tokens in SCRIPTS.values()]


def test_marks_and_joiners_belong_to_their_word():
    check_scripts()
    piled = words._pattern().findall("a" + "\u0301" * 999)
    assert max(map(len, piled)) <= 9, "the length of a token has a bound"


def test_a_pattern_without_marks_is_caught():
    with planted_error(words, "_pattern", swap_constant(0x20000, 0x300)):
        assert_caught(check_scripts)


def test_text_without_marks_is_cut_as_before():
    """A checkpoint depends on it: letters and digits up to 24, and each other sign alone."""
    before = re.compile(r"\w{1,24}|[^\w\s]")
    latin = "".join(map(chr, range(32, 0x2B0))) + " a, red_circle: naïve (Ærø)... don't! 3.5 € " + "x" * 60
    for text in (latin, latin.lower(), " ".join(latin[100:]), "привет, 日本語 😀"):
        plain = "".join(c for c in text if unicodedata.category(c)[0] != "M")
        assert words._pattern().findall(plain) == before.findall(plain)


def test_words_with_the_same_letters_are_similar():
    assert similarity("circle", "circles") > 0.5 > 0.25 > abs(similarity("circle", "square"))
    assert words._hashes("red") != words._hashes("der"), "the order of letters matters"


def check_unit_variance():
    """Tokens have about unit variance before the transformer, short words and long ones."""
    made, found = Words(16, hidden=512), []
    reset_parameters(made, 3)
    made.transformer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    made(["a", "transformation"], 8)
    assert all(0.7 < float(row.detach().std()) < 1.3 for row in found[0]), "the length of a word changes the variance"


def test_unit_variance():
    check_unit_variance()


def test_a_planted_power_is_caught():
    with planted_error(Words, "forward", swap_operator(ast.Pow, ast.Mult)):
        assert_caught(check_unit_variance)


def check_alone_and_in_a_batch():
    """The tokens of a text are the same alone and with others; padding is masked, and zero."""
    made = encoder().double()
    together = made(TEXTS, 64)
    for i, length in enumerate(together.mask.sum(1).tolist()):
        alone = made([TEXTS[i]], 64)
        assert alone.values.shape[1] == length
        assert torch.allclose(alone.values[0], together.values[i, :length], atol=1e-6), "other texts matter"
        assert not together.values[i, length:].any()


def test_alone_and_in_a_batch():
    check_alone_and_in_a_batch()


def test_planted_attention_to_padding_is_caught():
    change = set_argument("scaled_dot_product_attention", "attn_mask", "torch.ones_like(mask)[:, None, None, :]")
    with planted_error(_transformer._Layer, "forward", change):
        assert_caught(check_alone_and_in_a_batch)


def test_a_cut_prompt():
    condition = Text(16, encoder=encoder(), length=4)
    with pytest.warns(UserWarning, match="cut after 10 of 20 characters"):
        assert condition.parse("a, red one with more") == "a, red one"
    with pytest.warns(UserWarning, match="cut after 96 of 9999 characters"):
        kept = condition.parse("x" * 9999)
    assert condition.embed([kept]).values.shape == (1, 4, 16)


def test_signs_only():
    assert encoder()(["_", "\u200b", "..."], 2).mask.sum(1).tolist() == [1, 1, 2]
