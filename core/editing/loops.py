"""Seamless loops: media that repeat along time, or tile along other axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..codecs.base import Codec
from ..guidance.base import SamplingRun
from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, Number
from ..util.rng import keyed_generator
from .base import Edit


class LoopEdit(Edit):
    """Makes axes circular: networks pad circularly, and at every evaluation the state is rolled by a random amount.

    The roll is keyed by sample, axis and call, and is undone in the estimate. It makes the distribution of the samples
    the same at every position, for any behaviour of the network at its edges, so that the seam is not distinguished.

    Args:
        axes: Circular spatial axes.
    """

    def __init__(self, axes: Sequence[int]):
        self.axes = tuple(axes)

    def conditions(self, conditions: Conditioning) -> Conditioning:
        return replace(conditions, wrap=self.axes)

    def wrap_network(self, denoiser: Denoiser, run: SamplingRun) -> Denoiser:
        return _RolledDenoiser(self, denoiser, run)


class _RolledDenoiser(Denoiser):
    """D'(x) = roll^-1(D(roll(x)))."""

    def __init__(self, edit: LoopEdit, denoiser: Denoiser, run: SamplingRun):
        self.edit, self.denoiser, self.run, self.calls = edit, denoiser, run, 0

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        rolls = []
        for axis in self.edit.axes:
            n = x.shape[2 + axis]
            u = self.run.noise.uniform(f"turn {axis}", self.calls)
            by = (u * n).long().clamp(max=n - 1)
            rolls.append((2 + axis, by.repeat(len(x) // len(by))))  # guidance repeats the batch
        self.calls += 1
        fields = [_roll_field(v, rolls, x) for v in (level.t, level.alpha, level.sigma)]
        conditions = conditions.mapped(lambda field: roll_each_sample(field, rolls))
        found = self.denoiser.denoise(roll_each_sample(x, rolls), NoiseLevel(*fields), conditions)
        back = [(axis, -by) for axis, by in rolls]
        return Estimate(roll_each_sample(found.x0, back), None if found.x is None else roll_each_sample(found.x, back))


def media_loop_axes(codec: Codec) -> tuple[int, ...]:
    """The media axes that correspond to `codec.wrap`: the same axes, or time if the diffused tensor has other axes.

    Raises:
        BadInput: The codec has no axis that can be circular.
    """
    if not codec.wrap:
        raise BadInput(f"codec {type(codec).__name__} supports no loops: leave sample.loop out")
    spec = codec.spec
    if len(codec.shape(spec.size)) - 1 == len(spec.axes) or spec.time_axis is None:
        return tuple(codec.wrap)
    return (spec.time_axis,)


def decode_loops(codec: Codec, z: Tensor, seed: int, numbers: Sequence[int]) -> list[Tensor]:
    """Decode z (B, C, *spatial) to loops (C, *media); the axes of `codec.wrap` are circular.

    Each sample is rolled by a random amount before decoding and back afterwards. Otherwise a codec that estimates a
    phase which depends on the position would produce the same seam in all loops.

    Args:
        codec: The codec.
        z: The diffused tensors.
        seed: Key of the rolls, together with `numbers`.
        numbers: Row i is sample numbers[i] of the seed.
    """
    rolls, back = [], []
    for axis in codec.wrap:
        n = z.shape[2 + axis]
        by = torch.tensor([int(keyed_generator(seed, i, f"decoded turn {axis}").integers(n)) for i in numbers])
        rolls.append((2 + axis, by))
    media = codec.decode(roll_each_sample(z, rolls), loop=True)
    for (dim, by), axis in zip(rolls, media_loop_axes(codec), strict=True):
        back.append((2 + axis, -by * (media.shape[2 + axis] // z.shape[dim])))
    return list(roll_each_sample(media, back))


def roll_each_sample(x: Tensor, rolls: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Roll row b of x (B, C, *spatial) towards higher indices by by[b], for each (dim, by (B,)) of `rolls`."""
    for dim, by in rolls:
        n = x.shape[dim]
        if n == 1:
            continue
        index = (torch.arange(n, device=x.device) - by.to(x.device)[:, None]) % n  # (B, n)
        shape = [len(by), *[1] * (x.ndim - 1)]
        shape[dim] = n
        whole = [len(by), *x.shape[1:]]
        x = x.expand(whole).gather(dim, index.reshape(shape).expand(whole))
    return x


def _roll_field(value: Number, rolls: Sequence[tuple[int, Tensor]], x: Tensor) -> Number:
    return roll_each_sample(value, rolls) if isinstance(value, Tensor) and value.ndim == x.ndim else value
