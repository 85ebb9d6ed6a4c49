"""Builds the objects that a recipe describes, for training and sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..codecs.base import Codec, LearnedCodec
from ..conditioning.base import check_network_accepts
from ..conditioning.text import Text
from ..config import registry
from ..config.recipe import Recipe
from ..data.captions import format_caption_share
from ..data.clip_lengths import ClipLengths, select_clip_lengths
from ..data.loader import check_item_finite
from ..nn.layers.init import reset_parameters
from ..nn.model import ConditionedNetwork
from ..nn.process import DiffusionProcess
from ..objectives.base import Objective
from ..types import BadInput, Dataset, Item, MediaSpec, Modality
from ..util.paths import expand_home

LARGE = 100_000_000  # weights of a network that is too large to be built for a check only
FIT_ITEMS = 2000  # examples to fit a codec on; its scales converge with far fewer


class EmptySplit(BadInput):
    """A part of the data, training or validation, has no examples."""


@dataclass
class ModelComponents:
    """The objects that a recipe describes, except the data.

    Attributes:
        recipe: The recipe.
        modality: The modality.
        spec: Properties of the media, with the classes of the data and the shape of the diffused tensor.
        codec: The codec.
        model: The network and its conditions.
        process: The diffusion process.
        clip_lengths: Lengths of training examples; empty if none of these states its length.
    """

    recipe: Recipe
    modality: Modality
    spec: MediaSpec
    codec: Codec
    model: ConditionedNetwork
    process: DiffusionProcess
    clip_lengths: ClipLengths = ()

    @cached_property
    def objective(self) -> Objective:
        """The training objective; built at first use, so that sampling does not load a teacher."""
        return build_objective(self.recipe, self.process, self.spec)


def build_process(recipe: Recipe, spec: MediaSpec) -> DiffusionProcess:
    """The recipe's diffusion process for tensors of shape `spec.latent`.

    Raises:
        BadInput: Schedule and parameterization cannot be combined.
    """
    p = recipe.process
    schedule, parameterization = p.schedule.build(spec=spec), p.parameterization.build()
    parameterization.check(schedule.level(schedule.t_max))
    return DiffusionProcess(schedule, parameterization, p.noise_conditioning.build())


def build_objective(recipe: Recipe, process: DiffusionProcess, spec: MediaSpec) -> Objective:
    """The recipe's training objective."""
    return recipe.objective.build(process=process, spec=spec)


def build_dataset(
    recipe: Recipe, split: str = "train", recorded: frozenset[str] = frozenset()
) -> tuple[Dataset, MediaSpec]:
    """One part of the recipe's data.

    Args:
        recipe: The recipe.
        split: The part, train or valid.
        recorded: Hashes of the files that the run to continue or evaluate was trained on, see
            `recorded_training_hashes`.

    Returns:
        The dataset, and the properties of the media with the classes of the data.

    Raises:
        EmptySplit: The part is empty.
    """
    spec = recipe.modality.build().spec()
    data = recipe.data.build(spec=spec, split=split, valid=recipe.split.valid, seed=recipe.seed, recorded=recorded)
    if len(data) == 0:
        raise EmptySplit(f"the {split} split is empty: change data.split.valid, or add files")
    return data, replace(spec, classes=tuple(data.classes))


def build_model_components(
    recipe: Recipe, spec: MediaSpec, check: Callable[[nn.Module], None] | None = None
) -> ModelComponents:
    """Build codec (not fitted), network, conditions and process; initial weights depend on the recipe's seed only.

    Args:
        recipe: The recipe.
        spec: Properties of the media, with the classes of the data.
        check: Called with the model before its memory is allocated: on the device "meta", where tensors have no values.
            A plugin's network that cannot be built there is not checked.

    Raises:
        BadInput: The parts do not fit together.
    """
    codec, spec = _codec(recipe, spec)
    if check is not None and (outline := _without_values(recipe, spec)) is not None:
        check(outline)
    model = _model(recipe, spec)
    reset_parameters(model, recipe.seed)
    return ModelComponents(recipe, recipe.modality.build(), spec, codec, model, build_process(recipe, spec))


def outline_model_components(recipe: Recipe, spec: MediaSpec) -> ModelComponents:
    """The same without initial weights; a large network is built on the device "meta", where tensors have no values.

    Args:
        recipe: The recipe.
        spec: Properties of the media, with the classes of the data.

    Raises:
        BadInput: The parts do not fit together.
    """
    codec, spec = _codec(recipe, spec)
    outline = _without_values(recipe, spec)
    is_large = outline is not None and sum(p.numel() for p in outline.parameters()) > LARGE
    model = outline if outline is not None and is_large else _model(recipe, spec)
    return ModelComponents(recipe, recipe.modality.build(), spec, codec, model, build_process(recipe, spec))


def _codec(recipe: Recipe, spec: MediaSpec) -> tuple[Codec, MediaSpec]:
    """The recipe's codec, and the properties of the media with the shape of the diffused tensor."""
    if recipe.codec is None:
        raise BadInput(f"the recipe names no codec: add one of {', '.join(registry.component_names('codec'))}")
    codec = recipe.codec.build(spec=spec)
    axes = getattr(codec, "channel_axes", ())  # a plugin's codec may not be a subclass of Codec
    return codec, replace(spec, latent=codec.shape(spec.size), channel_axes=tuple(axes))


def _without_values(recipe: Recipe, spec: MediaSpec) -> ConditionedNetwork | None:
    try:
        with torch.device("meta"):
            return _model(recipe, spec)
    except BadInput:
        raise
    except Exception:  # it needs the values of a tensor
        return None


def _model(recipe: Recipe, spec: MediaSpec) -> ConditionedNetwork:
    channels = {  # these conditions do not depend on the network, but its input on them
        name: component.build(spec=spec)
        for name, component in recipe.conditioning.items()
        if getattr(registry.find_class("condition", component.use), "kind", "vector") == "concat"
    }
    network = recipe.network.build(spec=spec, concat=tuple(condition.width for condition in channels.values()))
    given = {"spec": spec, "width": network.embedding_width, "read": _file_reader(recipe)}
    conditions = {
        name: channels[name] if name in channels else component.build(**given)
        for name, component in recipe.conditioning.items()
    }
    check_network_accepts(network, conditions)
    return ConditionedNetwork(network, conditions)


def _file_reader(recipe: Recipe) -> Callable[[Path], Tensor] | None:
    """Reads a file at the level of the training data; None for a modality that reads no files."""
    modality: Any = recipe.modality.build()
    if not hasattr(modality, "read"):
        return None

    def read(path: Path) -> Tensor:
        media = modality.read(expand_home(path))
        gain, offset = modality.levelled(media, recipe.data.params) if hasattr(modality, "levelled") else (1.0, 0.0)
        return gain * (media - offset)

    return read


def fit_conditions(model: ConditionedNetwork, data: Dataset) -> None:
    """Fit the conditions that have scales of their own on at most 4000 evenly spaced examples of the training split."""
    stride = max(1, len(data) // FIT_ITEMS)
    for condition in model.conditions.values():
        if hasattr(condition, "fit"):
            condition.fit(data.item(i, None) for i in range(0, len(data), stride))  # type: ignore[operator]


def fit_codec(codec: Codec, data: Dataset, device: torch.device | None = None, fitted: bool = False) -> ClipLengths:
    """Fit a codec on 2000 to 4000 evenly spaced examples of the training split, or on all if there are fewer.

    Args:
        codec: The codec.
        data: The training split.
        device: Where a codec with a trained network is trained; None: where it is.
        fitted: The codec is fitted already, and only the lengths are read.

    Returns:
        The lengths of these examples, for the checkpoint.
    """
    stride = max(1, len(data) // FIT_ITEMS)
    found: list[tuple[int, int | None, int | None]] = []

    def items():
        for i in range(0, len(data), stride):
            item = check_item_finite(data.item(i, None))
            found.append((codec.spec.length_of(item.media.shape) or 0, item.length, item.label))
            yield item

    if device is not None and isinstance(codec, LearnedCodec):
        codec.to(device)
    if fitted:
        for _ in items():
            pass
    else:
        codec.fit(items())
    return select_clip_lengths(found)


def check_conditions(parts: ModelComponents, data: Dataset) -> None:
    """Check that every condition can be trained on the data, which must have values for it.

    Raises:
        BadInput: A condition cannot be trained; the message lists the attributes that the examples have. Or several
            references are never dropped, and an edit gives one.
    """
    always = [n for n, c in parts.model.conditions.items() if getattr(c, "kind", "") == "concat" and c.drop == 0]
    if len(always) > 1:
        names = " and ".join(f"conditioning.{name}.drop" for name in always)
        raise BadInput(f"{names} are 0, and an edit gives only one reference: set all but one above 0")
    for name, condition in parts.model.conditions.items():
        try:
            condition.check(parts.spec)  # type: ignore[operator]
        except BadInput as error:
            remove = f"or remove the condition (conditioning.{name}=null sample.guidance=null)"
            raise BadInput(f"conditioning.{name} {error}, {remove}") from error
    without_value, found = dict(parts.model.conditions.items()), set[str]()
    for i in range(0, len(data), max(1, len(data) // FIT_ITEMS)):
        if not without_value:
            return
        item = data.item(i, None)
        found |= {f"attribute `{k}`" for k, v in item.attributes.items() if v is not None}
        found |= {k for k in ("label", "caption") if getattr(item, k) is not None}
        without_value = {k: c for k, c in without_value.items() if c.from_item(item) is None}  # type: ignore[operator]
    for name, condition in without_value.items():
        key = getattr(condition, "key", None)
        lacks = f"no example has the attribute `{key}`" if key else "no example has a value for it"
        if key == "caption":
            raise BadInput(
                f"conditioning.{name}: no example has a caption: put a text file (a.txt) next to each file, add a "
                "column caption to data.table, or take the names of the files (data.captions=name)"
            )
        raise BadInput(
            f"conditioning.{name}: {lacks}; what they have: {', '.join(sorted(found)) or 'only the media'}. "
            f"Name one of these, add a column of that name to data.table, or remove the condition"
        )


def describe_captions(model: ConditionedNetwork, data: Dataset) -> list[str]:
    """How many examples have a caption, and how many captions are cut, where a condition uses them; else empty."""
    found = [condition for condition in model.conditions.values() if getattr(condition, "key", "") == "caption"]
    captions = [row.get("caption") for row in data.manifest()] if found else []
    if not any(captions):  # there is no condition, or the records of the dataset, which may be synthetic, hold none
        return []
    text = f"captions: {format_caption_share(captions, 'examples')}"
    some = [c if isinstance(c, str) else c[0] for c in captions if c][:FIT_ITEMS]
    share = found[0].cut_share(some) if isinstance(found[0], Text) else 0.0
    cut = f"; {100 * share:.2g} % are longer than {found[0].length} tokens, and are cut" if share else ""
    return [text + cut]


def condition_values(model: ConditionedNetwork, items: list[Item]) -> dict[str, list[Any]]:
    """The value of each condition for each item: name -> one value (or None) per item."""
    return {name: [c.from_item(item) for item in items] for name, c in model.conditions.items()}  # type: ignore[operator]
