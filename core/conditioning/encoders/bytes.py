"""Text encoder over UTF-8 bytes, trained together with the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from ...nn.layers.embedding import EmbeddingTable
from ...nn.layers.init import normal_, reset_parameters
from ...types import Tokens
from ...util.annotations import Range
from ._transformer import TokenTransformer
from .base import TextEncoder, pad_rows


class Bytes(TextEncoder):
    """A small transformer over the UTF-8 bytes of a text, trained from scratch together with the network.

    It needs no package and no vocabulary, and reads any script. It knows only the words of the training captions.

    Args:
        width: Length of a token (the network's embedding width).
        hidden: Width of its layers, a multiple of 8.
        layers: Number of its layers.
    """

    def __init__(self, width: int, hidden: Annotated[int, Range(8)] = 128, layers: Annotated[int, Range(1)] = 2):
        super().__init__(width)
        self.rows = EmbeddingTable(256, hidden)
        self.transformer = TokenTransformer(hidden, layers, width)
        reset_parameters(self, 0)

    def init_weights(self, rng: np.random.Generator) -> None:
        """Draw initial weights: standard normal rows."""
        normal_(self.rows.weight, rng)

    def cut(self, text: str, length: int) -> str:
        """The beginning of at most `length` bytes, without a part of a character."""
        return text.encode()[:length].decode(errors="ignore")

    def forward(self, texts: Sequence[str], length: int) -> Tokens:
        """One token for each byte."""
        numbers, mask = pad_rows([list(self.cut(text, length).encode()) for text in texts], self.rows.weight)
        return self.transformer(self.rows(numbers), mask)
