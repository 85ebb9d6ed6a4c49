"""The networks of `gpu.py`: our U-Net and transformer, each with diffusers' of the same widths, depths and attention.

They are not the same function: diffusers' U-Net has one residual block more in each stage of the decoder, which ours
has everywhere (15 blocks, diffusers' 17), a middle block, a skip connection for each block, and attention after each
block of a stage; its transformer has a GELU instead of SwiGLU. So the tables state weights and FLOPs of both, and the
ratio of FLOP/s next to that of pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from _peers import schedulers as diffusers
from sonolux.core.nn import compilation
from sonolux.core.nn.dit import TransformerSize
from sonolux.core.types import MediaSpec
from sonolux.core.util.device import autocast
from sonolux.modalities.image.networks.dit import DiT
from sonolux.modalities.image.networks.unet import UNet
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class PairSize:
    """Sizes of the compared networks.

    Attributes:
        pixels: Height and width of the pictures.
        batch: Pictures of a step.
        width: Channels of the finest stage of the U-Nets; the other two have twice as many, and attend.
        blocks: Residual blocks of a stage of the encoder; ours has one more everywhere.
        depth: Blocks of the transformers.
        heads: Attention heads of the transformers, of 64 channels each.
        patch: Pixels of a patch of the transformers along each axis.
    """

    pixels: int = 64
    batch: int = 64
    width: int = 128
    blocks: int = 2
    depth: int = 12
    heads: int = 6
    patch: int = 4


TOY = PairSize(16, 2, 32, 1, 1, 1, 4)
_HEAD = 64


class LabelledNetwork(nn.Module):
    """diffusers' transformer, which always takes a class: the first one."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Any:
        """x (B, C, H, W), t (B,)."""
        return self.network(x, timestep=t, class_labels=torch.zeros_like(t, dtype=torch.long))


def our_unet(size: PairSize) -> nn.Module:
    """Our U-Net."""
    blocks = size.blocks + 1  # as in the decoder of diffusers
    return UNet(_spec(size), width=size.width, stages=[1, 2, 2], blocks=blocks, attention=[1, 2], head_dim=_HEAD)


def our_dit(size: PairSize) -> nn.Module:
    """Our transformer."""
    return DiT(_spec(size), size=TransformerSize(size.depth, _HEAD * size.heads, size.heads), patch=size.patch)  # type: ignore[arg-type]


def their_unet(size: PairSize) -> nn.Module:
    """diffusers' UNet2DModel."""
    return diffusers().UNet2DModel(
        sample_size=size.pixels,
        layers_per_block=size.blocks,
        block_out_channels=(size.width, 2 * size.width, 2 * size.width),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=_HEAD,
    )


def their_dit(size: PairSize) -> nn.Module:
    """diffusers' DiTTransformer2DModel."""
    network = diffusers().DiTTransformer2DModel(
        num_attention_heads=size.heads,
        attention_head_dim=_HEAD,
        in_channels=3,
        out_channels=3,
        num_layers=size.depth,
        sample_size=size.pixels,
        patch_size=size.patch,
        num_embeds_ada_norm=1,
    )
    return LabelledNetwork(network)


PAIRS: dict[str, tuple[Callable[[PairSize], nn.Module], Callable[[PairSize], nn.Module]]] = {
    "U-Net": (our_unet, their_unet),
    "DiT": (our_dit, their_dit),
}


def _spec(size: PairSize) -> MediaSpec:
    shape = (size.pixels, size.pixels)
    return MediaSpec("image", 3, ("height", "width"), shape, latent=(3, *shape))


@dataclass
class TimedTraining:
    """A network in training, and the times of its steps.

    Attributes:
        step: Makes a step: noise prediction of a fixed batch, AdamW.
        parameters: Number of weights.
        flops: FLOPs of a step, forward and backward: those of matrix products, convolutions and attention.
        times: Seconds of a step, one for each round.
    """

    step: Callable[[], None]
    parameters: int
    flops: float
    times: list[float] = field(default_factory=list)


def make_training(network: nn.Module, size: PairSize, device: torch.device, compiled: bool) -> TimedTraining:
    """A training of a network on the device, in bf16 on a GPU and in float32 on a CPU."""
    network = network.to(device).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size.batch, 3, size.pixels, size.pixels, generator=generator).to(device)
    x = x.contiguous(memory_format=torch.channels_last)
    t, target = torch.linspace(0, 1, size.batch, device=device), x.flip(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    precision = "bf16" if device.type == "cuda" else "float32"

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            out = network(x, t)
        (output_of(out).float() - target).square().mean().backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    if compiled:
        # Without a GPU the graph is made and run as it is, since the compiler for CPUs takes minutes.
        compilation.BACKEND = "inductor" if device.type == "cuda" else "eager"
        if not compilation.compile_blocks(network):  # not ours
            network.compile(backend=compilation.BACKEND)
    return TimedTraining(step, sum(p.numel() for p in network.parameters()), float(counter.get_total_flops()))


def output_of(out: Any) -> Tensor:
    """The tensor that a network returns, which those of diffusers call `sample`."""
    return out if isinstance(out, Tensor) else out.sample


def measure_in_turns(runs: list[TimedTraining], device: torch.device, seconds: float, least: int = 5) -> None:
    """Warm up, then time steps of the runs in turns, so that other work on the machine affects all of them alike.

    Args:
        runs: The trainings.
        device: Their device.
        seconds: Time for all of them, without warming up, in which a compiled network is compiled.
        least: Rounds that are made even if this takes longer.
    """
    for run in runs:
        for _ in range(3):
            run.step()
    end = time.perf_counter() + seconds
    while len(runs[0].times) < least or (time.perf_counter() < end and len(runs[0].times) < 200):
        for run in runs:
            run.times.append(seconds_of_step(run.step, device))


def seconds_of_step(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, to the end of the device's work."""
    wait_for(device)
    began = time.perf_counter()
    step()
    wait_for(device)
    return time.perf_counter() - began


def wait_for(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
