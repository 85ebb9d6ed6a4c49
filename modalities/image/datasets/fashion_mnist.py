"""Xiao, Rasul, Vollgraf 2017, "Fashion-MNIST"."""

from __future__ import annotations

from .base import TorchvisionDataset


class FashionMNIST(TorchvisionDataset):
    """Pictures of clothes, 60 000 grey pictures of 28 x 28 pixels, ten classes.

    Args:
        spec: Channels (1, or 3 for grey in RGB) and size (H, W); other sizes than 28 x 28 are resized.
        root: Folder of torchvision's files, or for the download.
        download: Download the files to root if they are missing.
        label: `class` or `none`.
        flip: Mirror a random half of the pictures left to right on each access.
        split: Which part of the examples.
        valid: Share of the examples for validation, 0 to 1.
        seed: Seed of the split.
    """

    collection = "FashionMNIST"
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
