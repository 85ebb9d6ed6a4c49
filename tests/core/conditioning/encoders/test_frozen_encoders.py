"""Text encoders on top of frozen models: what a checkpoint holds, how a model is identified, and texts in batches."""

import ast
import copy
import importlib.util
import json
from types import SimpleNamespace

import pytest
import torch
from sonolux.core.conditioning.encoders import table, transformers
from sonolux.core.conditioning.text import Text
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.core.types import BadInput
from sonolux.core.util.fetching import allow_fetching

TEXTS = ["a small red circle above a large blue square", "x", "привет, 日本語 😀"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "circle", "small", "x"]


# --- table of word vectors -------------------------------------------------------------------------------------------

needs_table = pytest.mark.skipif(importlib.util.find_spec("wordllama") is None, reason="wordllama is not installed")


def check_alone_and_in_a_batch(condition):
    """The tokens of a text are the same alone and with others."""
    condition = condition.double()
    together = condition.embed(TEXTS)
    lengths = together.mask.sum(1).tolist()
    assert len(set(lengths)) > 1
    for i, words in enumerate(TEXTS):
        alone = condition.embed([words])
        assert alone.values.shape[1] == lengths[i]
        assert torch.allclose(alone.values[0], together.values[i, : lengths[i]], atol=1e-6), "other texts matter"
        assert not together.values[i, lengths[i] :].any()


def test_a_missing_package_is_one_message(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    table._table.cache_clear()
    with pytest.raises(BadInput, match=r"needs the package wordllama: pip install 'sonolux\[text\]'"):
        table.Table(8)
    table._table.cache_clear()


@needs_table
def test_the_table_is_not_in_the_checkpoint():
    condition = Text(16, encoder=table.Table(16, hidden=16), length=8)
    state = condition.state_dict()
    assert sum(v.numel() for v in state.values()) < 20_000 and state["encoder.fingerprint"].shape == (16,)
    assert all(p.requires_grad for p in condition.parameters())
    copied = copy.deepcopy(condition)
    copied.load_state_dict(state)
    assert torch.equal(copied.embed(TEXTS).values, condition.embed(TEXTS).values)
    state["encoder.fingerprint"] = 1 - state["encoder.fingerprint"]
    with pytest.raises(BadInput, match="trained with another table of word vectors"):
        copied.load_state_dict(state)
    with torch.device("meta"):
        assert table.Table(8).fingerprint.is_meta


@needs_table
def test_texts_of_the_table():
    condition = Text(16, encoder=table.Table(16, hidden=16), length=8)
    check_alone_and_in_a_batch(condition)
    with pytest.warns(UserWarning, match=r"cut after 39 of 44 characters \(8 tokens\)"):
        kept = condition.parse("one two three four five six seven eight nine")
    assert condition.parse(kept) == kept


def check_directions(vector):
    """A word of two pieces is the mean of their directions, and every word has an RMS of 1."""
    words = table._table()
    rows = words.vectors.double()
    for pieces in [(263,), (15116, 1100), (921, 14633, 14633)]:
        mean = sum(rows[i] / rows[i].square().mean().sqrt() for i in pieces) / len(pieces)
        wanted = mean / mean.square().mean().sqrt()
        assert torch.allclose(vector(pieces).double(), wanted, atol=1e-5)


@needs_table
def test_vectors_of_words():
    check_directions(table._word_vector)


@needs_table
def test_planted_lengths_and_first_pieces_are_caught():
    assert_caught(check_directions, lambda pieces: table._table().vectors[list(pieces)].mean(0))
    assert_caught(check_directions, lambda pieces: table._table().vectors[pieces[0]])


@needs_table
def test_pieces_of_a_word_are_one_token():
    text = "A tiny crimson disc, \u8d64 circle"
    words = table._split_words(text)
    assert [text[: word.end] for word in words[:5]] == [
        "A",
        "A tiny",
        "A tiny crimson",
        "A tiny crimson disc",
        "A tiny crimson disc,",
    ]
    assert [len(word.pieces) for word in words[:5]] == [1, 1, 2, 1, 1] and words[-1].end == len(text)
    assert words == table._split_words(text.lower())


@needs_table
def test_an_empty_text_has_no_tokens():
    found = table.Table(16, hidden=16)(["", "red"], 8)
    assert found.mask.tolist() == [[False], [True]] and not found.values[0].any()


@needs_table
def test_rare_words_are_near_the_common_ones_they_mean():
    def vector(word):
        return table._word_vector(table._split_words(word)[0].pieces)

    colours = ["red", "green", "blue", "yellow"]
    for synonym, colour in zip(["crimson", "emerald", "azure", "golden"], colours, strict=True):
        near = [float(vector(synonym) @ vector(one)) for one in colours]
        assert colours[near.index(max(near))] == colour


# --- models of transformers ------------------------------------------------------------------------------------------


def saved_model(folder, kind):
    """A model with random weights, and a tokenizer of a few words, in a folder."""
    import tokenizers
    import transformers as package
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    words = tokenizers.Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    size = {"vocab_size": len(WORDS), "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    if kind == "bert":
        config = package.BertConfig(**size, intermediate_size=8, max_position_embeddings=6)
        model = package.BertModel(config)
    elif kind == "clip":
        config = package.CLIPTextConfig(
            **size, intermediate_size=8, max_position_embeddings=6, eos_token_id=3, bos_token_id=2, pad_token_id=0
        )
        model = package.CLIPTextModel(config)
    else:
        config = package.T5Config(vocab_size=len(WORDS), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        model = package.T5EncoderModel(config)
    model.save_pretrained(folder)
    package.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=50, **names).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("transformers")
    transformers._read_model.cache_clear()
    yield tmp_path / "model"
    transformers._read_model.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "clip", "t5"])
def test_a_text_model(folder, kind):
    saved_model(folder, kind)
    condition = Text(16, encoder=transformers.Transformers(16, folder=folder), length=6)
    check_alone_and_in_a_batch(condition)
    state = condition.state_dict()
    assert set(state) == {"null", "encoder.fingerprint", "encoder.project.weight", "encoder.project.bias"}
    model = transformers._model(folder)
    assert not any(p.requires_grad for p in model.model.parameters())
    calls = model.calls
    copy.deepcopy(condition).embed([*TEXTS, *TEXTS])
    assert model.calls == calls, "each text is computed once"
    condition.embed(["small x", "x small", "small x"])
    assert model.calls == calls + 1
    with pytest.warns(UserWarning, match=r"cut after 18 of 26 characters \(6 tokens\)"):
        assert condition.parse("a small red circle a red x") == "a small red circle"
    condition.embed(TEXTS).values.sum().backward()
    assert condition.encoder.project.weight.grad.any()


class Counted(transformers._TextModel):
    """A model that gives states of 64 bytes, and notes the texts that it computes."""

    def __init__(self):
        super().__init__(None, SimpleNamespace(config=SimpleNamespace(hidden_size=4)), None, b"")
        self.computed = []

    def _computed(self, texts, most, device):
        self.computed += texts
        return {text: torch.full((4, 4), float(len(text))) for text in texts}


def check_kept_states(monkeypatch):
    """Texts with dropped words are kept too, within a bound, and those used least recently are dropped first."""
    monkeypatch.setattr(transformers, "_CACHED", 3 * 64)
    model = Counted()

    def encode(*texts):
        model.computed.clear()
        assert [float(found[0, 0]) for found in model.encode(texts, 8, torch.device("cpu"))] == [*map(len, texts)]
        assert model._bytes == sum(states.nbytes for states in model._states.values()) <= 3 * 64
        return model.computed

    assert encode("a red circle", "a circle", "red") == ["a red circle", "a circle", "red"]
    assert encode("a circle", "a red circle") == [], "computed once"
    assert encode("circle") == ["circle"] and encode("a red circle", "a circle") == [], "the least recent is dropped"
    assert encode("red") == ["red"]
    assert encode("1", "2", "3", "4", "5") == ["1", "2", "3", "4", "5"], "more than are kept"


def test_states_are_kept_within_a_bound(monkeypatch):
    check_kept_states(monkeypatch)


def test_a_planted_cache_without_bound_is_caught(monkeypatch):
    with planted_error(transformers._TextModel, "encode", swap_operator(ast.Gt, ast.Eq)):
        assert_caught(check_kept_states, monkeypatch)


def test_another_model_is_refused(folder, tmp_path):
    first = Text(16, encoder=transformers.Transformers(16, folder=saved_model(folder, "bert")))
    other = Text(16, encoder=transformers.Transformers(16, folder=saved_model(tmp_path / "other", "bert")))
    with pytest.raises(BadInput, match="trained with another text model"):
        other.load_state_dict(first.state_dict())


def test_planted_states_that_are_not_cut_to_the_text_are_caught(folder, monkeypatch):
    condition = Text(16, encoder=transformers.Transformers(16, folder=saved_model(folder, "bert")))

    def whole(self, texts, most, device):
        inputs = self.tokenizer([*texts], truncation=True, max_length=most, padding=True, return_tensors="pt")
        return dict(zip(texts, self.model(input_ids=inputs["input_ids"]).last_hidden_state.detach(), strict=True))

    monkeypatch.setattr(transformers._TextModel, "_computed", whole)
    assert_caught(check_alone_and_in_a_batch, condition)


def test_what_no_text_model_is(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    transformers._read_model.cache_clear()
    with pytest.raises(BadInput, match="needs a model: `folder`, or `hub`"):
        transformers.Transformers(8)
    with pytest.raises(BadInput, match="no text model"):
        transformers.Transformers(8, folder=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(BadInput, match="does not hold a text model that transformers opens"):
        transformers.Transformers(8, folder=tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BadInput, match="not on this machine: `download: true` fetches it once"):
        transformers.Transformers(8, hub="nobody/nothing")
    with allow_fetching(False), pytest.raises(BadInput, match="a run from elsewhere fetches nothing"):
        transformers.Transformers(8, hub="nobody/nothing", download=True)
