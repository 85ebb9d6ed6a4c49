"""Auxiliary models: other checkpoints that guidance evaluates, such as the weaker model of autoguidance."""

from __future__ import annotations

from pathlib import Path

import torch

from ..config.spec import to_plain_values
from ..types import BadInput, Denoiser
from .conditions import ConditionEmbedder
from .context import ModelContext
from .open_checkpoint import open_checkpoint


class AuxiliaryModelLoader:
    """Loads auxiliary models. They must share schedule, latent shape and codec with the main model.

    Each is opened once, like the main model: a later checkpoint of its run is not read.

    Args:
        main: The model that is sampled.
    """

    def __init__(self, main: ModelContext):
        self.main = main
        self._opened: dict[Path, ModelContext] = {}

    def denoiser(self, path: Path) -> Denoiser:
        """The denoiser of a run folder or checkpoint, with averaged weights.

        Raises:
            BadInput: Its schedule, codec or latent shape differs from that of the main model.
        """
        if path not in self._opened:
            other = open_checkpoint(path, self.main.device, allow_code=self.main.recipe.allow_code).context
            self._check_same(path, other)
            self._opened[path] = other
        other = self._opened[path]
        other.to(self.main.device)
        return other.process.denoiser(other.model)

    def embedder(self, path: Path) -> ConditionEmbedder:
        """Embeds the conditions of one run of sampling for an auxiliary model; each text is encoded once.

        Args:
            path: Run folder or checkpoint.

        Raises:
            BadInput: Its codec was fitted on other data.
        """
        self.denoiser(path)
        other = self._opened[path]
        mine, theirs = self.main.codec.state_dict(), other.codec.state_dict()
        if any(not torch.allclose(theirs[k].float(), v.float(), rtol=1e-3, atol=1e-5) for k, v in mine.items()):
            raise BadInput(f"{path}: its codec was fitted on other data: train it on the data of the run it guides")
        return ConditionEmbedder(other.model)

    def _check_same(self, path: Path, other: ModelContext) -> None:
        mine, theirs = self.main.recipe, other.recipe
        facts = {
            "process.schedule": (mine.process.schedule.resolved(), theirs.process.schedule.resolved()),
            "codec": (to_plain_values(mine.codec), to_plain_values(theirs.codec)),
            "shape of the diffused tensor": (self.main.spec.latent, other.spec.latent),
        }
        for name, (expected, found) in facts.items():
            if expected != found:
                raise BadInput(f"{path} cannot guide this run: its {name} is {found}, and this run's is {expected}")
