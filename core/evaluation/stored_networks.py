"""Small networks that evaluation trains on the real data, stored as safetensors, so that a later call reads them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..util.atomic_replace import replace_whole_file

Network = TypeVar("Network", bound=nn.Module)
FOLDER = "eval_cache"  # in the folder of a run


def key_of(description: Any, *tensors: Tensor) -> str:
    """Name of a stored network: a hash of its settings, written as JSON, and of the data that it is trained on."""
    digest = hashlib.blake2b(json.dumps(description).encode(), digest_size=12)
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_or_train(path: Path | None, build: Callable[[], Network], train: Callable[[], Network]) -> Network:
    """The stored network, or else a trained one, which is stored.

    A file that does not hold such a network is replaced, with a warning; a folder that cannot be written to is a
    warning too.

    Args:
        path: Where it is stored; None: nowhere.
        build: Builds the network with any weights.
        train: Builds and trains it.
    """
    if path is None:
        return train()
    if path.is_file() and (stored := _read(path, build)) is not None:
        return stored
    model = train()
    try:
        with replace_whole_file(path) as part:
            save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)
    except OSError as error:
        warnings.warn(f"{path}: not stored ({error.strerror or error}): the next eval trains it again", stacklevel=2)
    return model


def _read(path: Path, build: Callable[[], Network]) -> Network | None:
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn
        model = build()
    try:
        model.load_state_dict(load_file(path))
        if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
            raise ValueError("values that are not finite")
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:60]
        warnings.warn(f"{path}: not the network that eval stored ({reason}): it is trained again", stacklevel=3)
        return None
    return model.eval()
