"""LeCun, Cortes, Burges, "The MNIST database of handwritten digits"."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ....core.types import MediaSpec
from .base import TorchvisionDataset


class MNIST(TorchvisionDataset):
    """Handwritten digits, 60 000 grey pictures of 28 x 28 pixels, ten classes.

    Args:
        spec: Channels (1, or 3 for grey in RGB) and size (H, W); other sizes than 28 x 28 are resized.
        root: Folder of torchvision's files, or for the download.
        download: Download the files to root if they are missing.
        label: `class` or `none`.
        split: Which part of the examples.
        valid: Share of the examples for validation, 0 to 1.
        seed: Seed of the split.
    """

    collection = "MNIST"
    names = tuple("0123456789")

    def __init__(
        self,
        spec: MediaSpec,
        root: Path,
        download: bool = False,
        label: Literal["class", "none"] = "class",
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
    ):
        super().__init__(spec, root, download, label, flip=False, split=split, valid=valid, seed=seed)
