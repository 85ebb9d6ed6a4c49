"""A small diffusion model from the components of the core, in one file: training, then sampling of images and sounds.

    python examples/from_scratch.py            # about a minute on two cores; writes out/from_scratch/

The noise schedule defines alpha(t) and sigma(t), the parameterization defines what the network's output means, and the
sampler solves the reverse process from noise to data. All code below works on tensors (B, C, *spatial); only the data
and the network depend on the modality.
"""

from pathlib import Path

import numpy as np
import sonolux
import torch
from sonolux.core.nn.model import NetworkDenoiser
from sonolux.core.noise_conditioning.c_noise import CNoise
from sonolux.core.objectives.timestep_sampling.lognormal import LogNormal
from sonolux.core.parameterizations.edm import EDM as Preconditioned
from sonolux.core.schedulers.edm import EDM
from sonolux.core.training.ema import EMA
from sonolux.core.types import Conditioning, MediaSpec
from sonolux.core.util.rng import KeyedNoise, keyed_generator, stratified_uniforms

SEED, BATCH = 0, 32
OUT = Path("out/from_scratch")


def a_picture(rng: np.random.Generator) -> torch.Tensor:
    """A soft bright disc of random position and size on a dark background: (1, 16, 16) in [-1, 1]."""
    cx, cy, radius = rng.uniform(4, 12), rng.uniform(4, 12), rng.uniform(2, 5)
    y, x = np.mgrid[:16, :16]
    return torch.from_numpy(np.tanh(radius - np.hypot(x - cx, y - cy))[None].astype(np.float32))


def a_sound(rng: np.random.Generator) -> torch.Tensor:
    """A decaying sine of random pitch: (1, 2048) at 4 kHz, in [-1, 1]."""
    t = np.arange(2048) / 4000
    tone = np.exp(-t * rng.uniform(4, 12)) * np.sin(2 * np.pi * rng.uniform(150, 900) * t)
    return torch.from_numpy(tone[None].astype(np.float32))


def train(network: torch.nn.Module, example, mean: float, scale: float, steps: int) -> torch.nn.Module:
    """Train the network to denoise, and return it with averaged weights."""
    schedule, parameterization, timestep_sampling = EDM(), Preconditioned(), LogNormal(mean=-0.4, std=1.2)
    denoiser = NetworkDenoiser(network, parameterization, CNoise())
    optimizer, average = torch.optim.AdamW(network.parameters(), lr=2e-3), EMA(network, half_life=50)
    for step in range(steps):
        # 1. Data with mean 0 and variance 1; random numbers are keyed, so that example i of step k is always the same.
        x0 = torch.stack([example(keyed_generator(SEED, i, "example", step)) for i in range(BATCH)])
        x0 = (x0 - mean) / scale
        # 2. One noise level per sample, by stratified sampling from the density of training times.
        level = schedule.level(timestep_sampling.sample(stratified_uniforms(SEED, step, BATCH, range(BATCH)), schedule))
        at = level.on(x0)
        # 3. Add noise: x = alpha x0 + sigma eps.
        eps = KeyedNoise(SEED, range(BATCH), tuple(x0.shape[1:])).normal("train", step)
        x = at.alpha * x0 + at.sigma * eps
        # 4. Squared error between the network's output and its target.
        loss = (denoiser.output(x, level, Conditioning()) - parameterization.target(x0, eps, at)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(network, step + 1)
        if step % 50 == 0:
            print(f"step {step:4d}  loss {loss.item():.4f}")
    return average.model


def train_and_sample(kind: str, spec: MediaSpec, example, steps: int) -> torch.Tensor:
    """Measure mean and standard deviation of the data, train a network, and sample eight new examples."""
    data = torch.stack([example(keyed_generator(SEED, i, "measure")) for i in range(256)])
    mean, scale = float(data.mean()), float(data.std())
    if kind == "picture":
        from sonolux.modalities.image.networks.unet import UNet
    else:
        from sonolux.modalities.audio.networks.unet import UNet
    patch, stages = (2, [1, 2]) if kind == "picture" else (16, [1, 2, 2, 2])
    # Position channels let the network place the onset of a tone at the beginning.
    network = UNet(spec, width=48, stages=stages, blocks=1, patch=patch, positions=4)
    average = train(network, example, mean, scale, steps)
    denoiser = NetworkDenoiser(average, Preconditioned(), CNoise())
    # From pure noise to data in 20 steps; row i of a seed is the same in any batch.
    return sonolux.sample(denoiser, (8, *spec.latent), sampler="dpmpp_2m", steps=20, seed=1) * scale + mean


def main(steps: int = 1000) -> None:
    """Train both models, and write their samples."""
    from sonolux.modalities.audio.modality import Audio
    from sonolux.modalities.image.modality import Image

    OUT.mkdir(parents=True, exist_ok=True)
    pictures = train_and_sample(
        "picture", MediaSpec("image", 1, ("height", "width"), (16, 16), latent=(1, 16, 16)), a_picture, steps
    )
    Image(size=16, channels=1).sheet(OUT / "pictures.png", list(pictures))
    sounds = train_and_sample(
        "sound", MediaSpec("audio", 1, ("time",), (2048,), (4000,), latent=(1, 2048)), a_sound, steps
    )
    audio = Audio(rate=4000, seconds=0.512, channels=1)
    audio.sheet(OUT / "sounds.png", list(sounds))
    for i, sound in enumerate(sounds):
        audio.write(OUT / f"sound-{i}.wav", sound)
    print(f"samples: {OUT}/pictures.png, {OUT}/sounds.png, {OUT}/sound-*.wav")


if __name__ == "__main__":
    main()
