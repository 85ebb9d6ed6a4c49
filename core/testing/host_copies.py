"""Finds copies from the host for which a GPU step would wait, without a GPU: the `meta` device stands for it.

A tensor on `meta` has no values, so that reading one on the host, for which a GPU step would wait too, is an error.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..types import move_like
from ..util.philox import copy_to_device

_PINNED = frozenset(function.__code__ for function in (move_like, copy_to_device))  # they copy from pinned memory


class HostCopyRecorder(TorchFunctionMode):
    """Context that records calls that copy from the host to `meta`, except asynchronous copies from pinned memory.

    Attributes:
        found: Place of each such call, `file:line function`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.is_meta and not kwargs.get("non_blocking"):
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            from_host = any(value.device.type == "cpu" and value.ndim for value in given) if given else False
            if from_host or func in (torch.tensor, torch.as_tensor, torch.from_numpy):
                self._record(sys._getframe(1))
        return result

    def _record(self, frame: FrameType | None) -> None:
        first = None
        while frame is not None:
            if frame.f_code in _PINNED:
                return
            if first is None and "/torch/" not in frame.f_code.co_filename:
                first = frame
            frame = frame.f_back
        if first is not None:
            self.found.append(f"{first.f_code.co_filename}:{first.f_lineno} {first.f_code.co_name}")
