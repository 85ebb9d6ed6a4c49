"""Text encoder on top of a frozen table of word vectors, that of the package wordllama."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...nn.frozen import fingerprint_of_files
from ...nn.layers.embedding import make_linear
from ...nn.layers.init import reset_parameters
from ...types import BadInput, Tokens, move_like
from ...util.annotations import Range
from ._frozen import FrozenTextEncoder
from ._transformer import TokenTransformer

_WEIGHTS, _TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
_SPACE = "\u2581"  # how the tokenizer writes the space before a word
_REMEDY = "pip install 'sonolux[text]'"


class Table(FrozenTextEncoder):
    """A frozen table of word vectors, with a trained projection and transformer layer on top.

    The vectors are the 32,000 of 256 numbers that the package wordllama contains, read without a network connection.
    Words that are similar have vectors of similar directions, so that prompts may use words that occur in no caption.
    The length of a vector says how rare the word is: a rare synonym would be far from the words of the captions. So a
    word that is split into pieces is the mean of their directions, and every word has the same length, an RMS of 1.

    Args:
        width: Length of a token (the network's embedding width).
        hidden: Width of the trained layers, a multiple of 8.
        layers: Number of trained layers.

    Raises:
        BadInput: The package is not installed.
    """

    def __init__(self, width: int, hidden: Annotated[int, Range(8)] = 128, layers: Annotated[int, Range(1)] = 1):
        table = _table()
        super().__init__(width, table.fingerprint, "table of word vectors (wordllama)")
        self.project = make_linear(table.vectors.shape[1], hidden)
        self.transformer = TokenTransformer(hidden, layers, width)
        reset_parameters(self, 0)

    def cut(self, text: str, length: int) -> str:
        """The beginning of at most `length` words."""
        words = _split_words(text)
        return text if len(words) <= length else text[: words[length - 1].end].rstrip()

    def forward(self, texts: Sequence[str], length: int) -> Tokens:
        """One token for each word."""
        empty = torch.zeros(0, self.project.in_features, device="cpu")
        words = [[_word_vector(word.pieces) for word in _split_words(text)[:length]] for text in texts]
        rows = [torch.stack(row) if row else empty for row in words]
        mask = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.bool, device="cpu")
        for i, row in enumerate(rows):
            mask[i, : len(row)] = True
        weight = self.project.weight
        vectors = move_like(pad_sequence(rows, batch_first=True), weight)
        return self.transformer(self.project(vectors), move_like(mask, weight, torch.bool))


class _Word(NamedTuple):
    pieces: tuple[int, ...]  # numbers in the table
    end: int  # place in the text after its last letter


def _split_words(text: str) -> list[_Word]:
    """The words of a text, in lower case: pieces of Latin letters without a space between them are one word."""
    lower = text.lower() if len(text.lower()) == len(text) else text  # places in the text stay what they are
    found = _table().tokenizer.encode(lower, add_special_tokens=False)
    words: list[_Word] = []
    is_latin = False  # the piece before
    for number, piece, (_, end) in zip(found.ids, found.tokens, found.offsets, strict=True):
        if is_latin and _is_latin(piece):
            words[-1] = _Word((*words[-1].pieces, number), end)
        else:
            words.append(_Word((number,), end))
        is_latin = _is_latin(piece.removeprefix(_SPACE))
    return words


def _is_latin(piece: str) -> bool:
    return piece.isascii() and piece.isalpha()


class _WordVectors(NamedTuple):
    vectors: Tensor  # (pieces, 256), on the host
    tokenizer: Any
    fingerprint: bytes


@lru_cache(maxsize=2**14)  # captions repeat their words at every step
def _word_vector(pieces: tuple[int, ...]) -> Tensor:
    """The vector of a word (256), of an RMS of 1."""
    rows = _table().vectors[torch.tensor(pieces, device="cpu")].float()
    mean = (rows / _rms(rows)).mean(0)
    return mean / _rms(mean)


def _rms(x: Tensor) -> Tensor:
    return x.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)


@cache
def _table() -> _WordVectors:
    """The table. The package's files are read, and the package itself, which sets up logging, is not imported."""
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise BadInput(f"the text encoder `table` needs the package wordllama: {_REMEDY}")
    folder = Path(spec.origin).parent
    weights, words = folder / _WEIGHTS, folder / _TOKENIZER
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports]

        with torch.device("cpu"), safe_open(str(weights), framework="pt") as file:
            vectors = file.get_tensor("embedding.weight")
        tokenizer = Tokenizer.from_file(str(words))
    except (ImportError, SafetensorError, OSError) as error:
        raise BadInput(
            f"the word vectors of wordllama cannot be read ({error}): {_REMEDY} --force-reinstall"
        ) from error
    except Exception as error:  # tokenizers raises no other class
        raise BadInput(f"{words}: cannot be read ({error}): {_REMEDY} --force-reinstall") from error
    files = fingerprint_of_files([weights, words])
    # What is made of the files belongs to the fingerprint: weights that were trained on other vectors are refused.
    fingerprint = hashlib.blake2b(files + b"directions of words", digest_size=len(files)).digest()
    return _WordVectors(vectors, tokenizer, fingerprint)
