"""Text condition: a caption in training, a prompt in sampling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..types import BadInput, Item, Tokens, move_like
from ..util.annotations import ComponentKind, Range
from ..util.labels import normalise_label
from ..util.messages import CONTROL, shorten
from ..util.notes import issue_note
from .base import Condition
from .encoders.base import TextEncoder

_SHOWN = 24  # characters on each side of the place where a prompt is cut


class Text(Condition):
    """A text: the captions of the examples in training, and prompts in sampling.

    A text encoder turns it into a sequence of tokens, to which the network attends. An example without a caption, and
    an empty prompt, are unconditional.

    Args:
        width: Length of a token (the network's embedding width).
        key: Name of the examples' attribute that contains the text; `caption` is their caption.
        encoder: Text encoder: bytes, words, table or transformers.
        length: Largest number of tokens; longer texts are cut.
        drop: Probability that training drops the text; classifier-free guidance needs a value above 0.
        word_drop: Probability that training leaves out a word; at least one word stays.

    Raises:
        BadInput: A probability is not one.
    """

    kind: Literal["vector", "tokens", "concat"] = "tokens"
    accepts_prompts = True

    def __init__(
        self,
        width: int,
        key: str = "caption",
        encoder: Annotated[Any, ComponentKind("text_encoder")] = "bytes",
        length: Annotated[int, Range(4, 4096)] = 128,  # 4 bytes are one character of UTF-8
        drop: float = 0.1,
        word_drop: float = 0.0,
    ):
        super().__init__(width, drop)
        if not 0 <= word_drop < 1:
            raise BadInput(f"word_drop is a probability in [0, 1), not {word_drop}")
        self.key, self.length, self.word_drop = key, length, word_drop
        self.augments = word_drop > 0
        self.encoder: TextEncoder = encoder

    def parse(self, value: Any) -> str | None:
        """Clean a prompt: composed Unicode (NFC), and one space for each run of spaces and control characters.

        A prompt that is too long is cut, with a warning that shows the place. None: the prompt is empty.

        Raises:
            BadInput: The value is not a text.
        """
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise BadInput(f"{self.key}: a prompt is a text in quotes, not {shorten(repr(value))}")
        text = _cleaned(value)
        if not text:
            issue_note("an empty prompt is unconditional", stacklevel=2)
            return None
        kept = self.encoder.cut(text, self.length)
        if len(kept) < len(text):
            place = f"...{kept[-_SHOWN:]} | {text[len(kept) :].lstrip()[:_SHOWN]}..."
            issue_note(
                f"a prompt is cut after {len(kept)} of {len(text)} characters ({self.length} tokens), at |: {place!r}",
                stacklevel=2,
            )
        return kept or None

    def from_item(self, item: Item) -> str | None:
        """The text of an example; None if it has none, or an empty one.

        Raises:
            BadInput: The attribute is neither a text nor a list of texts.
        """
        return text_of_item(item, self.key)

    def augment(self, value: str, rng: np.random.Generator) -> str:
        """The text without some of its words; at least one stays."""
        words = value.split()
        drawn = rng.random(len(words))
        kept = [word for word, number in zip(words, drawn, strict=True) if number >= self.word_drop]
        return " ".join(kept or [words[int(drawn.argmax())]])

    def embed(self, values: Sequence[str] | Tensor) -> Tokens:
        """Encode B texts -> (B, L, E); equal texts are encoded once."""
        assert not isinstance(values, Tensor)
        places = {text: i for i, text in enumerate(dict.fromkeys(values))}
        found = self.encoder([*places], self.length)
        if len(places) == len(values):
            return found
        listed = torch.tensor([places[text] for text in values], device="cpu")
        index = move_like(listed, found.values, torch.long)
        return Tokens(found.values.index_select(0, index), found.mask.index_select(0, index))

    def cut_share(self, texts: Sequence[str]) -> float:
        """Share of the texts that are longer than `length`."""
        long = sum(len(self.encoder.cut(text, self.length)) < len(text) for text in map(_cleaned, texts))
        return long / max(1, len(texts))


def text_of_item(item: Item, key: str = "caption") -> str | None:
    """The text of an example: its caption, or another attribute; None if it has none, or an empty one.

    Raises:
        BadInput: The attribute is neither a text nor a list of texts.
    """
    found = item.caption if key == "caption" else item.attributes.get(key)
    parts = found if isinstance(found, (list, tuple)) else [] if found is None else [found]
    if not all(isinstance(part, (str, int, float)) for part in parts):
        raise BadInput(f"{item.source}: `{key}` is {shorten(repr(found))}, not a text")
    return _cleaned(", ".join(normalise_label(part) for part in parts)) or None


def _cleaned(value: str | float) -> str:
    """The text in composed Unicode, with single spaces; lone surrogates, which no UTF-8 text contains, are dropped."""
    return " ".join(re.sub(CONTROL, " ", unicodedata.normalize("NFC", normalise_label(value))).split())
