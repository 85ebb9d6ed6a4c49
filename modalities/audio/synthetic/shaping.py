"""What the makers of sounds share: noise of a given spectrum, tones that glide, ends without clicks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def filtered(wave: Array, rate: float, gain: Callable[[Array], Array]) -> Array:
    """A wave times `gain` (of frequencies in Hz) in its spectrum; silence is thought around it, so nothing wraps."""
    size = 1 << (2 * len(wave) - 1).bit_length()  # a power of two: prime lengths take several times as long
    shaped = np.fft.irfft(np.fft.rfft(wave, size) * gain(np.fft.rfftfreq(size, 1 / rate)), size)
    return shaped[: len(wave)].astype(np.float32)


def noise(count: int, rate: float, gain: Callable[[Array], Array], rng: np.random.Generator) -> Array:
    """`count` samples of stationary Gaussian noise with the amplitude spectrum `gain`, of unit power."""
    spare = round(0.02 * rate)
    wave = filtered(rng.standard_normal(count + 2 * spare, dtype=np.float32), rate, gain)[spare : spare + count]
    hertz = np.linspace(0, rate / 2, 512)
    return wave / np.float32(max(np.sqrt(np.mean(gain(hertz) ** 2)), 1e-6))


def band(low: float, high: float, order: int = 4) -> Callable[[Array], Array]:
    """The gain of a band from `low` to `high` Hz: each edge falls by 6 dB times `order` an octave."""

    def gain(hertz: Array) -> Array:
        with np.errstate(divide="ignore"):
            below = 1 / np.sqrt(1 + (low / np.maximum(hertz, 1e-9)) ** (2 * order)) if low > 0 else 1.0
        return below / np.sqrt(1 + (hertz / high) ** (2 * order))

    return gain


def sweep(frequency: Array, rate: float, phase: float = 0.0) -> Array:
    """sin of the running phase of a frequency in Hz, silent where it passes half the rate."""
    turned = 2 * np.pi * np.cumsum(frequency / rate, dtype=np.float64) + phase
    room = np.clip((0.5 * rate - frequency) / (0.05 * rate), 0, 1)
    return (np.sin(turned) * room).astype(np.float32)


def ended(wave: Array, rate: float, seconds: float = 0.003) -> Array:
    """The wave with its last few ms faded: no click at the end."""
    edge = min(len(wave) // 4, max(1, round(rate * seconds)))
    wave[len(wave) - edge :] *= np.linspace(1, 0, edge, dtype=np.float32)
    return wave
