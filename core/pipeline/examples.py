"""Samples whose references are examples of the data, for previews of networks that are trained with references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..codecs.base import Codec
from ..conditioning.reference import Reference
from ..editing.base import Edit
from ..editing.reference import ReferenceEdit
from ..nn.model import ConditionedNetwork
from ..training.build import condition_values
from ..types import BadInput, Item, MediaSpec
from ..util.rng import keyed_generator
from .edit.context import stack_padded
from .lengths import PaddedBatch
from .request import Rows, SampleRequest


def find_references(model: ConditionedNetwork) -> dict[str, Reference]:
    """Name -> condition, for the references that a model takes."""
    return {name: condition for name, condition in model.conditions.items() if isinstance(condition, Reference)}


def reference_edit(model: ConditionedNetwork, name: str, channels: Tensor) -> ReferenceEdit:
    """The edit that gives a model the encoded references (B, C', *spatial) of the condition `name`."""
    return ReferenceEdit(name, channels, always=find_references(model)[name].drop == 0)


def check_references(model: ConditionedNetwork, given: Sequence[str] = ()) -> None:
    """Raise BadInput if a model was never trained without a reference that is not given.

    Args:
        model: The model.
        given: Names of the references that the samples get.
    """
    for name, condition in find_references(model).items():
        if condition.drop == 0 and name not in given:
            raise BadInput(
                f"this run was always trained with a reference (conditioning.{name}.drop is 0): {condition.remedy}"
            )


@dataclass(kw_only=True)
class ExampleRequest(SampleRequest):
    """Samples with the conditions of examples, and with a reference made of each.

    Attributes:
        codec: Media <-> diffused tensor.
        name: Name of the condition that receives the references.
        condition: The condition.
        items: The example of each sample, without padding.
        seed: Seed of the degradations.
    """

    codec: Codec
    name: str
    condition: Reference
    items: list[Item]
    seed: int

    @property
    def references(self) -> tuple[str, ...]:
        return (self.name,)

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        encoded = [self.condition.encode([self._degraded(i)], self.codec) for i in rows]
        return [ReferenceEdit(self.name, stack_padded(encoded, batch), always=self.condition.drop == 0)]

    def before(self) -> list[Tensor]:
        found = [self._degraded(i) for i in range(len(self))]
        return [media if known is None else media * known for media, known in found]

    def _degraded(self, i: int) -> Any:
        return self.condition.augment(self.items[i], keyed_generator(self.seed, i, f"preview {self.name}"))


def example_request(
    model: ConditionedNetwork, codec: Codec, spec: MediaSpec, items: Sequence[Item], seed: int
) -> ExampleRequest:
    """Request one sample for each example, with the reference that training dropped least: it may be needed."""
    name, condition = min(find_references(model).items(), key=lambda found: found[1].drop)
    values = condition_values(model, [*items])
    rows = [
        {key: None if of[i] is None else model.conditions[key].format_value(of[i]) for key, of in values.items()}  # type: ignore[operator]
        for i in range(len(items))
    ]
    whole = [replace(item, media=spec.trim(item.media, item.length), length=None) for item in items]
    sizes = [tuple(item.media.shape[1:]) for item in whole]
    return ExampleRequest(rows, sizes, masked=True, codec=codec, name=name, condition=condition, items=whole, seed=seed)
