"""The schedule's time: the index of a step, as in DDPM (Ho et al. 2020, arXiv:2006.11239, appendix B).

10 (t - first) / (last - first) - 5
"""

from __future__ import annotations

from ..types import BadInput, NoiseLevel, Number
from .base import NoiseConditioning


class ScaledTime(NoiseConditioning):
    """The schedule's time, scaled to [-5, 5]: 10 (t - first) / (last - first) - 5.

    Args:
        first: Time that is mapped to -5, in the schedule's units.
        last: Time that is mapped to 5, in the schedule's units: 999 on the discrete schedule, 1 where t ends at 1.

    Raises:
        BadInput: `first` is not below `last`.
    """

    def __init__(self, first: float = 0.0, last: float = 999.0):
        if not first < last:
            raise BadInput(f"index needs first < last, not {first} and {last}")
        self.first, self.last = first, last

    def embedding_value(self, level: NoiseLevel) -> Number:
        return 10 * (level.t - self.first) / (self.last - self.first) - 5
