"""The two invariants of a plan: run on D = x0, every point is alpha x0 plus noise of standard deviation sigma.

No network and no random number is needed: a plan is linear, so its rows are applied to the coefficients. A point is
stored as (a, {source: b}): a x0 plus b times each independent noise, the initial noise and those drawn later.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..samplers.base import Plan

START = ("start",)


@dataclass(frozen=True)
class SymbolicPoint:
    """a x0 + sum of noise[source] times an independent standard normal number.

    Attributes:
        data: a.
        noise: Source of the noise -> its coefficient.
    """

    data: Tensor
    noise: dict[Hashable, Tensor]

    @property
    def norm(self) -> Tensor:
        """Standard deviation of the noise."""
        return torch.stack([*torch.broadcast_tensors(*self.noise.values())]).square().sum(0).sqrt()


@dataclass(frozen=True)
class InvariantDeviation:
    """The error of a plan's invariants: the largest over points and elements, relative to alpha + sigma.

    Attributes:
        data: Largest error of the coefficient of x0, which should be alpha.
        noise: Largest error of the standard deviation of the noise, which should be sigma.
    """

    data: float
    noise: float


def symbolic_points(plan: Plan) -> list[SymbolicPoint]:
    """Every point of a plan that is run on D = x0 from alpha x0 + sigma eps."""
    first = plan.rows[0].level
    points = [SymbolicPoint(_float64(first.alpha), {START: _float64(first.sigma)})]
    for row in plan.rows[1:]:
        data = torch.zeros((), dtype=torch.float64)
        noise: dict[Hashable, Tensor] = {}
        for j, c in row.x.items():
            data = data + c * points[j].data
            for source, b in points[j].noise.items():
                noise[source] = noise.get(source, 0.0) + c * b
        for c in row.d.values():
            data = data + c
        for key, c in row.z.items():
            noise["z", key] = noise.get(("z", key), 0.0) + _float64(c)
        points.append(SymbolicPoint(data, noise or {START: data * 0}))
    return points


def largest_deviation(plan: Plan) -> InvariantDeviation:
    """The largest deviation of data from alpha and of noise from sigma over all points of a plan."""
    data = noise = 0.0
    for row, point in zip(plan.rows, symbolic_points(plan), strict=True):
        alpha, sigma = _float64(row.level.alpha), _float64(row.level.sigma)
        scale = alpha + sigma
        data = max(data, float(((point.data - alpha).abs() / scale).max()))
        noise = max(noise, float(((point.norm - sigma).abs() / scale).max()))
    return InvariantDeviation(data, noise)


def _float64(value: object) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
