"""Gaussian fields on a torus with a given power spectrum: correlated 1D, 2D, ... data whose denoiser is a filter."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import BadInput, NoiseLevel, broadcast_like
from ..util.rng import keyed_generator
from .base import AnalyticMixture, gaussian_log_density
from .dense import DenseMixture


class GaussianField(AnalyticMixture):
    """A stationary Gaussian field of mean 0 on a torus; channels are independent. Computes in the dtype of x.

    Fourier modes are independent with variance P(f), so E[x0 | x] multiplies mode f by alpha P / (alpha^2 P + sigma^2)
    (the Wiener filter).

    Args:
        power: (*spatial) > 0, variance of each mode of an orthonormal FFT, P(-f) = P(f); its mean is the variance of an
            element.
        channels: C.
    """

    def __init__(self, power: Tensor, channels: int = 1):
        power = torch.as_tensor(power, dtype=torch.float64)
        axes = tuple(range(power.ndim))
        if not bool((power > 0).all()):
            raise BadInput("a field needs power above 0 at every frequency, otherwise it has no density")
        if not torch.allclose(power, power.flip(axes).roll([1] * power.ndim, axes)):
            raise BadInput("the power of a real field is the same at f and at -f")
        self.power, self.shape = power, (channels, *power.shape)
        self.weights = torch.ones(1, dtype=torch.float64)

    def components(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor, Tensor]:
        """E[x0 | x], E[eps | x] and log p(x) of the only component, for x (B, *shape)."""
        a, s = (broadcast_like(v, x) for v in (level.alpha, level.sigma))
        if any(isinstance(v, Tensor) and v[:1].numel() > 1 for v in (a, s)):
            raise BadInput("a field accepts one level per sample; field.dense() accepts maps")
        power = self.power.to(x)
        total = a**2 * power + s**2
        modes = self._modes(x)
        quadratic = (modes.abs().square() / total).flatten(1).sum(1)
        log_det = torch.log(total).expand_as(x).flatten(1).sum(1)
        x0, eps = (self._back(modes * gain, x) for gain in (a * power / total, s / total))
        return x0[:, None], eps[:, None], gaussian_log_density(quadratic, log_det, x[0].numel())[:, None]

    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Samples of x0, (count, *shape) float64: sample i of a seed does not depend on the count."""
        white = [torch.from_numpy(keyed_generator(seed, i, "field").standard_normal(self.shape)) for i in range(count)]
        return self.filtered(torch.stack(white), self.power.sqrt())

    def filtered(self, x: Tensor, gain: Tensor) -> Tensor:
        """x (B, *shape) with every mode multiplied by its gain (*spatial)."""
        return self._back(self._modes(x) * gain, x)

    @property
    def mean(self) -> Tensor:
        """Mean of the data, (d,): 0."""
        return torch.zeros(self.power.numel() * self.shape[0], dtype=torch.float64)

    @property
    def covariance(self) -> Tensor:
        """Covariance of the data, (d, d)."""
        d = len(self.mean)
        return self.filtered(torch.eye(d, dtype=torch.float64).reshape(d, *self.shape), self.power).reshape(d, d)

    @property
    def scale(self) -> float:
        """Smallest standard deviation of a mode."""
        return float(self.power.min().sqrt())

    def dense(self) -> DenseMixture:
        """The same distribution with an explicit covariance: it accepts maps and can be conditioned on elements."""
        return DenseMixture(self.mean.reshape(1, *self.shape), self.covariance[None])

    def _modes(self, x: Tensor) -> Tensor:
        return torch.fft.fftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")

    def _back(self, modes: Tensor, x: Tensor) -> Tensor:
        return torch.fft.ifftn(modes, dim=tuple(range(2, x.ndim)), norm="ortho").real.to(x.dtype)


def band_limited_field(
    size: tuple[int, ...] = (16, 16), cutoff: float = 0.2, slope: float = 1.0, floor: float = 0.1, channels: int = 1
) -> GaussianField:
    """A field of unit variance with power below a cutoff frequency, and a floor of white noise above it.

    Args:
        size: Number of elements along each axis.
        cutoff: Highest frequency |f| of the band, in cycles per element.
        slope: Power within the band decreases as 1 / (f0 + |f|)^slope, f0 = 1 / the longest axis.
        floor: Standard deviation of every mode outside the band.
        channels: C.
    """
    if not (cutoff > 0 and 0 < floor < 1):
        raise BadInput(f"a band-limited field needs cutoff > 0 and 0 < floor < 1, not {cutoff} and {floor}")
    axes = torch.meshgrid(*(torch.fft.fftfreq(n, dtype=torch.float64) for n in size), indexing="ij")
    f = torch.stack(axes).square().sum(0).sqrt()
    band = torch.where(f <= cutoff, (1 / max(size) + f) ** -slope, 0.0)
    return GaussianField(floor**2 + (1 - floor**2) * band / band.mean(), channels)
