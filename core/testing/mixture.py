"""A Gaussian mixture: data whose denoiser, score, density and class posterior are known in closed form.

With x0 | k ~ N(mu_k, C_k) and x = alpha x0 + sigma eps, everything follows from the covariance alpha^2 C_k + sigma^2 I
of x | k. C_k = std_k^2 I + U_k diag(spread_k^2) U_k^T with orthonormal columns in U_k, so each formula uses scalars:
the variance std^2 + spread^2 along a column of U, and std^2 in the other directions. Everything is finite at alpha = 0
and, where std > 0, at sigma = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..types import BadInput, Conditioning, Estimate, NoiseLevel, Number, broadcast_like
from ..util.rng import keyed_generator
from .dense import DenseMixture, flat_mask


class GaussianMixture:
    """A denoiser (`denoise`) with exact knowledge of its data. Computes in the dtype and on the device of x.

    Args:
        means: (K, *shape), shape = (C, *spatial) of one sample.
        std: (K,) or one number: standard deviation in every direction.
        weights: (K,) probabilities of the components; None: equal. The components are the classes of the conditions.
        basis: (K, r, *shape) orthonormal directions of extra variance; None: none.
        spread: (K, r) standard deviations along them, in addition to std.
        name: Name of the condition whose embedding contains (B, K) factors of the weights: one-hot for a class, ones
            for none.
    """

    def __init__(
        self,
        means: Tensor,
        std: Tensor | float = 0.5,
        weights: Tensor | None = None,
        basis: Tensor | None = None,
        spread: Tensor | None = None,
        name: str = "label",
    ):
        means = torch.as_tensor(means, dtype=torch.float64)
        if means.ndim < 2:
            raise BadInput(f"means are (components, channels, ...), not {tuple(means.shape)}")
        self.shape, self.name = tuple(means.shape[1:]), name
        K = len(means)
        self.means = means.reshape(K, -1)  # (K, d)
        self.std = torch.as_tensor(std, dtype=torch.float64).expand(K).clone()
        weights = torch.ones(K) if weights is None else torch.as_tensor(weights)
        self.weights = weights.double() / weights.double().sum()
        self._variances, self._log_prior = self.std[:, None] ** 2, torch.log(self.weights)  # (K, 1), (K,)
        d = self.means.shape[1]
        self.basis = torch.zeros(K, 0, d, dtype=torch.float64) if basis is None else basis.double().reshape(K, -1, d)
        self.spread = torch.zeros(K, self.basis.shape[1], dtype=torch.float64) if spread is None else spread.double()
        gram = self.basis @ self.basis.mT
        if not torch.allclose(gram, torch.eye(gram.shape[-1], dtype=gram.dtype).expand_as(gram), atol=1e-9):
            raise BadInput("the directions of a component are orthonormal")

    # --- the denoiser ----------------------------------------------------------------------------------------------

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Estimate:
        """E[x0 | x] for x (B, *shape); the level may be a map if no component has extra directions."""
        return Estimate(self._expected(x, level, conditions, _data_share, of_mean=1.0))

    def eps(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """E[eps | x], (B, *shape): finite at sigma = 0, where (x - alpha x0) / sigma is not."""
        return self._expected(x, level, conditions, _noise_share, of_mean=0.0)

    def flow(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """E[eps - x0 | x], (B, *shape): the velocity of the probability-flow ODE on rectified flow."""
        return self._expected(x, level, conditions, lambda *at: _noise_share(*at) - _data_share(*at), of_mean=-1.0)

    def score(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """grad log p(x), (B, *shape); sigma > 0."""
        return -self.eps(x, level, conditions) / broadcast_like(level.sigma, x)

    def posterior(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """p(k | x), (B, K)."""
        return torch.softmax(self._joint(x, level, conditions), dim=1)

    def log_density(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """log p(x) at the level, (B,)."""
        d = self.means.shape[1]
        return torch.logsumexp(self._joint(x, level, conditions), dim=1) - d / 2 * math.log(2 * math.pi)

    def sample(self, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """(x0 (count, *shape) float64, components (count,)): sample i of a seed does not depend on the count."""
        x, labels = [], []
        for i in range(count):
            rng = keyed_generator(seed, i, "mixture")
            k = int(rng.choice(len(self.weights), p=self.weights.numpy()))
            z, along = (torch.from_numpy(rng.standard_normal(n)) for n in (self.means.shape[1], self.basis.shape[1]))
            x.append(self.means[k] + self.std[k] * z + (self.spread[k] * along) @ self.basis[k])
            labels.append(k)
        return torch.stack(x).reshape(count, *self.shape), torch.tensor(labels)

    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Samples of x0 without components, (count, *shape) float64."""
        return self.sample(count, seed)[0]

    def conditions(self, labels: Tensor) -> Conditioning:
        """The conditions that select component labels[i] for sample i; the unconditional case is "any component"."""
        one_hot = torch.nn.functional.one_hot(labels, len(self.weights)).double()
        return Conditioning({self.name: one_hot}, {self.name: torch.ones_like(one_hot)})

    @property
    def mean(self) -> Tensor:
        """Mean of the data, (d,) with d the elements of a sample."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """Covariance of the data, (d, d)."""
        away = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self._covariances() + away[:, :, None] * away[:, None, :])

    @property
    def scale(self) -> float:
        """Smallest standard deviation of the data along any direction."""
        return float(self.std.min())

    # --- conditioning -----------------------------------------------------------------------------------------------

    def dense(self) -> DenseMixture:
        """The same distribution with full covariances: it accepts maps and noisy observations of any elements."""
        return DenseMixture(self.means.reshape(-1, *self.shape), self._covariances(), self.weights, self.name)

    def _covariances(self) -> Tensor:
        d = self.means.shape[1]
        return self.std[:, None, None] ** 2 * torch.eye(d) + (self.basis.mT * self.spread[:, None] ** 2) @ self.basis

    def conditioned_on(self, mask: Tensor, observed: Tensor, noise: float = 0.0) -> GaussianMixture:
        """The distribution of the unobserved elements, as samples of shape (1, n): O(d r^2) for r directions.

        With W = diag(spread) U^T, x0 = mu + std z + W^T a, the observation y = x0[mask] + noise eps determines the
        posterior of a: its precision is P = I + W_m W_m^T / v, v = std^2 + noise^2, its mean P^-1 W_m (y - mu_m) / v.
        The unobserved elements have the covariance std^2 I + W_r^T P^-1 W_r; the weights are w_k p(y | k).

        Args:
            mask: bool, broadcastable to shape: the observed elements.
            observed: (*shape), its values at the mask are y; the others are not used.
            noise: Standard deviation of the noise on y.
        """
        m = flat_mask(mask, self.shape)
        away = torch.as_tensor(observed, dtype=torch.float64).reshape(-1)[m] - self.means[:, m]  # (K, n)
        v = self.std[:, None] ** 2 + noise**2  # (K, 1)
        if not bool((v > 0).all()):
            raise BadInput("elements without own variance (std = 0) can only be observed with noise")
        W = self.spread[..., None] * self.basis
        evidence = torch.einsum("krd,kd->kr", W[:, :, m], away) / v
        precision = torch.eye(W.shape[1], dtype=W.dtype) + W[:, :, m] @ W[:, :, m].mT / v[..., None]
        factor = torch.linalg.cholesky(precision)
        mean_a = torch.cholesky_solve(evidence[..., None], factor)[..., 0]
        log_det = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1) + int(m.sum()) * torch.log(v[:, 0])
        quadratic = (away**2 / v).sum(-1) - (evidence * mean_a).sum(-1)
        weights = torch.softmax(torch.log(self.weights) - (quadratic + log_det) / 2, dim=0)
        means = self.means[:, ~m] + torch.einsum("kr,krd->kd", mean_a, W[:, :, ~m])
        left = torch.linalg.solve_triangular(factor, W[:, :, ~m], upper=False)  # left^T left = W^T P^-1 W
        _, spread, basis = torch.linalg.svd(left, full_matrices=False)
        return GaussianMixture(means[:, None], self.std, weights, basis[:, :, None], spread, self.name)

    # --- formulas --------------------------------------------------------------------------------------------------

    def _away(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Number, Number]:
        """x - alpha mu (B, K, d), and alpha and sigma with matching shapes."""
        B, d = len(x), self.means.shape[1]
        levels = [broadcast_like(v, x) for v in (level.alpha, level.sigma)]
        alpha, sigma = (v.expand_as(x).reshape(B, 1, d) if isinstance(v, Tensor) and v.ndim else v for v in levels)
        if self.basis.shape[1] and any(isinstance(v, Tensor) and v[:1].numel() > 1 for v in levels):
            raise BadInput("a mixture with extra directions accepts one level per sample, not a map")
        return x.reshape(B, 1, d) - alpha * self.means.to(x), alpha, sigma

    def _expected(
        self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None, share: Callable, of_mean: float
    ) -> Tensor:
        """Sum over components of p(k | x) (of_mean mu_k + share(C_k) (x - alpha mu_k))."""
        away, alpha, sigma = at = self._away(x, level)
        across_v = self._variances.to(x)
        each = torch.add(share(across_v, alpha, sigma) * away, self.means.to(x), alpha=of_mean)  # (B, K, d)
        if self.basis.shape[1]:
            basis, along_v, alpha, sigma = self._along(x, alpha, sigma)
            extra = share(along_v, alpha, sigma) - share(across_v, alpha, sigma)  # (B, K, r)
            each = each + torch.einsum("bkr,krd->bkd", extra * torch.einsum("bkd,krd->bkr", away, basis), basis)
        weights = torch.softmax(self._log_weights(x, at, conditions), dim=1)
        return (weights[:, :, None] * each).sum(1).reshape(x.shape)

    def _joint(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None) -> Tensor:
        return self._log_weights(x, self._away(x, level), conditions)

    def _log_weights(self, x: Tensor, at: tuple[Tensor, Number, Number], conditions: Conditioning | None) -> Tensor:
        """log p(k) p(x | k) + d/2 log(2 pi), (B, K)."""
        away, alpha, sigma = at
        across = alpha**2 * self._variances.to(x) + sigma**2
        terms = (away**2 / across).sum(-1) + torch.log(torch.as_tensor(across)).expand_as(away).sum(-1)
        if self.basis.shape[1]:
            basis, along_v, alpha, sigma = self._along(x, alpha, sigma)
            wide, narrow = alpha**2 * along_v + sigma**2, alpha**2 * self._variances.to(x) + sigma**2
            along = torch.einsum("bkd,krd->bkr", away, basis)
            terms = terms + (along**2 * (1 / wide - 1 / narrow) + torch.log(wide) - torch.log(narrow)).sum(-1)
        prior = self._log_prior.to(x)
        if conditions is not None and self.name in conditions.vector:
            prior = torch.log_softmax(prior + torch.log(conditions.vector[self.name].to(x)), dim=1)
        return prior - terms / 2

    def _along(self, x: Tensor, alpha: Number, sigma: Number) -> tuple[Tensor, Tensor, Number, Number]:
        """The directions (K, r, d), the variances along them (K, r), and alpha and sigma with matching shapes."""
        alpha, sigma = (v[..., :1] if isinstance(v, Tensor) and v.ndim else v for v in (alpha, sigma))
        return self.basis.to(x), self._variances.to(x) + self.spread.to(x) ** 2, alpha, sigma


def _data_share(variance: Tensor, alpha: Number, sigma: Number) -> Tensor:
    """d E[x0 | x, k] / dx along a direction with this variance."""
    return alpha * variance / (alpha**2 * variance + sigma**2)


def _noise_share(variance: Tensor, alpha: Number, sigma: Number) -> Tensor:
    """d E[eps | x, k] / dx along a direction with this variance."""
    return sigma / (alpha**2 * variance + sigma**2)


def example_mixture(
    seed: int = 0, shape: tuple[int, ...] = (2, 3), components: int = 3, rank: int = 0
) -> GaussianMixture:
    """A mixture of unit overall scale from a seed: the problem on which orders and samplers are measured.

    Args:
        seed: Seed of the mixture.
        shape: (C, *spatial).
        components: Number of components.
        rank: Number of directions of extra variance per component.
    """
    rng = keyed_generator(seed, 0, "example mixture")
    d = math.prod(shape)
    means = torch.from_numpy(rng.standard_normal((components, *shape)))
    std = torch.from_numpy(rng.uniform(0.3, 0.6, components))
    weights = torch.from_numpy(rng.uniform(0.5, 1.5, components))
    if not rank:
        return GaussianMixture(means, std, weights)
    basis = torch.linalg.qr(torch.from_numpy(rng.standard_normal((components, d, rank))))[0].mT
    spread = torch.from_numpy(rng.uniform(0.5, 1.5, (components, rank)))
    return GaussianMixture(means, std, weights, basis.reshape(components, rank, *shape), spread)
