"""Signals shared by the sound synthesizers: noise of a given spectrum, sine sweeps, fades at the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def apply_filter(wave: Array, rate: float, gain: Callable[[Array], Array]) -> Array:
    """A wave with its spectrum multiplied by `gain` (of frequencies in Hz), without circular wrap-around."""
    size = 1 << (2 * len(wave) - 1).bit_length()  # a power of two: prime lengths take several times as long
    shaped = np.fft.irfft(np.fft.rfft(wave, size) * gain(np.fft.rfftfreq(size, 1 / rate)), size)
    return shaped[: len(wave)].astype(np.float32)


def shaped_noise(count: int, rate: float, gain: Callable[[Array], Array], rng: np.random.Generator) -> Array:
    """`count` samples of stationary Gaussian noise with the amplitude spectrum `gain`, of unit power."""
    margin = round(0.02 * rate)
    wave = apply_filter(rng.standard_normal(count + 2 * margin, dtype=np.float32), rate, gain)[margin : margin + count]
    hertz = np.linspace(0, rate / 2, 512)
    return wave / np.float32(max(np.sqrt(np.mean(gain(hertz) ** 2)), 1e-6))


def band_gain(low: float, high: float, order: int = 4) -> Callable[[Array], Array]:
    """The gain of a band from `low` to `high` Hz: each edge falls by 6 dB times `order` per octave."""

    def gain(hertz: Array) -> Array:
        with np.errstate(divide="ignore"):
            below = 1 / np.sqrt(1 + (low / np.maximum(hertz, 1e-9)) ** (2 * order)) if low > 0 else 1.0
        return below / np.sqrt(1 + (hertz / high) ** (2 * order))

    return gain


def sine_sweep(frequency: Array, rate: float, phase: float = 0.0) -> Array:
    """Sine with a time-varying frequency in Hz; silent where the frequency exceeds half the rate."""
    angle = 2 * np.pi * np.cumsum(frequency / rate, dtype=np.float64) + phase
    fade = np.clip((0.5 * rate - frequency) / (0.05 * rate), 0, 1)
    return (np.sin(angle) * fade).astype(np.float32)


def fade_out_end(wave: Array, rate: float, seconds: float = 0.003) -> Array:
    """The wave with a fade at its end, which avoids a click."""
    edge = min(len(wave) // 4, max(1, round(rate * seconds)))
    wave[len(wave) - edge :] *= np.linspace(1, 0, edge, dtype=np.float32)
    return wave
