"""Base class of the test problems: data whose denoiser, score, density and samples are known in closed form."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..types import Conditioning, Estimate, NoiseLevel, broadcast_like


@runtime_checkable
class AnalyticProblem(Protocol):
    """Data that is known exactly, and its denoiser. d is the number of elements of a sample.

    Attributes:
        shape: (C, *spatial) of one sample.
    """

    shape: tuple[int, ...]

    @property
    def mean(self) -> Tensor:
        """Mean of the data, (d,) float64."""
        ...

    @property
    def covariance(self) -> Tensor:
        """Covariance of the data, (d, d) float64."""
        ...

    @property
    def scale(self) -> float:
        """Smallest standard deviation of the data along any direction: what a solver in tau must resolve."""
        ...

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Estimate:
        """E[x0 | x] for x (B, *shape)."""
        ...

    def eps(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """E[eps | x], (B, *shape); finite at sigma = 0."""
        ...

    def flow(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """E[eps - x0 | x], (B, *shape)."""
        ...

    def score(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """grad log p(x), (B, *shape); sigma > 0."""
        ...

    def log_density(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """log p(x) at the level, in nats, (B,)."""
        ...

    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Samples of x0, (count, *shape) float64: sample i of a seed does not depend on the count."""
        ...


class AnalyticMixture(ABC):
    """Computes everything that follows from the components of a mixture; subclasses define a single component.

    Attributes:
        weights: (K,) probabilities of the components.
        name: Name of the condition whose embedding contains (B, K) factors of the weights.
    """

    shape: tuple[int, ...]
    weights: Tensor
    name: str = "label"

    @abstractmethod
    def components(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor, Tensor]:
        """(E[x0 | x, k], E[eps | x, k], log p(x | k)) for x (B, *shape): (B, K, *shape) twice, and (B, K)."""

    @abstractmethod
    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Samples of x0, (count, *shape) float64: sample i of a seed does not depend on the count."""

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Estimate:
        """E[x0 | x] for x (B, *shape)."""
        x0, _, log_p = self.components(x, level)
        return Estimate(self._mixed(x0, log_p, conditions))

    def eps(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """E[eps | x], (B, *shape): finite at sigma = 0, where (x - alpha x0) / sigma is not."""
        _, eps, log_p = self.components(x, level)
        return self._mixed(eps, log_p, conditions)

    def flow(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """E[eps - x0 | x], (B, *shape): the velocity of the probability-flow ODE on rectified flow."""
        x0, eps, log_p = self.components(x, level)
        return self._mixed(eps - x0, log_p, conditions)

    def score(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """grad log p(x) = -E[eps | x] / sigma, (B, *shape); sigma > 0."""
        return -self.eps(x, level, conditions) / broadcast_like(level.sigma, x)

    def posterior(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """p(k | x), (B, K)."""
        return torch.softmax(self._joint(self.components(x, level)[2], conditions), dim=1)

    def log_density(self, x: Tensor, level: NoiseLevel, conditions: Conditioning | None = None) -> Tensor:
        """log p(x) at the level, in nats, (B,)."""
        return torch.logsumexp(self._joint(self.components(x, level)[2], conditions), dim=1)

    def conditions(self, labels: Tensor) -> Conditioning:
        """The conditions that select component labels[i] for sample i; the unconditional case is "any component"."""
        one_hot = torch.nn.functional.one_hot(labels, len(self.weights)).double()
        return Conditioning({self.name: one_hot}, {self.name: torch.ones_like(one_hot)})

    def _joint(self, log_p: Tensor, conditions: Conditioning | None) -> Tensor:
        """log p(k) p(x | k), (B, K)."""
        prior = torch.log(self.weights.to(log_p))
        if conditions is not None and self.name in conditions.vector:
            prior = torch.log_softmax(prior + torch.log(conditions.vector[self.name].to(log_p)), dim=1)
        return prior + log_p

    def _mixed(self, each: Tensor, log_p: Tensor, conditions: Conditioning | None) -> Tensor:
        p = torch.softmax(self._joint(log_p, conditions), dim=1)
        return (p.reshape(*p.shape, *[1] * len(self.shape)) * each).sum(1)


def gaussian_log_density(quadratic: Tensor, log_det: Tensor, d: int) -> Tensor:
    """log N from (x - m)^T C^-1 (x - m) and log det C: -(quadratic + log det C + d log(2 pi)) / 2."""
    return -(quadratic + log_det + d * math.log(2 * math.pi)) / 2
