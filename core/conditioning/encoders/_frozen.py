"""Frozen models of text encoders: read once for each process, not trained, and in no checkpoint.

A checkpoint stores a fingerprint, by which a model other than that of the training is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...types import BadInput
from .base import TextEncoder

_DIGEST = 16  # bytes


def fingerprint_of_files(files: Iterable[Path]) -> bytes:
    """Hash of the names and contents of files.

    Raises:
        BadInput: A file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for path in sorted(files, key=lambda p: p.name):
        digest.update(path.name.encode() + b"\0")
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    return digest.digest()


class FrozenTextEncoder(TextEncoder):
    """A text encoder on top of a frozen model, which is identified by its fingerprint.

    Args:
        width: E, length of a token.
        fingerprint: Hash of the frozen model's files, 16 bytes.
        named: What the model is called in messages.
    """

    fingerprint: Tensor

    def __init__(self, width: int, fingerprint: bytes, named: str):
        super().__init__(width)
        self.named = named
        self.register_buffer("fingerprint", torch.tensor(list(fingerprint), dtype=torch.uint8))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:  # type: ignore[override]
        """Hook of torch's `load_state_dict`: check that the model is that of the training.

        Raises:
            BadInput: It is another one.
        """
        stored = state_dict.get(prefix + "fingerprint")
        if (
            stored is not None
            and not self.fingerprint.is_meta
            and not torch.equal(stored.cpu(), self.fingerprint.cpu())
        ):
            raise BadInput(
                f"the run was trained with another {self.named} than the one here: use the version of the training"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[arg-type]
