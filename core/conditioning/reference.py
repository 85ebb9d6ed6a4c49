"""Reference condition: a degraded example, from which the network learns to restore the example itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..codecs.base import Codec
from ..degradations.base import Degradation, DegradedMedia
from ..editing.known_elements import encode_known
from ..types import BadInput, Item, MediaSpec, move_like
from ..util.annotations import ComponentKind
from .base import Condition


class Reference(Condition):
    """What a degradation leaves of an example: channels next to the noisy sample.

    The channels are the encoded reference, 0 where it is unknown, and a mask that is 1 where it is known. A dropped
    reference is unknown everywhere. With the degradation `mask` the network learns inpainting and continuation, with
    another one restoration: super-resolution, colourisation, bandwidth extension, denoising.

    Args:
        spec: Media specification with the shape (C, *spatial) of the diffused tensor.
        degradation: Degradation, such as mask, noise, downsample or low_pass.
        drop: Probability that training drops the reference; samples without one, and classifier-free guidance, need a
            value above 0.
    """

    kind: Literal["vector", "tokens", "concat"] = "concat"
    augments = True

    def __init__(self, spec: MediaSpec, degradation: Annotated[Any, ComponentKind("degradation")], drop: float = 0.1):
        super().__init__(spec.latent[0] + 1, drop)
        self.spec, self.dims = spec, len(spec.latent) - 1
        self.degradation: Degradation = degradation
        self.null.requires_grad_(False)  # nothing is known: zeros

    def init_weights(self, rng: np.random.Generator) -> None:
        """Nothing is drawn: a reference that is unknown everywhere is 0."""
        torch.nn.init.zeros_(self.null)

    def parse(self, value: Any) -> Any:
        """Refuse a value: references are files that are edited.

        Raises:
            BadInput: Always; the message names the edit.
        """
        raise BadInput(f"a reference is not given as a value: {self.remedy}")

    @property
    def remedy(self) -> str:
        """How to sample with a reference."""
        return f"edit a file with `sonolux edit RUN {self.edit} FILE`"

    @property
    def edit(self) -> str:
        """The edit that gives a file as the reference."""
        return "inpaint" if self.degradation.masks else "restore"

    def from_item(self, item: Item) -> Item:
        """The example itself, which `augment` degrades."""
        return item

    def augment(self, value: Item, rng: np.random.Generator) -> DegradedMedia:
        """Degrade the example without its padding; the padding, of which nothing is unknown, is added again."""
        found = self.degradation.degrade(self.spec.trim(value.media, value.length), rng)
        extra = [n for a, b in zip(value.media.shape[:0:-1], found.media.shape[:0:-1], strict=True) for n in (0, a - b)]
        known = None if found.known is None else F.pad(found.known, extra, value=True)
        return DegradedMedia(F.pad(found.media, extra), known)

    def encode(self, values: Sequence[DegradedMedia], codec: Codec) -> Tensor:
        """Encode the references of B examples, (B, C + 1, *spatial)."""
        media = move_like(torch.stack([value.media for value in values]), self.null)
        with torch.no_grad():
            if all(value.known is None for value in values):
                z = codec.encode(media)
                return reference_channels(z, torch.ones_like(z[:, :1], dtype=torch.bool))
            whole = torch.ones(1, *media.shape[2:], dtype=torch.bool, device="cpu")
            known = torch.stack([whole if value.known is None else value.known for value in values])
            return reference_channels(*encode_known(codec.encode, media, move_like(known, media, torch.bool)))

    def embed(self, values: Sequence[Tensor] | Tensor) -> Tensor:
        """The channels of B encoded references, (B, C + 1, *spatial)."""
        return values if isinstance(values, Tensor) else torch.stack(list(values))

    def format_value(self, value: Any) -> None:
        """None: an example is no value that can be written."""


def reference_channels(z: Tensor, known: Tensor) -> Tensor:
    """Channels of encoded references.

    Args:
        z: (B, C, *spatial).
        known: (B, 1, *spatial) bool, True where z is known.

    Returns:
        (B, C + 1, *spatial): z where it is known, else 0; then the mask, 1 where z is known.
    """
    return torch.cat([torch.where(known, z, 0.0), known.to(z.dtype)], dim=1)
