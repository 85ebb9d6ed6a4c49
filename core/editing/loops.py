"""Seamless loops: media that repeat along time, or tile along other axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..codecs.base import Codec
from ..guidance.base import Run
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, Number
from ..util.rng import generator
from .base import Edit


class Loop(Edit):
    """Axes are loops: networks pad circularly along them and see the state rolled by a random amount at every call.

    The rolls are keyed by sample, axis and call, and undone in the estimate. They make the distribution of the samples
    the same at every position, whatever the network does at its edges, so that the seam is no special position.

    Args:
        axes: Spatial axes that are loops.
        roll: Whether the state is rolled at every evaluation.
    """

    def __init__(self, axes: Sequence[int], roll: bool = True):
        self.axes, self.roll = tuple(axes), roll

    def conditions(self, conditions: Conditioning) -> Conditioning:
        return replace(conditions, wrap=self.axes)

    def within(self, denoiser: Denoiser, run: Run) -> Denoiser:
        return _RolledDenoiser(self, denoiser, run) if self.roll else denoiser


class _RolledDenoiser(Denoiser):
    """D(x) = rolled back(D(rolled(x)))."""

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


def media_loop_axes(codec: Codec) -> tuple[int, ...]:
    """The media's axes that `codec.wrap` makes loops: the same ones, or time where the diffused tensor has other axes.

    Raises:
        BadInput: The codec has no axis that may be a loop.
    """
    if not codec.wrap:
        raise BadInput(f"codec {type(codec).__name__} supports no loops: leave sample.loop out")
    spec = codec.spec
    if len(codec.shape(spec.size)) - 1 == len(spec.axes) or spec.time_axis is None:
        return tuple(codec.wrap)
    return (spec.time_axis,)


def decode_loops(codec: Codec, z: Tensor, seed: int, numbers: Sequence[int]) -> list[Tensor]:
    """Loops (C, *media) from z (B, C, *spatial); axes of `codec.wrap` are loops.

    Each is rolled by an amount of its own before decoding and back after it: a codec that invents a phase, the same at
    the same position, would make the seams of all loops alike.

    Args:
        codec: Decodes.
        z: The diffused tensors.
        seed: With `numbers`, the key of the rolls.
        numbers: Row i is sample numbers[i] of the seed.
    """
    turns, back = [], []
    for axis in codec.wrap:
        n = z.shape[2 + axis]
        by = torch.tensor([int(generator(seed, i, f"decoded turn {axis}").integers(n)) for i in numbers])
        turns.append((2 + axis, by))
    media = codec.decode(turned(z, turns), loop=True)
    for (dim, by), axis in zip(turns, media_loop_axes(codec), strict=True):
        back.append((2 + axis, -by * (media.shape[2 + axis] // z.shape[dim])))
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
