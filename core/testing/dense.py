"""A Gaussian mixture with full covariances, and its distribution conditioned on some elements.

x0 | k ~ N(mu_k, C_k). With M_k = A C_k A + S^2, where A and S are the diagonal matrices of alpha and sigma, everything
follows from w = M_k^-1 (x - A mu_k): E[x0 | x, k] = mu_k + C_k A w, E[eps | x, k] = S w. If all elements have the same
level, w is computed with the eigenvectors of C_k; for a map with a Cholesky factorisation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import BadInput, NoiseLevel, broadcast_like
from ..util.rng import keyed_generator
from .base import AnalyticMixture, gaussian_log_density

_ZERO = 1e-13  # relative to the largest variance: smaller variances count as 0


class DenseMixture(AnalyticMixture):
    """A Gaussian mixture with full covariances, which may be singular. Computes in the dtype and on the device of x.

    Args:
        means: (K, *shape), shape = (C, *spatial) of one sample with d elements.
        covariances: (K, d, d), symmetric, positive semidefinite.
        weights: (K,) probabilities of the components; None: equal.
        name: Name of the condition whose embedding contains (B, K) factors of the weights.
    """

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor | None = None, name: str = "label"):
        means = torch.as_tensor(means, dtype=torch.float64)
        K, d = len(means), means[0].numel()
        if covariances.shape != (K, d, d):
            raise BadInput(f"{K} components of {d} elements need covariances {(K, d, d)}, not {covariances.shape}")
        self.shape, self.name = tuple(means.shape[1:]), name
        self.means, self.covariances = means.reshape(K, d), covariances.double()
        variances, self.vectors = torch.linalg.eigh(self.covariances)  # vectors in columns
        if bool((variances < -1e-9 * variances.abs().amax(1, keepdim=True)).any()):
            raise BadInput("a covariance has no negative eigenvalue")
        self.variances = torch.where(variances > _ZERO * variances.amax(1, keepdim=True), variances, 0.0)
        weights = torch.ones(K) if weights is None else torch.as_tensor(weights)
        self.weights = weights.double() / weights.double().sum()

    def components(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor, Tensor]:
        """E[x0 | x, k], E[eps | x, k] and log p(x | k) of each component for x (B, *shape)."""
        B, d = len(x), self.means.shape[1]
        fields = [broadcast_like(v, x) for v in (level.alpha, level.sigma)]
        a, s = (v.expand_as(x).reshape(B, 1, d) if isinstance(v, Tensor) and v.ndim else v for v in fields)
        away = x.reshape(B, 1, d) - a * self.means.to(x)
        mapped = any(isinstance(v, Tensor) and v[:1].numel() > 1 for v in fields)
        w, log_det = self._by_cholesky(away, a, s) if mapped else self._by_vectors(away, a, s)
        x0 = self.means.to(x) + torch.einsum("kij,bkj->bki", self.covariances.to(x), a * w)
        each = (B, len(self.means), *self.shape)
        return x0.reshape(each), (s * w).reshape(each), gaussian_log_density((away * w).sum(-1), log_det, d)

    def _by_vectors(self, away: Tensor, a: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
        total = a**2 * self.variances.to(away) + s**2  # (K, d) or (B, K, d)
        along = torch.einsum("kij,bki->bkj", self.vectors.to(away), away)
        # A direction without variance in data and noise: x - A mu is 0 there.
        share = torch.where(total > 0, along / torch.where(total > 0, total, 1.0), 0.0)
        return torch.einsum("kij,bkj->bki", self.vectors.to(away), share), torch.log(total).sum(-1)

    def _by_cholesky(self, away: Tensor, a: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
        B, _, d = away.shape
        a, s = (torch.as_tensor(v).to(away).expand(B, 1, d) for v in (a, s))
        total = a[..., :, None] * self.covariances.to(away) * a[..., None, :] + torch.diag_embed(s**2)
        factor = torch.linalg.cholesky(total)  # (B, K, d, d)
        w = torch.cholesky_solve(away[..., None], factor)[..., 0]
        return w, 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)

    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Samples of x0, (count, *shape) float64: sample i of a seed does not depend on the count."""
        rows = []
        for i in range(count):
            rng = keyed_generator(seed, i, "dense mixture")
            k = int(rng.choice(len(self.weights), p=self.weights.numpy()))
            z = torch.from_numpy(rng.standard_normal(self.means.shape[1]))
            away = self.vectors[k] @ (self.variances[k].sqrt() * z)
            rows.append(self.means[k] + torch.where(self.covariances[k].diagonal() > 0, away, 0.0))
        return torch.stack(rows).reshape(count, *self.shape)

    @property
    def mean(self) -> Tensor:
        """Mean of the data, (d,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """Covariance of the data, (d, d)."""
        away = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covariances + away[:, :, None] * away[:, None, :])

    @property
    def scale(self) -> float:
        """Smallest standard deviation of the data along any direction."""
        return float(self.variances.min().sqrt())

    def marginal(self, mask: Tensor) -> DenseMixture:
        """The distribution of the elements where `mask` (broadcastable to shape) is true: samples of shape (1, n)."""
        m = flat_mask(mask, self.shape)
        covariances = self.covariances[:, m][:, :, m]
        return DenseMixture(self.means[:, m][:, None], covariances, self.weights, self.name)

    def conditioned_on(self, mask: Tensor, observed: Tensor, noise: float = 0.0) -> DenseMixture:
        """The distribution of all elements, conditioned on observed values of those where `mask` is true.

        y = x0[mask] + noise eps; with G = C[:, m] (C[m, m] + noise^2)^-1:
        mean mu + G (y - mu[m]), covariance C - G C[m, :], weights w_k N(y; mu[m], C[m, m] + noise^2).

        Args:
            mask: bool, broadcastable to shape.
            observed: (*shape), its values at the mask are y; the others are not used.
            noise: Standard deviation of the noise on y; 0: exact observation, and samples equal y there.
        """
        m = flat_mask(mask, self.shape)
        y = torch.as_tensor(observed, dtype=torch.float64).reshape(-1)[m]
        across = self.covariances[:, :, m]  # (K, d, n)
        observed_covariance = across[:, m] + noise**2 * torch.eye(int(m.sum()), dtype=torch.float64)
        factor = torch.linalg.cholesky(observed_covariance)
        gain = torch.cholesky_solve(across.mT, factor).mT  # (K, d, n)
        away = y - self.means[:, m]
        whitened = torch.linalg.solve_triangular(factor, away[..., None], upper=False)[..., 0]
        log_det = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
        log_p = gaussian_log_density(whitened.square().sum(-1), log_det, len(y))
        means = self.means + torch.einsum("kdn,kn->kd", gain, away)
        left = self.covariances - gain @ across.mT
        if noise == 0:
            means[:, m], left[:, m], left[:, :, m] = y, 0.0, 0.0  # exactly, not up to rounding
        weights = torch.softmax(torch.log(self.weights) + log_p, dim=0)
        return DenseMixture(means.reshape(-1, *self.shape), (left + left.mT) / 2, weights, self.name)


def measured(data: DenseMixture, matrix: Tensor, observed: Tensor, noise: float) -> DenseMixture:
    """The distribution of x0, given y = A x0 + noise eps.

    With S = A C A^T + noise^2 I and G = C A^T S^-1: mean mu + G (y - A mu), covariance C - G A C, weights
    w_k N(y; A mu, S).

    Args:
        data: The distribution of x0.
        matrix: A (n, d), on flat samples.
        observed: y (n,).
        noise: Standard deviation of the noise on y, above 0.
    """
    A, y = matrix.double(), observed.double()
    across = data.covariances @ A.T  # (K, d, n)
    factor = torch.linalg.cholesky(A @ across + noise**2 * torch.eye(len(y), dtype=torch.float64))
    gain = torch.cholesky_solve(across.mT, factor).mT  # (K, d, n)
    away = y - data.means @ A.T
    whitened = torch.linalg.solve_triangular(factor, away[..., None], upper=False)[..., 0]
    log_det = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
    log_p = gaussian_log_density(whitened.square().sum(-1), log_det, len(y))
    means = data.means + torch.einsum("kdn,kn->kd", gain, away)
    left = data.covariances - gain @ across.mT
    weights = torch.softmax(torch.log(data.weights) + log_p, dim=0)
    return DenseMixture(means.reshape(-1, *data.shape), (left + left.mT) / 2, weights, data.name)


def flat_mask(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A bool mask broadcastable to shape as (d,).

    Raises:
        BadInput: The mask is true everywhere or nowhere.
    """
    flat = torch.as_tensor(mask, dtype=torch.bool).expand(shape).reshape(-1)
    if not bool(flat.any()) or bool(flat.all()):
        raise BadInput("a mask is true for some elements and false for others")
    return flat


def combine_observed(mask: Tensor, observed: Tensor, rest: Tensor) -> Tensor:
    """Combine observed elements and samples of the rest, (B, *shape).

    Args:
        mask: bool, broadcastable to shape: the observed elements.
        observed: (*shape), its values at the mask are used.
        rest: (B, 1, n), the other elements of each sample.
    """
    m = flat_mask(mask, tuple(observed.shape))
    out = observed.to(rest).reshape(1, -1).repeat(len(rest), 1)
    out[:, ~m] = rest.reshape(len(rest), -1)
    return out.reshape(len(rest), *observed.shape)


def ar1_sequences(length: int = 32, phi: float = 0.9, channels: int = 1) -> DenseMixture:
    """Sequences of unit variance with correlated neighbours: x_(i+1) = phi x_i + sqrt(1 - phi^2) e_i, (C, length).

    The covariance of elements i and j is phi^|i - j|; channels are independent.

    Args:
        length: Number of elements.
        phi: Correlation of neighbours, between -1 and 1.
        channels: C.
    """
    if not -1 < phi < 1:
        raise BadInput(f"an autoregressive sequence needs -1 < phi < 1, not {phi}")
    i = torch.arange(length, dtype=torch.float64)
    one = torch.as_tensor(phi, dtype=torch.float64) ** (i[:, None] - i).abs()
    covariance = torch.block_diag(*[one] * channels)
    return DenseMixture(torch.zeros(1, channels, length, dtype=torch.float64), covariance[None])
