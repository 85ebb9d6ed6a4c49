"""Conditions of each sample: from the recipe's `sample` section to rows name -> value, and to network inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ..conditioning.base import EmbeddedValues, build_conditioning
from ..config.registry import find_class
from ..config.sections import SampleSection
from ..config.spec import ComponentSpec
from ..guidance.base import OtherConditions
from ..nn.model import ConditionedNetwork
from ..types import BadInput, Conditioning, Tokens, concatenate_batches
from ..util.messages import shorten
from ..util.notes import issue_note

SampleConditions = dict[str, Any]
"""Conditions of one sample: name -> readable value, such as a class name; None: unconditional."""


def per_sample_conditions(model: ConditionedNetwork, section: SampleSection, count: int) -> list[SampleConditions]:
    """The conditions of `count` samples according to the recipe's `sample` section; lists of values are cycled.

    Raises:
        BadInput: A condition does not know a value.
    """
    labels = section.label
    if labels == "cycle" and "label" in model.conditions and _accepts_prompts(model.conditions["label"]):
        labels = None  # the default, which is no prompt
    given = dict(section.conditions)
    if "label" in given and given["label"] is None and labels not in (None, "cycle"):
        del given["label"]  # null removes a recipe's `conditions.label`, and `label` says another
    wanted: dict[str, Any] = {"label": labels, **given, **_prompts(model, section)}
    rows: list[SampleConditions] = [{} for _ in range(count)]
    for name, condition in model.conditions.items():
        value = wanted.get(name)
        if isinstance(value, str) and value == "cycle" and not _accepts_prompts(condition):
            if value in condition.choices():  # type: ignore[operator]
                issue_note(
                    f"{name}=cycle is every value in turn; the value called cycle is {name}=[cycle]", stacklevel=2
                )
            value = list(condition.choices()) or None  # type: ignore[operator]
            if value is None and name in section.conditions:
                raise BadInput(f"{name} has no list of values to cycle through: give one value, or a list")
        items = value if isinstance(value, (list, tuple)) and value else [value]
        readable = [_readable(condition, item) for item in items[:count]]  # each is read once, with one warning
        for i, row in enumerate(rows):
            row[name] = readable[i % len(items)]
    return rows


def _readable(condition: Any, value: Any) -> Any:
    parsed = None if value is None else condition.parse(value)
    return None if parsed is None else condition.format_value(parsed)


def _accepts_prompts(condition: Any) -> bool:
    return getattr(condition, "accepts_prompts", False)


def _prompts(model: ConditionedNetwork, section: SampleSection) -> dict[str, Any]:
    """Name of the text condition -> its prompts, if the section has any; None with those of composed guidance.

    Raises:
        BadInput: The model has no text condition, or its value is given twice; a negative prompt has no effect.
    """
    if guidance_prompts(section):
        if section.negative:
            raise BadInput("composed prompts take no negative prompt: give it a negative scale in guidance.prompts")
        return {require_text_condition(model): None}
    if section.prompt is None and not section.negative:
        return {}
    name = require_text_condition(model)
    if section.negative and not _is_guided(section):
        raise BadInput("a negative prompt needs guidance to move away from it: guidance.scale=3, or leave it out")
    if section.prompt is None:
        return {}
    if section.conditions.get(name) is not None:
        raise BadInput(f"sample.prompt and sample.conditions.{name} are the same: give one of them")
    return {name: section.prompt}


def _is_guided(section: SampleSection) -> bool:
    """Whether the section has a guidance that uses unconditional estimates; a scale of 1 gives them no weight."""
    return any(
        getattr(find_class("guidance", one.use), "needs_condition", True) and one.params.get("scale") != 1
        for one in guidance_specs(section)
    )


def guidance_specs(section: SampleSection) -> list[ComponentSpec]:
    """The guidances of the section, in their order."""
    found = section.guidance
    return found if isinstance(found, list) else [] if found is None else [found]


def guidance_prompts(section: SampleSection) -> list[str]:
    """The prompts that the guidances name; they take the place of `section.prompt`."""
    return [prompt for spec in guidance_specs(section) for prompt in spec.params.get("prompts") or ()]


def require_text_condition(model: ConditionedNetwork) -> str:
    """Name of the model's text condition.

    Raises:
        BadInput: It has none, or several; the message names the conditions that it has.
    """
    found = [name for name, condition in model.conditions.items() if _accepts_prompts(condition)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"this model has several text conditions: give conditions.{found[0]}=..., and so on")
    known = [f"{name}{_choices(condition)}" for name, condition in model.conditions.items()]
    raise BadInput(f"this model takes no prompt; its conditions: {', '.join(known) or 'none'}")


def _choices(condition: Any) -> str:
    names = condition.choices()
    return f" ({shorten(', '.join(map(str, names)), 60)})" if names else ""


class ConditionEmbedder:
    """Embeds the conditions of the batches of one run. A text encoder receives each text once.

    Args:
        model: The model.
        negative: Negative prompt, which takes the place of the unconditional value of the text condition; None: none.
    """

    def __init__(self, model: ConditionedNetwork, negative: str | None = None):
        self.model, self.negative = model, negative
        self._parsed: dict[str, Any] = {}  # prompt as the user writes it -> parsed
        self._rows: dict[tuple[str, Any], EmbeddedValues] = {}  # (condition, parsed text) -> one row, without padding

    def add(self, rows: Sequence[Mapping[str, Any]], prompts: Sequence[str] = ()) -> None:
        """Encode the texts of samples, and prompts of guidance, in one call of the encoder for up to 256 texts."""
        listed = [*prompts, *([self.negative] if self.negative else [])]
        prompted = require_text_condition(self.model) if listed else None
        for name, condition in self.model.conditions.items():
            if _accepts_prompts(condition):
                texts = [condition.parse(row[name]) for row in rows if row.get(name) is not None]  # type: ignore[operator]
                self._encode(name, [*texts, *(map(self._parse, listed) if name == prompted else ())])

    def conditioning(self, rows: Sequence[Mapping[str, Any]]) -> Conditioning:
        """The conditioning of a batch; a condition that a row does not name is unconditional."""
        values = {
            name: [None if row.get(name) is None else condition.parse(row[name]) for row in rows]  # type: ignore[operator]
            for name, condition in self.model.conditions.items()
        }
        found = build_conditioning(self.model.conditions, values, self._embed)
        if not self.negative or (other := self.prompt(self.negative)) is None:
            return found
        return replace(found, unconditional={**found.unconditional, **other.repeated(len(rows))})

    def prompt(self, text: str) -> OtherConditions | None:
        """The embedding of a prompt, in place of the samples' own; None: it is empty."""
        name = require_text_condition(self.model)
        parsed = self._parse(text)
        return None if parsed is None else OtherConditions({name: self._embed(name, [parsed])})

    def _parse(self, prompt: str) -> Any:
        if prompt not in self._parsed:
            condition: Any = self.model.conditions[require_text_condition(self.model)]
            self._parsed[prompt] = condition.parse(prompt)
        return self._parsed[prompt]

    def _embed(self, name: str, values: Sequence[Any]) -> EmbeddedValues:
        condition: Any = self.model.conditions[name]
        if not _accepts_prompts(condition):
            return condition.embed(values)
        self._encode(name, values)
        return concatenate_batches([self._rows[name, value] for value in values])

    def _encode(self, name: str, values: Sequence[Any]) -> None:
        condition: Any = self.model.conditions[name]
        new = [v for v in dict.fromkeys(values) if v is not None and (name, v) not in self._rows]
        for first in range(0, len(new), _TEXTS):
            some = new[first : first + _TEXTS]
            found = condition.embed(some)
            lengths = found.mask.sum(1).tolist() if isinstance(found, Tokens) else []  # one copy from the device
            for i, value in enumerate(some):
                self._rows[name, value] = _row(found, i, lengths)


_TEXTS = 256  # that are encoded together


def _row(values: EmbeddedValues, i: int, lengths: Sequence[int]) -> EmbeddedValues:
    """One row; tokens without the padding at their end."""
    if not isinstance(values, Tokens):
        return values[i : i + 1]
    return Tokens(values.values[i : i + 1, : lengths[i]].clone(), values.mask[i : i + 1, : lengths[i]].clone())


def embed_conditions(model: ConditionedNetwork, rows: Sequence[Mapping[str, Any]]) -> Conditioning:
    """Embed the conditions of a batch for the network; a condition that a row does not name is unconditional."""
    return ConditionEmbedder(model).conditioning(rows)


def interpolate_conditions(
    model: ConditionedNetwork, a: Mapping[str, Any], b: Mapping[str, Any], share: float
) -> SampleConditions:
    """Interpolate conditions: share 0 gives a, 1 gives b. If one end is unconditional, the nearer end is taken."""
    result: SampleConditions = {}
    for name, module in model.conditions.items():
        condition: Any = module
        ends = [None if row.get(name) is None else condition.parse(row[name]) for row in (a, b)]
        missing = any(end is None for end in ends)
        value = ends[round(share)] if missing else condition.interpolate(*ends, share)
        result[name] = None if value is None else condition.format_value(value)
    return result


class DurationCondition:
    """The model's condition on the attribute `seconds`, if it has one; its value follows the length of each sample.

    Args:
        model: The model; it may have no conditions.
    """

    def __init__(self, model: nn.Module):
        conditions = dict(getattr(model, "conditions", nn.ModuleDict()).items())
        found = (n for n, c in conditions.items() if getattr(c, "key", "") == "seconds" and hasattr(c, "low"))
        self.name: str | None = next(found, None)
        self._condition: Any = None if self.name is None else conditions[self.name]

    def clamp(self, seconds: float) -> float:
        """A length, clamped to the range that the model was trained on."""
        return min(max(round(seconds, 6), self._condition.low), self._condition.high)

    def check(self, seconds: float) -> None:
        """Raise BadInput if a length is below the range that the model was trained on."""
        if self.name is not None and seconds < 0.99 * self._condition.low:
            low, high = self._condition.low, self._condition.high
            raise BadInput(f"sample.seconds is {seconds:g}, and this run was trained on {low:g} s to {high:g} s")

    def record(self, row: SampleConditions, seconds: float) -> None:
        """Write the length into the conditions of a sample, unless its duration condition already has a value."""
        if self.name is None:
            row["seconds"] = round(seconds, 6)
        elif row.get(self.name) is None:
            row[self.name] = self.clamp(seconds)

    def correct(self, row: SampleConditions, before: float, after: float) -> None:
        """Replace a recorded length `before` by `after`, in seconds; a value that the user set is unchanged."""
        if self.name is None:
            if row.get("seconds") is not None:
                row["seconds"] = round(after, 6)
        elif row.get(self.name) == self.clamp(before):
            row[self.name] = self.clamp(after)
