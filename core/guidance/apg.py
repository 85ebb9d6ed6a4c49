"""Adaptive projected guidance (Sadat et al. 2025, arXiv:2410.02416, algorithm 1) in x0 space, where its
authors use it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import BadInput, Estimate, NoiseLevel
from .base import ALWAYS, FULL, NULL, Branch, Guidance, GuidanceInputs, checked_window, ratio


class APG(Guidance):
    """Adaptive projected guidance: high scales without oversaturation.

    push = full - null + momentum (push of the call before)
    push = push min(1, threshold / rms(push))
    push = orthogonal + eta parallel, its parts orthogonal and parallel to full
    x0 = guided + (scale - 1) push

    Means and products are over the valid elements of each sample. Gradients see the push of the call before as a
    constant.

    scale:     1 is no guidance, above 1 follows the condition more closely
    eta:       share of the parallel part that stays, 0 to 1; it is what oversaturates. 1 is classifier-free guidance
    threshold: largest root mean square of the push, in units of the diffused tensor; null: none. The paper's r is a
               norm, threshold times the root of the number of elements: 15 on 4 x 128 x 128 latents is 0.06
    momentum:  share of the push of the call before, negative to oppose it, -1 to 1
    window:    lowest and highest noise level, as tau = sigma / (alpha + sigma), at which it acts
    """

    def __init__(
        self,
        scale: float = 3.0,
        eta: float = 0.0,
        threshold: float | None = None,
        momentum: float = -0.5,
        window: tuple[float, float] = ALWAYS,
    ):
        if threshold is not None and not threshold > 0:
            raise BadInput(f"apg's threshold is above 0, or null for none, not {threshold}")
        if not -1 < momentum < 1:
            raise BadInput(f"apg's momentum is between -1 and 1, or it grows without end, not {momentum}")
        self.scale, self.eta, self.threshold, self.momentum = float(scale), float(eta), threshold, float(momentum)
        self.window, self.remembers = checked_window(window, "apg"), momentum != 0
        self._push: Tensor | None = None  # of the call before

    def wants(self, level: NoiseLevel) -> Sequence[Branch]:
        return () if self.scale == 1 else (FULL, NULL)

    def combine(self, at: GuidanceInputs) -> Estimate:
        if self.scale == 1:
            return Estimate(at.guided)
        full = at.estimates[FULL]
        push = self._limited(at, self._remembered(at, full - at.estimates[NULL]))
        share = ratio(at.mean(push * full), at.mean(full * full))  # (B, 1, ..., 1)
        push = push - (1 - self.eta) * share * full
        return Estimate(torch.add(at.guided, push, alpha=self.scale - 1))

    def _remembered(self, at: GuidanceInputs, push: Tensor) -> Tensor:
        """The push with its momentum; elements outside of the window keep what they had."""
        if self.momentum == 0:
            return push
        before = torch.zeros_like(push) if self._push is None else self._push
        push = push + self.momentum * before
        if at.counts is not None:
            push = torch.where(at.counts > 0, push, before)
        self._push = push.detach()
        return push

    def _limited(self, at: GuidanceInputs, push: Tensor) -> Tensor:
        if self.threshold is None:
            return push
        square = at.mean(push * push)
        above = square > self.threshold**2
        return push * torch.where(above, self.threshold * torch.where(above, square, 1.0).rsqrt(), 1.0)
