"""Base of posterior guidance: a denoiser of p(x0) becomes one of p(x0 | y), for a measurement y = A x0 + s n.

With Bayes' rule, grad log p(x | y) = grad log p(x) + grad log p(y | x), and Tweedie's formula, the estimate becomes

    D_y = D + (sigma^2 / alpha) grad_x log p(y | x)

p(y | x) is not known. Each method approximates p(x0 | x) by a Gaussian around D, so that with J = dD / dx

    D_y = D + (sigma^2 / alpha) J^T A^T u

and differs in u alone. A may act on media that a codec decodes from x0; where the decoder is not linear, A is the
derivative at D (gradients pass through the decoder). At alpha = 0, where x does not depend on x0, D_y = D.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...degradations.base import LinearOperator
from ...guidance.base import SamplingRun
from ...types import Conditioning, Denoiser, Estimate, NoiseLevel, broadcast_like
from ..base import Edit


def identity(x: Tensor) -> Tensor:
    """The decoder of data that are not encoded."""
    return x


@dataclass(frozen=True, eq=False)
class Observation:
    """y = A decode(x0) + noise.

    Attributes:
        operator: A, which acts on media.
        values: y, one row for each sample.
        noise: Standard deviation of the noise.
        decode: x0 (B, C, *spatial) -> media (B, C', *size), differentiable.
    """

    operator: LinearOperator
    values: Tensor
    noise: float
    decode: Callable[[Tensor], Tensor] = identity


class MeasuredEstimate:
    """The measurement of an estimate D, and its derivatives.

    Args:
        measurement: The measurement.
        x: The noisy samples, (B, C, *spatial), from which autograd computed `x0`.
        x0: D.
        level: The noise level.
    """

    def __init__(self, measurement: Observation, x: Tensor, x0: Tensor, level: NoiseLevel):
        self.measurement, self.x, self.x0 = measurement, x, x0
        self.media = measurement.decode(x0)
        alpha, sigma = (torch.as_tensor(broadcast_like(v, x)).to(x) for v in (level.alpha, level.sigma))
        self._share = torch.where(alpha > 0, sigma**2 / torch.where(alpha > 0, alpha, 1.0), 0.0)  # sigma^2 / alpha
        self.prior_variance = sigma**2 / (alpha**2 + sigma**2)
        self.residual = measurement.values - measurement.operator.apply(self.media.detach())

    @property
    def noise_variance(self) -> float:
        """Variance of the noise on y."""
        return self.measurement.noise**2

    def state_gradient(self, u: Tensor) -> Tensor:
        """(sigma^2 / alpha) J^T A^T u, (B, C, *spatial)."""
        return self._share * self._pulled(self.x, u)

    def adjoint(self, u: Tensor) -> Tensor:
        """A^T u, (B, C, *spatial)."""
        return self._pulled(self.x0, u)

    def forward(self, w: Tensor) -> Tensor:
        """A w for w (B, C, *spatial): the derivative of the pulled-back vector, which is linear in it."""
        v = torch.zeros_like(self.media, requires_grad=True)
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(self.media, self.x0, v, create_graph=True)
        (media,) = torch.autograd.grad(pulled, v, w)
        return self.measurement.operator.apply(media)

    def _pulled(self, to: Tensor, u: Tensor) -> Tensor:
        media = self.measurement.operator.adjoint(u, self.media.shape[2:])
        return torch.autograd.grad(self.media, to, media, retain_graph=True)[0]


class PosteriorGuidance(ABC):
    """Approximates grad_x log p(y | x)."""

    @abstractmethod
    def weights(self, at: MeasuredEstimate) -> Tensor:
        """u, of the shape of y."""


class PosteriorEdit(Edit):
    """Samples p(x0 | y) approximately.

    Args:
        measurement: The measurement.
        method: The approximation.
    """

    def __init__(self, measurement: Observation, method: PosteriorGuidance):
        self.measurement, self.method = measurement, method

    def wrap_guided(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        return _PosteriorDenoiser(self.measurement, self.method, denoiser)


class _PosteriorDenoiser(Denoiser):
    """D_y = D + (sigma^2 / alpha) J^T A^T u."""

    def __init__(self, measurement: Observation, method: PosteriorGuidance, denoiser: Denoiser):
        self.measurement, self.method, self.denoiser = measurement, method, denoiser

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            found = self.denoiser.denoise(x, level, conditions)
            at = MeasuredEstimate(self.measurement, x, found.x0, level)
        moved = None if found.x is None else found.x.detach()
        return Estimate(found.x0.detach() + at.state_gradient(self.method.weights(at)), moved)


def conjugate_gradients(apply: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """Solve apply(u) = b for each sample (Hestenes and Stiefel 1952).

    A sample stops where its residual is at the level of rounding, or where `apply` is not positive.

    Args:
        apply: A linear, symmetric, positive map of tensors of the shape of b.
        b: (B, ...).
        iterations: Largest number of calls of `apply`.
    """

    def dot(a: Tensor, c: Tensor) -> Tensor:
        return (a * c).flatten(1).sum(1).reshape(-1, *[1] * (b.ndim - 1))

    u, r = torch.zeros_like(b), b
    p, rr = r, dot(r, r)
    enough = rr * (10 * torch.finfo(b.dtype).eps) ** 2
    for _ in range(iterations):
        Ap = apply(p)
        curvature = dot(p, Ap)
        going = (rr > enough) & (curvature > 0)
        step = torch.where(going, rr / torch.where(going, curvature, 1.0), 0.0)
        u, r = u + step * p, r - step * Ap
        before, rr = rr, dot(r, r)
        p = r + torch.where(going, rr / torch.where(going, before, 1.0), 0.0) * p
    return u
