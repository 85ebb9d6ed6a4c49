"""Small networks that evaluation trains on the real data, kept in memory and as safetensors for later calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..util.atomic_replace import replace_whole_file
from ..util.notes import issue_note

Network = TypeVar("Network", bound=nn.Module)
FOLDER = "eval_cache"  # in the folder of a run
MOST_KEPT = 8  # networks in memory: those of a few evaluations of the same data, such as the arms of an ablation
_MEMORY: dict[str, nn.Module] = {}


def key_of(description: Any, *tensors: Tensor) -> str:
    """Name of a stored network: a hash of its settings, written as JSON, and of the data that it is trained on."""
    digest = hashlib.blake2b(json.dumps(description).encode(), digest_size=12)
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_or_train(key: str, cache: Path | None, build: Callable[[], Network], train: Callable[[], Network]) -> Network:
    """The network of this key in memory or in a folder, or else a trained one, which is stored in both.

    A file that does not hold such a network is replaced, with a warning; a folder that cannot be written to is a
    warning too.

    Args:
        key: Its name, see `key_of`.
        cache: The folder; None: it is kept in memory only.
        build: Builds the network with any weights.
        train: Builds and trains it.

    Returns:
        The network, which other callers share: read it only.
    """
    if key in _MEMORY:
        _MEMORY[key] = _MEMORY.pop(key)  # now the last to be dropped
        return cast(Network, _MEMORY[key])
    model = _load_or_train(None if cache is None else cache / f"{key}.safetensors", build, train)
    while len(_MEMORY) >= MOST_KEPT:
        _MEMORY.pop(next(iter(_MEMORY)))
    _MEMORY[key] = model
    return model


def _load_or_train(path: Path | None, build: Callable[[], Network], train: Callable[[], Network]) -> Network:
    if path is None:
        return train()
    if path.is_file() and (stored := _read(path, build)) is not None:
        return stored
    model = train()
    try:
        with replace_whole_file(path) as part:
            save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)
    except OSError as error:
        issue_note(f"{path}: not stored ({error.strerror or error}): the next eval trains it again", stacklevel=2)
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
        issue_note(f"{path}: not the network that eval stored ({reason}): it is trained again", stacklevel=3)
        return None
    return model.eval()
