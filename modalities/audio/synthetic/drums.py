"""Drum-like hits from a few numbers, in the manner of analogue drum machines.

A hit is struck at once and dies away: a body that rings (kick, tom, snare), noise in a band (snare, clap), or
inharmonic metal (hat). Choices of pitch, length and tone mean the same for every family, audibly at 8 kHz.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .shaping import Array, band, ended, filtered, noise, sweep

FAMILIES = ("kick", "snare", "hat", "clap", "tom")
PITCHES = ("low", "high")
LENGTHS = ("short", "long")
TONES = ("dark", "bright")
CHOICES = {"family": FAMILIES, "pitch": PITCHES, "length": LENGTHS, "tone": TONES}

# Hz at the lower end of each choice; a hit lies up to a quarter above it.
_FREQUENCY = {
    "kick": {"low": 44.0, "high": 68.0},
    "snare": {"low": 150.0, "high": 230.0},
    "hat": {"low": 1300.0, "high": 2100.0},
    "clap": {"low": 700.0, "high": 1300.0},
    "tom": {"low": 95.0, "high": 190.0},
}
_SECONDS = {"short": (0.10, 0.15), "long": (0.34, 0.48)}  # until 60 dB are gone


@dataclass(frozen=True)
class Hit:
    """What a hit is: its choices, and the numbers drawn for them.

    Attributes:
        frequency: Hz, of what rings; for hats and claps the lower edge and the middle of their band.
        seconds: From the stroke until it has died away by 60 dB.
    """

    family: str
    pitch: str
    length: str
    tone: str
    frequency: float
    seconds: float

    @property
    def caption(self) -> str:
        """The hit in words: "a short low bright kick"."""
        return f"a {self.length} {self.pitch} {self.tone} {self.family}"

    def attributes(self) -> dict[str, Any]:
        """Choices as names, frequency in Hz and seconds as numbers."""
        return asdict(self)


def draw(rng: np.random.Generator, family: str | None = None) -> Hit:
    """A hit with every choice equally likely, and independent of the others."""
    made = {name: options[rng.integers(len(options))] for name, options in CHOICES.items()}
    made["family"] = family or made["family"]
    frequency = float(_FREQUENCY[made["family"]][made["pitch"]] * 1.25 ** rng.random())
    return Hit(**made, frequency=frequency, seconds=float(rng.uniform(*_SECONDS[made["length"]])))


def render(hit: Hit, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """The hit as float32 (round(rate seconds),): at most 5 ms of silence, the stroke, its decay, silence."""
    frames = round(rate * seconds)
    lead = round(rate * min(1.0, seconds) * 0.005 * rng.random())
    count = max(8, min(frames - lead, round(rate * hit.seconds)))
    t = np.arange(count, dtype=np.float32) / np.float32(rate)
    body = _STROKES[hit.family](hit, t, rate, rng)
    out = np.zeros(frames, dtype=np.float32)
    out[lead : lead + count] = ended(body, rate)[: frames - lead]
    return out * np.float32(rng.uniform(0.6, 0.8) / np.abs(out).max())


def _decay(hit: Hit, t: Array, share: float = 1.0) -> Array:
    """exp falling by 60 dB over `share` of the hit."""
    return np.exp(-6.9 * t / (share * hit.seconds))


def _tilt(hit: Hit, corner: float) -> Callable[[Array], Array]:
    """Dark: falls by 12 dB an octave above `corner` Hz. Bright: rises by 3 dB an octave."""
    if hit.tone == "bright":
        return lambda hertz: np.sqrt(np.maximum(hertz, 20.0) / corner)
    return lambda hertz: 1 / (1 + (hertz / corner) ** 2)


def _click(hit: Hit, t: Array, rate: float, rng: np.random.Generator, level: float) -> Array:
    """The stick or beater: 3 ms of noise, clear in bright hits and dull in dark ones."""
    struck = rng.standard_normal(len(t), dtype=np.float32) * np.exp(-t / 0.003)
    return np.float32(level) * filtered(struck, rate, _tilt(hit, 900.0))


def _kick(hit: Hit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """A sine that falls from four times its pitch within some 20 ms; bright ones are driven into saturation."""
    fall = 1 + rng.uniform(2.5, 4.0) * np.exp(-t / rng.uniform(0.014, 0.022))
    body = sweep(hit.frequency * fall, rate) * _decay(hit, t)
    if hit.tone == "bright":
        body = np.tanh(3 * body) / np.float32(np.tanh(3))
    return body + _click(hit, t, rate, rng, 0.35 if hit.tone == "bright" else 0.12)


def _tom(hit: Hit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """A skin's first modes (1, 1.59, 2.14 times the lowest) that slacken a little after the stroke."""
    slack = 1 + 0.25 * np.exp(-t / 0.05)
    upper = 0.6 if hit.tone == "bright" else 0.2
    parts = ((1.0, 1.0, 1.0), (1.59, upper, 0.6), (2.14, upper**1.3, 0.4))
    body = np.zeros_like(t)
    for ratio, level, share in parts:
        body += np.float32(level) * sweep(hit.frequency * ratio * slack, rate) * _decay(hit, t, share)
    return body + _click(hit, t, rate, rng, 0.25)


def _snare(hit: Hit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """Two modes of the skin, and the wires: noise that outlasts them."""
    skin = sweep(hit.frequency * (1 + 0.3 * np.exp(-t / 0.02)), rate) + 0.5 * sweep(0 * t + 1.6 * hit.frequency, rate)
    wires = noise(len(t), rate, _product(band(700.0, 9000.0, 2), _tilt(hit, 1800.0)), rng)
    return 0.7 * skin * _decay(hit, t, 0.6) + 0.5 * wires * _decay(hit, t) + _click(hit, t, rate, rng, 0.5)


def _hat(hit: Hit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """Six square waves without common ratio and some noise, everything below the edge cut off."""
    ring = noise(len(t), rate, lambda hertz: np.ones_like(hertz), rng)
    for ratio in (1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523):
        scale = 0.3 * hit.frequency * ratio * rng.uniform(0.98, 1.02)
        ring += np.sign(np.sin(2 * np.pi * scale * t + rng.uniform(0, 6.28))).astype(np.float32)
    cut = filtered(ring, rate, _product(band(hit.frequency, 14000.0, 6), _tilt(hit, 2000.0)))
    return cut * _decay(hit, t)


def _clap(hit: Hit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """Hands that do not meet at once: three bursts about 11 ms apart, then a tail of the room."""
    gate, step = np.zeros_like(t), rng.uniform(0.009, 0.013)
    for k in range(3):
        since = t - np.float32(k * step)
        gate = np.maximum(gate, np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.003), 0))
    since = np.maximum(t - np.float32(3 * step), 0)
    tail = np.where(t >= 3 * step, 0.8 * np.exp(-6.9 * since / max(0.04, hit.seconds - 3 * step)), 0)
    hands = noise(len(t), rate, _product(band(0.75 * hit.frequency, 1.4 * hit.frequency, 2), _tilt(hit, 1600.0)), rng)
    return (hands * np.maximum(gate, tail)).astype(np.float32)


def _product(a: Callable[[Array], Array], b: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda hertz: a(hertz) * b(hertz)


_STROKES: dict[str, Callable[[Hit, Array, float, np.random.Generator], Array]] = {
    "kick": _kick,
    "snare": _snare,
    "hat": _hat,
    "clap": _clap,
    "tom": _tom,
}
