"""Base class of conditions: a value from a user or the data -> a vector, tokens or channels for the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..codecs.base import Codec
from ..nn.layers.init import normal_
from ..types import CONDITIONING_KINDS, BadInput, Conditioning, Item, MediaSpec, Tokens, concatenate_batches, move_like
from ..util.labels import normalise_label
from ..util.messages import did_you_mean, format_argument, format_names, quote_for_yaml, shorten

EmbeddedValues = Tensor | Tokens
"""A condition's values in the form that the network accepts, see `Condition.kind`."""


class Condition(nn.Module, ABC):
    """Embeds values of one condition; a learned vector represents "unconditional".

    Args:
        width: E, length of a vector or token (for vectors: the network's `embedding_width`), or the number of channels
            C'.
        drop: Probability that training replaces a value by the unconditional vector.

    Attributes:
        kind: Form of the embedding: "vector" (B, E), "tokens" (`Tokens`), or "concat" (B, C', *spatial). A network
            declares in `accepts` which kinds it accepts.
        dims: Number of spatial axes of a "concat" condition.
        accepts_prompts: Whether its value is a text that a user writes: a prompt.
        augments: Whether training changes the values at random, see `augment`.
        reads_files: Whether a value is the path of a file, which is read.

    Raises:
        BadInput: `drop` is not a probability.
    """

    kind: Literal["vector", "tokens", "concat"] = "vector"
    dims: int = 0
    accepts_prompts: bool = False
    augments: bool = False
    reads_files: bool = False

    def __init__(self, width: int, drop: float):
        super().__init__()
        if not 0 <= drop <= 1:
            raise BadInput(f"drop is a probability in [0, 1], not {drop}")
        self.width, self.drop = width, drop
        self.null = nn.Parameter(torch.zeros(width))

    @abstractmethod
    def parse(self, value: Any) -> Any:
        """Convert a value that a user writes to the form that `embed` accepts.

        Raises:
            BadInput: The value is not valid; the message names valid ones.
        """

    def check(self, spec: MediaSpec) -> None:
        """Check that the condition can be trained on data with these properties; by default it can.

        Raises:
            BadInput: It cannot; the message says what is missing and ends without a remedy for the recipe.
        """

    @abstractmethod
    def from_item(self, item: Item) -> Any | None:
        """The value of an example of the data; None if it has none."""

    def augment(self, value: Any, rng: np.random.Generator) -> Any:
        """Change the value of an example at random, in training only; by default it is unchanged.

        Args:
            value: The value; not None.
            rng: Generator, keyed by (seed, row, step).
        """
        return value

    def encode(self, values: Sequence[Any], codec: Codec) -> Sequence[Any] | Tensor:
        """Encode the values of B examples that are media; by default they are none, and unchanged.

        Args:
            values: As `augment` returns them; none is None.
            codec: The codec of the training.

        Returns:
            What `embed` accepts.
        """
        return values

    @abstractmethod
    def embed(self, values: Sequence[Any] | Tensor) -> EmbeddedValues:
        """Embed the parsed values of B samples: (B, E), `Tokens`, or (B, C', *spatial), depending on `kind`."""

    def choices(self) -> Sequence[Any]:
        """The values that "cycle" repeats; empty if they cannot be listed."""
        return ()

    def format_value(self, value: Any) -> Any:
        """A parsed value in readable form, a name or a number, which `parse` accepts."""
        return value

    def interpolate(self, a: Any, b: Any, share: float) -> Any:
        """Interpolate between the parsed values a (share 0) and b (share 1); by default, the nearer of the two."""
        return a if share < 0.5 else b

    def unconditional(self, batch: int) -> EmbeddedValues:
        """The learned embedding of `batch` samples without a value.

        Returns:
            (B, E); `Tokens` with one token per sample; or (B, C', *ones), which is valid for any size.
        """
        if self.kind == "tokens":
            mask = torch.ones(batch, 1, dtype=torch.bool, device=self.null.device)
            return Tokens(self.null.expand(batch, 1, -1), mask)
        if self.kind == "concat":
            return self.null.reshape(1, -1, *[1] * self.dims).expand(batch, *[-1] * (1 + self.dims))
        return self.null.expand(batch, -1)

    def init_weights(self, rng: np.random.Generator) -> None:
        """Draw initial weights: standard normal for the unconditional vector. Subclasses add their own parameters."""
        normal_(self.null, rng)


def unknown_label_error(noun: str, value: Any, names: Sequence[str], of: str = "") -> BadInput:
    """The error for a label that does not exist: the nearest names, and the first of all."""
    text = normalise_label(value)
    near, start = did_you_mean(text, names), f"there is no {noun} {shorten(repr(value), 40)}{of}"
    if quoted := [name for name in names if len(name) > 2 and name[0] == name[-1] in "'\"" and name[1:-1] == text]:
        remedy = format_argument("label", quote_for_yaml(quoted[0]))
        return BadInput(f"{start}; the quotes belong to the name of {shorten(quoted[0], 40)}: write {remedy}")
    rest = f"{near} There are" if near else ": there are"
    return BadInput(f"{start}{rest} {format_names(names)}")


def build_conditioning(
    conditions: Mapping[str, Condition] | nn.ModuleDict,
    values: Mapping[str, Sequence[Any]],
    embed: Callable[[str, Sequence[Any]], EmbeddedValues] | None = None,
) -> Conditioning:
    """The conditioning of a batch.

    Args:
        conditions: Name -> condition.
        values: Name -> one parsed value per sample; None: unconditional. A condition whose name is missing is
            unconditional for all samples.
        embed: Embeds parsed values of the condition of a name; None: the condition's own method.

    Raises:
        BadInput: A name is not that of a condition, or the lists differ in length.
    """
    unknown = [name for name in values if name not in conditions]
    if unknown:
        raise BadInput(f"there is no condition {unknown[0]!r}: this model has {', '.join(conditions.keys()) or 'none'}")
    lengths = {len(v) for v in values.values()}
    if len(lengths) > 1:
        raise BadInput(f"conditions of a batch need one value a sample, not lists of lengths {sorted(lengths)}")
    batch = lengths.pop() if lengths else 1
    groups: dict[str, dict[str, Any]] = {kind: {} for kind in CONDITIONING_KINDS}
    unconditional: dict[str, EmbeddedValues] = {}
    for name, condition in conditions.items():
        assert isinstance(condition, Condition)
        unconditional[name] = condition.unconditional(batch)
        rows = values.get(name, [None] * batch)
        given = [value for value in rows if value is not None]
        embedded = None if not given else condition.embed(given) if embed is None else embed(name, given)
        groups[condition.kind][name] = _embedded(rows, embedded, unconditional[name])
    return Conditioning(groups["vector"], unconditional, tokens=groups["tokens"], concat=groups["concat"])


def _embedded(values: Sequence[Any], rows: EmbeddedValues | None, unconditional: EmbeddedValues) -> EmbeddedValues:
    """One row for each value: the next one of `rows`, or the unconditional row if the value is None."""
    if rows is None:
        return unconditional
    given = [i for i, value in enumerate(values) if value is not None]
    if len(given) == len(values):
        return rows
    # Rows are selected from [unconditional, given...], so that one gather is enough for any batch.
    place = {i: n + 1 for n, i in enumerate(given)}
    index = [place.get(i, 0) for i in range(len(values))]
    if isinstance(rows, Tokens):
        assert isinstance(unconditional, Tokens)
        first = Tokens(unconditional.values[:1].to(rows.values.dtype), unconditional.mask[:1])
        both = concatenate_batches([first, rows])
        picked = move_like(torch.tensor(index), rows.values, torch.long)
        return Tokens(both.values.index_select(0, picked), both.mask.index_select(0, picked))
    assert isinstance(unconditional, Tensor)
    both = concatenate_batches([unconditional[:1].to(rows.dtype), rows])
    return both.index_select(0, move_like(torch.tensor(index), rows, torch.long))


def check_network_accepts(network: nn.Module, conditions: Mapping[str, Condition] | nn.ModuleDict) -> None:
    """Check that a network accepts the kinds of its conditions.

    Args:
        network: Its attribute `accepts` contains the accepted kinds; without the attribute, vectors only.
        conditions: Name -> condition.

    Raises:
        BadInput: A condition has another kind.
    """
    for name, condition in conditions.items():
        if message := explain_condition_mismatch(network, condition):
            raise BadInput(f"conditioning.{name} {message} (conditioning.{name}=null)")


def explain_condition_mismatch(
    network: Any, condition: Any, options: Mapping[str, Any] = MappingProxyType({})
) -> str | None:
    """What is wrong if a network does not accept the kind of a condition; None if it does.

    Args:
        network: A network or its class. Its attribute `accepts` contains the accepted kinds; `kinds_by_option` states
            kind -> an option by which it accepts this kind too, and a value of the option.
        condition: A condition or its class.
        options: For a class, the parameters that the recipe gives.
    """
    accepts = getattr(network, "accepts", frozenset({"vector"}))
    kind = getattr(condition, "kind", "vector")
    option, value = getattr(network, "kinds_by_option", {}).get(kind, ("", ""))
    if kind in accepts or options.get(option):
        return None
    kinds, cls = ", ".join(sorted(accepts)) or "none", network if isinstance(network, type) else type(network)
    remedy = f"set network.{option}={value}" if option else "choose another network"
    return f"yields {_MEANING[kind]}, and the network {cls.__name__} takes {kinds}: {remedy}, or remove the condition"


_MEANING = {
    "vector": "a vector for each sample (`vector`)",
    "tokens": "a sequence of vectors to attend to (`tokens`)",
    "concat": "channels next to the noisy sample (`concat`)",
}
