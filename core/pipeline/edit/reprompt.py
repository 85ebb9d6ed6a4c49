"""Edits that change the prompt or the class of a file: exact inversion to noise, then sampling under the new one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...editing.base import Edit
from ...editing.exact_inversion import ExactInversionEdit, StartFromPairEdit
from ...types import BadInput
from ..conditions import SampleConditions, require_text_condition
from ..context import ModelContext
from ..lengths import PaddedBatch
from ..request import Rows, SampleRequest
from .context import EditContext, stack_padded
from .file_request import FileRequest
from .options import RepromptOptions
from .source import Files, SourceFile, as_path_list


@dataclass(kw_only=True)
class ExactInversionRequest(SampleRequest):
    """Inversion of one file to a pair of points, under the conditions of the file as it is."""

    context: EditContext
    source: SourceFile
    strength: float

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        return [ExactInversionEdit(self.context.encode_source(self.source, self.sizes[0]), self.strength)]


@dataclass(kw_only=True)
class RepromptRequest(FileRequest):
    """Samples that start from inverted files, one per row.

    Attributes:
        pairs: The two noisiest points (1, 2 C, *spatial) of each source.
        strength: How far the sources were inverted.
    """

    pairs: list[Tensor]
    strength: float

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        return [StartFromPairEdit(stack_padded([self.pairs[i] for i in rows], batch), self.strength)]


def check_reprompt_keys(changed: Collection[str]) -> None:
    """Raise BadInput if no new prompt or class is among the changed keys of the `sample` section."""
    if not {"prompt", "label", "conditions"} & set(changed):
        raise BadInput(
            'reprompt needs what the file becomes: a prompt in quotes, such as "a red circle", or label=NAME'
        )


def reprompt_request(
    context: EditContext, files: Files, options: RepromptOptions, invert: Callable[[SampleRequest], Tensor]
) -> RepromptRequest:
    """Request the files under the conditions of the `sample` section.

    Args:
        context: The context of the edit.
        files: The files.
        options: The options.
        invert: Solves a request without guidance and without decoding.

    Raises:
        BadInput: A file cannot be read, results are loops, or another sampler is given.
    """
    if (use := context.recipe.sampler.use) != "belm":
        raise BadInput(f"use={use} has no effect on reprompt, which takes belm: it can be inverted exactly")
    if context.loop:
        raise BadInput("loop has no effect on reprompt, whose inversion is exact for the file as it is: leave it out")
    paths = as_path_list(files)
    sources = [context.read(path) for path in paths]
    sizes = [source.size for source in sources]
    new = context.conditions(sources, sizes)
    work, pairs = [context.work_size(size) for size in sizes], []
    for source, size, row in zip(sources, work, new, strict=True):
        before = _conditions_of_file(context.model, source, row, options.source)
        request = ExactInversionRequest(
            [before], [size], masked=True, context=context, source=source, strength=options.strength
        )
        pairs.append(invert(request).cpu())
    return RepromptRequest(
        new,
        work,
        [0] * len(sources),
        masked=True,
        facts={
            "edit": "reprompt",
            "source": options.source,
            "strength": options.strength,
            "sources": [str(path) for path in paths],
        },
        context=context,
        sources=sources,
        pairs=pairs,
        strength=options.strength,
    )


def _conditions_of_file(
    model: ModelContext, source: SourceFile, new: SampleConditions, given: str | None
) -> SampleConditions:
    """The conditions of a file as it is: those of the result, but with the file's own prompt or class."""
    name = _changed_condition(model)
    condition: Any = model.model.conditions[name]
    value = source.label if given is None and name == "label" else None
    return {**new, name: value if given is None else condition.format_value(condition.parse(given))}


def _changed_condition(model: ModelContext) -> str:
    """The condition that the edit changes: the text condition, or `label` of a run without text.

    Raises:
        BadInput: There is none.
    """
    conditions = model.model.conditions
    has_text = any(getattr(condition, "accepts_prompts", False) for condition in conditions.values())
    return "label" if not has_text and "label" in conditions else require_text_condition(model.model)
