"""Two tiny runs with data of their own, for commands that need a trained model."""

import math

import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.training.run import TrainingRun
from sonolux.modalities.audio.modality import Audio

PICTURES = """
recipe: 1
name: tiny-pictures
seed: 3
modality: {use: image, size: 16, channels: 1}
data: {use: image/shapes, count: 120, shapes: 1, split: {by: hash, valid: 0.3}}
codec: {use: image/pixels}
network: {use: image/unet, width: 8, stages: [1], blocks: 1, patch: 4}
condition: {label: {use: class, drop: 0.3}}
train: {steps: 4, batch: 4, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 4, count: 6, batch: 10, guidance: {use: cfg, scale: 2.0}}
eval: {count: 20, repeats: 10, shown: 4}
"""
SOUNDS = """
recipe: 1
name: tiny-sounds
seed: 3
modality: {use: audio, rate: 4000, seconds: 0.4, channels: 1}
data: {use: audio/folder, root: null, label: folder, padding: masked, split: {by: hash, valid: 0.3}}
codec: {use: audio/logmel, n_fft: 128, hop: 32, mels: 16}
network: {use: audio/unet, width: 16, stages: [1, 1], blocks: 1}
condition:
  label: {use: class, drop: 0.1}
  seconds: {use: scalar, key: seconds, range: [0.05, 0.4], log: true, drop: 0.1}
train: {steps: 4, batch: 4, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 4, count: 6, batch: 10, guidance: {use: cfg, scale: 2.0}}
eval: {count: 16, repeats: 10, shown: 4}
"""
RATE = 4000.0


def sound(kind, rng):
    """A tone, a hiss or a sweep, (1, frames), of 0.1 to 0.4 s."""
    seconds, pitch, fade = (float(x) for x in torch.rand(3, generator=rng))
    n = round((0.1 + 0.3 * seconds) * RATE)
    t, pitch = torch.arange(n) / RATE, 200 + 800 * pitch
    if kind == "tone":
        wave = torch.sin(2 * math.pi * pitch * t) + 0.5 * torch.sin(2 * math.pi * 1.7 * pitch * t)
    elif kind == "hiss":
        wave = torch.randn(n, generator=rng)
    else:
        wave = torch.sin(2 * math.pi * pitch * t * (1 + 3 * t))
    wave = wave * torch.exp(-t * (3 + 12 * fade))
    return 0.7 * wave[None] / wave.abs().max()


def sounds(folder, count, seed=0):
    """A folder a class: tone, hiss, sweep."""
    rng, modality = torch.Generator().manual_seed(seed), Audio(int(RATE), 0.4)
    for kind in ("tone", "hiss", "sweep"):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            modality.write(folder / kind / f"{i:03d}.wav", sound(kind, rng))
    return folder


def _trained(folder, text, changes=()):
    (folder / "recipe.yaml").write_text(text)
    job = TrainingRun(load_recipe(folder / "recipe.yaml", list(changes)), folder / "run", say=lambda _: None, bar=False)
    job.prepare()
    job.run()
    return folder / "run"


@pytest.fixture(scope="session")
def tiny_pictures(tmp_path_factory):
    """The folder of a run of four steps on pictures that are made, with classes."""
    return _trained(tmp_path_factory.mktemp("pictures"), PICTURES)


@pytest.fixture(scope="session")
def tiny_sounds(tmp_path_factory):
    """The folder of a run of four steps on 60 sounds in the folder `data` next to it, three classes, of any length."""
    folder = tmp_path_factory.mktemp("sounds")
    return _trained(folder, SOUNDS, [f"data.root={sounds(folder / 'data', 20)}"])


@pytest.fixture(scope="session")
def made_sounds():
    """The function that writes such a folder: made_sounds(folder, count, seed)."""
    return sounds
