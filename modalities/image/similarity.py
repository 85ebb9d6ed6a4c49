"""How similar two pictures are, invariant to brightness, contrast, shift, mirror and crop: finds near copies.

The middle of picture a, x, is correlated with picture b at every place p and at several sizes z, both less their mean:

    rho(a, b) = max_{p,z} <x, b_{p,z}> / (|x| |b_{p,z}|)

A crop that was enlarged to full size is found at the size z < 1. Some pictures are similar without being copies (two
digits 1, two skies), and then to many: so what counts is how far the nearest stands out from the fourth nearest,

    similarity(a) = 1 - (1 - rho_1 + u) / (1 - rho_4 + u),  u = 0.002 for what rounding to 8 bits does,

0 where it does not stand out and near 1 for a copy. A training set that holds a picture more than three times hides
copies of it. First on 16 x 16 pixels for all pairs, then, for the nearest few, on up to 32 x 32 and between the pixels.

This is the ratio test of Lowe 2004, "Distinctive image features from scale-invariant keypoints", section 7.1, on
normalised cross-correlations instead of descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ...core.evaluation.near_copies import Draw, NearestMatches, distinct_from, nearest_examples, planted_copies
from ...core.types import BadInput

COPY = 0.75
"""Pictures that are more similar than this are near copies, unless the data's own pictures are as similar."""

_COARSE, _COARSE_WINDOW, _COARSE_SIZES = 16, 12, (1.0, 0.9, 0.8, 0.7)
_FINE, _WINDOW, _SIZES = 32, 0.75, tuple(1 - 0.03 * i for i in range(11))
_CANDIDATES, _CLOSE = 24, 6  # looked at on _FINE pixels; and between the pixels
_RANK, _ROUNDING = 3, 0.002
_ROOM = 30_000_000  # correlations held at a time


def downsampled(pictures: Sequence[Tensor], most: int, exact: bool = False) -> Tensor:
    """(N, C, H, W) -> (N, C, h, w): the longer side `most` at the most, or both exactly that."""
    parts = []
    for i in range(0, len(pictures), 256):
        part = torch.stack(list(pictures[i : i + 256])).float()
        height, width = part.shape[-2:]
        size = (
            (most, most)
            if exact
            else tuple(max(8, round(n * min(1.0, most / max(height, width)))) for n in (height, width))
        )
        parts.append(part if size == (height, width) else functional.interpolate(part, size, mode="area"))
    return torch.cat(parts)


def _unit(x: Tensor) -> Tensor:
    """(..., d) less its mean, of norm 1. Flat windows, with less than a tenth of the most structure, count for less."""
    x = x - x.mean(-1, keepdim=True)
    norm = x.norm(dim=-1, keepdim=True)
    return x / torch.maximum(norm, 0.1 * norm.amax(-2, keepdim=True)).clamp(min=1e-6)


def _windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, places, C h w) of norm 1."""
    return _unit(functional.unfold(x, size).transpose(1, 2))


def _sampled(x: Tensor, centre: Tensor, step: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """(N, C, H, W) at h x w points around centre (N, 2) (y, x in pixels), `step` (N,) pixels apart -> (N, C, h, w)."""
    height, width = x.shape[-2:]
    rows, columns = (torch.arange(n) - (n - 1) / 2 for n in size)
    y = centre[:, 0, None, None] + step[:, None, None] * rows[:, None]
    across = centre[:, 1, None, None] + step[:, None, None] * columns
    y, across = torch.broadcast_tensors(y, across)
    grid = torch.stack([(2 * across + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return functional.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)


def _views(x: Tensor, window: tuple[int, int], sizes: Sequence[float]) -> Tensor:
    """The middle of each picture at each size, mirrored too, as windows: (N, 2 sizes, C h w) of norm 1."""
    n, (height, width) = len(x), x.shape[-2:]
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2]).expand(n, 2)
    out = []
    for z in sizes:  # a picture that shows z of another has 1 / z of its pixels in each of that one's
        step = min(1 / z, (height - 1) / max(1, window[0] - 1), (width - 1) / max(1, window[1] - 1))
        out.append(_sampled(x, middle, torch.full((n,), step), window))
    both = torch.stack([*out, *(v.flip(-1) for v in out)], 1)
    return _unit(both.flatten(2)[:, :, None])[:, :, 0]


def _window(size: tuple[int, int]) -> tuple[int, int]:
    """About three quarters of a picture's height and width, and as even or odd as these."""
    height, width = (n - 2 * round((1 - _WINDOW) / 2 * n) for n in size)
    return height, width


def _coarse_correlation(a: Tensor, b: Tensor) -> Tensor:
    """The coarse correlation (N, M) of pictures of 16 x 16."""
    window = (_COARSE_WINDOW, _COARSE_WINDOW)
    views = _views(a, window, _COARSE_SIZES)
    asked, out = views.flatten(0, 1).T.contiguous(), torch.zeros(len(a), len(b))
    places = (_COARSE - _COARSE_WINDOW + 1) ** 2
    rows = max(1, _ROOM // (places * asked.shape[1]))
    for i in range(0, len(b), rows):
        found = _windows(b[i : i + rows], window) @ asked  # (m, places, n views)
        out[:, i : i + rows] = found.amax(1).reshape(-1, len(a), views.shape[1]).amax(2).T
    return out


def _fine_correlation(x: Tensor, whole: Tensor) -> Tensor:
    """The fine correlation (K,) of a picture (C, H, W) to K others, between the pixels for the nearest few."""
    window, width = _window((x.shape[-2], x.shape[-1])), x.shape[-1]
    views = _views(x[None], window, _SIZES)[0]
    found = _windows(whole, window) @ views.T  # (K, places, views)
    best, place = found.flatten(1).max(1)
    for k in best.topk(min(_CLOSE, len(best))).indices.tolist():
        at, view = divmod(int(place[k]), len(views))
        row, column = divmod(at, width - window[1] + 1)
        mirrored, z = view >= len(_SIZES), _SIZES[view % len(_SIZES)]
        middle = (row + (window[0] - 1) / 2, column + (window[1] - 1) / 2)
        best[k] = max(float(best[k]), _between(x.flip(-1) if mirrored else x, whole[k], middle, z, window))
    return best


def _between(x: Tensor, b: Tensor, middle: tuple[float, float], z: float, window: tuple[int, int]) -> float:
    """The largest correlation of the middle of x, as it is, to b around a place and a size, in parts of a pixel."""
    height, width = x.shape[-2:]
    top, left = (height - window[0]) // 2, (width - window[1]) // 2
    own = x[:, top : top + window[0], left : left + window[1]].flatten()
    own = own - own.mean()
    best, at = 0.0, (*middle, z)
    for reach, finer in ((0.5, 0.02), (0.17, 0.007)):
        steps = torch.tensor([-1.0, 0.0, 1.0])
        dy, dx, dz = (v.flatten() for v in torch.meshgrid(steps, steps, steps, indexing="ij"))
        centre = torch.stack([at[0] + reach * dy, at[1] + reach * dx], 1)
        step = at[2] + finer * dz
        part = _sampled(b.expand(len(dy), *b.shape), centre, step, window, "bicubic").flatten(1)
        part = part - part.mean(1, keepdim=True)
        alike = part @ own / (part.norm(dim=1) * own.norm()).clamp(min=1e-6)
        i = int(alike.argmax())
        best, at = max(best, float(alike[i])), (float(centre[i, 0]), float(centre[i, 1]), float(step[i]))
    return best


def nearest(pictures: Sequence[Tensor], training: Sequence[Tensor]) -> NearestMatches:
    """For each picture its similarity to the nearest training picture, and that one's index; (C, H, W) each."""
    if not len(training):
        raise BadInput("no training pictures to compare with")
    coarse = _coarse_correlation(downsampled(pictures, _COARSE, True), downsampled(training, _COARSE, True))
    candidates = coarse.topk(min(_CANDIDATES, len(training)), dim=1).indices
    fine, known = downsampled(pictures, _FINE), downsampled(training, _FINE)

    def compare(row: int, which: Tensor) -> Tensor:
        return _fine_correlation(fine[row], known[which]).clamp(max=1.0)

    return nearest_examples(candidates, compare, distinct_from(_RANK, _ROUNDING))


def planted(pictures: Sequence[Tensor], kind: str = "gain", seed: int = 0) -> list[Tensor]:
    """Copies that test the search, rounded to 8 bits.

    Args:
        pictures: (C, H, W) each, in [-1, 1]
        kind: gain: contrast times 0.6 to 1.2 and brightness by up to 0.15; shift: also moved by up to an eighth, whole
            pixels; crop: also cut to 80 to 95 % of its height and width, and enlarged again
        seed: of the random numbers
    """
    return planted_copies(pictures, kind, _altered, seed)


def _altered(picture: Tensor, kind: str, draw: Draw, rng: torch.Generator) -> Tensor:
    x, (height, width) = picture[None].float(), picture.shape[-2:]
    if kind == "shift":
        m = max(1, min(height, width) // 8)
        top, left = round(draw(0, 2 * m)), round(draw(0, 2 * m))
        x = functional.pad(x, (m, m, m, m), mode="replicate")[..., top : top + height, left : left + width]
    elif kind == "crop":
        share = draw(0.8, 0.95)
        h, w = round(share * height), round(share * width)
        top, left = round(draw(0, height - h)), round(draw(0, width - w))
        x = functional.interpolate(x[..., top : top + h, left : left + w], (height, width), mode="bicubic")
    x = (x[0] * draw(0.6, 1.2) + draw(-0.15, 0.15)).clamp(-1, 1)
    return ((x + 1) * 127.5).round() / 127.5 - 1
