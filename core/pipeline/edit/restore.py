"""Restoration: a degraded file is the reference of a network that was trained on such files and their originals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...conditioning.reference import reference_channels
from ...editing.base import Edit
from ...nn.model import ConditionedNetwork
from ...types import BadInput
from ...util.notes import issue_note
from ..examples import find_references, reference_edit
from ..lengths import PaddedBatch
from ..request import Rows
from .context import EditContext, stack_padded
from .file_request import FileRequest
from .options import RestoreOptions
from .source import Files, SourceFile, as_path_list, cut_or_pad

_EXAMPLE = "conditioning: {{{}: {{use: reference, degradation: {}}}}}"


def mask_reference(model: ConditionedNetwork, trained: bool | None, name: str | None = None) -> str | None:
    """Name of the condition that receives the known part in inpainting and continuation; None: none.

    Args:
        model: The model.
        trained: Whether it must receive one; None: if it has one.
        name: Name of the condition; None: the only one.

    Raises:
        BadInput: The options ask for one, and the model has none, or several without a name.
    """
    names = [n for n, condition in find_references(model).items() if condition.degradation.masks]
    if trained is False and name is not None:
        raise BadInput("trained=false gives no known part, so reference has no effect: leave one of them out")
    if trained is False or (not names and trained is None and name is None):
        return None
    if not names:
        raise BadInput(f"this run was not trained with masks: train with {_EXAMPLE.format('inpaint', 'mask')}")
    return _one_of(names, name, "the known part")


def check_trained_masks(
    model: ConditionedNetwork, name: str, degradation: str, known: Sequence[Tensor], required: bool
) -> bool:
    """Whether the network was trained to fill these parts; a fixed degradation such as `crop` has one part only.

    Args:
        model: The model.
        name: Name of the condition that receives the known part.
        degradation: Name of its degradation.
        known: For each file (1, *size) bool, False where it is unknown.
        required: Whether the user asked for this condition.

    Raises:
        BadInput: It was not, and the user asked for it, or the network was never trained without it.
    """
    condition = find_references(model)[name]
    if all(map(condition.degradation.is_mask_trained, known)):
        return True
    trained = f"the network was trained to fill what `{degradation}` leaves out (condition {name}), not this part"
    if condition.drop == 0:
        raise BadInput(f"{trained}, and never without this condition: give a mask of exactly that part")
    if required:
        raise BadInput(f"{trained}: give a mask of exactly that part, or trained=false for the method without it")
    issue_note(f"{trained}: the method without it is used", stacklevel=5)
    return False


def _one_of(names: Sequence[str], name: str | None, given: str) -> str:
    """The chosen one of the names of references, or the only one."""
    if (name is None and len(names) > 1) or (name is not None and name not in names):
        raise BadInput(f"name the condition that receives {given}: reference={' or reference='.join(names)}")
    return names[0] if name is None else name


@dataclass(kw_only=True)
class RestoreRequest(FileRequest):
    """Restorations of sources, one per row.

    Attributes:
        reference: Name of the condition that receives them.
        of_file: Media at the level of the training data -> the reference, see `Degradation.of_file`.
    """

    reference: str
    of_file: Callable[[Tensor], Tensor]

    @property
    def references(self) -> tuple[str, ...]:
        return (self.reference,)

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        encoded = [self._encoded(self.sources[i], self.sizes[i]) for i in rows]
        return [reference_edit(self.context.model.model, self.reference, stack_padded(encoded, batch))]

    def _encoded(self, source: SourceFile, size: tuple[int, ...]) -> Tensor:
        media = cut_or_pad(self.of_file(source.media), size, self.context.loop)
        with torch.no_grad():
            z = self.context.encode(media[None].to(self.context.model.device))
        return reference_channels(z, torch.ones_like(z[:, :1], dtype=torch.bool))

    def before(self) -> list[Tensor]:
        return [source.to_file_level(self.of_file(source.media)) for source in self.sources]


def restore_request(context: EditContext, files: Files, options: RestoreOptions) -> RestoreRequest:
    """Request restorations of each file.

    Raises:
        BadInput: The model has no such reference, or a file cannot be read.
    """
    name, condition = _chosen(context, options.reference)
    paths, count = as_path_list(files), options.count
    sources = [source for source in map(context.read, paths) for _ in range(count)]
    return RestoreRequest(
        context.conditions(sources, [source.size for source in sources]),
        [context.work_size(source.size) for source in sources],
        [k for _ in paths for k in range(count)],
        masked=True,
        facts={"edit": "restore", "reference": name, "sources": [str(path) for path in paths]},
        context=context,
        sources=sources,
        reference=name,
        of_file=condition.degradation.of_file,
    )


def _chosen(context: EditContext, name: str | None) -> tuple[str, Any]:
    found = {n: c for n, c in find_references(context.model.model).items() if not c.degradation.masks}
    if not found:
        example = _EXAMPLE.format("low", "downsample")
        raise BadInput(f"this run was not trained to restore files: train with {example}")
    chosen = _one_of([*found], name, "the file")
    return chosen, found[chosen]
