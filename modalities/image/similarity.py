"""Similarity of two pictures, invariant to brightness, contrast, shift, mirroring and crop, to find near copies.

The centre x of picture a is correlated with picture b at every position p and at several sizes z, both minus their
mean:

    rho(a, b) = max_{p,z} <x, b_{p,z}> / (|x| |b_{p,z}|)

A crop that was enlarged to full size is found at the size z < 1. Some pictures are similar to many
others without being copies (two digits 1, two skies). The similarity therefore compares the
nearest with the fourth nearest,

    similarity(a) = 1 - (1 - rho_1 + u) / (1 - rho_4 + u),  u = 0.002 for rounding to 8 bits,

which is 0 if both are equally near, and near 1 for a copy. If a training set contains a picture more than three times,
its copies are not found. All pairs are compared on 16 x 16 pixels, the nearest few then on up to 32 x 32 and at
sub-pixel positions.

This is the ratio test of Lowe 2004, "Distinctive image features from scale-invariant keypoints", section 7.1, on
normalised cross-correlations instead of descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ...core.evaluation.near_copies import (
    Draw,
    NearestMatches,
    make_altered_copies,
    make_ratio_decision,
    nearest_examples,
)
from ...core.types import BadInput

COPY = 0.75
"""Pictures with a larger similarity are near copies, unless real pictures of the data are as similar."""

_COARSE, _COARSE_WINDOW, _COARSE_SIZES = 16, 12, (1.0, 0.9, 0.8, 0.7)
_FINE, _WINDOW, _SIZES = 32, 0.75, tuple(1 - 0.03 * i for i in range(11))
_CANDIDATES, _CLOSE = 24, 6  # compared on _FINE pixels; and at sub-pixel positions
_RANK, _ROUNDING = 3, 0.002
_MAX_CORRELATIONS = 30_000_000  # in memory at once


def downsample(pictures: Sequence[Tensor], most: int, exact: bool = False) -> Tensor:
    """(N, C, H, W) -> (N, C, h, w): the longer side at most `most`, or both sides exactly `most`."""
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
    """(..., d) minus its mean, of norm 1, or below for flat windows, with less than a tenth of the largest norm."""
    x = x - x.mean(-1, keepdim=True)
    norm = x.norm(dim=-1, keepdim=True)
    return x / torch.maximum(norm, 0.1 * norm.amax(-2, keepdim=True)).clamp(min=1e-6)


def _windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, positions, C h w) of norm 1."""
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
    """The centre of each picture at each size, also mirrored, as windows: (N, 2 sizes, C h w) of norm 1."""
    n, (height, width) = len(x), x.shape[-2:]
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2]).expand(n, 2)
    out = []
    for z in sizes:  # a picture that shows the share z of another is enlarged by 1 / z
        step = min(1 / z, (height - 1) / max(1, window[0] - 1), (width - 1) / max(1, window[1] - 1))
        out.append(_sampled(x, middle, torch.full((n,), step), window))
    both = torch.stack([*out, *(v.flip(-1) for v in out)], 1)
    return _unit(both.flatten(2)[:, :, None])[:, :, 0]


def _window(size: tuple[int, int]) -> tuple[int, int]:
    """About three quarters of a picture's height and width, with the same parity."""
    height, width = (n - 2 * round((1 - _WINDOW) / 2 * n) for n in size)
    return height, width


def _coarse_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Coarse correlation (N, M) of pictures of 16 x 16 pixels."""
    window = (_COARSE_WINDOW, _COARSE_WINDOW)
    views = _views(a, window, _COARSE_SIZES)
    queries, out = views.flatten(0, 1).T.contiguous(), torch.zeros(len(a), len(b))
    places = (_COARSE - _COARSE_WINDOW + 1) ** 2
    rows = max(1, _MAX_CORRELATIONS // (places * queries.shape[1]))
    for i in range(0, len(b), rows):
        found = _windows(b[i : i + rows], window) @ queries  # (m, places, n views)
        out[:, i : i + rows] = found.amax(1).reshape(-1, len(a), views.shape[1]).amax(2).T
    return out


def _fine_correlation(x: Tensor, whole: Tensor) -> Tensor:
    """Fine correlation (K,) of a picture (C, H, W) with K others, at sub-pixel positions for the nearest few."""
    window, width = _window((x.shape[-2], x.shape[-1])), x.shape[-1]
    views = _views(x[None], window, _SIZES)[0]
    found = _windows(whole, window) @ views.T  # (K, places, views)
    best, place = found.flatten(1).max(1)
    close = best.topk(min(_CLOSE, len(best))).indices
    at, view = place[close] // len(views), place[close] % len(views)
    columns = width - window[1] + 1
    middle = torch.stack([at // columns + (window[0] - 1) / 2, at % columns + (window[1] - 1) / 2], 1)
    own = torch.where(view[:, None, None, None] >= len(_SIZES), x.flip(-1), x)
    finer = _subpixel_correlation(own, whole[close], middle, torch.tensor(_SIZES)[view % len(_SIZES)], window)
    best[close] = torch.maximum(best[close], finer)
    return best


def _subpixel_correlation(x: Tensor, b: Tensor, middle: Tensor, z: Tensor, window: tuple[int, int]) -> Tensor:
    """The largest correlation (K,) of the centres of x with b, (K, C, H, W) both, in sub-pixel steps.

    The steps start at the positions `middle` (K, 2) and the sizes z (K,).
    """
    height, width = x.shape[-2:]
    top, left = (height - window[0]) // 2, (width - window[1]) // 2
    centre_of_x = x[..., top : top + window[0], left : left + window[1]].flatten(1)
    centre_of_x = centre_of_x - centre_of_x.mean(1, keepdim=True)
    steps = torch.tensor([-1.0, 0.0, 1.0])
    moves = torch.cartesian_prod(steps, steps, steps)  # (27, 3): y, x, size
    best, at = torch.zeros(len(x)), torch.cat([middle, z[:, None]], 1)
    for reach, finer in ((0.5, 0.02), (0.17, 0.007)):
        tried = (at[:, None] + moves * torch.tensor([reach, reach, finer])).flatten(0, 1)
        part = _sampled(b.repeat_interleave(len(moves), 0), tried[:, :2], tried[:, 2], window, "bicubic")
        part = part.reshape(len(x), len(moves), -1)
        part = part - part.mean(2, keepdim=True)
        norms = part.norm(dim=2) * centre_of_x.norm(dim=1, keepdim=True)
        value, i = (torch.einsum("kmd,kd->km", part, centre_of_x) / norms.clamp(min=1e-6)).max(1)
        best, at = torch.maximum(best, value), tried.reshape(len(x), len(moves), 3)[torch.arange(len(x)), i]
    return best


def nearest_pictures(pictures: Sequence[Tensor], training: Sequence[Tensor]) -> NearestMatches:
    """The nearest training picture of each picture, and their similarity; (C, H, W) each."""
    if not len(training):
        raise BadInput("no training pictures to compare with")
    coarse = _coarse_correlation(downsample(pictures, _COARSE, True), downsample(training, _COARSE, True))
    candidates = coarse.topk(min(_CANDIDATES, len(training)), dim=1).indices
    fine, known = downsample(pictures, _FINE), downsample(training, _FINE)

    def compare(row: int, which: Tensor) -> Tensor:
        return _fine_correlation(fine[row], known[which]).clamp(max=1.0)

    return nearest_examples(candidates, compare, make_ratio_decision(_RANK, _ROUNDING))


def make_altered_pictures(pictures: Sequence[Tensor], kind: str = "gain", seed: int = 0) -> list[Tensor]:
    """Altered copies, to test the search, rounded to 8 bits.

    Args:
        pictures: (C, H, W) each, in [-1, 1].
        kind: `gain`: contrast times 0.6 to 1.2 and brightness changed by up to 0.15; `shift`: also shifted by up to an
            eighth, in whole pixels; `crop`: also cropped to 80 to 95 % of height and width, and enlarged again.
        seed: Seed of the random numbers.
    """
    return make_altered_copies(pictures, kind, _altered, seed)


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
