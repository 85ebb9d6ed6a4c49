"""A recipe that follows from what was measured of a folder of sounds."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....core.data.files import shown
from ....core.data.manifest import NAME, Line
from ....core.data.prepare.types import Context, Proposal, slug
from ....core.types import BadInput
from .. import dsp

RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000)
_SECONDS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_TEXTURE = 6.0  # seconds: where half of the sounds last longer, parts are cut from them anywhere
_EMPTY = 0.2  # share of silence from which on sounds state their lengths
_FEW, _MANY = 300, 10_000  # sounds


@dataclass(frozen=True)
class _Choice:
    """The numbers of a recipe, and why.

    Attributes:
        shortest: Seconds of the shortest sounds where each is to be as long as it is; None: silence fills up what is
            short.
    """

    rate: int
    seconds: float
    shortest: float | None
    channels: int
    crop: str
    normalise: str
    labelled: bool
    reasons: list[str]


def propose(lines: Sequence[Line], context: Context) -> Proposal:
    """Rate, length, channels, level, crop, codec and network for the usable lines of a manifest."""
    different = [line for line in lines if "copy_of" not in line]
    choice = _choose(different)
    codec, bands, frames = _codec(choice)
    network, size = _network(choice, len(different), bands, frames)
    choice.reasons.append(size)
    return Proposal(_text(choice, codec, network, different, context), choice.reasons)


def _choose(lines: Sequence[Line]) -> _Choice:
    reasons: list[str] = []
    rate = _rate(lines, reasons)
    seconds, crop = _length(lines, reasons)
    shortest = _shortest(lines, seconds, crop, reasons)
    channels, level = _channels(lines, reasons), _level(lines, crop, reasons)
    if crop == "random":
        seconds = _filled(seconds, rate)
    return _Choice(rate, seconds, shortest, channels, crop, level, _labelled(lines, reasons), reasons)


def _rate(lines: Sequence[Line], reasons: list[str]) -> int:
    """The highest usual rate that four files in five have, and that their content needs."""
    have = np.array([line["rate"] for line in lines], dtype=float)
    need = float(np.quantile([2.0 * line["bandwidth"] for line in lines], 0.9))
    common = [rate for rate in RATES if (have >= rate).mean() >= 0.8] or [RATES[0]]
    rate = next((r for r in common if r >= need), common[-1])
    below = int((have < rate).sum())
    why = f"{100 * (have >= rate).mean():.0f} % of the files have it or more"
    if rate < common[-1]:
        why = f"the files hold little above {need / 2:.0f} Hz"
    above = int((have > rate).sum())
    reasons.append(
        f"rate {rate} Hz: {why}"
        + (f"; {below} are upsampled and lack the top" if below else "")
        + (f"; {above} have more and lose what lies above {rate / 2:.0f} Hz" if above else "")
    )
    return rate


def _length(lines: Sequence[Line], reasons: list[str]) -> tuple[float, str]:
    """(seconds, crop): what holds 19 sounds in 20 from onset to end, or a part of a few seconds for textures.

    Nine in ten where a few long ones would make it mostly silence.
    """
    heard = _heard(lines)
    if float(np.median(heard)) > _TEXTURE:
        reasons.append(f"length of about 4 s, anywhere in a sound: half of them last longer than {_TEXTURE:g} s")
        return 4.0, "random"
    share = 0.95 if float(heard.mean()) > 0.4 * float(np.quantile(heard, 0.95)) else 0.9
    wanted = float(np.quantile(heard, share))
    seconds = next((s for s in _SECONDS if s >= wanted), _SECONDS[-1])
    cut = int((heard > seconds).sum())
    reasons.append(
        f"length {seconds:g} s from the onset: {100 * share:.0f} % sound for {wanted:.2f} s or less"
        + (f"; {cut} that are longer are cut and faded" if cut else "")
    )
    return seconds, "onset"


def _heard(lines: Sequence[Line]) -> np.ndarray:
    """Seconds of each sound without the silence around it."""
    return np.array([line["seconds"] - line["lead"] - line["trail"] for line in lines])


def _shortest(lines: Sequence[Line], seconds: float, crop: str, reasons: list[str]) -> float | None:
    """Where silence would fill a fifth of the time, lengths are left out of the loss and told as a condition."""
    if crop == "random":
        return None
    heard = np.minimum(_heard(lines), seconds)
    empty = 1 - float(heard.mean()) / seconds
    if empty < _EMPTY:
        return None
    reasons.append(
        f"each sound as long as it is, told as `seconds`: silence would fill {100 * empty:.0f} % of the time"
    )
    return max(0.05, math.floor(100 * float(heard.min())) / 100)


def _channels(lines: Sequence[Line], reasons: list[str]) -> int:
    wide = sum(line["width"] is not None and line["width"] > -20 for line in lines)
    stereo = sum(line["channels"] > 1 for line in lines)
    if wide >= 0.8 * len(lines):
        reasons.append(f"2 channels: {wide} of {len(lines)} files are truly stereo")
        return 2
    more = f": {stereo} files have more, {wide} of them differ between left and right" if stereo else ""
    cancel = sum(any(r.startswith("mixing") for r in line["remarks"]) for line in lines)
    reasons.append(f"1 channel{more}" + (f"; in {cancel} they cancel: the loudest is taken" if cancel else ""))
    return 1


def _level(lines: Sequence[Line], crop: str, reasons: list[str]) -> str:
    """none where peaks agree already; rms for textures, peak for what has an attack."""
    low, high = np.quantile([line["peak"] for line in lines], [0.05, 0.95])
    if high - low < 3.0 and high <= 0.5:
        reasons.append(f"levels as they are: peaks lie within {high - low:.1f} dB of each other")
        return "none"
    kind = "rms" if crop == "random" else "peak"
    reasons.append(f"levelled by {kind}: peaks spread over {high - low:.0f} dB")
    return kind


def _labelled(lines: Sequence[Line], reasons: list[str]) -> bool:
    sizes = Counter(line["label"] for line in lines if line["label"] is not None)
    told = sum(sizes.values())
    if len(sizes) < 2 or told < 0.9 * len(lines) or told / len(sizes) < 5:
        reasons.append(
            "no classes"
            + (f": {len(sizes)} folders with {told} of {len(lines)} files are too few to learn from" if sizes else "")
        )
        return False
    left = len(lines) - told
    reasons.append(f"{len(sizes)} classes, by folder" + (f"; {left} files in none are left out" if left else ""))
    return True


def _window(rate: int) -> tuple[int, int]:
    """(n_fft, hop) in samples: windows of 21 to 32 ms every 9 ms."""
    n_fft = 2 ** round(math.log2(0.028 * rate))
    return n_fft, min(n_fft // 4, 3 * n_fft // 8, key=lambda hop: abs(math.log(hop / (0.0087 * rate))))


def _filled(seconds: float, rate: int) -> float:
    """The nearest length that fills the codec's places: silence behind parts would be learnt, and heard in loops."""
    step = 8 * _window(rate)[1]
    return round(round(seconds * rate / step) * step / rate, 6)


def _codec(choice: _Choice) -> tuple[str, int, int]:
    """(codec, its channels, its frames): log-mel bands, which learn fastest, in windows of 21 to 32 ms every 9 ms.

    As few bands as cost the codec little: every one must pass through the network with all of its noise. Longer windows
    leave room for beats between the tones that share a band, and what Griffin-Lim then makes is rough.
    """
    n_fft, hop = _window(choice.rate)
    wanted = 40 if choice.rate <= 8000 else 48 if choice.rate <= 16000 else 64 if choice.rate <= 32000 else 80
    mels = next((m for m in (wanted, 64, 48, 40) if _told_apart(n_fft, choice.rate, m)), 32)
    frames = math.ceil(choice.seconds * choice.rate / hop)
    return f"{{use: audio/logmel, n_fft: {n_fft}, hop: {hop}, mels: {mels}}}", mels * choice.channels, frames


def _told_apart(n_fft: int, rate: float, mels: int) -> bool:
    try:
        dsp.mel_filters(n_fft, rate, mels)
    except BadInput:
        return False
    return True


def _network(choice: _Choice, count: int, bands: int, frames: int) -> tuple[str, str]:
    """Wider than what it denoises, 2.5 channels a band; deeper for longer sounds, to 40 to 96 frames at the bottom."""
    stages = [1, 1, 1] + [1] * max(0, math.ceil(math.log2(max(1, frames / 384))))
    width, blocks = 32 * math.ceil(2.5 * bands / 32), 1 if count < _MANY else 2
    extra = ", dropout: 0.1" if count < _FEW else ""
    extra += "" if choice.crop == "random" else ", positions: 4"
    last = len(stages) - 1
    text = (
        f"{{use: audio/unet, width: {width}, stages: {stages}, blocks: {blocks}, "
        f"attention: [{last - 1}, {last}]{extra}}}"
    )
    dropout = " with dropout" if count < _FEW else ""
    return text, f"width {width} for {bands} bands{dropout} for {count} different sounds, {frames} frames each"


def _text(choice: _Choice, codec: str, network: str, lines: Sequence[Line], context: Context) -> str:
    count, classes = len(lines), len({line["label"] for line in lines if line["label"] is not None})
    minutes = sum(line["seconds"] for line in lines) / 60
    few, about = count < _FEW, f"{count} sounds of {context.root.name}, {choice.seconds:g} s at {choice.rate} Hz."
    head = [
        f"# sonolux train {shown(context.recipe)}",
        f"# Proposed by `sonolux prepare` for {count} different sounds, {minutes:.1f} minutes. Quality: not measured.",
        *(f"# - {reason}" for reason in choice.reasons),
    ]
    data = [
        f"  root: {_quoted(str(context.root))}",
        f"  manifest: {NAME}",
        f"  label: {'folder' if choice.labelled else 'none'}",
        f"  normalise: {choice.normalise}",
        f"  crop: {choice.crop}",
        *(["  padding: masked"] if choice.shortest is not None else []),
        f"  split: {{by: hash, valid: {0.15 if few else 0.1}}}",
    ]
    guidance = ", guidance: {use: cfg, scale: 2.5}" if choice.labelled else ""
    body = [
        "recipe: 1",
        f"name: {slug(context.name)}",
        f"about: {_quoted(about)}",
        "seed: 7",
        f"modality: {{use: audio, rate: {choice.rate}, seconds: {choice.seconds}, channels: {choice.channels}}}",
        "data:",
        "  use: audio/folder",
        *data,
        f"codec: {codec}",
        f"network: {network}",
        *_conditions(choice),
        "process:",
        "  schedule: {use: edm}",
        "  parameterization: {use: edm}",
        "objective:",
        f"  timestep_sampling: {{use: lognormal, mean: {0.0 if choice.labelled else 0.2}, std: 1.4}}",
        "train:",
        "  minutes: 15",
        f"  batch: {16 if few else 32}",
        f"  optimizer: {{use: adamw, lr: {1.5e-3 if few else 2.0e-3}}}",
        "  warmup: 100",
        "  ema: {half_life: 200}",
        f"sample: {{use: ddpm, timesteps: karras, steps: 20{guidance}, count: {_shown(choice, classes)}}}",
    ]
    return "\n".join([*head, *body]) + "\n"


def _conditions(choice: _Choice) -> list[str]:
    rows = ["  label: {use: class, drop: 0.1}"] if choice.labelled else []
    if choice.shortest is not None:
        rows.append(
            f"  seconds: {{use: scalar, key: seconds, range: [{choice.shortest:g}, {choice.seconds:g}], log: true, "
            "drop: 0.1}"
        )
    return ["conditioning:", *rows] if rows else []


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _shown(choice: _Choice, classes: int) -> int:
    return min(64, max(16, 2 * classes)) if choice.labelled else 16
