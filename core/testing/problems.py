"""The problems on which samplers are measured: small, of unit overall scale, in 1D and 2D shapes."""

from __future__ import annotations

from functools import cache

from .base import AnalyticProblem
from .dense import ar1_sequences
from .field import band_limited_field
from .mixture import example_mixture


@cache
def example_problems() -> dict[str, AnalyticProblem]:
    """name -> problem: clusters, clusters on planes, a correlated sequence, smooth fields in 1D and 2D.

    Every call returns the same objects, so that exact solutions are computed once.
    """
    return {
        "mixture": example_mixture(),
        "planes": example_mixture(seed=1, shape=(3, 4, 4), rank=4),
        "ar1": ar1_sequences(length=32, phi=0.9),
        "field_1d": band_limited_field((64,)),
        "field_2d": band_limited_field((12, 12)),
    }
