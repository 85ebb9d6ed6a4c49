"""A reference that a network was trained with: see the condition `reference`."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..types import Conditioning, move_like
from .base import Edit


class ReferenceEdit(Edit):
    """Gives the network a reference as channels next to the noisy sample.

    Args:
        name: Name of the condition.
        channels: (B, C', *spatial), see `reference_channels`.
        always: Whether the network was never trained without it; guidance does not drop it then.
    """

    def __init__(self, name: str, channels: Tensor, always: bool = False):
        self.name, self.channels, self.always = name, channels, always

    def conditions(self, conditions: Conditioning) -> Conditioning:
        if self.name not in conditions.concat:  # of an auxiliary model that takes no reference
            return conditions
        channels = move_like(self.channels, conditions.concat[self.name])
        kept = {self.name: channels} if self.always else {}
        return replace(
            conditions,
            concat={**conditions.concat, self.name: channels},
            unconditional={**conditions.unconditional, **kept},
        )
