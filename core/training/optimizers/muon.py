"""Muon: momentum whose matrices are orthogonalised (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

For a matrix W with gradient G, the momentum M and the update are

    M <- momentum M + G;  W <- W - 0.2 lr sqrt(max(rows, columns)) orthogonalised(G + momentum M)

where the orthogonalised matrix of U S V^T is U V^T, by Newton-Schulz iterations. The factor gives updates the root mean
square of those of AdamW (Liu et al. 2025, arXiv:2502.16982, section 2.2), so that its lr can be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ...types import BadInput
from .adamw import AdamW
from .base import Optimizer

if TYPE_CHECKING:
    from ..sharding import Shards

_ITERATIONS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315  # p(s) = A s + B s^3 + C s^5 takes singular values from 0 to 1 close to 1
_UPDATE = 0.2  # root mean square of an update, in units of lr


class Muon(Optimizer):
    """Muon for the weights of linear layers and convolutions, and AdamW for embeddings and vectors.

    Args:
        lr: Learning rate, of about the size of AdamW's.
        momentum: Decay rate of the momentum.
        betas: AdamW's decay rates.
        eps: AdamW's term in the denominator.
        weight_decay: Weight decay per step, in units of lr; vectors are not decayed.

    Raises:
        BadInput: An option is out of range.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        if not 0 <= momentum < 1:
            raise BadInput(f"muon's momentum is in [0, 1), not {momentum}")
        if not lr > 0:
            raise BadInput(f"muon's lr must be positive, not {lr}")
        self.other = AdamW(lr, betas, eps, weight_decay)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay

    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        """One optimiser over the parameters of both kinds."""
        layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        chosen = {id(layer.weight) for layer in model.modules() if isinstance(layer, layers)}
        trained = [p for p in model.parameters() if p.requires_grad]
        rest = nn.ParameterList(p for p in trained if id(p) not in chosen)
        group = {"params": [p for p in trained if id(p) in chosen], "state_names": ["momentum"]}
        others = [
            other | {"state_names": ["step", "exp_avg", "exp_avg_sq"]} for other in self.other.make(rest).param_groups
        ]
        options = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay}
        return _MuonAdamW([group | options, *others], {})

    def shard(self, optimizer: torch.optim.Optimizer, shards: Shards) -> None:
        """Each matrix is gathered before it is orthogonalised, which every rank does; each keeps its own rows."""
        assert isinstance(optimizer, _MuonAdamW)
        optimizer.shards = shards


class _MuonAdamW(torch.optim.Optimizer):
    """Muon for the groups with a momentum, AdamW for the others.

    Attributes:
        shards: What the parameters are parts of; None: they are whole.
    """

    shards: Shards | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] (torch's stub)
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
            (self._muon if "momentum" in group else self._adamw)(pairs, group)

    def _muon(self, pairs: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        updates: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        given = []
        for p, grad in pairs:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
            momentum = self.state[p]["momentum"]
            momentum.mul_(group["momentum"]).add_(grad)
            given.append(grad.add(momentum, alpha=group["momentum"]))
        weights = [p for p, _ in pairs]
        wholes = given if self.shards is None else self.shards.whole(weights, given)
        for p, update in zip(weights, wholes, strict=True):
            matrix = update.flatten(1)
            updates.setdefault(tuple(matrix.shape), []).append((p, matrix))
        for shape, rows in updates.items():  # matrices of one shape together
            made = orthogonalise(torch.stack([update for _, update in rows]))
            scale = -_UPDATE * group["lr"] * max(shape) ** 0.5
            for (p, _), update in zip(rows, made, strict=True):
                own = update if self.shards is None else self.shards.own(p, update)
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(own.view_as(p), alpha=scale)

    def _adamw(self, pairs: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        for p, _ in pairs:
            if not self.state[p]:
                self.state[p] |= {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
                self.state[p]["step"] = torch.zeros((), device="cpu")
        states = [self.state[p] for p, _ in pairs]
        steps, means, squares = ([state[name] for state in states] for name in ("step", "exp_avg", "exp_avg_sq"))
        beta1, beta2 = group["betas"]
        adamw(
            [p for p, _ in pairs], [grad for _, grad in pairs], means, squares, [], steps,
            amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=group["weight_decay"],
            eps=group["eps"], maximize=False,
        )  # fmt: skip


def orthogonalise(matrices: Tensor) -> Tensor:
    """U V^T of matrices U S V^T, approximately: singular values from 1e-2 of the largest upwards become 0.7 to 1.2.

    Args:
        matrices: (N, rows, columns).
    """
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(wide.dtype).tiny)
    # x <- p(x x^T) x with p(g) = A + B g + C g^2, in the small matrices: all of them are polynomials of g and commute.
    gram = x @ x.mT
    one = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    total = p = _A * one + _B * gram + _C * gram @ gram
    for _ in range(_ITERATIONS - 1):
        gram = p @ gram @ p
        p = _A * one + _B * gram + _C * gram @ gram
        total = p @ total
    x = total @ x
    return x.mT if matrices.shape[1] > matrices.shape[2] else x
