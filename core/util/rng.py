"""Random numbers keyed by (seed, sample, purpose, counter); the counter may be an interval of tau.

Training and sampling draw all their numbers here, so that sample 7 of seed 3 does not depend on the batch size, the
device or the number of ranks. There is no state: `KeyedNoise` and dropout compute all rows of a batch together by
Philox4x32-10 (core/util/philox.py) on the device, and `stratified_uniforms` on the host; `keyed_generator` returns a
numpy generator for choices on the host, such as crops and initial weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import philox
from .brownian import BrownianIncrementKey, BrownianPath
from .errors import BadInput
from .integers import as_integer, as_sample_numbers, as_seed, is_integer

Shape = tuple[int, ...]
MAX_ELEMENTS = 2**22  # largest number of elements of a Brownian path that are drawn together, to limit memory


def keyed_generator(seed: int, sample: int, purpose: str, counter: Hashable = 0) -> np.random.Generator:
    """The numpy generator of one key, for choices on the host.

    Args:
        seed: The run's seed.
        sample: Number of the sample, or 0.
        purpose: Use of the numbers, such as "order".
        counter: The step, or any tuple of numbers and texts.

    Returns:
        A generator with the same state for the same key.

    Raises:
        BadInput: If seed or sample is not an integer.
    """
    key = (as_seed(seed), as_integer(sample, "the sample number"), purpose, plain_counter(counter))
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def plain_counter(counter: Any) -> Hashable:
    """Convert a counter to Python types, so that equal numbers of different libraries give the same key.

    Raises:
        BadInput: The counter is not a number, a text, or a tuple of these.
    """
    if type(counter) in (int, str, float, bool):
        return counter
    if isinstance(counter, tuple):
        return tuple([plain_counter(part) for part in counter])
    if isinstance(counter, str):
        return str(counter)
    if is_integer(counter):
        return as_integer(counter)
    if isinstance(counter, (float, np.floating)):
        return float(counter)
    raise BadInput(f"a counter of random numbers is a number, a text, or a tuple of them, not {counter!r}")


class RandomStreamKey(NamedTuple):
    """The part of a stream's key that does not depend on the sample.

    Attributes:
        key: 64-bit hash of the seed, the purpose and any counter that is not a step.
        step: The counter if it is an integer in [0, 2^32), else 0.
    """

    key: int
    step: int


def stream_key(seed: int, purpose: str, counter: Hashable = 0) -> RandomStreamKey:
    """The key of (seed, purpose, counter); seed is an integer."""
    counter = plain_counter(counter)
    direct = type(counter) is int and 0 <= counter < 2**32
    text = repr((seed, purpose) if direct else (seed, purpose, counter))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return RandomStreamKey(int.from_bytes(digest, "little"), counter if direct else 0)  # type: ignore[arg-type]


def keyed_random_words(
    keys: Sequence[RandomStreamKey], samples: Sequence[int], count: int, device: torch.device
) -> Tensor:
    """At least `count` random 32-bit words for every row.

    Args:
        keys: One key for all rows, or one for each row.
        samples: Sample number of each row, integers from 0.
        count: Number of words per row.
        device: Device that computes them.

    Returns:
        int32 (R, 4, blocks) with blocks = ceil(count / 4).
    """
    return philox.random_words(_rows(keys, samples), -(-count // 4), device)


def _rows(keys: Sequence[RandomStreamKey], samples: Sequence[int]) -> np.ndarray:
    return philox.philox_inputs([k.key for k in keys], [k.step for k in keys], samples)


def words_to_normals(words: Tensor) -> Tensor:
    """Standard normal numbers (R, 4 blocks), float32, from random words int32 (R, 4, blocks).

    Box and Muller 1958: sqrt(-2 log u) cos(2 pi v) and sqrt(-2 log u) sin(2 pi v); words 0 and 2 give u in (0, 1),
    words 1 and 3 give v in [-1/2, 1/2). Number 4 b + w depends on block b only, so that a shorter sample equals the
    beginning of a longer one.
    """
    radius = words[:, 0::2].bitwise_right_shift(1).bitwise_and_(0x7FFFFFFF).to(torch.float32)
    radius = radius.add_(0.5).mul_(2.0**-31).log_().mul_(-2).sqrt_()
    angle = words[:, 1::2].to(torch.float32).mul_(2 * math.pi * 2.0**-32)
    numbers = torch.empty(len(words), words.shape[2], 2, 2, device=words.device)
    by_pair = numbers.permute(0, 2, 1, 3)
    torch.mul(radius, angle.cos(), out=by_pair[..., 0])
    torch.mul(radius, angle.sin_(), out=by_pair[..., 1])
    return numbers.reshape(len(words), -1)


def words_to_uniforms(words: Tensor, dtype: torch.dtype) -> Tensor:
    """One number in [0, 1) from the first words of each row, (R,): a multiple of the dtype's epsilon.

    Every dtype gives the float64 number rounded down: rounding to nearest would sometimes give 1.
    """
    digits = round(1 - math.log2(torch.finfo(dtype).eps))
    upper, lower = words[:, 0, 0].long() & 0xFFFFFFFF, words[:, 1, 0].long() & 0xFFFFFFFF
    number = (upper << 21) | (lower >> 11)  # 53 bits
    return (number >> (53 - digits)).to(dtype) * 2.0**-digits


class KeyedNoise:
    """The noise of a batch of samples: row i depends on samples[i] only, not on the other rows.

    The random integers are equal on all devices; normal numbers differ by rounding, at most 1e-6.

    Args:
        seed: The run's seed.
        samples: Sample number of each row: its index among all samples of the run, or in the global training batch.
        shapes: (C, *spatial), one shape for all samples, or one for each; rows are padded with zeros to the largest.
        device: Device that draws the numbers.
        dtype: Type of the tensors; the values are float32 values in any dtype.

    Raises:
        BadInput: The seed or a sample number is not an integer, or the number of shapes is wrong.
    """

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        shapes: Shape | Sequence[Shape],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.seed, self.samples = as_seed(seed), as_sample_numbers(samples)
        self.device, self.dtype = torch.device(device), dtype
        same = not shapes or is_integer(shapes[0])
        listed = [shapes] * len(self.samples) if same else list(shapes)
        self.shapes: list[Shape] = [tuple(as_integer(n, "a size") for n in shape) for shape in listed]  # type: ignore[union-attr]
        if len(self.shapes) != len(self.samples):
            raise BadInput(f"`samples` numbers {len(self.samples)} rows, and `shapes` gives {len(self.shapes)} of them")
        self._largest: Shape = tuple(shapes) if same else tuple(max(n) for n in zip(*self.shapes, strict=True))  # type: ignore[assignment]
        self._count = max((math.prod(shape) for shape in self.shapes), default=0)
        self._places: tuple[Tensor, Tensor] | None = None
        self._paths: dict[str, BrownianPath] = {}

    def normal(self, purpose: str, counter: Hashable = 0) -> Tensor:
        """Standard normal noise (B, C, *spatial), each row drawn with its own shape.

        For a counter that is an Interval, it is the normalised increment of the sample's Brownian path over the
        interval. The path does not depend on the intervals, so that runs with different numbers of steps use the same
        noise.

        Args:
            purpose: Use of the numbers, such as "train".
            counter: The step, a tuple of numbers and texts, or an Interval.
        """
        if not isinstance(counter, BrownianIncrementKey):
            return self._drawn(purpose, [counter])[0].to(self.dtype)
        if purpose not in self._paths:
            self._paths[purpose] = BrownianPath(self.arrays(purpose))
        return self._paths[purpose].increment(counter.high, counter.low).to(self.dtype)

    def normals(self, purpose: str, counters: Sequence[Hashable]) -> list[Tensor]:
        """`normal` of several counters: the same numbers, and for small arrays several times faster.

        Args:
            purpose: Use of the numbers.
            counters: As in `normal`. Increments of a path are not drawn together: each consists of many arrays.
        """
        if any(isinstance(counter, BrownianIncrementKey) for counter in counters):
            return [self.normal(purpose, counter) for counter in counters]
        return list(self._drawn(purpose, counters).to(self.dtype)) if counters else []

    @property
    def elements(self) -> int:
        """Number of elements of the noise of the batch."""
        return len(self.samples) * self._count

    def arrays(self, purpose: str) -> Callable[[Sequence[Hashable | list[Hashable]]], Tensor]:
        """A function that draws standard normal arrays (counters, B, C, *spatial), for a Brownian path."""
        return lambda counters: self._drawn(purpose, counters)

    def uniform(self, purpose: str, counter: Hashable = 0) -> Tensor:
        """One number in [0, 1) for each sample, (B,)."""
        words = keyed_random_words([stream_key(self.seed, purpose, counter)], self.samples, 2, self.device)
        return words_to_uniforms(words, self.dtype)

    def _drawn(self, purpose: str, counters: Sequence[Hashable | list[Hashable]]) -> Tensor:
        """Standard normal arrays (len(counters), B, C, *spatial); a counter may be a list with one for each row."""
        rows, chunk = len(self.samples), max(1, MAX_ELEMENTS // max(1, len(self.samples) * self._count))
        drawn = []
        for first in range(0, len(counters), chunk):
            some = counters[first : first + chunk]
            keys = [key for counter in some for key in self._keys(purpose, counter)]
            words = keyed_random_words(keys, self.samples * len(some), self._count, self.device)
            drawn.append(self._placed(words_to_normals(words).reshape(len(some), rows, -1)))
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)

    def _keys(self, purpose: str, counter: Hashable | list[Hashable]) -> list[RandomStreamKey]:
        """The key of every row."""
        if isinstance(counter, list):
            return [stream_key(self.seed, purpose, row_counter) for row_counter in counter]
        return [stream_key(self.seed, purpose, counter)] * len(self.samples)

    def _placed(self, numbers: Tensor) -> Tensor:
        """Arrange numbers (N, B, count) in the samples' shapes, padded with zeros: (N, B, C, *spatial)."""
        shape = (len(numbers), len(self.samples), *self._largest)
        if all(own_shape == self._largest for own_shape in self.shapes):
            return numbers[..., : self._count].reshape(shape)
        if self._places is None:
            self._places = self._made_places()
        index, inside = self._places
        taken = numbers.gather(2, index.reshape(1, len(self.samples), -1).expand(len(numbers), -1, -1))
        return taken.reshape(shape) * inside

    def _made_places(self) -> tuple[Tensor, Tensor]:
        """For every element of a padded row: its index in the row's own shape, and whether it is inside that shape."""
        axes = len(self._largest)
        sizes = philox.copy_to_device(np.array(self.shapes, dtype=np.int64), self.device)
        index = torch.zeros((len(self.samples), *self._largest), dtype=torch.int64, device=self.device)
        inside = torch.ones_like(index, dtype=torch.bool)
        for axis, largest in enumerate(self._largest):
            place = torch.arange(largest, device=self.device).reshape(-1, *[1] * (axes - 1 - axis))
            size = sizes[:, axis].reshape(-1, *[1] * axes)
            index, inside = index * size + place, inside & (place < size)
        return torch.where(inside, index, 0), inside


def stratified_uniforms(seed: int, step: int, total: int, rows: Sequence[int]) -> Tensor:
    """Numbers in [0, 1) for rows of a global batch of `total`, one in each of `total` equal strata: float64, (rows,).

    u_i = (pi(i) + v_i) / total, with a random permutation pi of the step and v_i in [0, 1). The batch then covers all
    noise levels, which reduces the variance of the loss (Kingma et al. 2021, "Variational diffusion models", appendix
    I.1). The numbers do not depend on the number of ranks.

    Args:
        seed: The run's seed.
        step: Number of the training step.
        total: Size of the global batch.
        rows: Row numbers in the global batch.
    """
    numbers = as_sample_numbers(rows, "rows")
    strata = keyed_generator(seed, 0, "strata", step).permutation(total)[np.array(numbers, dtype=np.int64)]
    jitter = keyed_random_words([stream_key(as_seed(seed), "jitter", step)], numbers, 2, torch.device("cpu"))
    return (torch.from_numpy(strata) + words_to_uniforms(jitter, torch.float64)) / total
