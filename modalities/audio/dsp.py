"""Signal processing on (..., frames) tensors: STFT, resampling, mel filters, Griffin-Lim, levels, onsets.

The only module that imports torchaudio (lazily: resampling and mel filters). Lengths are in samples, rates and
frequencies in Hz, levels in dB of amplitude: 20 log10(a).

Frames are aligned so that frame k is centred on sample (k + 1/2) hop: F hop samples give exactly F frames, also for
a loop.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...core.types import BadInput
from ...core.util.notes import ignore_library_warnings
from ...core.util.rng import keyed_generator

SILENCE = 1e-12  # amplitude that counts as digital silence: -240 dB
_PART = 1 << 20  # samples of a channel that are processed at once
_FILTERS = 1 << 23  # coefficients of a filter bank in float64


@lru_cache(maxsize=1)
def import_torchaudio() -> ModuleType:
    """torchaudio.functional; BadInput with a remedy if the installed wheel does not load."""
    try:
        import torchaudio.functional as audio
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise BadInput(
            f"torchaudio cannot be imported with torch {torch.__version__} ({type(error).__name__}: {error}): "
            f"install a matching pair, e.g. pip install 'torch>=2.9,<2.15' 'torchaudio>=2.9,<2.12'"
        ) from error
    return audio


# Levels


def amplitude_to_db(amplitude: Tensor, floor: float = -120.0) -> Tensor:
    """20 log10(amplitude), at least `floor` dB."""
    return 20 * torch.log10(amplitude.clamp(min=10 ** (floor / 20)))


def db_to_amplitude(level: float) -> float:
    """The amplitude of a level in dB: 10^(level / 20)."""
    return 10 ** (level / 20)


def split_in_parts(x: Tensor) -> tuple[Tensor, ...]:
    """(..., frames) in parts of a million samples: what is computed for one after the other takes little memory."""
    return x.split(_PART, dim=-1)


def rms(x: Tensor) -> Tensor:
    """Root mean square over the last axis, (..., frames) -> (...)."""
    return x.square().mean(-1).sqrt()


def rms_envelope(x: Tensor, rate: float, window: float = 0.005) -> Tensor:
    """RMS over channels in consecutive blocks of `window` seconds, (C, frames) -> (blocks,); the last one is padded."""
    block = max(1, round(rate * window))

    def level(part: Tensor) -> Tensor:
        power = part.square().mean(0)
        count = -(-power.shape[-1] // block)
        return functional.pad(power, (0, count * block - power.shape[-1])).reshape(count, block).mean(-1).sqrt()

    parts = x.split(max(1, _PART // block) * block, dim=-1)  # of whole blocks: saves memory for long sounds
    return torch.cat([level(part) for part in parts])


def active_rms(x: Tensor, rate: float, range_db: float = 40.0, window: float = 0.01) -> float:
    """RMS over the blocks of (C, frames) within `range_db` of the loudest block, which ignores surrounding silence.

    Integrated loudness (BS.1770) needs 400 ms; many one-shots are shorter.
    """
    blocks = rms_envelope(x, rate, window)
    if not len(blocks) or blocks.max() < SILENCE:
        return 0.0
    return float(blocks[blocks >= blocks.max() * db_to_amplitude(-range_db)].square().mean().sqrt())


def dc_offset(x: Tensor) -> Tensor:
    """The constant offset of a recording, (C, frames) -> (C, 1): its mean, if the median is close to it, otherwise 0.

    An asymmetric waveform has a nonzero median but a mean near 0, an impulse in silence the reverse; neither is an
    offset.
    """
    mean = x.mean(-1, keepdim=True)
    median = torch.stack([channel.median() for channel in x])[:, None]  # without indices, which take twice the memory
    return torch.where((mean - median).abs() < 0.5 * mean.abs(), mean, torch.zeros_like(mean))


def audible_bounds(x: Tensor, floor: float = -60.0) -> tuple[int, int]:
    """(start, end) of the part within `floor` dB of the peak of (C, frames); (0, 0) for silence."""
    peak = max(float(x.max()), -float(x.min())) if x.numel() else 0.0
    if peak < SILENCE:
        return 0, 0
    low = peak * db_to_amplitude(floor)
    loud = torch.cat([((part >= low) | (part <= -low)).any(0) for part in split_in_parts(x)]).byte()
    return int(loud.argmax()), len(loud) - int(loud.flip(0).argmax())


def trim_silence(x: Tensor, rate: float, floor: float = -45.0, window: float = 0.01) -> Tensor:
    """(C, frames) without leading and trailing blocks whose RMS is more than |floor| dB below the loudest block.

    Blocks are used instead of samples because faint noise in the padding has peaks far above its RMS.
    """
    blocks, block = rms_envelope(x, rate, window), max(1, round(rate * window))
    if not len(blocks) or blocks.max() < SILENCE:
        return x[..., :0]
    loud = torch.nonzero(blocks >= blocks.max() * db_to_amplitude(floor))
    return x[..., int(loud[0]) * block : (int(loud[-1]) + 1) * block]


def find_onset(x: Tensor, rate: float, threshold: float = -45.0, before: float = 0.005) -> int:
    """The sample where the attack of (C, frames) begins, minus `before` seconds; 0 for silence.

    The search starts at the first sample within `threshold` dB of the peak and goes back over blocks of 2 ms while
    their level decreases by a fifth or more, since a soft attack begins before it crosses the threshold.
    """
    start, _ = audible_bounds(x, threshold)
    blocks, block = rms_envelope(x, rate, 0.002), max(1, round(rate * 0.002))
    k = start // block
    while k > 0 and blocks[k - 1] < 0.8 * blocks[k] and blocks[k - 1] > SILENCE:
        k -= 1
    return max(0, min(start, k * block) - round(rate * before))


# Rates and filters


def resample(x: Tensor, rate: float, target: float) -> Tensor:
    """(..., frames) at `rate` -> (..., ceil(frames target / rate)) at `target`.

    A windowed sinc (Kaiser window, 64 zero crossings per side). The ratio of the rates is rounded to the nearest
    fraction with a denominator up to 4000, or less where the filter bank would be larger than 64 MB; the relative error
    is below 2e-5 (0.03 cents), and 0 for the usual rates.
    """
    if rate == target:
        return x
    limit = 4000
    ratio = Fraction(target / rate).limit_denominator(limit)
    while ratio.numerator * (ratio.denominator + 136) > _FILTERS and limit > 1:
        limit = limit * 7 // 8
        ratio = Fraction(target / rate).limit_denominator(limit)
    return import_torchaudio().resample(
        x,
        ratio.denominator,
        ratio.numerator,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )


@lru_cache(maxsize=16)
def mel_filters(n_fft: int, rate: float, mels: int, low: float = 0.0, high: float | None = None) -> Tensor:
    """Triangular filters of unit peak on Slaney's mel scale, (mels, n_fft // 2 + 1). BadInput where one is empty."""
    high = rate / 2 if high is None else high
    with ignore_library_warnings():  # about empty bands, which are refused below
        filters = (
            import_torchaudio().melscale_fbanks(n_fft // 2 + 1, low, high, mels, round(rate), mel_scale="slaney").T
        )
    empty = int((filters.amax(1) <= 0).sum())
    if empty:
        raise BadInput(
            f"{empty} of {mels} mel bands hold no bin of n_fft {n_fft} at {rate:g} Hz: fewer mels or a larger n_fft"
        )
    return filters.contiguous()


# STFT


def frame_count(length: int, hop: int, multiple: int = 1) -> int:
    """Number of frames that cover `length` samples, rounded up to a multiple."""
    return -(-max(length, 1) // (hop * multiple)) * multiple


def _margins(n_fft: int, hop: int) -> tuple[int, int]:
    left = (n_fft - hop) // 2
    return left, n_fft - hop - left


def stft(x: Tensor, n_fft: int, hop: int, loop: bool = False) -> Tensor:
    """Complex STFT with a periodic Hann window, (..., frames hop) -> (..., n_fft // 2 + 1, frames).

    The length must be a multiple of hop. The signal is padded with silence, or periodically for a loop.
    """
    if x.shape[-1] % hop:
        raise BadInput(f"stft takes whole frames: {x.shape[-1]} samples are no multiple of hop {hop}")
    flat = x.reshape(-1, 1, x.shape[-1])
    left, right = _margins(n_fft, hop)
    if loop:
        n = flat.shape[-1]
        flat = flat[..., torch.arange(-left, n + right, device=x.device) % n]
    else:
        flat = functional.pad(flat, (left, right))
    window = torch.hann_window(n_fft, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(flat[:, 0], n_fft, hop, window=window, center=False, return_complex=True)
    return spectrum.reshape(*x.shape[:-1], *spectrum.shape[-2:])


def known_frames(known: Tensor, n_fft: int, hop: int, loop: bool = False) -> Tensor:
    """Which frames of `stft` only contain known samples, (..., frames hop) -> (..., frames), both bool.

    The silence around a sound is known.
    """
    left, right = _margins(n_fft, hop)
    missing = (~known).to(torch.uint8)
    ends = (
        (missing[..., known.shape[-1] - left :], missing[..., :right])
        if loop
        else (missing.new_zeros(left), missing.new_zeros(right))
    )
    lead = known.shape[:-1]
    padded = torch.cat([ends[0].expand(*lead, left), missing, ends[1].expand(*lead, right)], -1)
    return padded.unfold(-1, n_fft, hop).amax(-1) == 0


def istft(spectrum: Tensor, n_fft: int, hop: int, loop: bool = False) -> Tensor:
    """The least-squares inverse of `stft`, (..., bins, frames) -> (..., frames hop); exact for a consistent spectrum.

    x = sum_k w_k y_k / sum_k w_k^2 over the frames y_k that cover a sample (Griffin and Lim 1984, eq. 6).
    """
    *lead, bins, frames = spectrum.shape
    flat = spectrum.reshape(-1, bins, frames)
    pieces = torch.fft.irfft(flat, n=n_fft, dim=1)  # (N, n_fft, F)
    window = torch.hann_window(n_fft, dtype=pieces.dtype, device=pieces.device)[:, None]
    total = _overlap(pieces * window, hop)
    weight = _overlap((window.square()).expand(1, n_fft, frames), hop)
    left, _ = _margins(n_fft, hop)
    size = frames * hop
    if loop:
        total, weight = (_wrapped(v, left, size) for v in (total, weight))
    else:
        total, weight = (v[:, left : left + size] for v in (total, weight))
    return (total / weight).reshape(*lead, size)


def _overlap(pieces: Tensor, hop: int) -> Tensor:
    """Overlap-add, (N, n_fft, frames) -> (N, (frames - 1) hop + n_fft), one part of `hop` samples at a time."""
    count, n_fft, frames = pieces.shape
    parts = -(-n_fft // hop)
    padded = functional.pad(pieces.transpose(1, 2), (0, parts * hop - n_fft)).reshape(count, frames, parts, hop)
    out = pieces.new_zeros(count, frames + parts - 1, hop)
    for part in range(parts):
        out[:, part : part + frames] += padded[:, :, part]
    return out.flatten(1)[:, : (frames - 1) * hop + n_fft]


def _wrapped(v: Tensor, left: int, size: int) -> Tensor:
    """Add the parts beyond the ends of a loop of `size` samples at the other end; v starts `left` samples before it."""
    turns = -(-left // size)
    v = functional.pad(v, (turns * size - left, 0))
    v = functional.pad(v, (0, -v.shape[-1] % size))
    return v.reshape(v.shape[0], -1, size).sum(1)


def linear_prediction(x: Tensor, count: int, order: int = 32) -> Tensor:
    """Continuation (C, count) of (C, frames) by linear prediction with stable coefficients from Burg's method.

    k_m = -2 sum f b / sum (f^2 + b^2) over the forward and backward errors (Burg 1967). For a sound shorter
    than three times the order, the order is reduced; silence is continued as silence.
    """
    order = min(order, x.shape[-1] // 3)
    forward = backward = x.double()
    a = torch.ones(len(x), 1, dtype=torch.float64, device=x.device)
    for _ in range(order):
        forward, backward = forward[:, 1:], backward[:, :-1]
        power = (forward.square() + backward.square()).sum(-1, keepdim=True)
        k = -2 * (forward * backward).sum(-1, keepdim=True) / power.clamp(min=SILENCE**2)
        a = functional.pad(a, (0, 1)) + k * functional.pad(a, (0, 1)).flip(-1)
        forward, backward = forward + k * backward, backward + k * forward
    out = list(x.double().unbind(-1))
    for _ in range(count if order else 0):
        out.append(-(torch.stack(out[: -order - 1 : -1], -1) * a[:, 1:]).sum(-1))
    predicted_part = torch.stack(out[-count:], -1) if order and count else x.new_zeros(len(x), count)
    return predicted_part.to(x.dtype)


# From magnitudes to sound


def griffin_lim(
    magnitude: Tensor,
    n_fft: int,
    hop: int,
    iterations: int = 32,
    momentum: float = 0.99,
    seed: int = 0,
    loop: bool = False,
    known: tuple[Tensor, Tensor] | None = None,
    phase: Tensor | None = None,
) -> Tensor:
    """A sound whose STFT has about this magnitude, (..., bins, frames) -> (..., frames hop).

    c_n = P_magnitude(P_consistent(t_{n-1})), t_n = c_n + momentum (c_n - c_{n-1}) (Perraudin, Balazs and Sondergaard
    2013, "A fast Griffin-Lim algorithm", algorithm 2). The phase is computed without gradients; the result is
    differentiable with respect to the magnitude.

    Args:
        magnitude: (..., bins, frames).
        n_fft: Samples of a window.
        hop: Samples between windows.
        iterations: Number of iterations.
        momentum: Of the fast algorithm; 0: the original algorithm.
        seed: Of the random initial phase, which is equal for all sounds of a batch, so that a sound does not depend on
            its batch.
        loop: Whether the sound is a loop.
        known: (..., frames hop) samples, and a mask (bool) of where they are known. They are inserted at every step, so
            that the phase of the rest continues theirs; the result is close to them there.
        phase: Initial phase (..., bins, frames) in radians, such as that of `phase.phase_from_magnitude`; None: random.
    """

    def with_known(sound: Tensor) -> Tensor:
        return sound if known is None else torch.where(known[1], known[0], sound)

    with torch.no_grad():
        if phase is None:
            drawn = keyed_generator(seed, 0, "griffin-lim", tuple(magnitude.shape[-2:])).random(
                magnitude.shape[-2:], dtype=np.float32
            )
            phase = torch.from_numpy(2 * math.pi * drawn).to(magnitude)
        unit = torch.polar(torch.ones_like(phase), phase).expand(magnitude.shape)
        previous = torch.zeros_like(unit)
        for _ in range(iterations):
            rebuilt = stft(with_known(istft(magnitude * unit, n_fft, hop, loop)), n_fft, hop, loop)
            accelerated = rebuilt + momentum * (rebuilt - previous)
            unit = torch.sgn(accelerated)  # x / |x|
            previous = rebuilt
    return istft(magnitude * unit, n_fft, hop, loop)


def mel_to_spectrum(mel: Tensor, filters: Tensor, iterations: int = 16) -> Tensor:
    """The non-negative spectrum whose mel bands approximate `mel`, (..., mels, frames) -> (..., bins, frames).

    Starts with the transposed filters applied to `mel` and takes multiplicative steps s <- s (M^T m) / (M^T M s) (Lee
    and Seung 2001, "Algorithms for non-negative matrix factorization", eq. 4), which decrease ||M s - m|| and keep s >=
    0.
    """
    m = filters.to(mel)
    tiny = torch.finfo(mel.dtype).tiny ** 0.5
    target = m.T @ mel
    s = target / (m.T @ m.sum(1, keepdim=True)).clamp(min=tiny)
    for _ in range(iterations):
        s = s * (target / (m.T @ (m @ s)).clamp(min=tiny))
    return s
