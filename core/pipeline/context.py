"""A loaded model with everything that sampling and editing need."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..codecs.base import Codec
from ..config.recipe import Recipe
from ..config.registry import find_class
from ..data.clip_lengths import ClipLengths
from ..nn.model import ConditionedNetwork
from ..nn.process import DiffusionProcess
from ..training.build import ModelComponents
from ..types import MediaSpec
from ..util.device import choose_device


@dataclass
class ModelContext:
    """A network, its codec and its media specification, on one device.

    Attributes:
        parts: The components that the recipe builds, with fitted codec.
        model: The network to evaluate; its weights may differ from those of `parts.model` (averaged or raw).
        codec: Media <-> diffused tensor.
        device: The device of both.
    """

    parts: ModelComponents
    model: ConditionedNetwork
    codec: Codec
    device: torch.device

    @classmethod
    def of(cls, parts: ModelComponents, model: ConditionedNetwork, device: torch.device) -> ModelContext:
        """Move model and codec to the device and set them to evaluation mode."""
        return cls(parts, model.to(device).eval(), parts.codec.to(device).eval(), device)

    def to(self, device: str | torch.device) -> None:
        """Move model and codec to a device ("auto" chooses one)."""
        self.device = choose_device(str(device))
        self.model.to(self.device)
        self.codec.to(self.device)

    @property
    def recipe(self) -> Recipe:
        """The recipe from which the model was built."""
        return self.parts.recipe

    @property
    def spec(self) -> MediaSpec:
        """The media specification of the data."""
        return self.parts.spec

    @property
    def process(self) -> DiffusionProcess:
        """Schedule and parameterization."""
        return self.parts.process

    @property
    def clip_lengths(self) -> ClipLengths:
        """Lengths of the training examples; empty if none of these states its length."""
        return self.parts.clip_lengths

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.parts.spec.classes

    @property
    def per_element(self) -> bool:
        """Whether the network was trained with per-element noise levels ("diffusion forcing")."""
        objective = self.recipe.objective
        share = objective.params.get("per_element", getattr(find_class("objective", objective.use), "per_element", 0.0))
        return share > 0
