"""Noisy pictures whose captions name the level of each colour."""

import torch

COLOURS, AMOUNTS = ("red", "green", "blue"), ("no", "some", "much")


def pairs(n, seed=0):
    """Noisy pictures (n, 3, 4, 4), and a caption that names the level of each channel; 27 captions."""
    rng = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 3, (n, 3), generator=rng)
    x = (levels - 1).float()[:, :, None, None] + 0.2 * torch.randn(n, 3, 4, 4, generator=rng)
    texts = [" ".join(f"{AMOUNTS[k]} {c}" for k, c in zip(row, COLOURS, strict=True)) for row in levels.tolist()]
    return x, texts
