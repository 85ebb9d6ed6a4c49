"""From a recipe to the objects that train and sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..codecs.base import Codec
from ..conditioning.base import check_accepts
from ..config.recipe import Recipe
from ..data.clip_lengths import ClipLengths, clip_lengths
from ..data.loader import finite
from ..nn.layers.init import reset
from ..nn.model import Model
from ..nn.process import Process
from ..objectives.base import Objective
from ..types import BadInput, Dataset, Item, MediaSpec, Modality

FIT_ITEMS = 2000  # a codec's scales settle long before this many examples


@dataclass
class Parts:
    """What a recipe builds: everything but the data.

    takes: lengths of training examples that have one of their own
    """

    recipe: Recipe
    modality: Modality
    spec: MediaSpec
    codec: Codec
    model: Model
    process: Process
    clip_lengths: ClipLengths = ()

    @cached_property
    def objective(self) -> Objective:
        """What the network is trained for; built when training asks, so that sampling needs no teacher."""
        return build_objective(self.recipe, self.process)


def build_process(recipe: Recipe, spec: MediaSpec) -> Process:
    """The recipe's process for tensors of shape spec.latent.

    Raises:
        BadInput: If schedule and parameterization do not suit each other.
    """
    p = recipe.process
    schedule, parameterization = p.schedule.build(spec=spec), p.parameterization.build()
    parameterization.check(schedule.level(schedule.t_max))
    return Process(schedule, parameterization, p.noise_conditioning.build())


def build_objective(recipe: Recipe, process: Process) -> Objective:
    """What the recipe's network is trained for."""
    return recipe.objective.build(process=process)


def build_data(recipe: Recipe, split: str = "train") -> tuple[Dataset, MediaSpec]:
    """One split of the recipe's data, and the signal with the classes it found."""
    spec = recipe.modality.build().spec()
    data = recipe.data.build(spec=spec, split=split, valid=recipe.split.valid, seed=recipe.seed)
    if len(data) == 0:
        raise BadInput(f"the {split} split is empty: change data.split.valid, or add files")
    return data, replace(spec, classes=tuple(data.classes))


def build_parts(recipe: Recipe, spec: MediaSpec) -> Parts:
    """Codec (not fitted), network and conditions for a signal whose classes are known; weights follow from the seed."""
    if recipe.codec is None:
        raise BadInput("the recipe names no codec: add one, such as codec: {use: image/pixels} or {use: audio/stft}")
    codec = recipe.codec.build(spec=spec)
    spec = replace(spec, latent=codec.shape(spec.size))
    network = recipe.network.build(spec=spec)
    conditions = {
        name: component.build(spec=spec, width=network.embedding_width)
        for name, component in recipe.conditioning.items()
    }
    check_accepts(network, conditions)
    model = Model(network, conditions)
    reset(model, recipe.seed)
    return Parts(recipe, recipe.modality.build(), spec, codec, model, build_process(recipe, spec))


def fit_codec(codec: Codec, data: Dataset) -> ClipLengths:
    """Fit on 2000 to 4000 examples (all, where there are fewer) spread evenly over the training split.

    Returns:
        The lengths of those examples, as a checkpoint keeps them.
    """
    stride = max(1, len(data) // FIT_ITEMS)
    found: list[tuple[int, int | None, int | None]] = []

    def items():
        for i in range(0, len(data), stride):
            item = finite(data.item(i, None))
            found.append((codec.spec.length_of(item.media.shape) or 0, item.length, item.label))
            yield item

    codec.fit(items())
    return clip_lengths(found)


def check_conditions(parts: Parts, data: Dataset) -> None:
    """Raise BadInput for a class where there is but one, and for a condition that no example of the data says anything
    to, with what the examples do have."""
    for name, component in parts.recipe.conditioning.items():
        if component.use == "class" and len(parts.spec.classes) < 2:
            raise BadInput(
                f"conditioning.{name} needs at least two classes, and the data has {len(parts.spec.classes)}: put "
                f"files in one folder a class, or remove the condition (conditioning.{name}=null sample.guidance=null)"
            )
    waiting, met = dict(parts.model.conditions.items()), set[str]()
    for i in range(0, len(data), max(1, len(data) // FIT_ITEMS)):
        if not waiting:
            return
        item = data.item(i, None)
        met |= {f"attribute `{k}`" for k, v in item.attributes.items() if v is not None}
        met |= {k for k in ("label", "caption") if getattr(item, k) is not None}
        waiting = {k: c for k, c in waiting.items() if c.from_item(item) is None}  # type: ignore[operator]
    for name, condition in waiting.items():
        key = getattr(condition, "key", None)
        lacks = f"no example has the attribute `{key}`" if key else "no example says what it is"
        raise BadInput(
            f"conditioning.{name}: {lacks}; what they have: {', '.join(sorted(met)) or 'nothing beside the media'}. "
            f"Name one of these, put a column of that name into data.table, or leave the condition out"
        )


def condition_values(model: Model, items: list[Item]) -> dict[str, list[Any]]:
    """What each condition reads off each item: name -> one value (or None) an item."""
    return {name: [c.from_item(item) for item in items] for name, c in model.conditions.items()}  # type: ignore[operator]
