"""Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598, eq. 6) in x0 space. With a window it is interval
guidance (Kynkäänniemi et al. 2024, arXiv:2404.07724)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from ..types import BadInput, Estimate, NoiseLevel
from .base import ALWAYS, FULL, Branch, Guidance, GuidanceInputs, checked_window, known_names


class CFG(Guidance):
    """Classifier-free guidance, in an interval of noise levels where a window is given ("interval guidance").

    x0 = null + scale (full - null), which is guided + (scale - 1) (full - null) in a list of guidances. A list may hold
    it several times: each strengthens its own conditions in its own window, and null is then "all but those".

    scale:      1 is no guidance, above 1 follows the conditions more closely, 0 ignores them
    window:     lowest and highest noise level, as tau = sigma / (alpha + sigma) (1 noise, 0 clean), at which it acts;
                outside of it the network is called for the conditional estimate alone
    conditions: names of the conditions to strengthen; null: all together
    """

    def __init__(self, scale: float = 1.5, window: tuple[float, float] = ALWAYS, conditions: list[str] | None = None):
        if conditions is not None and not conditions:
            raise BadInput("cfg's conditions name those to strengthen; leave them out for all together")
        self.scale, self.window = float(scale), checked_window(window, "cfg")
        self.conditions = conditions
        self.null = Branch(None if conditions is None else tuple(conditions))

    def check(self, conditions: Collection[str]) -> None:
        """Raise BadInput, with the valid names, where a condition is named that is not there."""
        super().check(conditions)
        known_names(self.conditions or (), conditions, "cfg")

    def wants(self, level: NoiseLevel) -> Sequence[Branch]:
        return () if self.scale == 1 else (FULL, self.null)

    def combine(self, at: GuidanceInputs) -> Estimate:
        if self.scale == 1:
            return Estimate(at.guided)
        push = at.estimates[FULL] - at.estimates[self.null]
        return Estimate(torch.add(at.guided, push, alpha=self.scale - 1))
