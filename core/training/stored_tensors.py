"""Reads the tensors of a checkpoint, and checks them.

This is the one place where stored weights (float32, float16, or int8 with scales) become those of a module.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..types import BadInput
from ..util.messages import shorten
from .quantization import SCALE, dequantize_weights

MOST_HEADER_BYTES = 16 * 2**20  # names and shapes of tensors, and the header of sonolux


class StoredTensors:
    """The tensors of a checkpoint. Opening reads their names and shapes only.

    Args:
        path: The checkpoint.

    Attributes:
        path: The checkpoint.
        names: Names of all tensors, those of scales included.
        metadata: The texts of the header of safetensors.

    Raises:
        BadInput: There is no such file, it is damaged, or scales do not fit the integers that they belong to.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise BadInput(f"{path}: no such checkpoint")
        try:
            with open(path, "rb") as f:
                length = int.from_bytes(f.read(8), "little")
            if MOST_HEADER_BYTES < length < path.stat().st_size:
                raise BadInput(
                    f"{path}: its header has {length} bytes, and one of sonolux has at most {MOST_HEADER_BYTES}"
                )
            self._file = safe_open(str(path), framework="pt")
        except (SafetensorError, OSError, ValueError) as e:
            raise BadInput(f"{path}: damaged, or not a checkpoint ({shorten(str(e), 150)})") from e
        self.path, self.metadata = path, dict(self._file.metadata() or {})
        self.names: list[str] = list(self._file.keys())
        known = set(self.names)
        self._quantized = {k for k in self.names if k + SCALE in known and self._type(k) == "I8"}
        for name in self._quantized:
            self._check_scale(name)

    def _check_scale(self, name: str) -> None:
        shape, scale, scale_type = self.shape(name), self.shape(name + SCALE), self._type(name + SCALE)
        if scale != shape[:1] or not shape or scale_type not in _SCALE_TYPES:
            raise BadInput(
                f"{self.path}: damaged: the scales of {shorten(name, 60)} are {scale_type} of shape {scale}, and its "
                f"weights have the shape {shape}"
            )

    def _type(self, name: str) -> str:
        """The type in the file: F32, BF16, F8_E4M3, I8."""
        return self._file.get_slice(name).get_dtype()

    def shape(self, name: str) -> list[int]:
        """The shape of a tensor."""
        return self._file.get_slice(name).get_shape()

    def is_real(self, name: str) -> bool:
        """Whether a tensor has real numbers: it has a floating-point type, or is integers with scales."""
        return name in self._quantized or self._type(name).startswith(_REAL)

    def lacks_scale(self, name: str) -> bool:
        """Whether a tensor is integers of 8 bits without scales, so that it cannot be weights."""
        return name not in self._quantized and self._type(name) == "I8"

    def names_of(self, part: str) -> dict[str, str]:
        """Name in the module -> name in the file, for the tensors of a part; scales belong to their weights."""
        start = part + "."
        return {k[len(start) :]: k for k in self.names if k.startswith(start) and not self._is_scale(k)}

    def _is_scale(self, name: str) -> bool:
        return name.endswith(SCALE) and name.removesuffix(SCALE) in self._quantized

    def read(self, name: str) -> Tensor:
        """A tensor as it is stored; raises BadInput if it cannot be read, or has values that are not finite."""
        return self._checked(name, self._read(name))

    def read_weights(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor as weights: integers are multiplied by their scales, and the result is converted.

        Args:
            name: Name in the file.
            dtype: The type of the module; None: as stored, and float32 for integers with scales.

        Raises:
            BadInput: It cannot be read, or has values that are not finite in this type.
        """
        value = self._read(name)
        if name in self._quantized:
            value = dequantize_weights(value, self.read(name + SCALE))
        try:
            return self._checked(name, value if dtype is None else value.to(dtype))
        except (RuntimeError, TypeError) as e:
            raise self._damaged(name, e) from e

    def _read(self, name: str) -> Tensor:
        try:
            return self._file.get_tensor(name)
        except (
            SafetensorError,
            OSError,
            RuntimeError,
            TypeError,
            AttributeError,
        ) as e:  # types that torch does not have
            raise self._damaged(name, e) from e

    def _damaged(self, name: str, error: Exception) -> BadInput:
        return BadInput(f"{self.path}: damaged: the tensor {name} cannot be read ({error})")

    def _checked(self, name: str, value: Tensor) -> Tensor:
        if not is_finite(value):
            raise BadInput(
                f"{self.path}: the tensor {name} contains values that are not finite (NaN or infinity): use an earlier "
                "checkpoint of the run, or train again"
            )
        return value


_SCALE_TYPES = ("F16", "BF16", "F32", "F64")
_REAL = ("F", "BF")  # how names of types of real numbers begin


def is_finite(value: Tensor) -> bool:
    """Whether a tensor contains no NaN and no infinity."""
    if value.is_floating_point() and value.element_size() == 1:  # torch does not add such numbers
        value = value.float()
    if not value.is_floating_point() or bool(torch.isfinite(value.sum())):  # a sum keeps NaN and infinity
        return True
    return bool(torch.isfinite(value).all())  # the sum alone may overflow
