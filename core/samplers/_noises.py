"""The noise arrays that a plan adds, in the order of their use.

Several small arrays are drawn together: the cost of a call is then shared. Every array depends on its own key only, so
the numbers are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence

from torch import Tensor

from ..types import BadInput
from ..util.rng import KeyedNoise
from .plan import RepeatedNoiseKey

Noises = KeyedNoise | Mapping[Hashable, Tensor] | None

ELEMENTS_AHEAD = 2**20  # largest number of elements that are drawn before they are used: 4 MB


def iterate_noises(noise: Noises, keys: Sequence[Hashable]) -> Iterator[Tensor]:
    """The noise of each key, (B, C, *spatial), drawn when it is needed or with the one before it.

    Raises:
        BadInput: `noise` is missing and there are keys.
    """
    if keys and noise is None:
        raise BadInput("this sampler draws noise: pass `noise`")
    if not isinstance(noise, KeyedNoise):
        yield from (noise[key] for key in keys)  # type: ignore[index]
        return
    together = max(1, ELEMENTS_AHEAD // max(1, noise.elements))
    for purpose, group in itertools.groupby(map(_purpose_and_counter, keys), lambda pair: pair[0]):
        counters = [counter for _, counter in group]
        for first in range(0, len(counters), together):
            yield from noise.normals(purpose, counters[first : first + together])


def _purpose_and_counter(key: Hashable) -> tuple[str, Hashable]:
    if isinstance(key, RepeatedNoiseKey):
        return f"sampler {key.segment} {key.repeat}", key.key
    return "sampler", key
