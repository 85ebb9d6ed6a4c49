"""Near copies among pictures: the same picture in another size, format or brightness, cropped or mirrored.

Two stages, on thumbnails of 48 x 48 grey levels. First, standardised 16 x 16 versions of all pictures, of their mirror
images and of their crops are compared. Similar pictures are then compared in detail: the thumbnails minus their local
means, so that pictures are not similar because of a common large-scale gradient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image as Pil
from torch import Tensor
from torch.nn import functional

from ....core.data.prepare.types import NearCopyPair
from ....core.evaluation.near_copies import find_nearest_vectors, ranked_pairs
from ....core.util.progress import with_progress

COPY = 0.9
"""Minimum correlation of the details of two copies; see `_stands_out`."""

SIDE = 48  # of a thumbnail
_COARSE = 16
_SIMILAR = 0.88  # minimum correlation of the coarse versions for a comparison of details
_HINT = 0.4  # minimum correlation of the details for a search of the best crop
_PARTNERS = 6  # maximum number of pictures that one is compared with
_FITS = 2000  # maximum number of candidates whose crop is refined
_MANY = 20_000  # above this number of pictures, crops are not searched
_USUAL = 0.7  # similarity of neighbours above which all pictures of this kind are similar
_FLAT = 3  # minimum range of grey levels of a picture with details

# (top, left, side) of the crops that are compared with whole pictures, as shares.
_WHOLE = (0.0, 0.0, 1.0)
_CUTS = [*((top, left, 0.92) for top in (0.0, 1.0) for left in (0.0, 1.0)), (0.5, 0.5, 0.85)]
_Cut = tuple[float, float, float]


@dataclass(frozen=True)
class _Candidate:
    """The crop `cut` of picture a, mirrored or not, compared with the whole of picture b."""

    similarity: float
    a: int
    b: int
    cut: _Cut
    mirrored: bool


def make_thumbnail(picture: Pil.Image) -> np.ndarray:
    """Thumbnail (48, 48) uint8, grey; the picture is scaled to a square."""
    kind = Pil.Resampling.BOX if min(picture.size) > 2 * SIDE else Pil.Resampling.BICUBIC
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), kind))


def near_copy_pairs(thumbnails: Sequence[np.ndarray | None]) -> list[NearCopyPair]:
    """All pairs of copies, most similar first."""
    places = [i for i, t in enumerate(thumbnails) if t is not None and int(t.max()) - int(t.min()) >= _FLAT]
    if len(places) < 2:
        return []
    pictures = torch.from_numpy(np.stack([thumbnails[i] for i in places])).float() / 255  # type: ignore[misc]
    whole, details = _coarse(pictures), _details(pictures)
    usual = _usual(whole, details)
    best: dict[tuple[int, int], _Candidate] = {}
    views = [
        (mirrored, cut) for mirrored in (False, True) for cut in (_WHOLE, *(_CUTS if len(places) <= _MANY else ()))
    ]
    for mirrored, cut in with_progress(views, "searching for copies", "crop", len(views)):
        part = _cut(pictures.flip(-1) if mirrored else pictures, cut)
        for a, b, similarity in _similar(_coarse(part), whole, _details(part), details):
            pair = (min(a, b), max(a, b))
            if pair not in best or best[pair].similarity < similarity:
                best[pair] = _Candidate(similarity, a, b, cut, mirrored)
    _refine_crops(best, pictures, details, usual)
    return ranked_pairs(
        {
            (places[a], places[b]): c.similarity
            for (a, b), c in best.items()
            if _stands_out(c.similarity, float(max(usual[a], usual[b])), c.cut != _WHOLE or c.mirrored)
        }
    )


def _refine_crops(best: dict[tuple[int, int], _Candidate], pictures: Tensor, details: Tensor, usual: Tensor) -> None:
    """Search the best crop for the most similar candidates of each picture that are not decided yet."""
    tried: Counter[int] = Counter()
    undecided = [
        (pair, c) for pair, c in best.items() if c.similarity < 0.98 and float(usual[[c.a, c.b]].max()) <= _USUAL
    ]
    rows = sorted(undecided, key=lambda item: -item[1].similarity)[:_FITS]
    for pair, c in with_progress(rows, "comparing pictures", "pair", len(rows)):
        if max(tried[c.a], tried[c.b]) < 2:
            tried.update((c.a, c.b))
            source = pictures[c.a].flip(-1) if c.mirrored else pictures[c.a]
            best[pair] = replace(c, similarity=max(c.similarity, _best_cut(source, details[c.b], c.cut)))


def _stands_out(similarity: float, usual: float, chosen: bool) -> bool:
    """Whether a similarity indicates a copy: if many pictures are similar (strokes, icons), it must be much larger.

    Args:
        similarity: Of the pair, in detail.
        usual: Similarity to the fourth nearest picture, see `_usual`.
        chosen: Whether it is the best of several crops or of two mirror images, which increases any similarity.
    """
    if usual > _USUAL:
        return similarity >= (0.995 if chosen else 0.985)
    return similarity >= COPY and 1 - similarity <= (0.15 if chosen else 0.3) * (1 - usual)


def _usual(whole: Tensor, details: Tensor) -> Tensor:
    """(N,) similarity in detail of each picture and its fourth nearest one; a picture rarely has four copies."""
    out, indices = torch.zeros(len(whole)), torch.arange(len(whole))
    if len(whole) <= 8:
        return out
    for block, _, which in find_nearest_vectors(whole, whole, 12, (indices, indices)):
        rows = slice(block.start, block.stop)
        found = torch.einsum("nd,nkd->nk", details[rows], details[which])
        out[rows] = found.sort(1, descending=True).values[:, min(3, found.shape[1] - 1)]
    return out


def _cut(pictures: Tensor, cut: _Cut) -> Tensor:
    """(N, S, S): a crop of each picture, enlarged to full size."""
    return pictures if cut == _WHOLE else _sampled(pictures, [cut] * len(pictures))


def _sampled(pictures: Tensor, cuts: Sequence[_Cut]) -> Tensor:
    """(N, S, S): the crop cuts[i] of picture i, or of the only picture."""
    top, left, side = torch.tensor(cuts).T
    theta = torch.zeros(len(cuts), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, 0, 2], theta[:, 1, 2] = (2 * left - 1) * (1 - side), (2 * top - 1) * (1 - side)
    grid = functional.affine_grid(theta, [len(cuts), 1, SIDE, SIDE], align_corners=False)
    source = pictures.expand(len(cuts), SIDE, SIDE)[:, None]
    return functional.grid_sample(source, grid, align_corners=False, padding_mode="border")[:, 0]


def _best_cut(picture: Tensor, details: Tensor, near: _Cut) -> float:
    """The largest similarity over crops of (S, S) with about the size of `near`, at all positions."""
    sides = [side for side in (near[2] + 0.03 * k for k in range(-2, 2)) if side < 1]
    steps = [k / 4 for k in range(5)]
    cuts = [(top, left, side) for side in sides for top in steps for left in steps]
    return float((_details(_sampled(picture[None], cuts)) @ details).max())


def _unit(pictures: Tensor) -> Tensor:
    """(N, H, W) -> (N, H W) of mean 0 and norm 1."""
    flat = pictures.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-6)


def _coarse(pictures: Tensor) -> Tensor:
    return _unit(functional.interpolate(pictures[:, None], (_COARSE, _COARSE), mode="area")[:, 0])


def _details(pictures: Tensor) -> Tensor:
    """(N, S S) of norm 1: high-pass filtered pictures, the mean over 5 x 5 minus that over 13 x 13."""
    smooth = functional.avg_pool2d(pictures[:, None], 5, 1, 2, count_include_pad=False)
    return _unit((smooth - functional.avg_pool2d(smooth, 13, 1, 6, count_include_pad=False))[:, 0])


def _similar(part: Tensor, whole: Tensor, part_details: Tensor, details: Tensor) -> list[tuple[int, int, float]]:
    """(a, b, similarity in detail) for crops of a that are similar to the whole of b; best partners of each crop."""
    out, numbers = [], torch.arange(len(whole))
    for block, values, which in find_nearest_vectors(part, whole, _PARTNERS, (numbers, numbers)):
        found = torch.einsum("nd,nkd->nk", part_details[block.start : block.stop], details[which])
        good = torch.nonzero((values >= _SIMILAR) & (found >= _HINT))
        out += [(block[r], int(which[r, k]), float(found[r, k])) for r, k in good.tolist()]
    return out
