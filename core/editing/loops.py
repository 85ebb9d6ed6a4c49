"""Seamless loops: sounds without a beginning, pictures that tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..codecs.base import Codec
from ..guidance.base import Run
from ..types import Conditioning, Denoiser, Estimate, NoiseLevel, Number
from ..util.rng import generator
from .base import Edit


class Loop(Edit):
    """The axes are circles: networks pad circularly along them, and see the state turned by a random amount each time.

    The turns are keyed by sample, axis and call, and undone in the estimate. They make the law of the samples the same
    at every place, whatever the network does at its edges, so the seam is a place like any other.

    axes: spatial axes that are loops
    roll: turn the state at every evaluation
    """

    def __init__(self, axes: Sequence[int], roll: bool = True):
        self.axes, self.roll = tuple(axes), roll

    def conditions(self, conditions: Conditioning) -> Conditioning:
        return replace(conditions, wrap=self.axes)

    def within(self, denoiser: Denoiser, run: Run) -> Denoiser:
        return _Turned(self, denoiser, run) if self.roll else denoiser


class _Turned(Denoiser):
    """D(x) = turned back(D(turned(x)))."""

    def __init__(self, edit: Loop, denoiser: Denoiser, run: Run):
        self.edit, self.denoiser, self.run, self.calls = edit, denoiser, run, 0

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        turns = []
        for axis in self.edit.axes:
            n = x.shape[2 + axis]
            u = self.run.noise.uniform(f"turn {axis}", self.calls)
            by = (u * n).long().clamp(max=n - 1)
            turns.append((2 + axis, by.repeat(len(x) // len(by))))  # guidance stacks the samples
        self.calls += 1
        fields = [_turned(v, turns, x) for v in (level.t, level.alpha, level.sigma)]
        valid = None if conditions.valid is None else turned(conditions.valid, turns)
        found = self.denoiser.denoise(turned(x, turns), NoiseLevel(*fields), replace(conditions, valid=valid))
        back = [(axis, -by) for axis, by in turns]
        return Estimate(turned(found.x0, back), None if found.x is None else turned(found.x, back))


def decoded(codec: Codec, z: Tensor, seed: int, numbers: Sequence[int]) -> list[Tensor]:
    """Loops (C, *media) from z (B, C, *spatial); axes of `codec.wrap` are circles.

    Each is turned by an amount of its own before and back after: a codec that makes up a phase, the same one at the
    same place, would make the seams of all loops alike.

    seed, numbers: what the turns are keyed by: sample numbers[i] of the seed
    """
    turns, back = [], []
    for axis in codec.wrap:
        n = z.shape[2 + axis]
        by = torch.tensor([int(generator(seed, i, f"decoded turn {axis}").integers(n)) for i in numbers])
        turns.append((2 + axis, by))
    media = codec.decode(turned(z, turns), loop=True)
    for dim, by in turns:
        back.append((dim, -by * (media.shape[dim] // z.shape[dim])))
    return list(turned(media, back))


def turned(x: Tensor, turns: Sequence[tuple[int, Tensor]]) -> Tensor:
    """x (B, C, *spatial) with row b rolled towards higher indices by by[b] along each dimension, for (dim, by (B,))."""
    for dim, by in turns:
        n = x.shape[dim]
        if n == 1:
            continue
        index = (torch.arange(n, device=x.device) - by.to(x.device)[:, None]) % n  # (B, n)
        shape = [len(by), *[1] * (x.ndim - 1)]
        shape[dim] = n
        whole = [len(by), *x.shape[1:]]
        x = x.expand(whole).gather(dim, index.reshape(shape).expand(whole))
    return x


def _turned(value: Number, turns: Sequence[tuple[int, Tensor]], x: Tensor) -> Number:
    return turned(value, turns) if isinstance(value, Tensor) and value.ndim == x.ndim else value
