"""`NoiseLevel`: the scale of the data and of the noise at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .broadcasting import Number, broadcast_like, move_like


@dataclass(frozen=True)
class NoiseLevel:
    """A noise level: q(x | x0) = N(alpha x0, sigma^2 I) at time t.

    Each field is a float (one level for the whole batch), a tensor (B,) or a map (B, 1, *spatial). While a sampler
    builds its plan, fields are float64 tensors. In the sampling loop a scalar level holds Python floats, which keep
    float64 precision and need no transfer to the device.

    Attributes:
        t: Time in the units of the schedule.
        alpha: Scale of the data.
        sigma: Standard deviation of the noise.
    """

    t: Number
    alpha: Number
    sigma: Number

    @property
    def rho(self) -> Number:
        """sigma / alpha; infinite at alpha = 0."""
        if isinstance(self.sigma, Tensor):
            return self.sigma / self.alpha
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def lam(self) -> Number:
        """log(alpha / sigma); minus infinity at alpha = 0, plus infinity at sigma = 0."""
        if isinstance(self.sigma, Tensor):
            return torch.log(torch.as_tensor(self.alpha)) - torch.log(self.sigma)
        if self.sigma == 0 or self.alpha == 0:
            return math.inf if self.alpha else -math.inf
        return math.log(self.alpha / self.sigma)

    @property
    def tau(self) -> Number:
        """sigma / (alpha + sigma): bounded, 1 at pure noise, 0 at clean data."""
        return self.sigma / (self.alpha + self.sigma)

    def on(self, x: Tensor) -> NoiseLevel:
        """The level with fields that broadcast against x (B, C, *spatial), on the device and in the dtype of x."""
        return NoiseLevel(broadcast_like(self.t, x), broadcast_like(self.alpha, x), broadcast_like(self.sigma, x))

    def exact(self, x: Tensor) -> NoiseLevel:
        """As `on`, but in float64: a value computed from a map is then rounded only once, as one computed from a float.

        Devices without float64 (MPS) get float32.
        """
        dtype = torch.float32 if x.device.type == "mps" else torch.float64

        def placed(v: Number) -> Number:
            if not isinstance(v, Tensor) or v.ndim == 0:
                return v
            v = move_like(v, x, dtype)
            v = v.reshape(-1, *[1] * (x.ndim - 1)) if v.ndim == 1 else v
            return v.expand(x.shape[0], *v.shape[1:])

        return NoiseLevel(placed(self.t), placed(self.alpha), placed(self.sigma))

    def repeated(self, times: int) -> NoiseLevel:
        """The level of a batch that contains all samples `times` times, one copy of the batch after the other."""

        def tile(v: Number) -> Number:
            return torch.cat([v] * times) if isinstance(v, Tensor) and v.ndim else v

        return NoiseLevel(tile(self.t), tile(self.alpha), tile(self.sigma))
