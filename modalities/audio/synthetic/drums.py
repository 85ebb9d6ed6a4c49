"""Drum-like hits from a few parameters, similar to analogue drum machines.

A hit has an instant attack and a decay: a resonant body (kick, tom, snare), noise in a band (snare, clap), or
inharmonic partials (hat). Choices of pitch, length and tone have the same meaning for every family, audible at 8 kHz.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .shaping import Array, apply_filter, band_gain, fade_out_end, shaped_noise, sine_sweep

FAMILIES = ("kick", "snare", "hat", "clap", "tom")
PITCHES = ("low", "high")
LENGTHS = ("short", "long")
TONES = ("dark", "bright")
CHOICES = {"family": FAMILIES, "pitch": PITCHES, "length": LENGTHS, "tone": TONES}

# Hz, lower end of each choice; the frequency of a hit is up to a quarter higher.
_FREQUENCY = {
    "kick": {"low": 44.0, "high": 68.0},
    "snare": {"low": 150.0, "high": 230.0},
    "hat": {"low": 1300.0, "high": 2100.0},
    "clap": {"low": 700.0, "high": 1300.0},
    "tom": {"low": 95.0, "high": 190.0},
}
_SECONDS = {"short": (0.10, 0.15), "long": (0.34, 0.48)}  # decay time by 60 dB


@dataclass(frozen=True)
class DrumHit:
    """The choices of a hit and the parameters drawn for them.

    Attributes:
        family: One of FAMILIES.
        pitch: One of PITCHES.
        length: One of LENGTHS.
        tone: One of TONES.
        frequency: Resonance in Hz; for hats the lower edge and for claps the middle of the band.
        seconds: Decay time by 60 dB from the attack.
    """

    family: str
    pitch: str
    length: str
    tone: str
    frequency: float
    seconds: float

    @property
    def captions(self) -> list[str]:
        """The hit in words: "a short low bright kick"."""
        return [f"a {self.length} {self.pitch} {self.tone} {self.family}"]

    def attributes(self) -> dict[str, Any]:
        """Choices as names, frequency in Hz and seconds as numbers."""
        return asdict(self)


def draw_description(rng: np.random.Generator, family: str | None = None) -> DrumHit:
    """A hit with every choice equally likely, and independent of the others."""
    choices = {name: options[rng.integers(len(options))] for name, options in CHOICES.items()}
    choices["family"] = family or choices["family"]
    frequency = float(_FREQUENCY[choices["family"]][choices["pitch"]] * 1.25 ** rng.random())
    return DrumHit(**choices, frequency=frequency, seconds=float(rng.uniform(*_SECONDS[choices["length"]])))


def render_sound(hit: DrumHit, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """The hit as float32 (round(rate seconds),): at most 5 ms of silence, the attack, the decay, silence."""
    frames = round(rate * seconds)
    lead = round(rate * min(1.0, seconds) * 0.005 * rng.random())
    count = max(8, min(frames - lead, round(rate * hit.seconds)))
    t = np.arange(count, dtype=np.float32) / np.float32(rate)
    body = _RENDERERS[hit.family](hit, t, rate, rng)
    out = np.zeros(frames, dtype=np.float32)
    out[lead : lead + count] = fade_out_end(body, rate)[: frames - lead]
    return out * np.float32(rng.uniform(0.6, 0.8) / np.abs(out).max())


def _decay(hit: DrumHit, t: Array, share: float = 1.0) -> Array:
    """exp falling by 60 dB over `share` of the hit."""
    return np.exp(-6.9 * t / (share * hit.seconds))


def _tilt(hit: DrumHit, corner: float) -> Callable[[Array], Array]:
    """Spectral tilt: dark falls by 12 dB per octave above `corner` Hz; bright rises by 3 dB per octave."""
    if hit.tone == "bright":
        return lambda hertz: np.sqrt(np.maximum(hertz, 20.0) / corner)
    return lambda hertz: 1 / (1 + (hertz / corner) ** 2)


def _click(hit: DrumHit, t: Array, rate: float, rng: np.random.Generator, level: float) -> Array:
    """The impact of stick or beater: 3 ms of noise with the spectral tilt of the hit."""
    burst = rng.standard_normal(len(t), dtype=np.float32) * np.exp(-t / 0.003)
    return np.float32(level) * apply_filter(burst, rate, _tilt(hit, 900.0))


def _kick(hit: DrumHit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """A sine that falls from four times its pitch within about 20 ms; bright ones are saturated."""
    fall = 1 + rng.uniform(2.5, 4.0) * np.exp(-t / rng.uniform(0.014, 0.022))
    body = sine_sweep(hit.frequency * fall, rate) * _decay(hit, t)
    if hit.tone == "bright":
        body = np.tanh(3 * body) / np.float32(np.tanh(3))
    return body + _click(hit, t, rate, rng, 0.35 if hit.tone == "bright" else 0.12)


def _tom(hit: DrumHit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """First modes of a membrane (1, 1.59, 2.14 times the lowest), whose pitch falls slightly after the attack."""
    bend = 1 + 0.25 * np.exp(-t / 0.05)
    upper = 0.6 if hit.tone == "bright" else 0.2
    parts = ((1.0, 1.0, 1.0), (1.59, upper, 0.6), (2.14, upper**1.3, 0.4))
    body = np.zeros_like(t)
    for ratio, level, share in parts:
        body += np.float32(level) * sine_sweep(hit.frequency * ratio * bend, rate) * _decay(hit, t, share)
    return body + _click(hit, t, rate, rng, 0.25)


def _snare(hit: DrumHit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """Two modes of a membrane, and the snare wires: noise with a longer decay."""
    skin = sine_sweep(hit.frequency * (1 + 0.3 * np.exp(-t / 0.02)), rate) + 0.5 * sine_sweep(
        0 * t + 1.6 * hit.frequency, rate
    )
    wires = shaped_noise(len(t), rate, _product(band_gain(700.0, 9000.0, 2), _tilt(hit, 1800.0)), rng)
    return 0.7 * skin * _decay(hit, t, 0.6) + 0.5 * wires * _decay(hit, t) + _click(hit, t, rate, rng, 0.5)


def _hat(hit: DrumHit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """Six square waves of inharmonic frequencies and some noise, high-passed at `frequency`."""
    ring = shaped_noise(len(t), rate, lambda hertz: np.ones_like(hertz), rng)
    for ratio in (1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523):
        scale = 0.3 * hit.frequency * ratio * rng.uniform(0.98, 1.02)
        ring += np.sign(np.sin(2 * np.pi * scale * t + rng.uniform(0, 6.28))).astype(np.float32)
    cut = apply_filter(ring, rate, _product(band_gain(hit.frequency, 14000.0, 6), _tilt(hit, 2000.0)))
    return cut * _decay(hit, t)


def _clap(hit: DrumHit, t: Array, rate: float, rng: np.random.Generator) -> Array:
    """Three bursts about 11 ms apart, then a reverberant tail."""
    gate, step = np.zeros_like(t), rng.uniform(0.009, 0.013)
    for k in range(3):
        since = t - np.float32(k * step)
        gate = np.maximum(gate, np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.003), 0))
    since = np.maximum(t - np.float32(3 * step), 0)
    tail = np.where(t >= 3 * step, 0.8 * np.exp(-6.9 * since / max(0.04, hit.seconds - 3 * step)), 0)
    hands = shaped_noise(
        len(t), rate, _product(band_gain(0.75 * hit.frequency, 1.4 * hit.frequency, 2), _tilt(hit, 1600.0)), rng
    )
    return (hands * np.maximum(gate, tail)).astype(np.float32)


def _product(a: Callable[[Array], Array], b: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda hertz: a(hertz) * b(hertz)


_RENDERERS: dict[str, Callable[[DrumHit, Array, float, np.random.Generator], Array]] = {
    "kick": _kick,
    "snare": _snare,
    "hat": _hat,
    "clap": _clap,
    "tom": _tom,
}
