"""Input of an evaluation: a run, a checkpoint or a recipe, with changes from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.load import load_recipe
from ..config.recipe import Recipe
from ..config.trust import TrustLevel
from ..pipeline.load import load
from ..pipeline.pipeline import Pipeline
from ..training.checkpoint import newest_checkpoint
from ..training.data_changes import hashes_trained_on
from ..training.packaged_models import find_packaged_model
from ..types import BadInput
from . import stored_networks

CHANGEABLE = ("data", "sample", "eval")


@dataclass
class EvaluationInput:
    """Input of an evaluation.

    Attributes:
        source: Path or name as given.
        recipe: The recipe with the changes.
        pipeline: The loaded checkpoint; None: no samples are generated.
        checkpoint: Path of the checkpoint.
        recorded: Hashes of the files that the run was trained on.
    """

    source: str
    recipe: Recipe
    pipeline: Pipeline | None = None
    checkpoint: Path | None = None
    recorded: frozenset[str] = frozenset()

    @property
    def cache(self) -> Path | None:
        """Folder of the small networks that evaluation trains on the real data: `eval.cache`, or in the run's folder.

        Those in a run that was made elsewhere are not used, since its figures depend on them.
        """
        if self.recipe.eval.cache is not None or self.checkpoint is None:
            return self.recipe.eval.cache
        folder = self.checkpoint.absolute().parent
        own = folder.name == "checkpoints" and self.recipe.trust >= TrustLevel.PATHS
        cache = folder.parent / stored_networks.FOLDER
        return cache if own and not cache.is_symlink() else None


def open_evaluation_input(
    source: str, changes: Sequence[str], sampled: bool, allow_code: bool = False
) -> EvaluationInput:
    """Open a run folder or checkpoint, or, if no samples are generated, the file or name of a recipe.

    Args:
        source: Path or name of a recipe.
        changes: key=value of the sections data, sample and eval; a bare key belongs to eval. They may name code outside
            the registry.
        sampled: Whether samples are generated, which needs a model.
        allow_code: Run code that the recipe of the checkpoint, or one that a recipe extends, names.

    Raises:
        BadInput: For other sections, and for data.split.*: with another split, training examples would count as
            held out. Also for paths in data and eval that the recipe of a run of others names.
    """
    case = _opened(source, changes, sampled, allow_code)
    case.recipe.refuse_unconfirmed("data", "eval")
    return case


def _opened(source: str, changes: Sequence[str], sampled: bool, allow_code: bool) -> EvaluationInput:
    given = [_full_key(change) for change in changes]
    path = Path(source)
    if not path.exists() and not sampled and find_packaged_model(path) is None:
        return EvaluationInput(source, load_recipe(source, given, allow_code=allow_code))
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        if sampled:
            raise BadInput(f"{source} is a recipe: name a run or a checkpoint to sample from, or --folder with samples")
        return EvaluationInput(source, load_recipe(path, given, allow_code=allow_code))
    checkpoint = newest_checkpoint(path)
    pipeline = load(
        checkpoint, device="cpu", changes=[c for c in given if c.startswith("sample.")], allow_code=allow_code
    )
    recipe = pipeline.recipe.with_overrides([c for c in given if not c.startswith("sample.")])
    recorded = hashes_trained_on(checkpoint)
    return EvaluationInput(source, recipe, pipeline, checkpoint, recorded)


def _full_key(change: str) -> str:
    key, equals, _ = change.partition("=")
    if not equals:
        raise BadInput(f"command line: {change}: changes are key=value, such as data.root=path or count=200")
    first, dot, _ = key.partition(".")
    if dot and first in CHANGEABLE:
        if key.startswith("data.split"):
            raise BadInput(
                f"command line: {change}: the split is the run's: another would hold out what was trained on"
            )
        return change
    nested = {"feature", "metrics"}  # keys of eval that have keys of their own
    if not dot or first in nested:
        return f"eval.{change}"
    raise BadInput(
        f"command line: {change}: eval changes {', '.join(f'{s}.*' for s in CHANGEABLE)}; the rest is the run's"
    )
