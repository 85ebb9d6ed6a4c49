"""Krizhevsky 2009, "Learning multiple layers of features from tiny images"."""

from __future__ import annotations

from .base import TorchvisionDataset


class CIFAR10(TorchvisionDataset):
    """Small photos, 50 000 RGB pictures of 32 x 32 pixels, ten classes.

    Args:
        spec: Channels (3, or 1 for grey) and size (H, W); other sizes than 32 x 32 are resized.
        root: Folder of torchvision's files, or for the download.
        download: Download the files to root if they are missing.
        label: `class` or `none`.
        flip: Mirror a random half of the pictures left to right on each access.
        split: Which part of the examples.
        valid: Share of the examples for validation, 0 to 1.
        seed: Seed of the split.
    """

    collection = "CIFAR10"
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
