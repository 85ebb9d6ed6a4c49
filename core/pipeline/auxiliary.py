"""Auxiliary models: other checkpoints that guidance evaluates, such as the weaker model of autoguidance."""

from __future__ import annotations

from pathlib import Path

from ..codecs.comparison import describe_settings_difference, equal_fits
from ..config.spec import to_plain_values
from ..schedulers.base import equal_schedules
from ..types import BadInput, Denoiser
from ..util.messages import shorten
from .conditions import ConditionEmbedder
from .context import ModelContext
from .open_checkpoint import open_checkpoint


class AuxiliaryModelLoader:
    """Loads auxiliary models. They must share schedule, latent shape and codec with the main model.

    Schedules and codecs are compared by what they do and not by how recipes write them: a codec that one run has
    trained is the same as its file, which another run has read.

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
        if not equal_fits(self.main.codec, other.codec):
            raise BadInput(f"{path}: its codec was fitted on other data: train it on the data of the run it guides")
        return ConditionEmbedder(other.model)

    def _check_same(self, path: Path, other: ModelContext) -> None:
        mine, theirs = self.main.recipe, other.recipe
        shown = f"{path} cannot guide this run: its"
        if not equal_schedules(self.main.process.schedule, other.process.schedule):
            found, expected = (r.process.schedule.resolved() for r in (theirs, mine))
            raise BadInput(f"{shown} process.schedule is {found}, and this run's is {expected}")
        options = [to_plain_values(recipe.codec) for recipe in (mine, theirs)]
        if difference := describe_settings_difference((self.main.codec, options[0]), (other.codec, options[1])):
            name, expected, found = difference
            raise BadInput(f"{shown} codec.{name} is {shorten(found)}, and this run's is {shorten(expected)}")
        if self.main.spec.latent != other.spec.latent:
            found, expected = other.spec.latent, self.main.spec.latent
            raise BadInput(f"{shown} shape of the diffused tensor is {found}, and this run's is {expected}")
