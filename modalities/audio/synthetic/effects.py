"""Short sound effects from a few parameters, similar to sfxr: a tone or noise, a glide, an envelope, echoes.

Each family has a characteristic timbre and envelope, so that it can be recognised at any pitch, length, sweep, noise
and echo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray

FAMILIES = ("coin", "laser", "explosion", "power-up", "hit", "jump", "blip")
PITCHES = ("low", "high")
LENGTHS = ("short", "long")
SWEEPS = ("rising", "falling", "steady")
NOISES = ("clean", "noisy")
ECHOES = ("with", "without")
CHOICES = {"family": FAMILIES, "pitch": PITCHES, "length": LENGTHS, "sweep": SWEEPS, "noise": NOISES, "echo": ECHOES}
SYNONYMS = {
    **{"coin": "token", "laser": "raygun", "explosion": "blast", "power-up": "bonus", "hit": "punch", "jump": "leap"},
    **{"blip": "beep", "low": "deep", "high": "shrill", "short": "brief", "long": "lengthy"},
    **{"rising": "ascending", "falling": "descending", "steady": "constant", "rises": "ascends", "falls": "descends"},
    **{"noisy": "hissy", "clean": "pure", "echo": "reverberation", "echoing": "reverberant"},
}
"""Words of captions -> words that are in no caption, to measure prompts with words that training has never used."""

_MOTION = {"rising": "that rises", "falling": "that falls", "steady": "of steady pitch"}
_FREQUENCY = {"low": (240.0, 320.0), "high": (620.0, 820.0)}  # Hz, the mean of log frequency over the body
_SECONDS = {"short": (0.11, 0.15), "long": (0.36, 0.44)}  # duration of the body, for sounds of 1 s or more
_DELAY, _FADES = 0.21, (0.5, 0.25)  # seconds between echoes, and the gain of each


@dataclass(frozen=True)
class SoundEffect:
    """The choices of a sound effect and the parameters drawn for them.

    Attributes:
        family: One of FAMILIES.
        pitch: One of PITCHES.
        length: One of LENGTHS.
        sweep: One of SWEEPS.
        noise: One of NOISES.
        echo: One of ECHOES.
        frequency: Geometric mean pitch of the body in Hz; for explosions the edge of the noise band.
        seconds: Duration of the body without echoes.
    """

    family: str
    pitch: str
    length: str
    sweep: str
    noise: str
    echo: str
    frequency: float
    seconds: float

    @property
    def captions(self) -> list[str]:
        """The effect in several wordings and orders; each states every choice, some by saying nothing of noise or echo.

        The first one reads "a short high rising laser with echo".
        """
        is_noisy, has_echo = self.noise == "noisy", self.echo == "with"
        noisy = "noisy " if is_noisy else ""
        named = ("an echoing " if has_echo else "a ") + noisy + self.family
        if named == "a explosion":
            named = "an explosion"
        extra = ", noisy" * is_noisy + ", echo" * has_echo
        return [
            f"a {self.length} {self.pitch} {self.sweep} {noisy}{self.family}{' with echo' * has_echo}",
            f"{self.family}, {self.pitch} pitch, {self.sweep}, {self.length}{extra}",
            f"{named} {_MOTION[self.sweep]}, {self.pitch} and {self.length}",
            f"a {self.noise} {self.family}, {self.sweep}, {self.length} and {self.pitch}, {self.echo} echo",
        ]

    def attributes(self) -> dict[str, Any]:
        """Choices as names, frequency in Hz and seconds as numbers."""
        return asdict(self)


def draw_description(rng: np.random.Generator, family: str | None = None) -> SoundEffect:
    """An effect with every choice equally likely, and independent of the others."""
    choices = {name: options[rng.integers(len(options))] for name, options in CHOICES.items()}
    choices["family"] = family or choices["family"]
    low, high = _FREQUENCY[choices["pitch"]]
    frequency = float(low * (high / low) ** rng.random())
    return SoundEffect(**choices, frequency=frequency, seconds=float(rng.uniform(*_SECONDS[choices["length"]])))


def render_sound(effect: SoundEffect, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """The effect as float32 (round(rate seconds),), padded with silence; times are scaled if `seconds` is below 1."""
    unit = min(1.0, seconds)
    count = max(8, round(rate * effect.seconds * unit))
    u = np.arange(count, dtype=np.float32) / count
    body = _RENDERERS[effect.family](effect, u, rate, effect.seconds * unit, rng)
    if effect.noise == "noisy":
        body = body + _hiss(body, rate, rng)
    edge = min(count // 4, max(1, round(rate * 0.002)))
    body[-edge:] *= np.linspace(1, 0, edge, dtype=np.float32)  # no click at the end
    out = np.zeros(round(rate * seconds), dtype=np.float32)
    lead = round(rate * unit * 0.005 * rng.random())
    starts = [lead + round(rate * unit * _DELAY * k) for k in range(3 if effect.echo == "with" else 1)]
    for start, gain in zip(starts, (1.0, *_FADES), strict=False):
        piece = body[: max(0, len(out) - start)]
        out[start : start + len(piece)] += gain * piece
    return out * np.float32(rng.uniform(0.6, 0.8) / np.abs(out).max())


def _hiss(body: Array, rate: float, rng: np.random.Generator) -> Array:
    """White noise up to 6 kHz that follows the level of the body, 5 dB below it."""
    noise = rng.standard_normal(len(body), dtype=np.float32)
    if rate > 12000:  # the same noise at any rate
        spectrum = np.fft.rfft(noise)
        spectrum[np.fft.rfftfreq(len(noise), 1 / rate) > 6000] = 0
        noise = np.fft.irfft(spectrum, n=len(noise)).astype(np.float32) * np.float32(np.sqrt(rate / 12000))
    block = max(1, round(rate * 0.008))
    power = np.convolve(body**2, np.full(block, 1 / block, dtype=np.float32), mode="same")
    return 0.56 * np.sqrt(np.maximum(power, 0)) * noise


def _glide(effect: SoundEffect, u: Array, octaves: float = 1.0, bend: float = 1.0) -> Array:
    """Factor on the frequency: `octaves` up or down over the body with mean 1 (geometric), or 1 for steady sounds."""
    sign = {"rising": 1.0, "falling": -1.0, "steady": 0.0}[effect.sweep]
    return np.exp2(np.float32(sign * octaves) * (u**bend - np.float32(1 / (1 + bend))))


def _tone(frequency: Array, partials: dict[int, float], rate: float) -> Array:
    """Sum of partials k with weight w: w sin(k phase), faded out towards half the rate to avoid aliasing.

    sin(k p) = 2 cos(p) sin((k - 1) p) - sin((k - 2) p): one sine and one cosine serve all partials.
    """
    phase = np.cumsum(2 * np.pi * frequency / rate, dtype=np.float64)
    before, now = np.zeros(len(phase), dtype=np.float32), np.sin(phase).astype(np.float32)
    turn = 2 * np.cos(phase).astype(np.float32)
    out = np.zeros_like(now)
    for k in range(1, max(partials) + 1):
        if k in partials:
            fade = (0.5 * rate - k * frequency) / (0.1 * rate)
            if fade.max() <= 0:
                break
            out += np.float32(partials[k]) * np.clip(fade, 0, 1).astype(np.float32) * now
        before, now = now, turn * now - before
    return out


_SQUARE = {k: 1.0 / k for k in (1, 3, 5, 7)}
_SAW = {k: 1.0 / k for k in range(1, 10)}
_PULSE = {k: float(np.sin(np.pi * k / 4)) / k for k in (1, 2, 3, 5, 6, 7)}  # on for a quarter of the period


def _ramp(u: Array, start: float, end: float) -> Array:
    """0 before `start`, 1 after `end`, linear between."""
    return np.clip((u - start) / (end - start), 0, 1).astype(np.float32)


def _coin(effect: SoundEffect, u: Array, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """Two bell-like notes, the second a fifth higher and decaying."""
    second = u >= 0.3
    step = np.where(second, np.float32(1.14), np.float32(1.14 / 1.5))
    tone = _tone(effect.frequency * step * _glide(effect, u), {1: 1.0, 3: 0.5, 4: 0.3}, rate)
    return tone * np.where(second, np.exp(-3.0 * (u - 0.3)), np.float32(0.7)) * _ramp(u, 0, 0.02)


def _laser(effect: SoundEffect, u: Array, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """A sawtooth with a vibrato of 30 Hz and a wide sweep."""
    vibrato = np.exp2(0.3 * np.sin(2 * np.pi * 30 * seconds * u, dtype=np.float32))
    return _tone(1.2 * effect.frequency * vibrato * _glide(effect, u, octaves=1.6), _SAW, rate) * (1 - u) ** 0.6


def _explosion(effect: SoundEffect, u: Array, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """Low-pass noise with a decay, filtered in overlapping windows."""
    window = 2 * max(16, round(rate * 0.008))
    hop = window // 2
    pieces = -(-len(u) // hop) + 1
    drawn = rng.standard_normal((pieces, window), dtype=np.float32)
    at = np.clip(np.arange(pieces) * hop / len(u), 0, 1)[:, None]
    edge = 1.5 * effect.frequency * _glide(effect, at, octaves=2.4)
    shape = 1 / (1 + (np.fft.rfftfreq(window, 1 / rate) / edge) ** 6)
    shaped = np.fft.irfft(np.fft.rfft(drawn, axis=1) * shape, n=window, axis=1)
    shaped /= np.sqrt(np.mean(shape**2, axis=1, keepdims=True))
    # The windows' squares add up to one, so independent pieces cross-fade at constant power.
    shaped *= np.sin(np.pi * (np.arange(window) + 0.5) / window)
    out = np.zeros((pieces + 1) * hop, dtype=np.float32)
    for half in (0, 1):
        out[half * hop :][: pieces * hop] += shaped[:, half * hop : (half + 1) * hop].reshape(-1)
    rumble = np.interp(u * seconds * 25, np.arange(64), rng.uniform(0.6, 1.0, 64)).astype(np.float32)
    return out[hop:][: len(u)] * rumble * np.exp(-2.5 * u)


def _power_up(effect: SoundEffect, u: Array, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """A quick arpeggio: up the chord, down it, or alternating."""
    steps = 5 if effect.length == "short" else 9
    k = np.minimum((u * steps).astype(int), steps - 1)
    chord = np.array([12 * (i // 3) + (0, 4, 7)[i % 3] for i in range(steps)])
    order = {"rising": chord, "falling": chord[::-1], "steady": np.array([0, 7] * steps)[:steps]}[effect.sweep]
    tune = np.exp2((order - order.mean()) / 12).astype(np.float32)
    inside = u * steps - k
    return _tone(effect.frequency * tune[k], _PULSE, rate) * (1 - 0.6 * inside) * _ramp(inside, 0, 0.08) * (1 - 0.3 * u)


def _hit(effect: SoundEffect, u: Array, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """A short noise burst, then a tone with a fast pitch drop and a fast decay."""
    t = u * seconds
    drop = 1 + 2.0 * np.exp(-t / 0.006)
    thud = _tone(0.9 * effect.frequency * drop * _glide(effect, u, octaves=1.2), {1: 1.0, 2: 0.35}, rate)
    crack = rng.standard_normal(len(u), dtype=np.float32) * np.exp(-t / 0.008)
    return thud * np.exp(-4.5 * u) + 0.9 * crack


def _jump(effect: SoundEffect, u: Array, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """A nearly pure tone with a slow attack and a pitch glide."""
    swell = np.sin(np.pi * np.clip(u, 1e-4, 1)).clip(0) ** 0.5
    return _tone(effect.frequency * _glide(effect, u, octaves=1.2, bend=1.4), {1: 1.0, 3: 0.06}, rate) * swell


def _blip(effect: SoundEffect, u: Array, rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """A square beep, cut into pulses of equal loudness."""
    pulses = 3 if effect.length == "short" else 8
    inside = (u * pulses) % 1
    gate = _ramp(inside, 0, 0.06) * (1 - _ramp(inside, 0.54, 0.6))
    return _tone(effect.frequency * _glide(effect, u), _SQUARE, rate) * gate


_RENDERERS: dict[str, Callable[[SoundEffect, Array, float, float, np.random.Generator], Array]] = {
    "coin": _coin,
    "laser": _laser,
    "explosion": _explosion,
    "power-up": _power_up,
    "hit": _hit,
    "jump": _jump,
    "blip": _blip,
}
