"""Changed keys of the `sample` section: what an edit does not use is refused, and what it replaces is noted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..config.recipe import Recipe
from ..types import BadInput
from ..util.messages import format_count
from ..util.notes import issue_note

_COUNT = "sample.count has no effect on an edit: give count=N, the number of results"
NO_EFFECT_ON_FILES = {
    "size": "size has no effect on an edit of files: a result has the size of its file; leave it out",
    "count": _COUNT,
}
NO_EFFECT_ON_CLASSES = {"label": "label has no effect on a morph of classes: its ends are the labels", "count": _COUNT}
"""Keys of the `sample` section that edits of files, or between classes, do not use -> the message."""

OF_SAMPLES: dict[str, Any] = {"label": None, "prompt": None}
"""What a recipe says of its samples, but not of a file -> the value that says nothing."""


def refuse_unused_values(recipe: Recipe, changed: Collection[str], count: int, noun: str = "") -> None:
    """Raise BadInput if a list among the changed keys has more values than there are samples."""
    s = recipe.sample
    listed = {
        "label": s.label,
        "prompt": s.prompt,
        "seconds": s.seconds,
        **{f"conditions.{k}": v for k, v in s.conditions.items()},
    }
    for key, values in listed.items():
        if isinstance(values, (list, tuple)) and len(values) > count and key.split(".")[0] in changed:
            remedy = "give one for each" if noun else f"set count={len(values)}"
            raise BadInput(
                f"sample.{key} lists {len(values)} values, and {noun or format_count(count, 'sample')} cannot use "
                f"them all: {remedy}"
            )


def refuse_without_effect(changed: Collection[str], unused: Mapping[str, str]) -> None:
    """Raise BadInput if a changed key is one that an edit does not use: key -> why, and what to do instead."""
    for key, reason in unused.items():
        if key in changed:
            raise BadInput(reason)


def note_replaced_settings(original: Recipe, recipe: Recipe, changed: Collection[str]) -> None:
    """Note which of the recipe's sampler and guidance a morph of files replaces by its defaults, if any."""
    own, used = (
        {"use": r.sampler.use, "guidance": "guidance" if r.sample.guidance else "no guidance"}
        for r in (original, recipe)
    )
    replaced = [key for key in own if own[key] != used[key] and key not in changed]
    if replaced:
        before, now = (" and ".join(names[key] for key in replaced) for names in (own, used))
        remedy = " or ".join(f"{key}=..." for key in replaced)
        issue_note(
            f"a morph of files takes {now} instead of the recipe's {before}, since it solves an ODE in both "
            f"directions: {remedy} takes another",
            stacklevel=4,
        )
