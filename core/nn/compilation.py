"""Regional compilation: every block of a network is compiled by torch.compile, and not the network as a whole.

Blocks of the same kind and shape share one compiled function, so that compiling takes the time of the different blocks
only (https://docs.pytorch.org/tutorials/recipes/regional_compilation.html). The forward function of a block is replaced
on the module itself: names of weights, hooks and copies that were made before stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .activation_checkpointing import find_blocks
from .layers.dropout import Dropout

BACKEND = "inductor"
"""The compiler of torch.compile: Triton on GPUs, the C++ compiler of the system on CPUs."""

_VARIANTS = 16  # compiled functions of each block, at most: parts of a batch have several sizes


def compile_blocks(network: nn.Module) -> int:
    """Let the blocks of a network run compiled, from now on; how many there are.

    Each is compiled when it is first called, and again for other shapes of its inputs. Dropout stays outside of the
    compiled functions, since its keys change at each step. Call this before blocks are checkpointed, which then repeats
    the compiled function, or divided among ranks.
    """
    blocks = find_blocks(network)
    config: Any = torch._dynamo.config
    most = _VARIANTS * len(blocks)  # blocks of one class count together
    config.recompile_limit = max(config.recompile_limit, most)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, most)
    for block in blocks:
        for layer in block.modules():
            if isinstance(layer, Dropout) and layer.p > 0:
                layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[assignment]
        block.forward = torch.compile(block.forward, dynamic=False, backend=BACKEND)
    return len(blocks)


def find_compiler_error(device: torch.device) -> str | None:
    """Compile a small function for a device, and say in a sentence why that fails; None: it does not."""
    try:
        x = torch.ones(4, device=device, requires_grad=True)
        torch.compile(_double_sine, dynamic=False, backend=BACKEND)(x).sum().backward()
    except Exception as error:  # no Triton, no C or C++ compiler, an unsupported GPU, a version of Python, ...
        return " ".join(str(error).split()).split(". ")[0] or type(error).__name__
    return None


def _double_sine(x: torch.Tensor) -> torch.Tensor:
    return 2 * x.sin()
