"""The arms of an ablation: every combination of the varied values of a recipe."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...config.load import load_recipe
from ...config.overrides import override_key
from ...config.recipe import Recipe
from ...types import BadInput

OPENING, CLOSING, QUOTES = "[{(", "]})", "\"'"
FIXED = {
    "seed": "--seeds varies it",
    "train.steps": "--steps or --minutes sets the length of every run",
    "train.minutes": "--steps or --minutes sets the length of every run",
}


@dataclass(frozen=True)
class Arm:
    """One combination of values.

    Attributes:
        name: Its changes as text.
        recipe: The recipe with all changes.
    """

    name: str
    recipe: Recipe

    def with_seed(self, number: int) -> Recipe:
        """The recipe of run `number`: its seed is that of the recipe plus the number."""
        return self.recipe.with_overrides([("seed", self.recipe.seed + number)])


def build_arms(
    recipe: str | Path, vary: Sequence[str], changes: Sequence[str], length: str, allow_code: bool = False
) -> list[Arm]:
    """The arms of all combinations; the first values of all keys make the first arm, the baseline.

    Args:
        recipe: A file, or the name of an included recipe.
        vary: Arguments `key=a,b,c`, see `split_values`.
        changes: Arguments `key=value` of every arm.
        length: Argument `train.steps=N` or `train.minutes=M`.
        allow_code: Run code that the recipe names.

    Raises:
        BadInput: An argument cannot be used, a recipe is not valid, or arms cannot be compared.
    """
    varied = [_varied(text) for text in vary]
    keys = [override_key(options[0]) for options in varied]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise BadInput(f"--vary {twice} is given twice: list all of its values in one")
    for change in changes:
        key = override_key(change)
        if key in FIXED:
            raise BadInput(f"command line: {change}: {FIXED[key]}: leave it out")
        if above := next((k for k in keys if key == k or key.startswith(f"{k}.")), None):
            raise BadInput(f"command line: {change}: --vary {above} varies it: leave one of the two out")
    arms = []
    for combination in itertools.product(*varied):
        loaded = load_recipe(recipe, [*changes, *combination, length], allow_code=allow_code)
        arms.append(Arm(" ".join(combination), loaded))
    _check_comparable(arms)
    return arms


def split_values(text: str) -> list[str]:
    """Split at commas outside of brackets, braces and quotes: `a,[1, 2],{b: c}` has three values."""
    values, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in QUOTES:
            quote = c
        elif c == "," and depth == 0:
            values.append(text[start:i])
            start = i + 1
        else:
            depth += (c in OPENING) - (c in CLOSING)
    return [value.strip() for value in (*values, text[start:])]


def _varied(text: str) -> list[str]:
    """The changes `key=value` of an argument `key=a,b,c`."""
    key, equals, rest = (part.strip() for part in text.partition("="))
    values = split_values(rest)
    if not (equals and key):
        raise BadInput(f"--vary {text}: expected key=value,value such as --vary train.batch=32,64")
    if key in FIXED:
        raise BadInput(f"--vary {text}: {FIXED[key]}")
    if len(values) < 2 or "" in values:
        raise BadInput(f"--vary {text}: give two or more values with commas between them: {key}=a,b")
    if len(set(values)) < len(values):
        raise BadInput(f"--vary {text}: a value is given twice")
    return [f"{key}={value}" for value in values]


def _check_comparable(arms: Sequence[Arm]) -> None:
    """Raise BadInput where arms diffuse other tensors, whose errors are in other units, or split the data otherwise."""
    base = arms[0].recipe
    for arm in arms[1:]:
        for name in ("modality", "codec", "split"):
            if getattr(arm.recipe, name) != getattr(base, name):
                section = "data.split" if name == "split" else name
                raise BadInput(
                    f"--vary {arm.name}: arms with another {section} have errors in other units, or of other "
                    "examples: train each with `sonolux train`, and compare with `sonolux eval`"
                )
