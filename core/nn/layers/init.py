"""Initial weights from a seed: the same seed gives the same model, independent of what was drawn before.

Every layer draws from a generator keyed by (seed, the layer's name), so that adding a layer does not change the others.
torch's global generator is neither read nor changed.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...util.rng import keyed_generator

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def reset_parameters(module: nn.Module, seed: int) -> None:
    """Draw every parameter of a module again from `seed`, in place.

    A layer with a method `init_weights(rng)` (numpy Generator) draws its own weights. torch's linear and convolution
    layers and their
    subclasses get uniform weights with variance 1 / fan_in and zero biases; a layer with an attribute `zero = True` is
    set to zero. Any other layer with `reset_parameters` is reset by that method, inside a fork of torch's global
    generator.

    Args:
        module: The module whose parameters are drawn, including those of its submodules.
        seed: The seed; together with a layer's name it determines the layer's weights.
    """
    if any(p.is_meta for p in module.parameters()):  # there is nothing to draw
        return
    for name, layer in module.named_modules():
        rng = keyed_generator(seed, 0, "init", name)
        init_weights = getattr(layer, "init_weights", None)
        if callable(init_weights):
            init_weights(rng)
        elif isinstance(layer, _WEIGHTED):
            zero = bool(getattr(layer, "zero", False))
            fan_in_uniform_(layer.weight, rng, 0.0 if zero else 1.0)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif callable(getattr(layer, "reset_parameters", None)):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(int(rng.integers(2**63)))
                cast(Any, layer).reset_parameters()


@torch.no_grad()
def fan_in_uniform_(weight: Tensor, rng: np.random.Generator, gain: float = 1.0) -> None:
    """Fill a weight (out, in, *kernel) with U(-a, a), a = gain sqrt(3 / fan_in): variance gain^2 / fan_in."""
    bound = gain * math.sqrt(3 / max(1, weight[0].numel()))
    drawn = rng.random(weight.shape, dtype=np.float32) * (2 * bound) - bound
    weight.copy_(torch.from_numpy(np.asarray(drawn)))


@torch.no_grad()
def normal_(weight: Tensor, rng: np.random.Generator, std: float = 1.0) -> None:
    """Fill a tensor with normal numbers of standard deviation `std`."""
    weight.copy_(torch.from_numpy(np.asarray(rng.standard_normal(weight.shape, dtype=np.float32) * np.float32(std))))
