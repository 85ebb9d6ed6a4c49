"""Activation checkpointing: blocks keep their inputs only, and are computed again in the backward pass.

Chen et al. 2016, arXiv:1604.06174. The memory of activations falls from all tensors in a block to its inputs, and a
step takes one more forward pass of the blocks, up to a third of its time. The gradients are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .layers.attention import Attention, SpatialCrossAttention
from .layers.block import ResidualBlock
from .layers.dropout import remember_dropout
from .layers.transformer_block import TransformerBlock

BLOCKS = (ResidualBlock, Attention, SpatialCrossAttention, TransformerBlock)
"""The blocks of the U-Nets and transformers. None contains another one."""


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network, in the order in which it defines them."""
    return [module for module in network.modules() if isinstance(module, BLOCKS)]


def checkpoint_blocks(network: nn.Module) -> int:
    """Let the blocks of a network keep their inputs only, from now on; how many there are."""
    blocks = find_blocks(network)
    for block in blocks:
        block.forward = partial(_recomputed, block.forward)  # inside of hooks, such as those that gather shards
    return len(blocks)


def _recomputed(forward: Callable[..., Tensor], *inputs: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    contexts = partial(lambda again: (nullcontext(), again), remember_dropout())
    # No block draws from torch's global generator, whose state would be copied from the device otherwise.
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
