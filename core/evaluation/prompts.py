"""Prompts of the samples of an evaluation: captions of real examples, half of them captions that training had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..conditioning.text import text_of_item
from ..config.recipe import Recipe
from ..config.registry import find_class
from ..pipeline.conditions import DurationCondition, SampleConditions, require_text_condition
from ..pipeline.pipeline import Pipeline
from ..types import Item
from ..util.rng import keyed_generator
from .examples import ExampleSet, RealData
from .joint_embedding import normalise_text

LEAST_NEW = 8  # fewest new captions that are prompts of their own


class TextCondition(NamedTuple):
    """The text condition of a recipe: its name, and the attribute of the examples that contains the text."""

    name: str
    key: str


def find_text_condition(recipe: Recipe) -> TextCondition | None:
    """The only text condition of a recipe; None if it has none, or several."""
    found = [
        TextCondition(name, component.params.get("key", "caption"))
        for name, component in recipe.conditioning.items()
        if getattr(find_class("condition", component.use), "accepts_prompts", False)
    ]
    return found[0] if len(found) == 1 else None


def known_texts(real: RealData, key: str) -> frozenset[str]:
    """The texts of training, normalised: no prompt among them is new."""
    texts = {text for text in real.train.texts(key) if text}
    return frozenset(map(normalise_text, texts | (real.training_captions if key == "caption" else frozenset())))


def captioned_conditions(pipeline: Pipeline, recipe: Recipe, real: RealData, count: int) -> list[SampleConditions]:
    """The conditions of `count` real examples with captions, in turn of the training part and held out.

    Held-out examples are those whose caption no training example has; all of them, where fewer than 8 captions are new.
    Conditions that were set when the checkpoint was loaded, such as the class, are left out.

    Returns:
        Conditions of each sample; empty where the model has no text condition, no example has a caption, or prompts
        were given.
    """
    text, given = find_text_condition(recipe), pipeline.changed_keys
    if text is None or "prompt" in given or text.name in pipeline.changed_conditions:
        return []
    known = known_texts(real, text.key)
    held_out = [] if real.held_out is None else _captioned(real.held_out, text.key)
    new = [item for item in held_out if normalise_text(text_of_item(item, text.key) or "") not in known]
    if len({text_of_item(item, text.key) for item in new}) < LEAST_NEW:
        new = held_out
    parts = [part for part in (_captioned(real.train, text.key), new) if part]
    if not parts:
        return []
    orders = [keyed_generator(recipe.sample_seed, i, "prompts").permutation(len(p)) for i, p in enumerate(parts)]
    turns = [divmod(i, len(parts)) for i in range(count)]
    chosen = [parts[side][orders[side][turn % len(parts[side])]] for turn, side in turns]
    names = _changeable(pipeline)
    return [_conditions(pipeline, item, names) for item in chosen]


def _captioned(examples: ExampleSet, key: str) -> list[Item]:
    return [item for item, text in zip(examples.items or [], examples.texts(key), strict=False) if text]


def _changeable(pipeline: Pipeline) -> Sequence[str]:
    """Names of the conditions that were not set when the checkpoint was loaded."""
    given = set(pipeline.changed_keys)
    fixed = {"label"} & given | pipeline.changed_conditions
    if "seconds" in given:
        fixed |= {DurationCondition(pipeline.model).name or ""}
    return [name for name in pipeline.model.conditions if name not in fixed]


def _conditions(pipeline: Pipeline, item: Item, names: Sequence[str]) -> SampleConditions:
    """The values of an example, as a user writes them."""
    row: SampleConditions = {}
    for name in names:
        condition: Any = pipeline.model.conditions[name]
        value = condition.from_item(item)
        row[name] = None if value is None else condition.format_value(value)
    prompted = require_text_condition(pipeline.model)
    condition = pipeline.model.conditions[prompted]
    row[prompted] = condition.encoder.cut(row[prompted], condition.length) or None
    return row
