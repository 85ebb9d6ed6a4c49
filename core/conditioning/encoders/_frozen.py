"""Frozen models of text encoders: read once for each process, not trained, and in no checkpoint."""

from __future__ import annotations

from ...nn.frozen import Fingerprinted
from .base import TextEncoder


class FrozenTextEncoder(Fingerprinted, TextEncoder):
    """A text encoder on top of a frozen model, which is identified by its fingerprint.

    Args:
        width: E, length of a token (the network's embedding width).
        fingerprint: Hash of the frozen model's files, 16 bytes.
        named: What the model is called in messages.
    """

    def __init__(self, width: int, fingerprint: bytes, named: str):
        super().__init__(width)
        self.named = named
        self.set_fingerprint(fingerprint)

    def format_refusal(self, asked: str, found: str) -> str:
        """Names the kind of the model."""
        return f"the run was trained with another {self.named} than the one here: use the version of the training"
