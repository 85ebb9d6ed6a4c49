"""Each fault of pictures on one made with just that fault, on clean ones, and against plain numpy."""

import numpy as np
import pytest
import torch
from sonolux.modalities.image import defects


def clean(n=12, seed=0, size=24):
    """Soft blobs on a soft ground, (3, size, size)."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, 3, size // 4, size // 4, generator=rng)
    smooth = torch.nn.functional.interpolate(noise, (size, size), mode="bicubic")
    return list((0.35 * smooth).clamp(-0.95, 0.95))


FAULTS = {
    "blank": lambda p: 0.01 * p + 0.2,
    "saturated": lambda p: (6 * p).clamp(-1, 1),
    "sharpness": lambda p: 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)),
}


def flags(pictures, loop=False):
    return {d.key: d.flags.tolist() for d in defects.measure_defects(pictures, clean(seed=1), loop)}


def check_fault(key):
    assert all(flags([FAULTS[key](p) for p in clean(6)])[key])
    assert not any(any(found) for found in flags(clean()).values())


@pytest.mark.parametrize("key", FAULTS)
def test_a_fault_is_counted(key):
    check_fault(key)


def test_blurred_pictures_are_counted():
    blurred = [torch.nn.functional.interpolate(p[None, :, :2, :2], (24, 24), mode="bicubic")[0] for p in clean(4)]
    assert all(flags([3 * b for b in blurred])["sharpness"]) and set(flags(clean(3))) == set(FAULTS)


PLANTED = {
    "blank": ("contrast", lambda true: lambda media: true(media) + 1),
    "saturated": ("extreme_share", lambda true: lambda media: true(0.5 * media)),
    "sharpness": ("sharpness", lambda true: lambda picture: 0.01 * true(picture)),
}


@pytest.mark.parametrize("key", PLANTED)
def test_a_planted_error_is_caught(key, monkeypatch):
    name, plant = PLANTED[key]
    monkeypatch.setattr(defects, name, plant(getattr(defects, name)))
    with pytest.raises(AssertionError):
        check_fault(key)


def test_numbers_against_numpy():
    picture = clean(1, seed=5)[0]
    x = picture.double().numpy()
    x = x - x.mean((1, 2), keepdims=True)
    steps = (np.mean(np.diff(x, axis=1) ** 2) + np.mean(np.diff(x, axis=2) ** 2)) / 2
    assert defects.sharpness(picture) == pytest.approx(10 * np.log10(steps / np.mean(x**2)), abs=1e-6)
    noise = torch.randn(3, 200, 200, generator=torch.Generator().manual_seed(0))
    assert defects.sharpness(noise) == pytest.approx(3.0, abs=0.1)
    jumps = [np.abs(np.take(x, 0, a) - np.take(x, -1, a)).mean() / np.abs(np.diff(x, axis=a)).mean() for a in (1, 2)]
    assert defects.tile_seam_jump(picture) == pytest.approx(max(jumps), rel=1e-6)


def test_seams_of_tiles():
    t = torch.arange(24) / 24 * 2 * torch.pi
    tiles = [(0.4 * torch.sin(t + k) + 0.4 * torch.cos(t)[:, None]).expand(3, 24, 24) for k in range(5)]
    found = {d.key: d for d in defects.measure_defects(tiles, clean(), loop=True)}["seam"]
    assert not found.flags.any() and float(found.values.median()) < 1.6
    open_ones = [t + torch.linspace(0, 0.5, 24) for t in tiles]
    assert {d.key: d for d in defects.measure_defects(open_ones, clean(), loop=True)}["seam"].flags.all()
