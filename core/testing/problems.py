"""The problems on which samplers are measured: small, of unit overall scale, in 1D and 2D shapes."""

from __future__ import annotations

from functools import cache

from .base import Problem
from .dense import ar1
from .field import band_limited
from .mixture import example


@cache
def examples() -> dict[str, Problem]:
    """name -> problem: clusters, clusters on planes, a correlated sequence, smooth fields in 1D and 2D.

    Every call returns the same objects, so that exact solutions are computed once.
    """
    return {
        "mixture": example(),
        "planes": example(seed=1, shape=(3, 4, 4), rank=4),
        "ar1": ar1(length=32, phi=0.9),
        "field_1d": band_limited((64,)),
        "field_2d": band_limited((12, 12)),
    }
