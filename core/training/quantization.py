"""Weights as integers of 8 bits, with one scale for each output channel: the small form of a checkpoint's weights.

Row i of a matrix or kernel w, (rows, ...), is stored as w_i ~ scale_i q_i, with q_i = round(w_i / scale_i) from -127 to
127 and scale_i = max|w_i| / 127 (symmetric, one scale per channel; Krishnamoorthi 2018, arXiv:1806.08342). The error of
a weight is at most scale_i / 2. A row is an output channel of a linear or convolution layer, or an entry of an
embedding.

In a file the integers have the name of the weights, and the scales that name with ".scale".
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

SCALE = ".scale"  # no tensor of a module has such a name: that of a tensor is no module
LEVELS = 127  # of each sign; -128 is not used
KEPT_SHARE = 1 / 16  # of the weights of all matrices: the smallest matrices, which remain float16

StoredType = Literal["int8", "float16"]
STORED_TYPES: tuple[StoredType, ...] = get_args(StoredType)


def quantize_weights(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Round weights to integers.

    Args:
        weights: (rows, ...), finite.

    Returns:
        Integers of the same shape, int8, and scales (rows,), float32; the scale of a row of zeros is 0.
    """
    rows = weights.detach().float().flatten(1)
    scale = rows.abs().amax(1) / LEVELS
    steps = torch.where(scale > 0, scale, 1)[:, None]
    integers = (rows / steps).round().clamp(-LEVELS, LEVELS)  # a scale below 1e-38 is not exact
    return integers.to(torch.int8).reshape(weights.shape), scale


def dequantize_weights(integers: Tensor, scale: Tensor) -> Tensor:
    """The weights of integers (rows, ...) and scales (rows,): scale_i q_i, float32."""
    return integers.float() * scale.float().reshape(-1, *[1] * (integers.ndim - 1))


def stored_weights(module: nn.Module, stored_type: StoredType) -> dict[str, Tensor]:
    """The state of a module as a part of a checkpoint, in a small form.

    Buffers stay as they are, such as the frequencies of embeddings: rounded, they would be another input at all noise
    levels. For "int8", the smallest matrices remain float16, as many as hold `KEPT_SHARE` of the weights: the layers at
    the input and the output, and those of the finest resolution, are among them. The samples depend on these most.

    Args:
        module: A network or a codec.
        stored_type: Parameters as "float16", or matrices and kernels as "int8" and the rest as "float16".

    Returns:
        Name -> tensor; names of scales end with ".scale".
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    kept = _largest_kept(list(parameters.values())) if stored_type == "int8" else None
    found = {}
    for name, value in module.state_dict().items():
        if name not in parameters or not value.is_floating_point():
            found[name] = value
        elif kept is None or value.ndim < 2 or value.numel() <= kept:
            found[name] = value.half()
        else:
            found[name], found[name + SCALE] = quantize_weights(value)
    return found


def _largest_kept(parameters: list[Tensor]) -> int:
    """The largest number of weights of a matrix that remains float16; matrices of one size are treated alike."""
    sizes = sorted(p.numel() for p in parameters if p.ndim >= 2)
    allowed = KEPT_SHARE * sum(sizes)
    return max((n for n in set(sizes) if sum(m for m in sizes if m <= n) <= allowed), default=0)
