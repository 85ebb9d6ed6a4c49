"""Scenes of one to three coloured shapes: description, caption and drawing.

Lengths are relative to the picture's shorter side, so a scene is independent of the resolution; x points right and y
down from the top left corner. The size of a shape is the radius of a circle of equal area, so that "small" and "large"
mean the same for all shapes; its centre is the centroid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SHAPES = ("circle", "square", "triangle", "star")
SIZES = ("small", "large")
SYNONYMS = {
    **{"red": "crimson", "green": "emerald", "blue": "azure", "yellow": "golden", "purple": "violet", "white": "snowy"},
    **{"circle": "disc", "square": "box", "triangle": "pyramid", "star": "pentagram"},
    **{"small": "tiny", "large": "big", "above": "over", "below": "under"},
}
"""Words of captions -> words that are in no caption, to measure prompts with words that training has never used."""
# RGB from 0 to 1; the background stays darker than all of them.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.15, 0.75, 0.20),
    "blue": (0.18, 0.35, 0.95),
    "yellow": (0.95, 0.85, 0.15),
    "purple": (0.70, 0.20, 0.85),
    "white": (0.95, 0.95, 0.95),
}
_SMALL, _LARGE = 0.11, 0.17
# Minimum radius in pixels of a recognisable shape, so small pictures have relatively larger shapes.
_MIN_RADIUS = 3.0
_STAR_WAIST = 0.5  # inner over outer radius
_TIPS = {
    "square": (4, math.pi / 4),
    "triangle": (3, -math.pi / 2),
    "star": (5, -math.pi / 2),
}  # number of corners, angle of the first
# Circumradius of each shape over the radius of the circle of the same area.
_REACH = {
    "circle": 1.0,
    "square": math.sqrt(math.pi / 2),
    "triangle": math.sqrt(4 * math.pi / (3 * math.sqrt(3))),
    "star": math.sqrt(math.pi / (5 * _STAR_WAIST * math.sin(math.pi / 5))),
}


@dataclass(frozen=True)
class ShapeInstance:
    """One shape: its kind, colour and size in words, its centre (x, y) and radius as shares of the shorter side."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float

    def format_description(self) -> str:
        """ "small red circle"."""
        return f"{self.size} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """The shapes of a picture, the main one (the largest) first."""

    things: tuple[ShapeInstance, ...]

    def relation(self, first: int, second: int) -> str:
        """Position of shape `first` relative to `second`: above, below, left of, right of, by the larger offset."""
        a, b = self.things[first], self.things[second]
        dx, dy = a.x - b.x, a.y - b.y
        if abs(dx) > abs(dy):
            return "left of" if dx < 0 else "right of"
        return "above" if dy < 0 else "below"

    def attributes(self) -> dict[str, Any]:
        """Shape, colour and size of the main shape, the number of shapes, all shapes, relations of the main shape."""
        main = self.things[0]
        return {
            "shape": main.shape,
            "colour": main.colour,
            "size": main.size,
            "count": len(self.things),
            "things": [vars(thing) for thing in self.things],
            "relations": [self.relation(0, other) for other in range(1, len(self.things))],
        }

    def captions(self, swapped: bool = False) -> list[str]:
        """Captions in several wordings and orders; each states every shape, and the relations of the main one.

        The first one reads "a large blue square below a small red circle".

        Args:
            swapped: Whether the order of two shapes is reversed.
        """
        names = [f"a {thing.format_description()}" for thing in self.things]
        listed = [f"a {thing.colour} {thing.shape} ({thing.size})" for thing in self.things]
        colours = [thing.colour for thing in self.things]
        if len(names) == 1:
            main = self.things[0]
            return [
                names[0],
                f"{main.shape}, {main.size}, {main.colour}",
                f"a {main.colour} {main.shape} that is {main.size}",
                f"one {main.shape}: {main.colour} and {main.size}",
            ]
        order = list(range(len(names)))
        if len(names) == 2:
            order, other_order = (order[::-1], order) if swapped else (order, order[::-1])
        else:
            other_order = [0, 2, 1]
        return [
            self._related(names, order),
            self._related(names, other_order),
            self._related(listed, order, ", "),
            f"{', '.join(names)}: {self._related(colours, other_order, ', ')}",
        ]

    def _related(self, names: Sequence[str], order: Sequence[int], join: str = " and ") -> str:
        """The name of the first shape of `order`, and its relations to the others: "A below B and left of C"."""
        first, *others = order
        return f"{names[first]} " + join.join(f"{self.relation(first, other)} {names[other]}" for other in others)


def shape_radius(size: str, pixels: int) -> float:
    """The mean radius of a small or large shape, relative to a shorter side of `pixels`."""
    small = max(_SMALL, _MIN_RADIUS / pixels)
    return small if size == "small" else small * _LARGE / _SMALL


def max_shapes(pixels: int) -> int:
    """Maximum number of shapes in a picture whose shorter side has `pixels`."""
    return 3 if pixels >= 32 else 2 if pixels >= 24 else 1


def choose_shapes(rng: np.random.Generator, most: int, colours: Sequence[str]) -> list[tuple[str, str, str]]:
    """(shape, colour, size) of 1 to `most` shapes; colours differ, and of several shapes only the first is large."""
    count = 1 + int(rng.integers(most))
    shapes = [SHAPES[i] for i in rng.integers(len(SHAPES), size=count)]
    sizes = ["large"] + ["small"] * (count - 1) if count > 1 else [SIZES[int(rng.integers(2))]]
    names = [colours[int(i)] for i in rng.permutation(len(colours))[:count]]
    return list(zip(shapes, names, sizes, strict=True))


def arrange_scene(rng: np.random.Generator, things: Sequence[tuple[str, str, str]], size: tuple[int, int]) -> Scene:
    """A scene of these shapes in a picture of size (H, W), without contact and with clear relations to the first."""
    side = min(size)
    radii = np.array([shape_radius(s, side) for _, _, s in things]) * rng.uniform(0.95, 1.05, len(things))
    reach = radii * [_REACH[shape] for shape, _, _ in things]
    for shrink in (1.0, 0.95, 0.9):  # three wide shapes sometimes fit only if they are slightly smaller
        centres = _place(rng, reach * shrink, size)
        if centres is not None:
            break
    else:
        raise RuntimeError(f"no room for {len(things)} shapes in a picture of {size} pixels")
    return Scene(
        tuple(
            ShapeInstance(*words, round(float(x), 4), round(float(y), 4), round(float(radius * shrink), 4))
            for words, (x, y), radius in zip(things, centres, radii, strict=True)
        )
    )


def _place(rng: np.random.Generator, reach: np.ndarray, size: tuple[int, int], tries: int = 30) -> np.ndarray | None:
    """Centres (n, 2) of discs of radius `reach` at a distance of two pixels or more; None if all tries fail."""
    side = min(size)
    pixel = 1 / side
    extent = np.array([size[1], size[0]]) / side
    margin = np.minimum(reach + 0.5 * pixel, extent.min() / 2)[:, None]
    n = len(reach)
    pairs = np.array([(i, j) for i in range(n) for j in range(i)], dtype=int).reshape(-1, 2)
    for _ in range(tries):
        centres = margin + rng.random((128, n, 2)) * (extent - 2 * margin)
        gap = centres[:, pairs[:, 0]] - centres[:, pairs[:, 1]]
        apart = np.hypot(gap[..., 0], gap[..., 1]) > reach[pairs[:, 0]] + reach[pairs[:, 1]] + 2 * pixel
        clear = np.abs(np.abs(gap[..., 0]) - np.abs(gap[..., 1])) > 0.06
        clear |= (pairs != 0).all(1)  # captions contain only relations to the main shape
        good = np.flatnonzero((apart & clear).all(1))
        if len(good):
            return centres[good[0]]
    return None


def render_scene(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The scene as a picture (3, H, W) float32 in [-1, 1], anti-aliased, on a dark background with a gradient."""
    height, width = size
    side = min(size)
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    slope = rng.uniform(-0.04, 0.04, 2)
    tint = rng.uniform(0.08, 0.24) + rng.uniform(-0.03, 0.03, 3)
    canvas = tint[:, None, None] + (slope[0] * (x / width - 0.5) + slope[1] * (y / height - 0.5))
    for thing in scene.things:
        colour = np.array(COLOURS[thing.colour]) + rng.uniform(-0.04, 0.04, 3)
        centre_x, centre_y, reach = thing.x * side, thing.y * side, thing.radius * side * _REACH[thing.shape] + 1
        rows = slice(max(0, math.floor(centre_y - reach)), math.ceil(centre_y + reach))
        columns = slice(max(0, math.floor(centre_x - reach)), math.ceil(centre_x + reach))
        around = (rows, columns)  # drawing only the bounding box saves most of the time
        cover = pixel_coverage(thing.shape, x[around] - centre_x, y[around] - centre_y, thing.radius * side)
        part = canvas[:, rows, columns]
        part += cover * (colour[:, None, None] - part)
    return (canvas.clip(0, 1) * 2 - 1).astype(np.float32)


def pixel_coverage(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Share of each pixel that a shape around the origin covers, 0 to 1; x, y and radius (of equal area) in pixels.

    A pixel at signed distance d from the edge (negative inside) is covered by 1/2 - d, clipped to [0, 1]. A shape with
    n corners is folded into one sector of angle 2 pi / n around a corner, where its edge is one line from the corner to
    the inner radius.
    """
    far = np.hypot(x, y)
    if shape == "circle":
        return (0.5 - (far - radius)).clip(0, 1)
    n, first = _TIPS[shape]
    reach = radius * _REACH[shape]
    waist = _STAR_WAIST if shape == "star" else math.cos(math.pi / n)
    ex, ey = waist * math.cos(math.pi / n) - 1, waist * math.sin(math.pi / n)
    length = math.hypot(ex, ey)
    sector = 2 * math.pi / n
    angle = (np.arctan2(y, x) - first + sector / 2) % sector - sector / 2
    px, py = far * np.cos(angle) - reach, far * np.abs(np.sin(angle))
    distance = (px * ey - py * ex) / length
    return (0.5 - np.maximum(distance, far - reach)).clip(0, 1)
