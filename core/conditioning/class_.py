"""Class condition: one class of the data, or a mixture of classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..nn.layers.embedding import EmbeddingTable
from ..nn.layers.init import normal_, reset_parameters
from ..types import BadInput, Item, MediaSpec, move_like
from ..util.labels import normalise_label
from .base import Condition, unknown_label_error

ClassOrMixture = int | tuple[tuple[int, float], ...]
"""A class index, or a mixture: (index, weight) pairs with weights that sum to 1."""


class Class(Condition):
    """One class of the data, embedded as a learned vector, or a mixture of classes: the weighted mean of their vectors.

    Args:
        spec: Properties of the data, with the names of its classes.
        width: Length of a vector (the network's embedding width).
        drop: Probability that training drops the class; classifier-free guidance needs a value above 0.

    Raises:
        BadInput: The data has no classes.
    """

    def __init__(self, spec: MediaSpec, width: int, drop: float = 0.1):
        super().__init__(width, drop)
        if not spec.classes:
            raise BadInput(
                "condition `class` needs classes, and the data has none: give it labels, or remove the condition"
            )
        self.classes = spec.classes
        self._indices = {normalise_label(name): index for index, name in enumerate(spec.classes)}
        self.rows = EmbeddingTable(len(self.classes), width)
        reset_parameters(self, 0)

    def init_weights(self, rng: np.random.Generator) -> None:
        """Initial weights: standard normal rows."""
        super().init_weights(rng)
        normal_(self.rows.weight, rng)

    def parse(self, value: Any) -> ClassOrMixture:
        """A class's name or index -> its index; a mixture {coin: 0.5, jump: 0.5} -> pairs whose weights add up to 1.

        Names are compared as text in composed Unicode (NFC): 3.1 is the class "3.1", true the class "true".

        Raises:
            BadInput: The message names the classes.
        """
        return self._mixture(value) if isinstance(value, Mapping) else self._index(value)

    def _mixture(self, value: Mapping[Any, Any]) -> ClassOrMixture:
        weights: dict[int, float] = {}
        for name, weight in value.items():
            number = weight if isinstance(weight, (int, float)) and not isinstance(weight, bool) else math.nan
            if not 0 <= number < math.inf:
                raise BadInput(f"a mixture of classes has weights of 0 or more, not {weight!r} for {name!r}")
            index = self._index(name)
            weights[index] = weights.get(index, 0.0) + number
        total = sum(weights.values())
        if not total:
            raise BadInput(f"a mixture of classes names some with weights above 0, such as {{{self.classes[0]}: 1}}")
        mixture = tuple((index, weight / total) for index, weight in weights.items() if weight)
        return mixture[0][0] if len(mixture) == 1 else mixture

    def _index(self, value: Any) -> int:
        text = normalise_label(value)
        # A class with this number as its name has priority over the index.
        index = self._indices.get(text, int(text) if re.fullmatch("0|[1-9][0-9]{0,8}", text) else -1)
        if not 0 <= index < len(self.classes):
            raise unknown_label_error("class", value, self.classes)
        return index

    def choices(self) -> Sequence[str]:
        """The names of all classes."""
        return self.classes

    def format_value(self, value: ClassOrMixture | None) -> str | dict[str, float] | None:
        """The class's name; for a mixture, its weights by name."""
        if isinstance(value, tuple):
            return {self.classes[index]: round(weight, 6) for index, weight in value}
        return None if value is None else self.classes[value]

    def interpolate(self, a: ClassOrMixture, b: ClassOrMixture, share: float) -> ClassOrMixture:
        """The mixture (1 - share) a + share b."""
        mixture: dict[int, float] = {}
        for value, weight in ((a, 1 - share), (b, share)):
            for index, part in value if isinstance(value, tuple) else ((value, 1.0),):
                mixture[index] = mixture.get(index, 0.0) + weight * part
        return self._mixture(mixture)

    def check(self, spec: MediaSpec) -> None:
        """Raise BadInput if the data has fewer than two classes: there is nothing to tell apart."""
        if len(spec.classes) < 2:
            found = f"the data has {len(spec.classes)}"
            raise BadInput(f"needs at least two classes, and {found}: put files in one folder a class")

    def from_item(self, item: Item) -> int | None:
        """The example's label."""
        return item.label

    def embed(self, values: Sequence[ClassOrMixture] | Tensor) -> Tensor:
        """Embed indices (B,), or a list of B indices and mixtures -> (B, E)."""
        if not isinstance(values, Tensor) and any(isinstance(value, tuple) for value in values):
            weights = torch.zeros(len(values), len(self.classes))
            for row, value in enumerate(values):
                for index, weight in value if isinstance(value, tuple) else ((value, 1.0),):
                    weights[row, index] = weight
            return move_like(weights, self.rows.weight) @ self.rows.weight
        return self.rows(move_like(torch.as_tensor(values, dtype=torch.long), self.rows.weight, torch.long))
