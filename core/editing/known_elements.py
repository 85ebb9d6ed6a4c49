"""The mask of known elements as a linear operator, and how it follows from a mask of the media."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..degradations.base import LinearOperator
from ..types import BadInput, move_like
from ..util.rng import keyed_generator

_SAME = 1e-3  # changes of z (unit variance) below this count as no change


class MaskOperator(LinearOperator):
    """A x = x where known, 0 elsewhere. A is a projection, A^+ = A, and A^+ y + (1 - A^+ A) x is y where known, else x.

    Args:
        known: (B, 1, *spatial) bool, True where an element is known.
    """

    def __init__(self, known: Tensor):
        self.known = known

    def apply(self, x: Tensor) -> Tensor:
        """x where known, 0 elsewhere."""
        return self.fill_known(x, torch.zeros_like(x))

    def adjoint(self, y: Tensor, size: Sequence[int]) -> Tensor:
        """The same projection."""
        return self.apply(y)

    def fill_known(self, y: Tensor | float, x: Tensor) -> Tensor:
        """y (B, C, *spatial) where known, x elsewhere."""
        return torch.where(self.known.to(x.device), y, x)


def encode_partly_known(encode: Callable[[Tensor], Tensor], media: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Encode partly known media, and determine which elements of the result are known.

    An element of z is known if it does not depend on the unknown media: it is equal for zeros and for noise there. So
    the receptive field of any codec is measured and need not be declared.

    Args:
        encode: The codec's encoder.
        media: (1, C, *media).
        known: (1, 1, *media) bool, True where the media are known.

    Returns:
        z (1, C', *spatial), and the mask (1, 1, *spatial) bool of its known elements.

    Raises:
        BadInput: No element of the media is known, or all are.
    """
    if not bool(known.any()) or bool(known.all()):
        part = "none" if not bool(known.any()) else "all"
        raise BadInput(f"{part} of it is kept: name a part, but not the whole, to regenerate")
    return encode_known(encode, media, known)


def encode_known(encode: Callable[[Tensor], Tensor], media: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """As `encode_partly_known`, for a batch (B, C, *media) of which all or nothing may be known too."""
    noise = move_like(_probe(tuple(media.shape[1:])), media)
    with torch.no_grad():
        z, other = (encode(torch.where(known, media, fill)) for fill in (torch.zeros_like(media), noise))
    return z, (z - other).abs().amax(1, keepdim=True) < _SAME


@lru_cache(maxsize=4)
def _probe(shape: tuple[int, ...]) -> Tensor:
    """Normal noise (1, *shape) in float64, on the host."""
    return torch.from_numpy(keyed_generator(0, 0, "probe").standard_normal((1, *shape), dtype=float))
