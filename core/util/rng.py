"""Random numbers keyed by (seed, sample, purpose, counter), where the counter may be an interval of tau.

Every number that training or sampling draws comes from here, so sample 7 of seed 3 is the same whatever the batch size,
the device, and the number of ranks that share the work. There is no state to carry: `Noise`, `stratified` and dropout
compute all rows of a batch at once by Philox4x32-10 (core/util/philox.py) on the device; `generator` gives a numpy
generator for choices that the host makes, such as crops and initial weights.
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
from .brownian import Interval, Path
from .errors import BadInput
from .integers import as_integer, as_sample_numbers, as_seed, is_integer

Shape = tuple[int, ...]
TOGETHER = 2**22  # elements of a Brownian path's arrays that are drawn at once, which bounds the memory


def generator(seed: int, sample: int, purpose: str, counter: Hashable = 0) -> np.random.Generator:
    """The numpy generator of one key, for choices on the host.

    Args:
        seed: The run's seed.
        sample: Number of the sample, or 0.
        purpose: What the numbers are for.
        counter: The step, or any tuple of numbers and texts.

    Raises:
        BadInput: If seed or sample is not an integer.
    """
    key = (as_seed(seed), as_integer(sample, "the sample number"), purpose, plain(counter))
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def plain(counter: Any) -> Hashable:
    """A counter in Python's own types, so that equal numbers are one key whatever library made them.

    Raises:
        BadInput: If it is not a number, a text, or a tuple of such.
    """
    if type(counter) in (int, str, float, bool):
        return counter
    if isinstance(counter, tuple):
        return tuple([plain(part) for part in counter])
    if isinstance(counter, str):
        return str(counter)
    if is_integer(counter):
        return as_integer(counter)
    if isinstance(counter, (float, np.floating)):
        return float(counter)
    raise BadInput(f"a counter of random numbers is a number, a text, or a tuple of them, not {counter!r}")


class Key(NamedTuple):
    """What names a stream of random words beside the sample's number.

    Attributes:
        key: 64-bit hash of the seed, the purpose and any counter that is not a step.
        step: A counter that is an integer in [0, 2^32), else 0.
    """

    key: int
    step: int


def key_of(seed: int, purpose: str, counter: Hashable = 0) -> Key:
    """The key of (seed, purpose, counter); seed is an integer."""
    counter = plain(counter)
    direct = type(counter) is int and 0 <= counter < 2**32
    text = repr((seed, purpose) if direct else (seed, purpose, counter))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return Key(int.from_bytes(digest, "little"), counter if direct else 0)  # type: ignore[arg-type]


def bits(keys: Sequence[Key], samples: Sequence[int], count: int, device: torch.device) -> Tensor:
    """At least `count` random 32-bit words of every row: int32 (R, 4, blocks), where blocks = ceil(count / 4).

    Args:
        keys: One for all rows, or one for each.
        samples: Number of the sample of each row, integers from 0.
        count: Words of a row.
        device: Where they are computed.
    """
    return philox.words(_rows(keys, samples), -(-count // 4), device)


def _rows(keys: Sequence[Key], samples: Sequence[int]) -> np.ndarray:
    return philox.rows([k.key for k in keys], [k.step for k in keys], samples)


def normals(words: Tensor) -> Tensor:
    """Standard normal numbers (R, 4 blocks), float32, of random words int32 (R, 4, blocks).

    Box and Muller 1958: sqrt(-2 log u) cos(2 pi v) and sqrt(-2 log u) sin(2 pi v); words 0 and 2 give u in (0, 1),
    words 1 and 3 give v in [-1/2, 1/2). Number 4 b + w comes from block b alone, so a shorter sample has the first
    numbers of a longer one.
    """
    radius = words[:, 0::2].bitwise_right_shift(1).bitwise_and_(0x7FFFFFFF).to(torch.float32)
    radius = radius.add_(0.5).mul_(2.0**-31).log_().mul_(-2).sqrt_()
    angle = words[:, 1::2].to(torch.float32).mul_(2 * math.pi * 2.0**-32)
    made = torch.empty(len(words), words.shape[2], 2, 2, device=words.device)
    by_pair = made.permute(0, 2, 1, 3)
    torch.mul(radius, angle.cos(), out=by_pair[..., 0])
    torch.mul(radius, angle.sin_(), out=by_pair[..., 1])
    return made.reshape(len(words), -1)


def uniforms(words: Tensor, dtype: torch.dtype) -> Tensor:
    """One number in [0, 1) of the first words of each row: the multiples of the dtype's epsilon, (R,).

    Every dtype gives the float64 number, rounded down: rounding to the nearest would give 1 now and then.
    """
    digits = round(1 - math.log2(torch.finfo(dtype).eps))
    upper, lower = words[:, 0, 0].long() & 0xFFFFFFFF, words[:, 1, 0].long() & 0xFFFFFFFF
    number = (upper << 21) | (lower >> 11)  # 53 bits
    return (number >> (53 - digits)).to(dtype) * 2.0**-digits


class Noise:
    """The noise of a batch of samples: row i depends on samples[i] alone, never on its neighbours.

    Integers behind the numbers are equal on all devices; normal numbers differ by rounding, at most 1e-6.

    Args:
        seed: The run's seed.
        samples: Number of each row: its index among all samples of the run, or in the global training batch.
        shapes: (C, *spatial) of each sample; one shape for all, or one for each, padded with zeros to the largest.
        device: Where the numbers are drawn.
        dtype: Of the tensors; their values are float32's in any dtype.

    Raises:
        BadInput: If the seed or a sample number is not an integer, or there is not one shape for each sample.
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
        self._paths: dict[str, Path] = {}

    def normal(self, purpose: str, counter: Hashable = 0) -> Tensor:
        """Standard normal noise (B, C, *spatial), each row drawn at its own shape.

        A counter that is an Interval gives what the sample's Brownian path gains there, over the root of its length:
        the same path whatever the intervals, so that runs of any number of steps see the same noise.
        """
        if not isinstance(counter, Interval):
            return self._drawn(purpose, [counter])[0].to(self.dtype)
        if purpose not in self._paths:
            self._paths[purpose] = Path(self.arrays(purpose))
        return self._paths[purpose].gained(counter.high, counter.low).to(self.dtype)

    def arrays(self, purpose: str) -> Callable[[Sequence[Hashable | list[Hashable]]], Tensor]:
        """What draws standard normal arrays (counters, B, C, *spatial), for a Brownian path."""
        return lambda counters: self._drawn(purpose, counters)

    def uniform(self, purpose: str, counter: Hashable = 0) -> Tensor:
        """One number in [0, 1) a sample, (B,)."""
        words = bits([key_of(self.seed, purpose, counter)], self.samples, 2, self.device)
        return uniforms(words, self.dtype)

    def _drawn(self, purpose: str, counters: Sequence[Hashable | list[Hashable]]) -> Tensor:
        """Standard normal arrays (len(counters), B, C, *spatial); a list among the counters has one for each row."""
        rows, at_once = len(self.samples), max(1, TOGETHER // max(1, len(self.samples) * self._count))
        made = []
        for first in range(0, len(counters), at_once):
            some = counters[first : first + at_once]
            keys = [key for counter in some for key in self._keys(purpose, counter)]
            words = bits(keys, self.samples * len(some), self._count, self.device)
            made.append(self._placed(normals(words).reshape(len(some), rows, -1)))
        return made[0] if len(made) == 1 else torch.cat(made)

    def _keys(self, purpose: str, counter: Hashable | list[Hashable]) -> list[Key]:
        """The key of every row."""
        if isinstance(counter, list):
            return [key_of(self.seed, purpose, own) for own in counter]
        return [key_of(self.seed, purpose, counter)] * len(self.samples)

    def _placed(self, numbers: Tensor) -> Tensor:
        """Numbers (N, B, count) in the samples' own shapes, padded with zeros: (N, B, C, *spatial)."""
        shape = (len(numbers), len(self.samples), *self._largest)
        if all(own == self._largest for own in self.shapes):
            return numbers[..., : self._count].reshape(shape)
        if self._places is None:
            self._places = self._made_places()
        index, inside = self._places
        taken = numbers.gather(2, index.reshape(1, len(self.samples), -1).expand(len(numbers), -1, -1))
        return taken.reshape(shape) * inside

    def _made_places(self) -> tuple[Tensor, Tensor]:
        """Of every element of a padded row: its index within the row's own shape, and whether it lies inside it."""
        axes = len(self._largest)
        sizes = philox.sent(np.array(self.shapes, dtype=np.int64), self.device)
        index = torch.zeros((len(self.samples), *self._largest), dtype=torch.int64, device=self.device)
        inside = torch.ones_like(index, dtype=torch.bool)
        for axis, largest in enumerate(self._largest):
            place = torch.arange(largest, device=self.device).reshape(-1, *[1] * (axes - 1 - axis))
            size = sizes[:, axis].reshape(-1, *[1] * axes)
            index, inside = index * size + place, inside & (place < size)
        return torch.where(inside, index, 0), inside


def stratified(seed: int, step: int, total: int, rows: Sequence[int]) -> Tensor:
    """Numbers in [0, 1) for rows of a global batch of `total`, one in each of `total` equal strata: float64, (rows,).

    u_i = (pi(i) + v_i) / total with a random permutation pi of the step: the batch covers every noise level, so that
    the loss has less variance (Kingma et al. 2021, "Variational diffusion models", appendix I.1), whatever the ranks.
    """
    numbers = as_sample_numbers(rows, "rows")
    strata = generator(seed, 0, "strata", step).permutation(total)[np.array(numbers, dtype=np.int64)]
    jitter = bits([key_of(as_seed(seed), "jitter", step)], numbers, 2, torch.device("cpu"))
    return (torch.from_numpy(strata) + uniforms(jitter, torch.float64)) / total
