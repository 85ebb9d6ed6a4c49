"""Recognises the shapes in a picture: their number, kind, colour, size and position.

The method measures the picture and does not depend on how `scenes` draws. Steps: a plane is fitted to the background;
the difference to it is split into connected pieces; for each piece the coverage of every pixel is estimated; the
coverage gives the area, the centroid and the harmonic moments

    c_k = | sum_p m_p (z_p - centre)^k | / area^(1 + k/2),   z = x + iy,

which are invariant to rotation, translation and scale. They are also invariant to blur: z^k is a harmonic function,
whose mean over any rotationally symmetric kernel is its value at the centre. A shape with n-fold symmetry has c_k = 0
except for k = n, 2n, ...: triangles have a large c_3, squares c_4, five-pointed stars c_5, and circles none.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from .scenes import COLOURS, Scene, ShapeInstance, shape_radius

_CONTRAST = 0.30  # distance from the background in RGB from 0 to 1; less is background
_MAX_ELONGATION = 0.078  # c_2 of an ellipse 1.6 times as long as wide, (1.6 - 1/1.6) / (4 pi)
_MAX_SCATTER = 0.26  # mean |z|^2 / area: 0.16 for a circle, 0.19 for a triangle; blur increases it


def recognise_scene(picture: Tensor | np.ndarray) -> Scene:
    """The shapes in a picture (1 or 3, H, W) in [-1, 1], largest first; empty if nothing differs from the background.

    Their `shape` is one of `scenes.SHAPES`, or "unclear" for a piece that is none of them.
    """
    rgb = np.asarray(picture, dtype=np.float64)
    rgb = (np.broadcast_to(rgb, (3, *rgb.shape[1:])) + 1) / 2
    side = min(rgb.shape[1:])
    relief = rgb - _background(rgb)
    contrast = np.sqrt((relief**2).sum(0))
    pieces = _pieces(contrast > _CONTRAST)
    min_area = 0.35 * math.pi * (shape_radius("small", side) * side) ** 2
    things = [_thing(rgb, relief, contrast, piece, side, min_area) for piece in pieces]
    return Scene(tuple(sorted((t for t in things if t is not None), key=lambda t: -t.radius)))


def recognise_main_shape(picture: Tensor | np.ndarray) -> str:
    """The kind of the largest shape in a picture (1 or 3, H, W) in [-1, 1]; "none" for an empty picture."""
    scene = recognise_scene(picture)
    return scene.things[0].shape if scene.things else "none"


def _background(rgb: np.ndarray) -> np.ndarray:
    """A plane a + b x + c y for each channel, fitted to the pixels close to it (three iterations)."""
    _, height, width = rgb.shape
    y, x = np.mgrid[:height, :width]
    basis = np.stack([np.ones(height * width), x.ravel() / width - 0.5, y.ravel() / height - 0.5], axis=1)
    flat = rgb.reshape(3, -1).T
    # The darkest third of the pixels is background: shapes are brighter and cover less than two thirds.
    value = flat.max(1)
    near = value <= np.quantile(value, 0.35)
    plane = np.broadcast_to(np.median(flat[near], axis=0), flat.shape)
    for _ in range(3):
        near = np.abs(flat - plane).max(1) < 0.15
        if near.sum() < 10:
            break
        plane = basis @ np.linalg.lstsq(basis[near], flat[near], rcond=None)[0]
    return plane.T.reshape(rgb.shape)


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
    """Connected pieces (4 neighbours) of a mask, each as a mask, by propagation of the largest label."""
    numbers = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = numbers.copy()
        spread[1:] = np.maximum(spread[1:], numbers[:-1])
        spread[:-1] = np.maximum(spread[:-1], numbers[1:])
        spread[:, 1:] = np.maximum(spread[:, 1:], numbers[:, :-1])
        spread[:, :-1] = np.maximum(spread[:, :-1], numbers[:, 1:])
        spread[~mask] = 0
        if (spread == numbers).all():
            return [numbers == n for n in np.unique(numbers[mask])]
        numbers = spread


def _dilated(mask: np.ndarray) -> np.ndarray:
    """The mask including the neighbours of its pixels."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)


def _thing(
    rgb: np.ndarray, relief: np.ndarray, contrast: np.ndarray, piece: np.ndarray, side: int, min_area: float
) -> ShapeInstance | None:
    """Measure one piece; None if it is too small for a shape."""
    if piece.sum() < 0.5 * min_area:
        return None
    core = piece & (contrast >= np.quantile(contrast[piece], 0.5))
    colour = rgb[:, core].mean(1)
    ink = relief[:, core].mean(1)
    share = np.einsum("c,chw->hw", ink, relief) / (ink @ ink)
    share = np.where(_dilated(piece), share.clip(0, 1), 0)
    area = float(share.sum())
    if area < min_area:
        return None
    y, x = np.mgrid[: share.shape[0], : share.shape[1]] + 0.5
    centre = complex((share * x).sum(), (share * y).sum()) / area
    name = min(COLOURS, key=lambda c: float(np.sum((colour - COLOURS[c]) ** 2)))
    radius = math.sqrt(area / math.pi) / side
    middle = math.sqrt(shape_radius("small", side) * shape_radius("large", side))
    size = "small" if radius < middle else "large"
    shape = _shape(share, x + 1j * y - centre, area)
    return ShapeInstance(shape, name, size, centre.real / side, centre.imag / side, radius)


def _shape(share: np.ndarray, z: np.ndarray, area: float) -> str:
    """The shape with the largest harmonic moment relative to the exact shape; "circle" if all are below one half.

    "unclear" if the piece is elongated or split (c_2 is 0 for every shape here), or scattered around its centre.
    """
    elongation = abs((share * z**2).sum()) / area**2
    scatter = (share * abs(z) ** 2).sum() / area**2
    if elongation > _MAX_ELONGATION or scatter > _MAX_SCATTER:
        return "unclear"
    found = {name: abs((share * z**k).sum()) / area ** (1 + k / 2) / exact for name, (k, exact) in _HARMONICS.items()}
    best = max(found, key=lambda name: found[name])
    return best if found[best] > 0.5 else "circle"


def _harmonic(corners: np.ndarray, k: int) -> float:
    """Exact |c_k| of a polygon around the origin.

    The integral of z^k over the triangle 0, a, b is
    2 area (a^k + a^(k-1) b + ... + b^k) / ((k + 1) (k + 2)).
    """
    after = np.roll(corners, -1)
    double = np.imag(corners.conj() * after)
    powers = np.sum([corners**i * after ** (k - i) for i in range(k + 1)], axis=0)
    area = double.sum() / 2
    return float(abs((double * powers).sum()) / ((k + 1) * (k + 2)) / area ** (1 + k / 2))


def _tips(n: int, waist: float | None = None) -> np.ndarray:
    """Corners of a regular n-gon, or of an n-pointed star with inner radius `waist`, as complex numbers."""
    if waist is None:
        return np.exp(2j * np.pi * np.arange(n) / n)
    return np.exp(1j * np.pi * np.arange(2 * n) / n) * np.where(np.arange(2 * n) % 2, waist, 1.0)


_HARMONICS = {
    "triangle": (3, _harmonic(_tips(3), 3)),
    "square": (4, _harmonic(_tips(4), 4)),
    "star": (5, _harmonic(_tips(5, 0.5), 5)),
}
