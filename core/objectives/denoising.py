"""Denoising: the weighted squared error at a random noise level (Karras et al. 2022, arXiv:2206.00364, eq. 8)."""

from __future__ import annotations

from typing import Annotated, Any

from ..util.annotations import Kind, Range


class Denoising:
    """The squared error of what the network predicts at a noise level drawn for each sample.

    Args:
        loss_space: parameterization in whose space the error is measured; null: that of the network's output.
        timestep_sampling: density of the training times.
        weighting: weight of the loss by noise level.
        per_element: share of the training samples whose parts differ in noise level, some clean; 0.5 suits editing and
            continuing.
    """

    def __init__(
        self,
        loss_space: Annotated[Any | None, Kind("parameterization")] = None,
        timestep_sampling: Annotated[Any, Kind("timestep_sampling")] = "lognormal",
        weighting: Annotated[Any, Kind("weighting")] = "none",
        per_element: Annotated[float, Range(0, 1)] = 0.0,
    ):
        self.loss_space, self.timestep_sampling = loss_space, timestep_sampling
        self.weighting, self.per_element = weighting, per_element
