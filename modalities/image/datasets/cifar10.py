"""Krizhevsky 2009, "Learning multiple layers of features from tiny images"."""

from __future__ import annotations

from .base import Collection


class CIFAR10(Collection):
    """Small photos, 50 000 RGB pictures of 32 x 32 pixels, ten classes.

    Args:
        spec: Channels (3, or 1 for grey) and size (H, W); other sizes than 32 x 32 are resized.
        root: Folder that holds torchvision's copy, or will.
        download: Fetch the files into root if they are not there.
        label: The classes, or none.
        flip: Mirror half of the pictures left to right, anew each time.
        split: Which part of the examples.
        valid: Share of the examples that is for validation, 0 to 1.
        seed: Decides the split.
    """

    collection = "CIFAR10"
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
