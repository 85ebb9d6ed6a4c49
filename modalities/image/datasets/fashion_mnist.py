"""Xiao, Rasul, Vollgraf 2017, "Fashion-MNIST"."""

from __future__ import annotations

from .base import Collection


class FashionMNIST(Collection):
    """Pictures of clothes, 60 000 grey pictures of 28 x 28 pixels, ten classes.

    spec: channels (1, or 3 for grey in RGB) and size (H, W); other sizes than 28 x 28 are resized
    root: folder that holds torchvision's copy, or will
    download: fetch the files into root if they are not there
    label: the classes, or none
    flip: mirror half of the pictures left to right, anew each time
    split: which part of the examples
    valid: share of the examples that is for validation, 0 to 1
    seed: decides the split
    """

    collection = "FashionMNIST"
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
