"""Rectified flow: straight lines from noise to data (Liu et al. 2023, arXiv:2209.03003, eq. 1).

alpha(t) = 1 - t, sigma(t) = t

The shift is that of Esser et al. 2024 (arXiv:2403.03206, eq. 23). Its length-dependent form, log shift linear in the
number of positions, is the one that Flux samples with (Black Forest Labs 2024, flux/sampling.py).
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from ..types import BadInput, MediaSpec
from .base import Schedule

_MOST = 100.0  # largest automatic shift: beyond it the line through (lengths, mus) is extrapolated too far


class RectifiedFlow(Schedule):
    """Straight lines from data to noise, with alpha = 0 exactly at t = 1.

    alpha = 1 - u, sigma = u with u = shift t / (1 + (shift - 1) t), t from 1 (noise) to 0.

    The shift is applied only here: uniform timestep sampling and timestep spacings that are linear in t are shifted by
    it, once. Densities and timestep spacings that are defined in rho or tau refer to levels, not times, so the shift
    does not affect them.

    Args:
        shift: Multiplies rho = sigma / alpha at every t. Values above 1 put more steps at high noise, which large
            images need. `auto`: exp(mu), mu linear in the number of positions (frames, or height times width) of the
            diffused tensor.
        t_min: Smallest time that training and timestep spacings use.
        lengths: Two numbers of positions, for `auto`.
        mus: log shift at these numbers of positions, for `auto`.
        spec: The media specification, with the shape of the diffused tensor; while the shape is unknown, `auto` uses
            the first of mus.
    """

    t_max = 1.0
    t_clean = 0.0

    def __init__(
        self,
        shift: float | Literal["auto"] = 1.0,
        t_min: float = 1e-3,
        lengths: tuple[float, float] = (256.0, 4096.0),
        mus: tuple[float, float] = (0.5, 1.15),
        spec: MediaSpec | None = None,
    ):
        if shift != "auto" and (isinstance(shift, str) or not 0 < shift < math.inf):
            raise BadInput(f"rectified_flow's shift is positive (1: none) or auto, not {shift}")
        if not 0 < t_min < 1:
            raise BadInput(f"rectified_flow's t_min lies between 0 and 1, not {t_min}")
        if not 0 < lengths[0] < lengths[1]:
            raise BadInput(f"rectified_flow's lengths are two rising numbers of positions, not {list(lengths)}")
        self.t_min = t_min
        latent = () if spec is None else spec.latent
        positions = math.prod(latent[1:]) if latent else lengths[0]
        self.shift = _shift(positions, lengths, mus) if isinstance(shift, str) else float(shift)

    def alpha(self, t: Tensor) -> Tensor:
        return (1 - t) / ((1 - t) + self.shift * t)  # this sum is exactly `shift` at t = 1, so sigma is exactly 1

    def sigma(self, t: Tensor) -> Tensor:
        return self.shift * t / ((1 - t) + self.shift * t)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        return 1 / (1 + self.shift / rho)  # 1 at rho = inf, 0 at rho = 0


def _shift(positions: float, lengths: tuple[float, float], mus: tuple[float, float]) -> float:
    """exp(mu) on the line through (lengths, mus); extrapolated, but only up to a limit."""
    mu = mus[0] + (positions - lengths[0]) / (lengths[1] - lengths[0]) * (mus[1] - mus[0])
    if abs(mu) > math.log(_MOST):
        raise BadInput(
            f"rectified_flow's shift: auto would be exp({mu:.3g}) for {positions:g} positions, far beyond the lengths "
            f"{lengths[0]:g} and {lengths[1]:g} of the line: give the shift as a number, or other lengths"
        )
    return math.exp(mu)
