"""Networks that are read from files, are not trained, and are in no checkpoint.

A checkpoint stores a fingerprint instead, by which files other than those of the training are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..types import BadInput

DIGEST = 16  # bytes of a fingerprint


def fingerprint_of_files(files: Iterable[Path]) -> bytes:
    """Hash of the names and contents of files.

    Raises:
        BadInput: A file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=DIGEST)
    for path in sorted(files, key=lambda p: p.name):
        digest.update(path.name.encode() + b"\0")
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    return digest.digest()


def fingerprint_of_tensors(tensors: Mapping[str, Tensor], facts: Any) -> bytes:
    """Hash of names, types, shapes and values, and of facts that JSON can hold."""
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=DIGEST)
    for name in sorted(tensors):
        value = tensors[name].detach().cpu()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.digest()


def digest_tensor(value: bytes) -> Tensor:
    """A hash as a tensor, as checkpoints store it."""
    return torch.tensor(list(value), dtype=torch.uint8)


class Fingerprinted(nn.Module):
    """A module with the fingerprint of a network that is in no checkpoint."""

    fingerprint: Tensor

    def set_fingerprint(self, value: bytes) -> None:
        """Store the hash of the network's files, 16 bytes."""
        self.register_buffer("fingerprint", digest_tensor(value))

    def format_refusal(self, asked: str, found: str) -> str:
        """The message where the training had another fingerprint than this module; both hexadecimal."""
        return f"the run was trained with a network of hash {asked}, and the one here has {found}"

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any, **named: Any) -> None:  # type: ignore[override]
        """Hook of torch's `load_state_dict`: check that the files are those of the training.

        Raises:
            BadInput: They are others.
        """
        stored = state_dict.get(prefix + "fingerprint")
        own = self.fingerprint
        if stored is not None and not own.is_meta and not torch.equal(stored.cpu(), own.cpu()):
            raise BadInput(self.format_refusal(*(bytes(v.tolist()).hex() for v in (stored, own))))
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)  # type: ignore[arg-type]


class FrozenNetwork(Fingerprinted):
    """A network that moves with this module, and is not among its parameters and buffers.

    Args:
        network: The network; its parameters need no gradients from now on.
        fingerprint: Hash of its files, 16 bytes.
        source: Where it was read.
        key: Key of the recipe that names it.
    """

    def __init__(self, network: nn.Module, fingerprint: bytes, source: Path, key: str):
        super().__init__()
        self._held = [network.requires_grad_(False).eval()]  # in a list, so that checkpoints do not hold it
        self.set_fingerprint(fingerprint)
        self.source, self.key = source, key

    @property
    def network(self) -> Any:
        """The network, in evaluation mode."""
        return self._held[0]

    def format_refusal(self, asked: str, found: str) -> str:
        """Names the place, both hashes and the remedy."""
        return (
            f"{self.source}: its hash is {found}, and the run was trained with the codec of hash {asked}: "
            f"{self.key}=PATH names that one"
        )

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenNetwork:
        """Hook of torch's `to`: moves the network too."""
        self._held[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)
