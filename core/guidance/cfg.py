"""Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598, eq. 6) in x0 space.

With a window it is interval guidance (Kynkäänniemi et al. 2024, arXiv:2404.07724).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from ..types import BadInput, Estimate, NoiseLevel
from .base import ALWAYS, CONDITIONAL, Guidance, GuidanceBranch, GuidanceInputs, check_condition_names, parse_window


class CFG(Guidance):
    """Classifier-free guidance; with a window, in an interval of noise levels ("interval guidance").

    x0 = D_u + scale (D_c - D_u), with the conditional estimate D_c and the unconditional one D_u. In a list of
    guidances it adds (scale - 1) (D_c - D_u). A list may contain it several times, with different conditions and
    windows; D_u is then the estimate without the conditions that it strengthens.

    Args:
        scale: 1 is no guidance, above 1 follows the conditions more closely, 0 ignores them.
        window: Lowest and highest noise level, as tau = sigma / (alpha + sigma) (1 noise, 0 clean), at which the
            guidance is applied; outside it only the conditional estimate is computed.
        conditions: Names of the conditions to strengthen; null: all together.

    Raises:
        BadInput: The window is not an interval in [0, 1], or the list of conditions is empty.
    """

    def __init__(self, scale: float = 1.5, window: tuple[float, float] = ALWAYS, conditions: list[str] | None = None):
        if conditions is not None and not conditions:
            raise BadInput("cfg's conditions name those to strengthen; leave them out for all together")
        self.scale, self.window = float(scale), parse_window(window, "cfg")
        self.conditions = conditions
        self.unconditional = GuidanceBranch(None if conditions is None else tuple(conditions))

    def check(self, conditions: Collection[str]) -> None:
        """Raise BadInput, with the valid names, if `conditions` of this guidance names an unknown condition."""
        super().check(conditions)
        check_condition_names(self.conditions or (), conditions, "cfg")

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return () if self.scale == 1 else (CONDITIONAL, self.unconditional)

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        if self.scale == 1:
            return Estimate(inputs.guided)
        delta = inputs.estimates[CONDITIONAL] - inputs.estimates[self.unconditional]
        return Estimate(torch.add(inputs.guided, delta, alpha=self.scale - 1))
