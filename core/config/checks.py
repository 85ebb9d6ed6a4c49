"""What no single key can tell: checks across the sections of a recipe."""

from __future__ import annotations

import re
from typing import Any

from ..util import messages
from . import registry
from .nodes import Mark, Node
from .read import BAD, Reader


def cross_check(root: Node, values: dict[str, Any], reader: Reader) -> None:
    """Add to the reader's problems what contradicts between sections. Sections that are BAD are left alone."""
    _name(root, values["name"], reader)
    _length_of_training(root, values["train"], reader)
    _modality(root, values, reader)
    _conditions(root, values, reader)
    _guidance(root, values, reader)
    _prediction(root, reader)
    _levels(root, values["sample"], reader)


def _at(root: Node, *path: str) -> Mark:
    """The place of a key, or of the deepest section above it that the recipe holds."""
    mark = root.mark
    for name in path:
        if not root.is_map or name not in root.value:
            break
        root = root.value[name]
        mark = root.key or root.mark
    return mark


def _name(root: Node, name: Any, reader: Reader) -> None:
    """A run folder is made of the name, so it is one plain part of a path."""
    plain = isinstance(name, str) and name == name.strip() and name not in (".", "..")
    if name is BAD or "name" not in root.value or (plain and name and not re.search(r"[/\\\x00-\x1f\x7f]", name)):
        return
    remedy = "write one plain name without / or \\, such as my-sounds; --out puts a run elsewhere"
    message = f"{name!r} names no run folder: {remedy}"
    reader.problem(_at(root, "name"), "name", message)


def _length_of_training(root: Node, train: Any, reader: Reader) -> None:
    if train is BAD:
        return
    if train.accumulate > train.batch:
        message = f"a batch of {train.batch} cannot be split into {train.accumulate} parts"
        reader.problem(_at(root, "train", "accumulate"), "train.accumulate", message)
    if train.steps is None and train.minutes is None:
        reader.problem(_at(root, "train"), "train", "needs train.steps or train.minutes: how long to train")
    elif train.steps is not None and train.minutes is not None:
        reader.problem(
            _at(root, "train", "minutes"),
            "train.minutes",
            "give train.steps or train.minutes, not both; set one to null",
        )


def _modality(root: Node, values: dict[str, Any], reader: Reader) -> None:
    own = set(registry.builtins("modality"))
    modality = values["modality"]
    if modality is BAD or modality.use not in own:
        return
    named = {section: values[section] for section in ("data", "codec", "network")}
    named["sample.output"] = values["sample"] if values["sample"] is BAD else values["sample"].output
    for section, spec in named.items():
        if spec is BAD or spec is None:
            continue
        prefix = spec.use.partition("/")[0]
        if prefix in own - {modality.use} and not registry.is_code(spec.use):
            same = f"{modality.use}/{spec.use.partition('/')[2]}"
            hint = f"; did you mean {same!r}?" if same in registry.names(spec.kind) else ""
            message = f"{spec.use!r} is for modality {prefix}, and this recipe's is {modality.use}{hint}"
            reader.problem(_at(root, *section.split("."), "use"), f"{section}.use", message)


def _conditions(root: Node, values: dict[str, Any], reader: Reader) -> None:
    condition, sample = values["condition"], values["sample"]
    if condition is BAD:
        return
    for name in condition:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            reader.problem(
                _at(root, "condition", name), f"condition.{name}", "a condition's name is letters, digits and _"
            )
    if sample is BAD:
        return
    for name in sample.where:
        if name not in condition:
            known = f" This recipe's conditions: {', '.join(condition) or 'none'}"
            message = f"is no condition of this recipe{messages.did_you_mean(name, condition) or '.'}{known}"
            reader.problem(_at(root, "sample", "where", name), f"sample.where.{name}", message)
    if "label" not in condition and sample.label not in (None, "cycle"):
        message = "this recipe has no condition 'label': add `condition: {label: class}`, or leave sample.label out"
        reader.problem(_at(root, "sample", "label"), "sample.label", message)


def _guidance(root: Node, values: dict[str, Any], reader: Reader) -> None:
    sample, condition = values["sample"], values["condition"]
    if sample is BAD or condition is BAD or sample.guidance is None:
        return
    from ..guidance.base import Chain
    from ..util.errors import BadInput

    paths = [f"sample.guidance[{i}]" for i in range(len(sample.guidance))] if isinstance(sample.guidance, list) else []
    parts = [reader.built[path] for path in paths or ["sample.guidance"] if path in reader.built]
    at = _at(root, "sample", "guidance")
    if not condition and any(part.needs_condition for part in parts):
        remedy = "set sample.guidance=null, or add one, such as `condition: {label: class}`"
        message = f"guidance strengthens a condition, and this recipe has none: {remedy}"
        reader.problem(at, "sample.guidance", message)
        return
    try:
        Chain(parts).check(condition)
    except BadInput as error:
        reader.problem(at, "sample.guidance", str(error))


def _prediction(root: Node, reader: Reader) -> None:
    schedule, prediction = reader.built.get("process.schedule"), reader.built.get("process.prediction")
    if schedule is None or prediction is None:
        return
    from ..util.errors import BadInput

    try:
        prediction.check(schedule.level(schedule.t_max))
    except BadInput as error:
        reader.problem(_at(root, "process", "prediction"), "process.prediction", str(error))


def _levels(root: Node, sample: Any, reader: Reader) -> None:
    """Make the levels that sampling will visit: what they refuse is better told now than at the first preview."""
    schedule, spacing = reader.built.get("process.schedule"), reader.built.get("sample.spacing")
    if schedule is None or spacing is None or sample is BAD or sample.steps > 10_000:
        return
    from ..util.errors import BadInput

    try:
        spacing.levels(schedule, sample.steps)
    except BadInput as error:
        at = ("sample", "spacing") if "spacing" in getattr(root.value.get("sample"), "value", {}) else ("sample",)
        reader.problem(_at(root, *at), "sample.spacing", str(error))
