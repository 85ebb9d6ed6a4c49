"""Dropout with masks keyed by (seed, sample, step, layer): independent of batch size, device and number of ranks.

    with keyed_dropout(seed, samples, step):
        loss = network(...)

Without the context, or in eval mode, nothing is dropped. torch's global generator is not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...types import BadInput
from ...util.integers import as_sample_numbers, as_seed
from ...util.rng import keyed_random_words, stream_key


@dataclass
class _Keys:
    seed: int
    samples: list[int]
    step: int
    layer: int = 0  # dropout layers passed so far in this context


_active: ContextVar[_Keys | None] = ContextVar("keyed_dropout", default=None)


@contextmanager
def keyed_dropout(seed: int, samples: Sequence[int], step: int) -> Iterator[None]:
    """Turn dropout on for one forward pass.

    Args:
        seed: Seed of the run.
        samples: samples[i] is the number of row i in the global batch.
        step: Number of the training step.
    """
    with _use(_Keys(as_seed(seed), as_sample_numbers(samples), step)):
        yield


def remember_dropout() -> AbstractContextManager[None]:
    """A context in which the layers that are passed next drop the same features as they do now, also in a thread."""
    keys = _active.get()
    return _use(None if keys is None else replace(keys))


@contextmanager
def _use(keys: _Keys | None) -> Iterator[None]:
    token = _active.set(keys)
    try:
        yield
    finally:
        _active.reset(token)


class Dropout(nn.Module):
    """y = x m / (1 - p), m = 1 with probability 1 - p for each element of x (B, C, *spatial); identity in eval mode.

    Args:
        p: Probability that an element is dropped, in [0, 1).
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise BadInput(f"dropout is a probability in [0, 1), not {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, *spatial) -> the same shape.

        Raises:
            BadInput: The context has a different number of samples than x.
        """
        if self.p == 0 or not self.training or (keys := _active.get()) is None:
            return x
        if len(keys.samples) != x.shape[0]:
            raise BadInput(f"keyed_dropout names {len(keys.samples)} samples, the batch holds {x.shape[0]}")
        counter = (keys.step, keys.layer)
        keys.layer += 1
        return x * dropout_mask(keys.seed, keys.samples, counter, self.p, x).to(x.dtype).mul_(1 / (1 - self.p))


def dropout_mask(seed: int, samples: Sequence[int], counter: tuple[int, int], p: float, x: Tensor) -> Tensor:
    """Bool mask of the elements of x (B, ...) that stay. Each uses 16 random bits: p is exact to 1e-5, at half cost."""
    count = x.shape[1:].numel()
    words = keyed_random_words([stream_key(seed, "dropout", counter)], samples, -(-count // 2), x.device)
    halves = words.reshape(len(samples), -1).view(torch.int16)[:, :count]  # uniform in [-2^15, 2^15)
    return (halves >= min(round(p * 65536), 65535) - 32768).reshape(x.shape)
