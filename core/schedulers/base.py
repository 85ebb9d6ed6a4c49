"""Base class of noise schedules: q(x_t | x0) = N(alpha(t) x0, sigma(t)^2 I), and t from rho = sigma / alpha."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import NoiseLevel


@dataclass(frozen=True)
class NoiseLevel64(NoiseLevel):
    """A noise level whose fields are float64 tensors: the output of schedules and the input of plans."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    @property
    def rho(self) -> Tensor:
        """sigma / alpha; infinite at alpha = 0."""
        return self.sigma / self.alpha

    @property
    def lam(self) -> Tensor:
        """log(alpha / sigma); minus infinity at alpha = 0, plus infinity at sigma = 0."""
        return torch.log(self.alpha) - torch.log(self.sigma)

    @property
    def tau(self) -> Tensor:
        """sigma / (alpha + sigma): 1 at pure noise, 0 at clean data."""
        return self.sigma / (self.alpha + self.sigma)


class Schedule(ABC):
    """A noise schedule. Subclasses define the range of t and three functions, each elementwise and exact in float64.

    Attributes:
        t_min: The smallest time that training draws and that timestep spacings use.
        t_max: The time of the highest noise.
        t_clean: The time at which alpha = 1 and sigma = 0; `level` returns exactly these values there.
        steps: Number of steps of a schedule that is defined on a grid (DDPM: 1000), else None.
    """

    t_min: float
    t_max: float
    t_clean: float
    steps: int | None = None

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Scale of the data at time t."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise at time t."""

    @abstractmethod
    def t_of_rho(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho; rho may be infinite where alpha reaches 0."""

    def level(self, t: Tensor | float) -> NoiseLevel64:
        """alpha and sigma at t in float64; exactly clean (1, 0) at t_clean."""
        t = torch.as_tensor(t, dtype=torch.float64)
        clean = t == self.t_clean
        return NoiseLevel64(t, torch.where(clean, 1.0, self.alpha(t)), torch.where(clean, 0.0, self.sigma(t)))

    def clean(self) -> NoiseLevel64:
        """The level of clean data, the last of every list of levels."""
        one = torch.ones((), dtype=torch.float64)
        return NoiseLevel64(one * self.t_clean, one, one * 0)

    def level_of_rho(self, rho: Tensor | float) -> NoiseLevel64:
        """The level at which sigma / alpha equals rho."""
        return self.level(self.t_of_rho(torch.as_tensor(rho, dtype=torch.float64)))

    def derivative(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha / dt, d sigma / dt) at t by automatic differentiation; elementwise, float64."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return _slope(self.alpha, t), _slope(self.sigma, t)


def equal_schedules(first: Schedule, second: Schedule) -> bool:
    """Whether two schedules have the same range of times and the same levels in it, however recipes write them.

    Compared at 65 evenly spaced times, to 1e-9.
    """
    if any(getattr(first, name) != getattr(second, name) for name in ("t_min", "t_max", "t_clean", "steps")):
        return False
    times = torch.linspace(first.t_min, first.t_max, 65, dtype=torch.float64)
    one, two = first.level(times), second.level(times)
    pairs = ((one.alpha, two.alpha), (one.sigma, two.sigma))
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs)


def _slope(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    with torch.enable_grad():
        t = t.detach().requires_grad_()
        value = function(t)
        return torch.autograd.grad(value.sum(), t)[0] if value.requires_grad else torch.zeros_like(t)
