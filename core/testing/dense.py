"""A Gaussian mixture with any covariances, and what is left of it once some elements were seen.

x0 | k ~ N(mu_k, C_k). With M_k = A C_k A + S^2, A and S the diagonal matrices of alpha and sigma, everything follows
from w = M_k^-1 (x - A mu_k): E[x0 | x, k] = mu_k + C_k A w, E[eps | x, k] = S w. A level that is the same for all
elements is solved in the eigenvectors of C_k, a map by Cholesky's method.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import BadInput, NoiseLevel, expand
from ..util.rng import generator
from .base import ClosedForm, log_normal

_ZERO = 1e-13  # of the largest variance: below it a direction does not vary


class DenseMixture(ClosedForm):
    """A Gaussian mixture with full covariances, which may be singular. Computes in the dtype and on the device of x.

    Args:
        means: (K, *shape), shape = (C, *spatial) of one sample with d elements.
        covariances: (K, d, d), symmetric, not negative.
        weights: (K,) probabilities of the components; None: equal.
        name: Which embedding of the conditions holds (B, K) factors on the weights.
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
        """What each component expects of x (B, *shape), and how likely it makes it."""
        B, d = len(x), self.means.shape[1]
        fields = [expand(v, x) for v in (level.alpha, level.sigma)]
        a, s = (v.expand_as(x).reshape(B, 1, d) if isinstance(v, Tensor) and v.ndim else v for v in fields)
        away = x.reshape(B, 1, d) - a * self.means.to(x)
        mapped = any(isinstance(v, Tensor) and v[:1].numel() > 1 for v in fields)
        w, log_det = self._by_cholesky(away, a, s) if mapped else self._by_vectors(away, a, s)
        x0 = self.means.to(x) + torch.einsum("kij,bkj->bki", self.covariances.to(x), a * w)
        each = (B, len(self.means), *self.shape)
        return x0.reshape(each), (s * w).reshape(each), log_normal((away * w).sum(-1), log_det, d)

    def _by_vectors(self, away: Tensor, a: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
        own = a**2 * self.variances.to(away) + s**2  # (K, d) or (B, K, d)
        along = torch.einsum("kij,bki->bkj", self.vectors.to(away), away)
        # A direction that varies neither in the data nor in the noise: x - A mu is 0 there.
        share = torch.where(own > 0, along / torch.where(own > 0, own, 1.0), 0.0)
        return torch.einsum("kij,bkj->bki", self.vectors.to(away), share), torch.log(own).sum(-1)

    def _by_cholesky(self, away: Tensor, a: Tensor | float, s: Tensor | float) -> tuple[Tensor, Tensor]:
        B, _, d = away.shape
        a, s = (torch.as_tensor(v).to(away).expand(B, 1, d) for v in (a, s))
        own = a[..., :, None] * self.covariances.to(away) * a[..., None, :] + torch.diag_embed(s**2)
        factor = torch.linalg.cholesky(own)  # (B, K, d, d)
        w = torch.cholesky_solve(away[..., None], factor)[..., 0]
        return w, 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)

    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Samples of x0, (count, *shape) float64: sample i of a seed is the same whatever the count."""
        rows = []
        for i in range(count):
            rng = generator(seed, i, "dense mixture")
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
        """Smallest deviation of the data along any direction."""
        return float(self.variances.min().sqrt())

    def part(self, mask: Tensor) -> DenseMixture:
        """The distribution of the elements where `mask` (broadcastable to shape) holds, as samples of shape (1, n)."""
        m = flat_mask(mask, self.shape)
        covariances = self.covariances[:, m][:, :, m]
        return DenseMixture(self.means[:, m][:, None], covariances, self.weights, self.name)

    def given(self, mask: Tensor, seen: Tensor, noise: float = 0.0) -> DenseMixture:
        """The distribution of all elements once those where `mask` holds were seen.

        y = x0[mask] + noise eps; with G = C[:, m] (C[m, m] + noise^2)^-1:
        mean mu + G (y - mu[m]), covariance C - G C[m, :], weights w_k N(y; mu[m], C[m, m] + noise^2).

        Args:
            mask: bool, broadcastable to shape.
            seen: (*shape), its values at the mask are y; the others are not read.
            noise: Deviation of the noise on y; 0: seen exactly, and samples then hold y there.
        """
        m = flat_mask(mask, self.shape)
        y = torch.as_tensor(seen, dtype=torch.float64).reshape(-1)[m]
        across = self.covariances[:, :, m]  # (K, d, n)
        own = across[:, m] + noise**2 * torch.eye(int(m.sum()), dtype=torch.float64)
        factor = torch.linalg.cholesky(own)
        gain = torch.cholesky_solve(across.mT, factor).mT  # (K, d, n)
        away = y - self.means[:, m]
        whitened = torch.linalg.solve_triangular(factor, away[..., None], upper=False)[..., 0]
        log_det = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
        log_p = log_normal(whitened.square().sum(-1), log_det, len(y))
        means = self.means + torch.einsum("kdn,kn->kd", gain, away)
        left = self.covariances - gain @ across.mT
        if noise == 0:
            means[:, m], left[:, m], left[:, :, m] = y, 0.0, 0.0  # exactly, not up to rounding
        weights = torch.softmax(torch.log(self.weights) + log_p, dim=0)
        return DenseMixture(means.reshape(-1, *self.shape), (left + left.mT) / 2, weights, self.name)


def flat_mask(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A bool mask broadcastable to shape as (d,); raises BadInput unless some elements are seen and some are not."""
    flat = torch.as_tensor(mask, dtype=torch.bool).expand(shape).reshape(-1)
    if not bool(flat.any()) or bool(flat.all()):
        raise BadInput("a mask holds for some elements and not for others")
    return flat


def complete(mask: Tensor, seen: Tensor, rest: Tensor) -> Tensor:
    """Samples (B, *shape) with `seen` (*shape) where the mask holds and the elements of `rest` (B, 1, n) elsewhere."""
    m = flat_mask(mask, tuple(seen.shape))
    out = seen.to(rest).reshape(1, -1).repeat(len(rest), 1)
    out[:, ~m] = rest.reshape(len(rest), -1)
    return out.reshape(len(rest), *seen.shape)


def ar1(length: int = 32, phi: float = 0.9, channels: int = 1) -> DenseMixture:
    """Sequences of unit variance whose neighbours correlate: x_(i+1) = phi x_i + sqrt(1 - phi^2) e_i, (C, length).

    The covariance of elements i and j is phi^|i - j|; channels are independent.
    """
    if not -1 < phi < 1:
        raise BadInput(f"an autoregressive sequence needs -1 < phi < 1, not {phi}")
    i = torch.arange(length, dtype=torch.float64)
    one = torch.as_tensor(phi, dtype=torch.float64) ** (i[:, None] - i).abs()
    covariance = torch.block_diag(*[one] * channels)
    return DenseMixture(torch.zeros(1, channels, length, dtype=torch.float64), covariance[None])
