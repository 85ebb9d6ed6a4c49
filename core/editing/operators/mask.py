"""The elements that are known, as a linear map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...types import BadInput
from ...util.rng import generator

_SAME = 1e-3  # of the unit variance of z: what moves an element by less does not matter to it


class Mask:
    """A x = x where known and 0 elsewhere. A is a projection, so A^+ = A: A^+ y + (1 - A^+ A) x takes y where known.

    Args:
        known: (B, 1, *spatial) bool.
    """

    def __init__(self, known: Tensor):
        self.known = known

    def joined(self, y: Tensor | float, x: Tensor) -> Tensor:
        """y (B, C, *spatial) where known, x elsewhere."""
        return torch.where(self.known.to(x.device), y, x)


def known_places(encode: Callable[[Tensor], Tensor], media: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(z (1, C', *spatial), known (1, 1, *spatial)): a codec's tensor of media (1, C, *media), and where it is known.

    An element of z is known where nothing that is unknown in the media (known: (1, 1, *media) bool) matters to it: it
    is the same with zeros and with loud noise there. So the reach of any codec is measured, not declared.

    Args:
        encode: The codec's.
        media: What is encoded.
        known: Where it is known.

    Raises:
        BadInput: Nothing is known, or all.
    """
    if not bool(known.any()) or bool(known.all()):
        part = "none" if not bool(known.any()) else "all"
        raise BadInput(f"{part} of it is kept: name a part, but not the whole, to be made anew")
    noise = torch.from_numpy(generator(0, 0, "probe").standard_normal(tuple(media.shape), dtype=float)).to(media)
    with torch.no_grad():
        z, other = (encode(torch.where(known, media, fill)) for fill in (torch.zeros_like(media), noise))
    moved = (z - other).abs().amax(1, keepdim=True)
    return z, moved < _SAME
