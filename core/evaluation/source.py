"""What an evaluation measures: a run, a checkpoint, or a recipe, with changes from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.load import load_recipe
from ..config.recipe import Recipe
from ..pipeline.load import load
from ..pipeline.pipeline import Pipeline
from ..training.checkpoint import newest
from ..types import BadInput

CHANGEABLE = ("data", "sample", "eval")


@dataclass
class EvaluationInput:
    """What is measured: the recipe with its changes; the model, where samples are to be made; its checkpoint."""

    source: str
    recipe: Recipe
    trained: Pipeline | None = None
    checkpoint: Path | None = None


def open_source(source: str, changes: Sequence[str], sampled: bool, allow_code: bool = False) -> EvaluationInput:
    """A run folder or checkpoint; where nothing is to be sampled, a recipe's file or name too.

    Args:
        source: path, or name of a recipe
        changes: key=value of the sections data, sample and eval; a bare key belongs to eval. They may name own code.
        sampled: samples are to be made, so a model is needed
        allow_code: the checkpoint's recipe may name code outside the registry

    Raises:
        BadInput: for other sections, and for data.split.*: another split would call training examples held out.
    """
    given = [_full_key(change) for change in changes]
    path = Path(source)
    if not path.exists() and not sampled:
        return EvaluationInput(source, load_recipe(source, given))
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        if sampled:
            raise BadInput(f"{source} is a recipe: name a run or a checkpoint to sample from, or --folder with samples")
        return EvaluationInput(source, load_recipe(path, given))
    checkpoint = newest(path)
    trained = load(
        checkpoint, device="cpu", changes=[c for c in given if c.startswith("sample.")], allow_code=allow_code
    )
    # The checkpoint's own recipe has been read; what is changed here is the user's own.
    recipe = trained.recipe.merge([c for c in given if not c.startswith("sample.")], allow_code=True)
    return EvaluationInput(source, recipe, trained, checkpoint)


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
    own = {"feature", "metrics"}  # keys of eval that have keys of their own
    if not dot or first in own:
        return f"eval.{change}"
    raise BadInput(
        f"command line: {change}: eval changes {', '.join(f'{s}.*' for s in CHANGEABLE)}; the rest is the run's"
    )
