"""Krizhevsky 2009, "Learning multiple layers of features from tiny images"."""

from __future__ import annotations

from .base import Collection


class CIFAR10(Collection):
    """Small photos, 50 000 RGB pictures of 32 x 32 pixels, ten classes.

    spec: channels (3, or 1 for grey) and size (H, W); other sizes than 32 x 32 are resized
    root: folder that holds torchvision's copy, or will
    download: fetch the files into root if they are not there
    label: the classes, or none
    flip: mirror half of the pictures left to right, anew each time
    split: which part of the examples
    valid: share of the examples that is for validation, 0 to 1
    seed: decides the split
    """

    collection = "CIFAR10"
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
