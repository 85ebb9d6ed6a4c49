"""The latent cache: examples are encoded once, and not again at every step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ..codecs.base import LearnedCodec
from ..codecs.comparison import fingerprint_of_codec
from ..data.latent_file import LatentFile, media_key
from ..types import BadInput, Dataset
from ..util.packages import package_version
from ..util.rng import keyed_generator
from .build import ModelComponents

MOST_VARIANTS = 2
"""Variants of an example under augmentation that are still cached: a picture and its mirror image."""

_CHECKED, _DRAWS = 4, 6  # examples, and draws of each


class LatentCache:
    """Encodes batches; an example that was encoded before is read from a file.

    Values are those of the codec, bit for bit: an example is found by a hash of its media as they are encoded, after
    any augmentation, and a batch with a new example is encoded as a whole, since rounding may depend on its size.

    Args:
        file: The file.
        encode: Encodes media on the training device.
    """

    def __init__(self, file: LatentFile, encode: Callable[[Tensor], Tensor]):
        self.file, self._encode = file, encode

    def __call__(self, media: Tensor, device: torch.device) -> Tensor:
        """Media (B, C, *media) on the host -> x0 (B, C', *spatial) on the device."""
        keys = [media_key(row) for row in media]
        found = self.file.get(keys)
        known = [row for row in found if row is not None]
        if len(known) == len(keys):
            return torch.stack(known).to(device, non_blocking=True)
        x0 = self._encode(media)
        if x0.dtype == torch.float32 and tuple(x0.shape[1:]) == self.file.shape:
            self.file.put(keys, x0)
        return x0


def is_augmented(data: Dataset, seed: int) -> bool:
    """Whether augmentation gives more variants of an example than are cached, judged by a few examples."""
    for i in range(0, len(data), -(-len(data) // _CHECKED)):
        with suppress(BadInput, OSError):  # an unusable example is reported when it is loaded for training
            draws = (data.item(i, keyed_generator(seed, i, "latent cache", k)).media for k in range(_DRAWS))
            if len({media_key(media) for media in draws}) > MOST_VARIANTS:
                return True
    return False


def wants_latent_cache(parts: ModelComponents, data: Dataset) -> bool:
    """Whether examples are cached: by `train.cache_latents`, or for codecs with a network where examples stay the same.

    Raises:
        BadInput: `train.cache_latents` is true, and augmentation changes the examples each time.
    """
    asked = parts.recipe.train.cache_latents
    if asked is False or (asked == "auto" and not isinstance(parts.codec, LearnedCodec)):
        return False
    changes = is_augmented(data, parts.recipe.seed)
    if changes and asked is True:
        raise BadInput(
            f"train.cache_latents is true, but {parts.recipe.data.use} changes its examples at random each time: leave "
            "it out, or turn off the random crops, gain and shift of the data"
        )
    return not changes


def make_latent_cache(
    parts: ModelComponents, device: torch.device, path: Callable[[], Path], encode: Callable[[Tensor], Tensor]
) -> LatentCache:
    """The cache in a file, which is used if its values are those of this codec, version and kind of device.

    Args:
        parts: The objects that the recipe describes; the codec is fitted.
        device: The training device.
        path: Called for the path of the file.
        encode: Encodes media on the training device.
    """
    options = parts.recipe.resolved()["codec"]  # with defaults: the recipe of a resumed run states them
    fingerprint = fingerprint_of_codec(parts.codec, options, [package_version("sonolux"), device.type])
    return LatentCache(LatentFile(path, fingerprint, tuple(parts.spec.latent)), encode)
