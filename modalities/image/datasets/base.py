"""Base classes of the datasets of real pictures: examples stored as bytes, cropped and flipped on access."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image as Pil

from ....core.data.captions import Caption, draw_caption
from ....core.data.files import require_folder
from ....core.data.splits import assign_splits as assign_parts
from ....core.types import BadInput, Item, MediaSpec
from ....core.util.paths import expand_home
from ..io import crop_picture, resize_to_cover


@dataclass
class PictureExample:
    """One picture with its attributes; `pixels`: (C, H, W) uint8, or a function that decodes them to save memory."""

    source: str
    pixels: np.ndarray | Callable[[], np.ndarray]
    label: str | None = None
    caption: Caption = None
    attributes: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    hash: str = ""


class PictureDataset:
    """Examples by index, at least as large as the size of `spec`, cropped to it.

    Args:
        spec: Channels and size (H, W).
        examples: Examples of one split.
        classes: Class names in order; () without classes.
        random: Crop at a random position instead of the centre, if item() gets an rng.
        flip: Mirror half of the examples left to right, if item() gets an rng.
    """

    def __init__(
        self, spec: MediaSpec, examples: Sequence[PictureExample], classes: tuple[str, ...], random: bool, flip: bool
    ):
        self.spec, self.examples, self.classes = spec, list(examples), classes
        self.random, self.flip = random, flip
        self._index = {name: i for i, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self.examples)

    def item(self, index: int, rng: np.random.Generator | None = None) -> Item:
        """Example `index`: media (C, H, W) float32 in [-1, 1]; `rng` chooses crop and flip (None: centre, no flip)."""
        example = self.examples[index]
        pixels = example.pixels() if callable(example.pixels) else example.pixels
        size = (self.spec.size[0], self.spec.size[1])
        media = crop_picture(torch.from_numpy(pixels), size, rng if self.random else None)
        if self.flip and rng is not None and rng.integers(2):
            media = media.flip(-1)
        return Item(
            media=media.float() / 127.5 - 1,
            label=self._index.get(example.label) if example.label is not None else None,
            caption=draw_caption(example.caption, rng),
            attributes=dict(example.attributes),
            source=example.source,
        )

    def manifest(self) -> list[dict[str, Any]]:
        """One record per example: source, label, caption, size in bytes, hash of the content (blake2b, 128 bits)."""
        return [
            {"source": e.source, "label": e.label, "caption": e.caption, "size": e.size, "hash": e.hash}
            for e in self.examples
        ]


class TorchvisionDataset(PictureDataset):
    """A collection that torchvision reads: its official training part, split by the hash of each picture's bytes.

    The official test part is never used. Copies of a picture are in the same part of the split.
    """

    collection: ClassVar[str]  # torchvision's name
    names: ClassVar[tuple[str, ...]]  # of the classes

    def __init__(
        self,
        spec: MediaSpec,
        root: Path,
        download: bool = False,
        label: Literal["class", "none"] = "class",
        flip: bool = False,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
    ):
        arrays, targets = _load(self.collection, expand_home(root), download)
        sources = [f"{self.collection} number {i}" for i in range(len(arrays))]
        hashes = [blake2b(np.ascontiguousarray(a).tobytes(), digest_size=16).hexdigest() for a in arrays]
        classes = self.names if label == "class" else ()
        parts = assign_parts(hashes, valid, seed, [classes[i] for i in targets] if classes else ())
        examples = [
            PictureExample(
                source=sources[i],
                pixels=_covering(arrays[i], spec),
                label=classes[targets[i]] if classes else None,
                size=arrays[i].nbytes,
                hash=hashes[i],
            )
            for i in range(len(arrays))
            if parts[i] == split
        ]
        super().__init__(spec, examples, classes, random=False, flip=flip)


def _load(name: str, root: Path, download: bool) -> tuple[np.ndarray, list[int]]:
    """Pictures (N, H, W) or (N, H, W, 3) uint8 and class numbers of the training part."""
    import torchvision  # imported here because it takes a second

    if not download:
        require_folder(root)
    try:
        found = getattr(torchvision.datasets, name)(str(root), train=True, download=download)
    except Exception as error:  # network errors have many classes
        if download:
            raise BadInput(f"{name} could not be downloaded to {root}: {error}") from error
        remedy = "data.download=true fetches it (once)"
        raise BadInput(f"data.root: {root} does not hold {name}, or it is damaged ({error}); {remedy}") from error
    return np.asarray(found.data), [int(t) for t in found.targets]


def _covering(picture: np.ndarray, spec: MediaSpec) -> np.ndarray:
    """(H, W) or (H, W, 3) -> (C, H', W') with the channels of `spec`, resized to just cover its size."""
    image = Pil.fromarray(picture)
    image = resize_to_cover(image.convert("L" if spec.channels == 1 else "RGB"), (spec.size[0], spec.size[1]))
    pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
