"""Other trained models that guidance calls, such as autoguidance's weaker network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..guidance.base import AuxiliaryModel
from ..types import BadInput, Denoiser
from .checkpoint import open_checkpoint
from .conditions import embed_rows
from .context import ModelContext


class AuxiliaryModels:
    """Opens other runs, once each, for one model: they need its schedule, latent shape and codec.

    Args:
        own: The model that is sampled.
    """

    def __init__(self, own: ModelContext):
        self.own = own
        self._opened: dict[Path, ModelContext] = {}

    def denoiser(self, path: Path) -> Denoiser:
        """The averaged network of a run folder or checkpoint.

        Raises:
            BadInput: If it was trained on other samples.
        """
        if path not in self._opened:
            allowed = self.own.recipe.given.allow_code
            other = open_checkpoint(path, self.own.device, allow_code=allowed).context
            self._refuse_other(path, other)
            self._opened[path] = other
        other = self._opened[path]
        other.to(self.own.device)
        return other.process.denoiser(other.model)

    def embedded(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> AuxiliaryModel:
        """The denoiser of another run for a batch with these conditions, one mapping name -> value a sample.

        Raises:
            BadInput: The codec was fitted otherwise, or that run does not know a value.
        """
        denoiser, other = self.denoiser(path), self._opened[path]
        mine, theirs = self.own.codec.state_dict(), other.codec.state_dict()
        if any(not torch.allclose(theirs[k].float(), v.float(), rtol=1e-3, atol=1e-5) for k, v in mine.items()):
            raise BadInput(f"{path}: its codec was fitted on other data: train it on the data of the run it guides")
        with torch.no_grad():
            return AuxiliaryModel(denoiser, embed_rows(other.model, rows))

    def _refuse_other(self, path: Path, other: ModelContext) -> None:
        mine, theirs = self.own.recipe, other.recipe
        facts = {
            "process.schedule": (mine.process.schedule.resolved(), theirs.process.schedule.resolved()),
            "codec": (mine.codec.resolved(), theirs.codec.resolved()),
            "shape of the diffused tensor": (self.own.spec.latent, other.spec.latent),
        }
        for name, (own, found) in facts.items():
            if own != found:
                raise BadInput(f"{path} cannot guide this run: its {name} is {found}, and this run's is {own}")
