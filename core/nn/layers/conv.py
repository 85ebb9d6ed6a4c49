"""Convolutions with one to three spatial axes, any of which can be circular; each call chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...types import BadInput


class _CircularAxes:
    """Adds to torch's convolutions: `wrap` at each call, and no use of torch's global generator.

    `reset_parameters` fills with zeros; `init.reset_parameters` draws the initial weights from a seed.
    """

    zero: bool = False  # initialise to zero, so that a residual branch has no effect at first
    weight: Tensor
    bias: Tensor | None
    padding: Any
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def reset_parameters(self) -> None:
        """Zeros; see `init.reset_parameters`."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        """Convolve.

        Args:
            input: (B, C_in, *spatial).
            wrap: Circular spatial axes (0 is the first).

        Returns:
            (B, C_out, *spatial / stride).
        """
        if not wrap or not any(self.padding):
            return super().forward(input)  # type: ignore[misc]
        pads = [(pad, pad) if axis in wrap else (0, 0) for axis, pad in enumerate(self.padding)]
        rest = tuple(0 if axis in wrap else pad for axis, pad in enumerate(self.padding))
        x = pad_axes(input, pads, "circular")
        return _FUNCTIONS[len(pads)](x, self.weight, self.bias, self.stride, rest, self.dilation, self.groups)


class Conv1d(_CircularAxes, nn.Conv1d):
    """`nn.Conv1d` whose axis may be circular."""


class Conv2d(_CircularAxes, nn.Conv2d):
    """`nn.Conv2d` any of whose axes may be circular."""


class Conv3d(_CircularAxes, nn.Conv3d):
    """`nn.Conv3d` any of whose axes may be circular."""


Conv = Conv1d | Conv2d | Conv3d
_CLASSES: dict[int, type[Any]] = {1: Conv1d, 2: Conv2d, 3: Conv3d}
_FUNCTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def make_conv(
    dims: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, zero: bool = False, bias: bool = True
) -> Conv:
    """A convolution over `dims` axes with zero padding kernel // 2 (none where the kernel is even).

    Args:
        dims: Number of spatial axes, 1 to 3.
        c_in: Input channels.
        c_out: Output channels.
        kernel: Elements along each axis; odd, or equal to the stride.
        stride: Step along each axis.
        zero: Initial weights are zero.
        bias: Whether a bias is added.

    Returns:
        A module (B, c_in, *spatial) -> (B, c_out, *spatial / stride), its weights zero until `init.reset_parameters`.

    Raises:
        BadInput: `dims` is not 1, 2 or 3.
    """
    if dims not in _CLASSES:
        raise BadInput(f"layers exist for 1, 2 or 3 spatial axes, not {dims}")
    layer = _CLASSES[dims](c_in, c_out, kernel, stride, kernel // 2 if kernel % 2 else 0, bias=bias)
    layer.zero = zero
    return layer


def pad_axes(x: Tensor, amounts: Sequence[tuple[int, int]], mode: str = "constant") -> Tensor:
    """Pad x along each spatial axis.

    Args:
        x: (B, C, *spatial).
        amounts: (before, after) for each spatial axis. Circular padding may be longer than the axis; the elements are
            then repeated several times.
        mode: "constant" (zeros), "replicate" or "circular".

    Returns:
        (B, C, *padded).
    """
    for axis, (before, after) in enumerate(amounts):
        if not before and not after:
            continue
        dim, n = axis + 2, x.shape[axis + 2]
        index = torch.arange(-before, n + after, device=x.device)
        if mode == "circular":
            x = x.index_select(dim, index % n)
        elif mode == "replicate":
            x = x.index_select(dim, index.clamp(0, n - 1))
        else:
            sides: list[Any] = [0, 0] * (x.ndim - dim - 1) + [before, after]
            x = F.pad(x, sides)
    return x
