"""Mixes of several takes: the transient of one, the body of another, the tail of a third."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ....core.types import BadInput
from .. import dsp
from ..post_processing import trim_ends

LayerPart = Literal["transient", "body", "tail"]
PARTS: tuple[LayerPart, ...] = get_args(LayerPart)
_WHOLE, _FADE = 0.03, 0.06  # seconds of a transient before it fades, and of the fade


@dataclass(frozen=True)
class SoundLayer:
    """One take of a mix.

    Attributes:
        wave: (C, frames).
        part: transient: the first 90 ms after the onset, of which the last 60 ms fade out; tail: the rest, with the
            complementary fade-in; body: all of it.
        start: Seconds from the beginning of the mix to the onset of the take.
        gain: Level in dB relative to the other takes, whose peaks are equal.
    """

    wave: Tensor
    part: LayerPart = "body"
    start: float = 0.0
    gain: float = 0.0


def mix_layers(layers: Sequence[SoundLayer], rate: float) -> Tensor:
    """(C, frames): the takes, each from its onset and with its peak at its gain, added up.

    Raises:
        BadInput: There is no layer, or they differ in channels.
    """
    if not layers or len({layer.wave.shape[0] for layer in layers}) != 1:
        raise BadInput("a mix has one layer or more, all of the same number of channels")
    pieces = [(round(layer.start * rate), _shaped(layer, rate)) for layer in layers]
    out = torch.zeros(layers[0].wave.shape[0], max(start + piece.shape[-1] for start, piece in pieces))
    for start, piece in pieces:
        out[:, start : start + piece.shape[-1]] += piece
    return out


def _shaped(layer: SoundLayer, rate: float) -> Tensor:
    wave = trim_ends(layer.wave.float(), rate)
    wave = wave[:, dsp.find_onset(wave, rate, before=0.001) :]
    wave = wave * (dsp.db_to_amplitude(layer.gain) / max(float(wave.abs().max()), dsp.SILENCE))
    if layer.part == "body":
        return wave
    seconds = torch.arange(wave.shape[-1]) / rate
    past = ((seconds - _WHOLE) / _FADE).clamp(0, 1)
    rise = (1 - torch.cos(torch.pi * past)) / 2
    return wave * rise if layer.part == "tail" else (wave * (1 - rise))[:, : round((_WHOLE + _FADE) * rate)]
