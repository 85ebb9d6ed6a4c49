"""Continuous sounds: engine, wind and rain, stationary and of any length, from a few parameters.

They have no beginning or end, so any part of a texture is a valid example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .shaping import Array, band_gain, shaped_noise

FAMILIES = ("engine", "wind", "rain")
PACES = ("slow", "fast")
TONES = ("dark", "bright")
CHOICES = {"family": FAMILIES, "pace": PACES, "tone": TONES}

# Events per second: strokes of an engine, gusts of wind, drops of rain.
_RATE = {
    "engine": {"slow": (20.0, 30.0), "fast": (55.0, 80.0)},
    "wind": {"slow": (0.8, 1.2), "fast": (4.0, 6.0)},
    "rain": {"slow": (14.0, 22.0), "fast": (90.0, 140.0)},
}
_LEVEL = 0.07  # RMS: -23 dB of full scale
_MAX_PEAK = 0.95  # largest sample


@dataclass(frozen=True)
class SoundTexture:
    """The choices of a texture and the parameters drawn for them.

    Attributes:
        family: One of FAMILIES.
        pace: One of PACES.
        tone: One of TONES.
        events: Strokes, gusts or drops per second.
        colour: Position in the range of its tone, 0 to 1.
    """

    family: str
    pace: str
    tone: str
    events: float
    colour: float

    @property
    def captions(self) -> list[str]:
        """The texture in words: "a slow dark engine", "fast bright rain"."""
        return [f"{'a ' if self.family == 'engine' else ''}{self.pace} {self.tone} {self.family}"]

    def attributes(self) -> dict[str, Any]:
        """Choices as names, events per second and colour as numbers."""
        return asdict(self)

    def between(self, dark: tuple[float, float], bright: tuple[float, float]) -> float:
        """A value in the range of its tone, interpolated on a logarithmic scale by `colour`."""
        low, high = dark if self.tone == "dark" else bright
        return low * (high / low) ** self.colour


def draw_description(rng: np.random.Generator, family: str | None = None) -> SoundTexture:
    """A texture with every choice equally likely, and independent of the others."""
    choices = {name: options[rng.integers(len(options))] for name, options in CHOICES.items()}
    choices["family"] = family or choices["family"]
    low, high = _RATE[choices["family"]][choices["pace"]]
    return SoundTexture(**choices, events=float(low * (high / low) ** rng.random()), colour=float(rng.random()))


def render_sound(texture: SoundTexture, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """`seconds` of the texture as float32 (round(rate seconds),), at -23 dB RMS."""
    frames = round(rate * seconds)
    wave = _RENDERERS[texture.family](texture, frames, rate, rng)
    wave = wave * np.float32(_LEVEL / np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    return (wave * np.float32(min(1.0, _MAX_PEAK / np.abs(wave).max()))).astype(np.float32)


def _convolved(wave: Array, impulse_response: Array) -> Array:
    """The wave convolved with an impulse response, without the transient at its start."""
    size = 1 << (len(wave) + len(impulse_response) - 1).bit_length()
    out = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(impulse_response, size), size)
    return out[len(impulse_response) : len(wave)].astype(np.float32)


def _ringing(rate: float, seconds: float, parts: list[tuple[float, float, float]]) -> Array:
    """Sum of sines (Hz, level, decay time to 1 / e in seconds) that start together; none above 0.45 rate."""
    t = np.arange(round(seconds * rate), dtype=np.float32) / np.float32(rate)
    out = np.zeros_like(t)
    for hertz, level, last in parts:
        if hertz < 0.45 * rate:
            out += np.float32(level) * np.exp(-t / np.float32(last)) * np.sin(2 * np.pi * hertz * t, dtype=np.float32)
    return out


def _engine(texture: SoundTexture, frames: int, rate: float, rng: np.random.Generator) -> Array:
    """Strokes of four slightly different cylinders, filtered by the resonances of a pipe, with noise at each stroke."""
    pipe = texture.between((90.0, 130.0), (170.0, 260.0))
    bright = texture.tone == "bright"
    parts = [(pipe, 1.0, 0.012), (2.7 * pipe, 0.5, 0.008), (6.1 * pipe, 0.5 if bright else 0.1, 0.004)]
    impulse_response = _ringing(rate, 0.06, parts)
    total = frames + len(impulse_response)
    train = np.zeros(total, dtype=np.float32)
    cylinder = rng.uniform(0.7, 1.3, 4)
    count = int(total / rate * texture.events * 1.2) + 8
    at = np.cumsum(rng.normal(1.0, 0.025, count)) / texture.events * rate - rng.random() * rate / texture.events
    level = cylinder[np.arange(count) % 4] * rng.normal(1.0, 0.08, count)
    inside = (at >= 0) & (at < total - 1)
    place = at[inside].astype(int)
    share = (at[inside] - place).astype(np.float32)
    np.add.at(train, place, level[inside].astype(np.float32) * (1 - share))
    np.add.at(train, place + 1, level[inside].astype(np.float32) * share)
    tone = _convolved(train, impulse_response)
    puff = np.exp(-np.arange(round(0.03 * rate)) / np.float32(0.006 * rate)).astype(np.float32)
    hiss = shaped_noise(frames, rate, band_gain(2 * pipe, 3500.0 if bright else 900.0, 2), rng)
    gate = _convolved(train[len(impulse_response) - len(puff) :], puff)
    return tone / tone.std() + (0.6 if bright else 0.3) * gate / gate.std() * hiss


def _wind(texture: SoundTexture, frames: int, rate: float, rng: np.random.Generator) -> Array:
    """Noise whose level and pitch follow gusts, filtered in overlapping windows."""
    window = 2 * max(32, round(rate * 0.02))
    hop = window // 2
    pieces = frames // hop + 3
    gust = _slow_noise(pieces, rate / hop, texture.events, rng)[:, None]
    centre = texture.between((180.0, 280.0), (600.0, 950.0)) * np.exp2(0.5 * gust)
    hertz = np.fft.rfftfreq(window, 1 / rate)[None]
    shape = 1 / (1 + ((hertz - centre) / (0.35 * centre)) ** 2) + 0.5 / (1 + (hertz / centre) ** 3)
    shape = shape / np.sqrt(np.mean(shape**2, axis=1, keepdims=True))
    drawn = np.fft.rfft(rng.standard_normal((pieces, window), dtype=np.float32), axis=1) * shape
    shaped = np.fft.irfft(drawn, n=window, axis=1) * np.exp2(0.6 * gust)
    # The windows' squares add up to one, so independent pieces cross-fade at constant power.
    shaped = shaped * np.sin(np.pi * (np.arange(window) + 0.5) / window)
    out = np.zeros((pieces + 1) * hop, dtype=np.float32)
    for half in (0, 1):
        out[half * hop :][: pieces * hop] += shaped[:, half * hop : (half + 1) * hop].reshape(-1).astype(np.float32)
    return out[hop:][:frames]


def _slow_noise(count: int, rate: float, events: float, rng: np.random.Generator) -> Array:
    """Low-pass Gaussian noise of unit power with a bandwidth of about `events` Hz, sampled at `rate` Hz."""
    margin = round(2 * rate / events)
    size = 1 << (count + 2 * margin - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size)) * np.exp(-((np.fft.rfftfreq(size, 1 / rate) / events) ** 2))
    wave = np.fft.irfft(spectrum, size)
    return ((wave / wave.std())[margin : margin + count]).clip(-2.5, 2.5)


def _rain(texture: SoundTexture, frames: int, rate: float, rng: np.random.Generator) -> Array:
    """Drops at random times, each a short decaying sine of random pitch and level, over background noise."""
    size, lead = round(0.02 * rate), round(0.02 * rate)
    out = np.zeros(frames + 2 * lead, dtype=np.float32)
    middle = texture.between((500.0, 750.0), (1500.0, 2200.0))
    count = rng.poisson(texture.events * len(out) / rate)
    hertz = np.minimum(middle * np.exp2(rng.normal(0, 0.35, count)), 0.4 * rate)
    level = (rng.exponential(size=count) + 0.3) * rng.choice([-1.0, 1.0], count)
    start, last = rng.integers(0, len(out) - size, count), rng.uniform(0.002, 0.005, count)
    t = np.arange(size, dtype=np.float32) / np.float32(rate)
    for k in range(0, count, 256):
        h, v, d = (x[k : k + 256, None].astype(np.float32) for x in (hertz, level, last))
        drops = v * np.exp(-t / d) * np.sin(2 * np.pi * h * t, dtype=np.float32)
        np.add.at(out, start[k : k + 256, None] + np.arange(size), drops)
    drops = out[lead:][:frames]
    hiss = shaped_noise(frames, rate, band_gain(0.5 * middle, 3.0 * middle, 1), rng)
    return drops / max(float(drops.std()), 1e-6) + 0.5 * hiss


_RENDERERS: dict[str, Callable[[SoundTexture, int, float, np.random.Generator], Array]] = {
    "engine": _engine,
    "wind": _wind,
    "rain": _rain,
}
