"""A schedule given as two Python functions of time, alpha(t) and sigma(t)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..types import BadInput
from .base import Schedule

Function = Callable[[Tensor], Tensor]

_ZERO = 1e-12  # an alpha below this at t_max counts as a rounded 0, such as cos(pi / 2) = 6e-17


class Custom(Schedule):
    """Two functions alpha(t) and sigma(t), given from Python; t is found from rho by bisection.

    The functions take float64 tensors of any shape and are elementwise, with torch operations (derivatives are computed
    by autograd). Both are finite and at least 0 from t_min to t_max, and sigma / alpha increases there. A recipe cannot
    contain functions: in a recipe, use `table` for a schedule given as numbers; `custom` then has alpha = 1 - t, sigma
    = t.

    Args:
        alpha: Scale of the data; None: 1 - t.
        sigma: Standard deviation of the noise; None: t.
        t_min: Smallest time that training and timestep spacings use.
        t_max: The time of the highest noise.
        t_clean: The time of clean data, at which the functions are not called.
    """

    def __init__(
        self,
        alpha: Function | None = None,
        sigma: Function | None = None,
        t_min: float = 1e-3,
        t_max: float = 1.0,
        t_clean: float = 0.0,
    ):
        if (alpha is None) is not (sigma is None):
            raise BadInput("custom takes both functions, alpha and sigma, or neither")
        if not t_clean <= t_min < t_max:
            raise BadInput(f"custom needs t_clean <= t_min < t_max, not {t_clean}, {t_min} and {t_max}")
        self._alpha: Function = alpha or (lambda t: 1 - t)
        self._sigma: Function = sigma or (lambda t: t)
        self.t_min, self.t_max, self.t_clean = float(t_min), float(t_max), float(t_clean)
        last = float(self._alpha(torch.tensor(self.t_max, dtype=torch.float64)))
        self._rounding = last if abs(last) < _ZERO else 0.0
        self._check()

    def alpha(self, t: Tensor) -> Tensor:
        return self._alpha(t) - self._rounding  # exactly 0 at t_max where it would be 0 without rounding

    def sigma(self, t: Tensor) -> Tensor:
        return self._sigma(t)

    def t_of_rho(self, rho: Tensor) -> Tensor:
        low, high = torch.full_like(rho, self.t_clean), torch.full_like(rho, self.t_max)
        for _ in range(80):
            middle = (low + high) / 2
            above = self.sigma(middle) >= rho * self.alpha(middle)
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return torch.where(rho == 0, self.t_clean, high)

    def _check(self) -> None:
        t = torch.linspace(self.t_min, self.t_max, 1001, dtype=torch.float64)
        alpha, sigma = self.alpha(t), self.sigma(t)
        for name, values in (("alpha", alpha), ("sigma", sigma)):
            if values.shape != t.shape or values.dtype != t.dtype:
                raise BadInput(f"custom's {name} acts elementwise on float64 tensors: one number for every time")
            if not bool((torch.isfinite(values) & (values >= 0)).all()):
                raise BadInput(f"custom's {name} is not finite, or negative, between t_min and t_max")
        stops = torch.nonzero(torch.diff(sigma / (alpha + sigma)) <= 0)
        if len(stops):
            at = float(t[int(stops[0])])
            raise BadInput(f"custom's sigma / alpha does not rise with t at t = {at:g}: noise must grow with time")
