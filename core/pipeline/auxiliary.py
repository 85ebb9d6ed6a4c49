"""Other trained runs that guidance calls beside the one that is sampled, such as autoguidance's weaker network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..conditioning.base import gather
from ..guidance.base import AuxiliaryModel
from ..nn.model import Model
from ..types import BadInput, Conditioning, Denoiser

if TYPE_CHECKING:
    from .pipeline import Pipeline


class AuxiliaryModels:
    """Opens other runs, once each, for a run: same schedule, same latent shape, same codec."""

    def __init__(self, own: Pipeline):
        self.own = own
        self._opened: dict[Path, Pipeline] = {}

    def denoiser(self, path: Path) -> Denoiser:
        """The averaged network of a run folder or checkpoint. Raises BadInput where it sees other noisy samples."""
        from .pipeline import load

        if path not in self._opened:
            allowed = self.own.recipe.given.allow_code
            self._opened[path] = load(path, device=str(self.own.device), allow_code=allowed)
            self._refuse_other(path, self._opened[path])
        other = self._opened[path].to(self.own.device)
        return other.parts.process.denoiser(other.model)

    def beside(self, path: Path, told: Sequence[Mapping[str, Any]]) -> AuxiliaryModel:
        """The same for a batch, told what the run's samples are told: one mapping name -> value a sample.

        Raises BadInput where the codec was fitted otherwise, or a value is unknown to that run.
        """
        denoiser, other = self.denoiser(path), self._opened[path]
        mine, theirs = self.own.codec.state_dict(), other.codec.state_dict()
        if any(not torch.allclose(theirs[k].float(), v.float(), rtol=1e-3, atol=1e-5) for k, v in mine.items()):
            raise BadInput(f"{path}: its codec was fitted on other data: train it on the data of the run it guides")
        with torch.no_grad():
            return AuxiliaryModel(denoiser, embedded(other.model, told))

    def _refuse_other(self, path: Path, other: Pipeline) -> None:
        mine, theirs = self.own.recipe, other.recipe
        facts = {
            "process.schedule": (mine.process.schedule.resolved(), theirs.process.schedule.resolved()),
            "codec": (mine.codec.resolved(), theirs.codec.resolved()),
            "shape of the diffused tensor": (self.own.parts.spec.latent, other.parts.spec.latent),
        }
        for name, (own, found) in facts.items():
            if own != found:
                raise BadInput(f"{path} cannot guide this run: its {name} is {found}, and this run's is {own}")


def embedded(model: Model, told: Sequence[Mapping[str, Any]]) -> Conditioning:
    """The conditions of a batch, each sample told its mapping name -> value; what a mapping lacks is not told."""
    values = {
        name: [None if row.get(name) is None else condition.parse(row[name]) for row in told]  # type: ignore[operator]
        for name, condition in model.conditions.items()
    }
    return gather(model.conditions, values)
