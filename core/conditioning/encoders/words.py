"""Text encoder over words, trained together with the network.

The vector of a word is that of fastText (Bojanowski et al. 2017, arXiv:1607.04606): the sum of the rows of its letter
groups, which a hash assigns, so that there is no vocabulary to store and similar spellings have similar vectors.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Annotated
from zlib import crc32

import numpy as np
import torch

from ...nn.layers.embedding import EmbeddingTable
from ...nn.layers.init import normal_, reset_parameters
from ...types import Tokens, move_like
from ...util.annotations import Range
from ._transformer import TokenTransformer
from .base import TextEncoder

_LONGEST = 24  # letters of one token; longer words, and scripts without spaces, are several tokens
_GROUP = 3  # letters of a group


class Words(TextEncoder):
    """Words as vectors with a small transformer, trained from scratch together with the network.

    The vector of a word is the scaled sum of the rows of the word and of its groups of three letters. It needs no
    package and no vocabulary, ignores upper case, and reads any script. It knows only the words of the training
    captions, and words with the same letter groups, such as plurals.

    Args:
        width: Length of a token (the network's embedding width).
        hidden: Width of its layers, a multiple of 8.
        layers: Number of its layers.
        rows: Number of rows, which words and letter groups share.
    """

    def __init__(
        self,
        width: int,
        hidden: Annotated[int, Range(8)] = 128,
        layers: Annotated[int, Range(1)] = 2,
        rows: Annotated[int, Range(1, 2**20)] = 4096,
    ):
        super().__init__(width)
        self.rows = EmbeddingTable(rows, hidden)
        self.transformer = TokenTransformer(hidden, layers, width)
        reset_parameters(self, 0)

    def init_weights(self, rng: np.random.Generator) -> None:
        """Draw initial weights: standard normal rows."""
        normal_(self.rows.weight, rng)

    def cut(self, text: str, length: int) -> str:
        """The beginning of at most `length` words and signs."""
        ends = [found.end() for found in _pattern().finditer(text)]
        return text if len(ends) <= length else text[: ends[length - 1]]

    def forward(self, texts: Sequence[str], length: int) -> Tokens:
        """One token for each word and each sign, such as a comma or an emoji, with its combining marks and joiners."""
        words = [_pattern().findall(text.lower())[:length] or [text] for text in texts]
        groups = [[_hashes(word) for word in row] for row in words]
        longest, most = max(map(len, groups)), max(len(word) for row in groups for word in row)
        padded = [[*(_pad(word, most) for word in row), *[[-1] * most] * (longest - len(row))] for row in groups]
        numbers = torch.tensor(padded, device="cpu")
        numbers = move_like(numbers, self.rows.weight, torch.long)
        given = numbers >= 0  # (B, L, groups)
        vectors = self.rows(numbers.clamp(min=0) % self.rows.num_embeddings) * given[..., None]
        scaled = vectors.sum(2) * given.sum(2, keepdim=True).clamp(min=1) ** -0.5  # of unit variance
        return self.transformer(scaled, given.any(2))


@cache
def _pattern() -> re.Pattern[str]:
    """The pattern of a token.

    Vowel signs, accents and joiners belong to their letter, skin tones, variation selectors and tags to their emoji,
    and emoji with joiners between them, and the two letters of a flag, are one token.
    """
    marks = "".join(re.escape(chr(i)) for i in (*range(0x20000), *_SELECTORS) if unicodedata.category(chr(i))[0] == "M")
    more = f"[{marks}\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
    sign = rf"[^\w\s]{more}{{0,8}}"
    return re.compile(
        rf"(?:\w{more}{{0,4}}){{1,{_LONGEST}}}|[\U0001f1e6-\U0001f1ff]{{2}}|{sign}(?:(?<=\u200d){sign}){{0,8}}"
    )


_SELECTORS = range(0xE0100, 0xE01F0)  # of variants of letters; all other combining marks are below 0x20000


def _pad(numbers: Sequence[int], length: int) -> list[int]:
    return [*numbers, *[-1] * (length - len(numbers))]


@lru_cache(maxsize=2**14)
def _hashes(word: str) -> tuple[int, ...]:
    """A number for the word, and for each of its groups of letters; `<` and `>` mark its ends."""
    marked = f"<{word}>"
    groups = [marked[i : i + _GROUP] for i in range(len(marked) - _GROUP + 1)]
    return tuple(crc32(group.encode()) for group in dict.fromkeys([marked, *groups]))
