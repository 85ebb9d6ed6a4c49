"""A loaded model with all that sampling and editing need of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..codecs.base import Codec
from ..config.recipe import Recipe
from ..data.clip_lengths import ClipLengths
from ..nn.model import Model
from ..nn.process import Process
from ..training.build import Parts
from ..types import MediaSpec
from ..util.device import choose_device


@dataclass
class ModelContext:
    """A network, its codec and the facts of its data, on one device.

    Attributes:
        parts: What the recipe builds, the codec fitted.
        model: The network that is used; its weights may be others than those of `parts.model`.
        codec: Media <-> diffused tensor.
        device: Where both are.
    """

    parts: Parts
    model: Model
    codec: Codec
    device: torch.device

    @classmethod
    def of(cls, parts: Parts, model: Model, device: torch.device) -> ModelContext:
        """Model and codec in evaluation mode on the device."""
        return cls(parts, model.to(device).eval(), parts.codec.to(device).eval(), device)

    def to(self, device: str | torch.device) -> None:
        """Move it to a device ("auto" picks one)."""
        self.device = choose_device(str(device))
        self.model.to(self.device)
        self.codec.to(self.device)

    @property
    def recipe(self) -> Recipe:
        """The recipe that the model was built from."""
        return self.parts.recipe

    @property
    def spec(self) -> MediaSpec:
        """The facts of the data."""
        return self.parts.spec

    @property
    def process(self) -> Process:
        """Schedule and parameterization."""
        return self.parts.process

    @property
    def clip_lengths(self) -> ClipLengths:
        """Lengths of training examples; empty where they are all alike."""
        return self.parts.clip_lengths

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.parts.spec.classes

    @property
    def per_element(self) -> bool:
        """Whether the network was trained on noise levels that differ within a sample ("diffusion forcing")."""
        return self.recipe.objective.params.get("per_element", 0.0) > 0
