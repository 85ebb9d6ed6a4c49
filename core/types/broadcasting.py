"""Values of a batch, of its samples or of their elements, and how they are broadcast against x (B, C, *spatial)."""

from __future__ import annotations

import torch
from torch import Tensor

Number = float | Tensor


def move_like(value: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Move `value` to the device and dtype of x.

    The copy to a GPU starts from pinned memory and does not block the host.

    Args:
        value: Any tensor.
        x: Gives the device and the dtype.
        dtype: Overrides the dtype of x.
    """
    dtype = x.dtype if dtype is None else dtype
    if x.is_cuda and not value.is_cuda:
        return value.to(dtype).pin_memory().to(x.device, non_blocking=True)
    return value.to(device=x.device, dtype=dtype)


def broadcast_like(value: Number, x: Tensor) -> Number:
    """Reshape `value` to broadcast against x (B, C, *spatial): (B,) becomes (B, 1, ..., 1), others are unchanged."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    value = move_like(value, x)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim == 1 else value


def per_sample_value(value: Number, x: Tensor) -> Tensor:
    """`value` as a network receives it: (B,) or a map (B, 1, *spatial), on the device and in the dtype of x."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        if isinstance(value, Tensor):
            return move_like(value, x).expand(x.shape[0])
        return torch.full((x.shape[0],), value, device=x.device, dtype=x.dtype)
    value = move_like(value, x)
    if value.ndim == x.ndim and all(n == 1 for n in value.shape[1:]):
        return value.reshape(-1)
    return value
