"""Proposes a recipe from the measurements of a folder of sounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....core.data.files import format_path
from ....core.data.manifest import NAME, ManifestLine
from ....core.data.prepare.captions import TextProposal, propose_text
from ....core.data.prepare.types import ProposedRecipe, RecipeProposalContext, valid_recipe_name
from ....core.types import BadInput
from ....core.util.messages import escape_control_characters, format_command, format_json
from .. import dsp
from ..networks.unet import UNet

RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000)
_SECONDS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_TEXTURE = 6.0  # seconds; if half of the sounds are longer, random parts of them are used
_EMPTY = 0.2  # share of silence above which sounds have individual lengths
_LOUD = 6.0  # dB of full scale; a sound with a higher peak is normalised, such as integers stored as floats
_FEW, _MANY = 300, 10_000  # sounds


@dataclass(frozen=True)
class _Choice:
    """The parameters of a recipe, with reasons.

    Attributes:
        rate: Hz.
        seconds: Length of an example.
        shortest: Length of the shortest sound in seconds, for individual lengths; None: short sounds are padded with
            silence.
        channels: 1 or 2.
        crop: As in audio/folder.
        normalise: As in audio/folder.
        labelled: Whether there are classes.
        reasons: One line for each choice.
    """

    rate: int
    seconds: float
    shortest: float | None
    channels: int
    crop: str
    normalise: str
    labelled: bool
    reasons: list[str]


def propose_recipe(lines: Sequence[ManifestLine], context: RecipeProposalContext) -> ProposedRecipe:
    """Rate, length, channels, level, crop, codec and network for the usable lines of a manifest."""
    different = [line for line in lines if "copy_of" not in line]
    choice = _choose(different)
    codec, bands, frames = _codec(choice)
    stages = [1, 1, 1] + [1] * max(0, math.ceil(math.log2(max(1, frames / 384))))
    words = propose_text(different, UNet, len(stages), choice.reasons)
    network, size = _network(choice, len(different), bands, frames, stages, words)
    choice.reasons.append(size)
    return ProposedRecipe(_text(choice, codec, network, words, different, context), choice.reasons)


def _choose(lines: Sequence[ManifestLine]) -> _Choice:
    reasons: list[str] = []
    rate = _rate(lines, reasons)
    seconds, crop = _length(lines, reasons)
    shortest = _shortest(lines, seconds, crop, reasons)
    channels, level = _channels(lines, reasons), _level(lines, crop, reasons)
    if crop == "random":
        seconds = _filled(seconds, rate)
    return _Choice(rate, seconds, shortest, channels, crop, level, _labelled(lines, reasons), reasons)


def _rate(lines: Sequence[ManifestLine], reasons: list[str]) -> int:
    """The lowest usual rate that the content needs, among those that four files in five have."""
    rates = np.array([line["rate"] for line in lines], dtype=float)
    needed = float(np.quantile([2.0 * line["bandwidth"] for line in lines], 0.9))
    common = [rate for rate in RATES if (rates >= rate).mean() >= 0.8] or [RATES[0]]
    rate = next((r for r in common if r >= needed), common[-1])
    below = int((rates < rate).sum())
    why = f"{100 * (rates >= rate).mean():.0f} % of the files have it or more"
    if rate < common[-1]:
        why = f"the files hold little above {needed / 2:.0f} Hz"
    above = int((rates > rate).sum())
    reasons.append(
        f"rate {rate} Hz: {why}"
        + (f"; {below} are upsampled and lack the top" if below else "")
        + (f"; {above} have more and lose what lies above {rate / 2:.0f} Hz" if above else "")
    )
    return rate


def _length(lines: Sequence[ManifestLine], reasons: list[str]) -> tuple[float, str]:
    """(seconds, crop): a length that contains 95 % of the sounds from onset to end, or random parts for textures.

    90 % where a few long sounds would make examples mostly silent.
    """
    lengths = _audible_seconds(lines)
    if float(np.median(lengths)) > _TEXTURE:
        reasons.append(f"length of about 4 s, at random positions: half of the sounds are longer than {_TEXTURE:g} s")
        return 4.0, "random"
    share = 0.95 if float(lengths.mean()) > 0.4 * float(np.quantile(lengths, 0.95)) else 0.9
    wanted = float(np.quantile(lengths, share))
    seconds = next((s for s in _SECONDS if s >= wanted), _SECONDS[-1])
    cut = int((lengths > seconds).sum())
    reasons.append(
        f"length {seconds:g} s from the onset: {100 * share:.0f} % have {wanted:.2f} s or less"
        + (f"; {cut} that are longer are cut and faded" if cut else "")
    )
    return seconds, "onset"


def _audible_seconds(lines: Sequence[ManifestLine]) -> np.ndarray:
    """Length in seconds of each sound without surrounding silence."""
    return np.array([line["seconds"] - line["lead"] - line["trail"] for line in lines])


def _shortest(lines: Sequence[ManifestLine], seconds: float, crop: str, reasons: list[str]) -> float | None:
    """Minimum length if silence would fill a fifth of the time; padding is masked then, and length is a condition."""
    if crop == "random":
        return None
    lengths = np.minimum(_audible_seconds(lines), seconds)
    empty = 1 - float(lengths.mean()) / seconds
    if empty < _EMPTY:
        return None
    reasons.append(f"individual lengths, conditioned on `seconds`: silence would fill {100 * empty:.0f} % of the time")
    return max(0.05, math.floor(100 * float(lengths.min())) / 100)


def _channels(lines: Sequence[ManifestLine], reasons: list[str]) -> int:
    wide = sum(line["width"] is not None and line["width"] > -20 for line in lines)
    stereo = sum(line["channels"] > 1 for line in lines)
    if wide >= 0.8 * len(lines):
        mono = sum(line["channels"] == 1 for line in lines)
        reasons.append(
            f"2 channels: {wide} of {len(lines)} files are stereo, with different channels"
            + (f"; {mono} are mono, and both channels get the same signal" if mono else "")
        )
        return 2
    more = f": {stereo} files have more, {wide} of them differ between left and right" if stereo else ""
    cancel = sum(any(r.startswith("mixing") for r in line["remarks"]) for line in lines)
    reasons.append(f"1 channel{more}" + (f"; in {cancel} they cancel: the loudest is taken" if cancel else ""))
    return 1


def _level(lines: Sequence[ManifestLine], crop: str, reasons: list[str]) -> str:
    """none if peaks are similar already and none is far too loud; rms for textures, peak for sounds with an attack."""
    peaks = [line["peak"] for line in lines]
    low, high = np.quantile(peaks, [0.05, 0.95])
    if high - low < 3.0 and high <= 0.5 and max(peaks) <= _LOUD:
        reasons.append(f"levels unchanged: peaks lie within {high - low:.1f} dB of each other")
        return "none"
    kind = "rms" if crop == "random" else "peak"
    reasons.append(f"levelled by {kind}: peaks spread over {high - low:.0f} dB")
    return kind


def _labelled(lines: Sequence[ManifestLine], reasons: list[str]) -> bool:
    sizes = Counter(line["label"] for line in lines if line["label"] is not None)
    labelled = sum(sizes.values())
    if len(sizes) < 2 or labelled < 0.9 * len(lines) or labelled / len(sizes) < 5:
        reasons.append(
            "no classes"
            + (
                f": {len(sizes)} folders with {labelled} of {len(lines)} files are too few to learn from"
                if sizes
                else ""
            )
        )
        return False
    left = len(lines) - labelled
    reasons.append(
        f"{len(sizes)} classes, by folder" + (f"; {left} files without a class are left out" if left else "")
    )
    return True


def _window(rate: int) -> tuple[int, int]:
    """(n_fft, hop) in samples: windows of 21 to 32 ms every 9 ms."""
    n_fft = 2 ** round(math.log2(0.028 * rate))
    return n_fft, min(n_fft // 4, 3 * n_fft // 8, key=lambda hop: abs(math.log(hop / (0.0087 * rate))))


def _filled(seconds: float, rate: int) -> float:
    """The nearest length that fills whole codec frames: padding of parts would be learned, and audible in loops."""
    step = 8 * _window(rate)[1]
    return round(round(seconds * rate / step) * step / rate, 6)


def _codec(choice: _Choice) -> tuple[str, int, int]:
    """(codec, its channels, its frames): log-mel bands, which train fastest, in windows of 21 to 32 ms every 9 ms.

    The number of bands is small, without much loss in the codec, since the network must denoise every band. With longer
    windows, tones that share a band beat, and Griffin-Lim sounds rough.
    """
    n_fft, hop = _window(choice.rate)
    wanted = 40 if choice.rate <= 8000 else 48 if choice.rate <= 16000 else 64 if choice.rate <= 32000 else 80
    mels = next((m for m in (wanted, 64, 48, 40) if _bands_resolved(n_fft, choice.rate, m)), 32)
    frames = math.ceil(choice.seconds * choice.rate / hop)
    stereo, planes = (", stereo: mid_side", 3) if choice.channels == 2 else ("", 1)
    return f"{{use: audio/logmel, n_fft: {n_fft}, hop: {hop}, mels: {mels}{stereo}}}", mels * planes, frames


def _bands_resolved(n_fft: int, rate: float, mels: int) -> bool:
    try:
        dsp.mel_filters(n_fft, rate, mels)
    except BadInput:
        return False
    return True


def _network(
    choice: _Choice, count: int, bands: int, frames: int, stages: list[int], words: TextProposal
) -> tuple[str, str]:
    """Width of 2.5 channels per band; deeper for longer sounds, to 40 to 96 frames at the lowest resolution."""
    width, blocks = 32 * math.ceil(2.5 * bands / 32), 1 if count < _MANY else 2
    extra = ", dropout: 0.1" if count < _FEW else ""
    extra += "" if choice.crop == "random" else ", positions: 4"
    last = len(stages) - 1
    text = (
        f"{{use: audio/unet, width: {width}, stages: {stages}, blocks: {blocks}, "
        f"attention: [{last - 1}, {last}]{extra}{words.network}}}"
    )
    dropout = " with dropout" if count < _FEW else ""
    return text, f"width {width} for {bands} bands{dropout} for {count} different sounds, {frames} frames each"


def _text(
    choice: _Choice,
    codec: str,
    network: str,
    words: TextProposal,
    lines: Sequence[ManifestLine],
    context: RecipeProposalContext,
) -> str:
    count, classes = len(lines), len({line["label"] for line in lines if line["label"] is not None})
    minutes = sum(line["seconds"] for line in lines) / 60
    few, about = count < _FEW, f"{count} sounds of {context.root.name}, {choice.seconds:g} s at {choice.rate} Hz."
    head = [
        f"# {format_command('sonolux', 'train', escape_control_characters(format_path(context.recipe)))}",
        f"# Proposed by `sonolux prepare` for {count} different sounds, {minutes:.1f} minutes. Quality: not measured.",
        *(f"# - {reason}" for reason in choice.reasons),
    ]
    data = [
        f"  root: {format_json(str(context.root))}",
        f"  manifest: {NAME}",
        f"  label: {'folder' if choice.labelled else 'none'}",
        f"  normalise: {choice.normalise}",
        f"  crop: {choice.crop}",
        *(["  padding: masked"] if choice.shortest is not None else []),
        f"  split: {{by: hash, valid: {0.15 if few else 0.1}}}",
    ]
    guidance = ", guidance: {use: cfg, scale: 2.5}" if choice.labelled or words.condition else ""
    body = [
        "recipe: 1",
        f"name: {valid_recipe_name(context.name)}",
        f"about: {format_json(about)}",
        "seed: 7",
        f"modality: {{use: audio, rate: {choice.rate}, seconds: {choice.seconds}, channels: {choice.channels}}}",
        "data:",
        "  use: audio/folder",
        *data,
        f"codec: {codec}",
        f"network: {network}",
        *_conditions(choice, words),
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
        f"sample: {{use: ddpm, timesteps: karras, steps: 20{guidance}, count: {_shown(choice, classes)}"
        f"{words.sample}}}",
    ]
    return "\n".join([*head, *body]) + "\n"


def _conditions(choice: _Choice, words: TextProposal) -> list[str]:
    rows = ["  label: {use: class, drop: 0.1}"] if choice.labelled else []
    rows += [f"  {words.condition}"] if words.condition else []
    if choice.shortest is not None:
        rows.append(
            f"  seconds: {{use: scalar, key: seconds, range: [{choice.shortest:g}, {choice.seconds:g}], log: true, "
            "drop: 0.1}"
        )
    return ["conditioning:", *rows] if rows else []


def _shown(choice: _Choice, classes: int) -> int:
    return min(64, max(16, 2 * classes)) if choice.labelled else 16
