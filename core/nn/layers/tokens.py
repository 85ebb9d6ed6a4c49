"""Token conditions as a network uses them: one sequence to attend to, and its mean."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...types import Tokens


def join_tokens(tokens: Mapping[str, Tokens]) -> Tokens | None:
    """The tokens of all conditions as one sequence, in which masked tokens are zero; None without a condition.

    Args:
        tokens: Name -> (B, L, E) with a mask (B, L).

    Returns:
        (B, sum of L, E) with a mask.
    """
    if not tokens:
        return None
    mask = torch.cat([part.mask for part in tokens.values()], dim=1)
    values = torch.cat([part.values for part in tokens.values()], dim=1)
    return Tokens(values.masked_fill(~mask[..., None], 0), mask)


def mean_token(tokens: Tokens) -> Tensor:
    """The mean over the tokens that are not masked, (B, E); 0 if all are."""
    kept = tokens.mask[..., None].to(tokens.values.dtype)
    return (tokens.values * kept).sum(1) / kept.sum(1).clamp(min=1)
