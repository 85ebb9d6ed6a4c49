"""Kernel ridge regression: the classifier of the checkers of synthetic sounds."""

from __future__ import annotations

import torch
from torch import Tensor

_RIDGE = 0.02


class KernelRidge:
    """Scores of features: near +1 where a choice is right, near -1 where it is not.

    w = (K + ridge I)^-1 T with K_ij = exp(-width |a_i - a_j|^2) and targets T of +1 for the correct choice and -1 for
    the others (Hastie, Tibshirani and Friedman, "The elements of statistical learning", section 5.8).

    Args:
        features: (N, d) of the training examples.
        targets: (N, k).
        width: Factor of the squared distance in the kernel.
        scale: (d,) divisors of the features; None: 1.
        ridge: Added to the diagonal of the kernel.
    """

    def __init__(
        self, features: Tensor, targets: Tensor, width: float, scale: Tensor | None = None, ridge: float = _RIDGE
    ):
        self.width, self.mean, self.scale = width, features.mean(0), torch.ones(()) if scale is None else scale
        self.support = (features - self.mean) / self.scale
        kernel = self._kernel(self.support).double()
        kernel.diagonal().add_(ridge)
        self.weights = torch.cholesky_solve(targets.double(), torch.linalg.cholesky(kernel)).float()

    def __call__(self, features: Tensor) -> Tensor:
        """(N, d) -> scores (N, k)."""
        return self._kernel((features - self.mean) / self.scale) @ self.weights

    def _kernel(self, centred: Tensor) -> Tensor:
        return torch.exp(-self.width * torch.cdist(centred, self.support).square())
