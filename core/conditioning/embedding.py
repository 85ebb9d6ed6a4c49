"""Embedding condition: the features of an example; in sampling, those of a file whose style or content is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.layers.embedding import make_linear
from ..nn.layers.init import reset_parameters
from ..types import BadInput, Item, MediaSpec, move_like
from ..util.annotations import ComponentKind
from ..util.messages import shorten
from ..util.rng import keyed_generator
from .base import Condition

_MOST = 2**15  # features of media that are kept


class Embedding(Condition):
    """The features of an example as a vector: standardised, then two trained linear layers.

    In training the features are those of the example itself; in sampling, those of a file, which is named by its path,
    such as `conditions.style=path/to/file` for a condition `style`.

    Args:
        spec: Media specification.
        width: Length of a vector (the network's embedding width).
        features: Feature, a component of `eval.feature` that is not trained on the data.
        read: Reads a file as the data are read; None: values cannot be files.
        drop: Probability that training drops the features; classifier-free guidance needs a value above 0.

    Raises:
        BadInput: The feature is trained on the data.
    """

    reads_files = True
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        spec: MediaSpec,
        width: int,
        features: Annotated[Any, ComponentKind("feature")],
        read: Callable[[Path], Tensor] | None = None,
        drop: float = 0.1,
    ):
        super().__init__(width, drop)
        if hasattr(features, "fit"):
            raise BadInput("the condition `embedding` needs a feature that is not trained on the data, as learned is")
        self.spec, self.features, self.read = spec, features, read
        self._found: dict[bytes | str, np.ndarray] = {}  # hash of media, or path -> features
        noise = keyed_generator(0, 0, "probe").standard_normal((spec.channels, *spec.size), dtype=np.float32)
        count = len(self._features(torch.from_numpy(0.1 * noise)))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.layers = nn.Sequential(make_linear(count, width), nn.SiLU(), make_linear(width, width))
        reset_parameters(self, 0)

    def fit(self, items: Iterable[Item]) -> None:
        """Fit mean and deviation of the features on examples of the training data."""
        rows = np.stack([self.from_item(item) for item in items])
        deviation = rows.std(0)
        self.mean.copy_(torch.from_numpy(rows.mean(0)))
        self.scale.copy_(torch.from_numpy(np.where(deviation > 1e-6 * (1 + np.abs(rows.mean(0))), deviation, 1.0)))

    def parse(self, value: Any) -> str:
        """Compute the features of a file, which is named by its path.

        Raises:
            BadInput: It is not the path of a file that can be read.
        """
        if not isinstance(value, (str, Path)) or self.read is None:
            raise BadInput(f"style or content is given by the path of a file, not {shorten(repr(value))}")
        self._found[str(value)] = self._features_once(self.read(Path(value)))  # again: the file may have changed
        return str(value)

    def from_item(self, item: Item) -> np.ndarray:
        """The features of an example without its padding; equal media are computed once."""
        return self._features_once(self.spec.trim(item.media, item.length))

    def embed(self, values: Sequence[np.ndarray | str] | Tensor) -> Tensor:
        """Embed features (B, d), arrays (d,) or parsed paths -> (B, E)."""
        if not isinstance(values, Tensor):
            values = torch.from_numpy(np.stack([self._found[v] if isinstance(v, str) else v for v in values]))
        return self.layers((move_like(values, self.mean) - self.mean) / self.scale)

    def format_value(self, value: Any) -> str | None:
        """The path; None for the features of an example."""
        return value if isinstance(value, str) else None

    def _features_once(self, media: Tensor) -> np.ndarray:
        key = hashlib.blake2b(media.contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in self._found:
            if len(self._found) >= _MOST:  # random parts are new in every step
                self._found = {path: row for path, row in self._found.items() if isinstance(path, str)}
            self._found[key] = self._features(media)
        return self._found[key]

    def _features(self, media: Tensor) -> np.ndarray:
        return np.asarray(self.features([media.detach().float().cpu()])[0], dtype=np.float32)
