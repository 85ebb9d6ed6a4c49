"""Text encoder on top of a frozen table of word vectors, that of the package wordllama."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...nn.frozen import fingerprint_of_files
from ...nn.layers.embedding import make_linear
from ...nn.layers.init import reset_parameters
from ...types import BadInput, Tokens, move_like
from ...util.annotations import Range
from ._frozen import FrozenTextEncoder
from ._transformer import TokenTransformer
from .base import pad_rows

_WEIGHTS, _TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
_REMEDY = "pip install 'sonolux[text]'"


class Table(FrozenTextEncoder):
    """A frozen table of word vectors, with a trained projection and transformer layer on top.

    The vectors are the 32,000 of 256 numbers that the package wordllama contains, read without a network connection.
    Words that are similar have similar vectors, so that prompts may use words that occur in no caption.

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
        """The beginning of at most `length` tokens; a word may have several."""
        found = _table().tokenizer.encode(text, add_special_tokens=False)
        return text if len(found.ids) <= length else text[: found.offsets[length - 1][1]].rstrip()

    def forward(self, texts: Sequence[str], length: int) -> Tokens:
        """One token for each token of the table."""
        table = _table()
        found = table.tokenizer.encode_batch([*texts], add_special_tokens=False)
        numbers, mask = pad_rows([one.ids[:length] for one in found], table.vectors)
        weight = self.project.weight
        vectors = move_like(table.vectors[numbers], weight)
        return self.transformer(self.project(vectors), move_like(mask, weight, torch.bool))


class _WordVectors(NamedTuple):
    vectors: Tensor  # (words, 256), on the host
    tokenizer: Any
    fingerprint: bytes


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
    return _WordVectors(vectors, tokenizer, fingerprint_of_files([weights, words]))
