"""Synthetic pictures of coloured shapes with labels, captions and attributes, without files or download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from ....core.data.captions import draw_caption
from ....core.data.splits import split_range
from ....core.types import BadInput, Item, MediaSpec
from ....core.util.messages import did_you_mean, shorten
from ....core.util.rng import keyed_generator
from ..synthetic.scenes import COLOURS, SHAPES, SIZES, Scene, arrange_scene, choose_shapes, max_shapes, render_scene


class Shapes:
    """One to three circles, squares, triangles and stars on a dark background, generated from a seed.

    An example has captions in several wordings, of which training draws one each time: "a small red circle above a
    large blue square", "a blue square (large) below a red circle (small)", ...; attributes describe every shape and the
    relations of the main one, the largest. Example i of seed s is always the same; the training examples are the first
    of `count` indices and the validation examples the last, so the parts are disjoint. Grey pictures have white shapes
    only.

    Args:
        spec: Channels (1 or 3) and size (H, W) in pixels, at least 16.
        count: Number of examples in both parts together.
        shapes: Maximum number of shapes in a picture, 1 to 3; at most 2 below 32 pixels, 1 below 24 pixels.
        held_out: Pairs of a colour and a shape, such as `red circle`, that are in no training example; validation has
            them.
        label: The classes: shape, colour or size of the main shape, the number of shapes, or no classes.
        split: Which part of the examples.
        valid: Share of the examples for validation, 0 to 1.
        seed: Seed of all pictures.
    """

    def __init__(
        self,
        spec: MediaSpec,
        count: int = 20000,
        shapes: int = 3,
        held_out: Sequence[str] = (),
        label: Literal["shape", "colour", "size", "count", "none"] = "shape",
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
    ):
        side = min(spec.size)
        if side < 16:
            raise BadInput(f"image/shapes needs pictures of at least 16 pixels; modality.size is {side}")
        if spec.channels not in (1, 3):
            raise BadInput(f"image/shapes has 1 or 3 channels; modality.channels is {spec.channels}")
        self.indices, self.split = split_range(count, valid, split), split
        most = max_shapes(side)
        if not 1 <= shapes <= most:
            raise BadInput(f"data.shapes: a picture of {side} pixels holds 1 to {most} shapes; got {shapes}")
        self.spec, self.shapes, self.label, self.seed = spec, shapes, label, seed
        self.colours = tuple(COLOURS) if spec.channels == 3 else ("white",) * shapes
        self.held_out = _parse_pairs(held_out, tuple(dict.fromkeys(self.colours)))
        numbers = tuple(str(n + 1) for n in range(shapes))
        choices = {"shape": SHAPES, "colour": tuple(dict.fromkeys(self.colours)), "size": SIZES, "count": numbers}
        self.classes: tuple[str, ...] = choices.get(label, ())
        if len(self.classes) == 1:
            raise BadInput(
                f"data.label={label}: all pictures would be of the class {self.classes[0]!r}; choose another"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def scene(self, index: int) -> Scene:
        """The scene of example `index`."""
        return self._scene(index)[0]

    def is_held_out(self, index: int) -> bool:
        """Whether example `index` has a pair of colour and shape that training leaves out."""
        return self._has_held_out(self._choices(index)[0])

    def item(self, index: int, rng: Any = None) -> Item:
        """Example `index`: media (C, H, W) in [-1, 1]; `rng` chooses the caption (None: the first)."""
        scene, random = self._scene(index)
        swapped = bool(random.integers(2))
        picture = torch.from_numpy(render_scene(scene, (self.spec.size[0], self.spec.size[1]), random))
        name = self._name([(t.shape, t.colour, t.size) for t in scene.things])
        return Item(
            media=picture if self.spec.channels == 3 else picture.mean(0, keepdim=True),
            label=None if name is None else self.classes.index(name),
            caption=draw_caption(scene.captions(swapped), rng),
            attributes=scene.attributes(),
            source=self._source(index),
        )

    def manifest(self) -> list[dict[str, Any]]:
        """One record per example: its source and label; seed and number in the source determine the picture."""
        return [{"source": self._source(i), "label": self._name(self._choices(i)[0])} for i in range(len(self))]

    def _choices(self, index: int) -> tuple[list[tuple[str, str, str]], np.random.Generator]:
        """Shapes of an example. A training example with a held-out pair is drawn again; the others do not change."""
        number, again = self.indices[index], 0
        random = keyed_generator(self.seed, number, "image/shapes")
        things = choose_shapes(random, self.shapes, self.colours)
        while self.split == "train" and self._has_held_out(things):
            again += 1
            random = keyed_generator(self.seed, number, "image/shapes", again)
            things = choose_shapes(random, self.shapes, self.colours)
        return things, random

    def _has_held_out(self, things: list[tuple[str, str, str]]) -> bool:
        return any((colour, shape) in self.held_out for shape, colour, _ in things)

    def _scene(self, index: int) -> tuple[Scene, np.random.Generator]:
        things, random = self._choices(index)
        return arrange_scene(random, things, (self.spec.size[0], self.spec.size[1])), random

    def _name(self, things: list[tuple[str, str, str]]) -> str | None:
        """The class of an example with these shapes; the first is the main one."""
        shape, colour, size = things[0]
        return {"shape": shape, "colour": colour, "size": size, "count": str(len(things))}.get(self.label)

    def _source(self, index: int) -> str:
        return f"shapes, seed {self.seed}, number {self.indices[index]}"


def _parse_pairs(pairs: Sequence[str], colours: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """(colour, shape) of each pair such as "red circle".

    Raises:
        BadInput: A pair is unknown, or no training example would have some colour or shape.
    """
    known = {f"{colour} {shape}": (colour, shape) for colour in colours for shape in SHAPES}
    for pair in pairs:
        if pair not in known:
            near = did_you_mean(pair, known) or f"; colours: {', '.join(colours)}; shapes: {', '.join(SHAPES)}"
            raise BadInput(f"data.held_out: {shorten(repr(pair))} is no pair of colour and shape{near}")
    left = {word for name, words in known.items() if name not in pairs for word in words}
    for word in (*colours, *SHAPES):
        if word not in left:
            raise BadInput(f"data.held_out leaves no training example that is {word}: hold out fewer pairs")
    return frozenset(known[pair] for pair in pairs)
