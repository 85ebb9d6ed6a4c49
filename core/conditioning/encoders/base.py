"""Base class of text encoders: texts -> one sequence of vectors for each text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...types import Tokens, move_like


class TextEncoder(nn.Module, ABC):
    """Encodes texts as tokens. What is trained are its parameters; a frozen model is not a submodule, see `_frozen`.

    Args:
        width: E, length of a token (the network's embedding width).
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    @abstractmethod
    def cut(self, text: str, length: int) -> str:
        """The beginning of a text that has at most `length` tokens; the text itself if it is not longer."""

    @abstractmethod
    def forward(self, texts: Sequence[str], length: int) -> Tokens:
        """Encode B texts, none of which is empty, as (B, L, E) with L of at most `length`.

        The tokens of a text do not depend on the other texts, and those after its end have mask False.
        """


def pad_rows(rows: Sequence[Sequence[int]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Lists of token numbers as (B, L) int64, padded with 0, and the mask (B, L); on the device of `like`."""
    longest = max(map(len, rows))
    numbers = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.long, device="cpu")
    lengths = torch.tensor([len(row) for row in rows], device="cpu")
    mask = torch.arange(longest, device="cpu") < lengths[:, None]
    return move_like(numbers, like, torch.long), move_like(mask, like, torch.bool)
