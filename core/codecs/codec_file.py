"""Files of trained codecs: weights, what a codec that reads them must agree with, and a hash of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..nn.frozen import fingerprint_of_tensors
from ..types import BadInput
from ..util.atomic_replace import replace_whole_file
from ..util.messages import shorten

_META = "sonolux_codec"
_MOST_HEADER_BYTES = 2**22


def write_codec_file(path: Path, parts: nn.Module, facts: Mapping[str, Any]) -> None:
    """Write what is fitted, with the facts that a reader must agree with."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in parts.state_dict().items()}
    meta = {"facts": facts, "hash": fingerprint_of_tensors(tensors, facts).hex()}
    with replace_whole_file(path) as part:
        save_file(tensors, part, metadata={_META: json.dumps(meta)})


def load_codec_file(path: Path, parts: nn.Module, facts: Mapping[str, Any]) -> bytes:
    """Load a trained codec from a file; returns its hash.

    Raises:
        BadInput: The file is missing or damaged, or its codec is another kind of codec than the recipe's.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file of a trained codec: codec.file=PATH names one, or null trains one")
    try:
        with open(path, "rb") as f:
            length = int.from_bytes(f.read(8), "little")
        if length > _MOST_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        with safe_open(str(path), framework="pt") as file:
            stored = json.loads((file.metadata() or {})[_META])
            found = {str(k): v for k, v in stored["facts"].items()}
            _check_facts(path, found, facts)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        digest = fingerprint_of_tensors(tensors, found)
        if digest.hex() != stored["hash"]:
            raise ValueError("its hash is not that of its contents")
        parts.load_state_dict(tensors)
    except BadInput:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = shorten(" ".join(str(error).split()), 80)
        raise BadInput(f"{path}: damaged, or not a trained codec of sonolux ({reason})") from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise BadInput(f"{path}: damaged: it contains values that are not finite")
    return digest


def _check_facts(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in dict.fromkeys([*expected, *found]):
        if found.get(name) != expected.get(name):
            here, there = (shorten(str(facts.get(name)), 40) for facts in (expected, found))
            raise BadInput(
                f"{path}: a codec whose {name} is {there}, and the recipe's is {here}: change the recipe, or the file"
            )
