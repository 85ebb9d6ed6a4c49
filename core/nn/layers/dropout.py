"""Dropout whose masks are keyed by (seed, sample, step, layer): the same whatever the batch, the device and the ranks.

    with keyed_dropout(seed, samples, step):
        loss = network(...)

Without the context, or in eval mode, nothing is dropped. torch's global generator is never drawn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...types import BadInput
from ...util.rng import generator


@dataclass
class _Keys:
    seed: int
    samples: Sequence[int]
    step: int
    layer: int = 0  # dropout layers passed so far in this context


_active: ContextVar[_Keys | None] = ContextVar("keyed_dropout", default=None)


@contextmanager
def keyed_dropout(seed: int, samples: Sequence[int], step: int) -> Iterator[None]:
    """Turn dropout on for one forward pass; samples[i] is the number of row i in the global batch."""
    token = _active.set(_Keys(seed, list(samples), step))
    try:
        yield
    finally:
        _active.reset(token)


class Dropout(nn.Module):
    """y = x m / (1 - p) with m = 1 at probability 1 - p, per element of x (B, C, *spatial); identity outside training.

    p: probability that an element is dropped, in [0, 1)
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise BadInput(f"dropout is a probability in [0, 1), not {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, *spatial) -> the same shape; raises BadInput where the context names another number of samples."""
        keys = _active.get()
        if keys is None or not self.training or self.p == 0:
            return x
        if len(keys.samples) != x.shape[0]:
            raise BadInput(f"keyed_dropout names {len(keys.samples)} samples, the batch holds {x.shape[0]}")
        counter = (keys.step, keys.layer)
        keys.layer += 1
        # 16 bits an element: four times fewer numbers to draw than with floats, and p is met to 1e-5.
        limit = round(self.p * 65536)
        rows = [
            generator(keys.seed, s, "dropout", counter).integers(0, 65536, x.shape[1:], dtype=np.uint16) >= limit
            for s in keys.samples
        ]
        mask = torch.from_numpy(np.stack(rows)).to(x.device)
        return x * (mask.to(x.dtype) / (1 - self.p))
