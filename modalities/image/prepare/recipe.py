"""Proposes a recipe from the measurements of a folder of pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ....core.data.files import format_path
from ....core.data.manifest import NAME, ManifestLine
from ....core.data.prepare.captions import TextProposal, propose_text
from ....core.data.prepare.types import ProposedRecipe, RecipeProposalContext, valid_recipe_name
from ....core.util.messages import escape_control_characters, format_command, format_count, format_json
from ..networks.unet import UNet

_SIZES = (16, 24, 28, 32, 48, 64)  # sizes that a CPU trains in minutes; larger ones need a GPU and are left to the user
_FEW = 500  # pictures
_EMPTY = 50.0  # % of one level; above it, pictures are drawings on a uniform background rather than photographs


def propose_recipe(lines: Sequence[ManifestLine], context: RecipeProposalContext) -> ProposedRecipe:
    """Size, channels, flips and network for the usable lines of a manifest."""
    different = [line for line in lines if "copy_of" not in line]
    reasons: list[str] = []
    size, channels = _size(different, reasons), _channels(different, reasons)
    labelled = _labelled(different, reasons)
    stages = [1, 2] if size <= 28 else [1, 2, 2] if size <= 48 else [1, 2, 2, 3]
    words = propose_text(different, UNet, len(stages), reasons)
    network = _network(stages, len(different), words, reasons)
    drawn = float(np.median([line["flat"] for line in different])) > _EMPTY
    flip = _flip(different, channels == 1 or drawn, labelled, bool(words.condition), reasons)
    text = _text(size, channels, labelled, words, network, flip, drawn, different, context, reasons)
    return ProposedRecipe(text, reasons)


def _size(lines: Sequence[ManifestLine], reasons: list[str]) -> int:
    """The common size of small pictures; else the largest usual size that nine in ten have."""
    short = [min(line["width"], line["height"]) for line in lines]
    low = float(np.quantile(short, 0.1))
    size = next((s for s in reversed(_SIZES) if s <= low), _SIZES[0])
    small = sum(s < size for s in short)
    more = "; modality.size=128 and more need a GPU" if low >= 128 else ""
    enlarged = f"; {small} are smaller and are enlarged" if small else ""
    reasons.append(f"size {size}: nine in ten have {low:.0f} pixels or more on their shorter side{enlarged}{more}")
    return size


def _channels(lines: Sequence[ManifestLine], reasons: list[str]) -> int:
    colour = sum(not line["grey"] for line in lines)
    grey = colour < 0.05 * len(lines)
    reasons.append(f"{1 if grey else 3} channel{'' if grey else 's'}: {colour} of {len(lines)} pictures are in colour")
    return 1 if grey else 3


def _labelled(lines: Sequence[ManifestLine], reasons: list[str]) -> bool:
    sizes = Counter(line["label"] for line in lines if line["label"] is not None)
    labelled = sum(sizes.values())
    if len(sizes) < 2 or labelled < 0.9 * len(lines) or labelled / len(sizes) < 5:
        few = f": {len(sizes)} folders with {labelled} of {len(lines)} files are too few to learn from" if sizes else ""
        reasons.append(f"no classes{few}")
        return False
    left = f"; {len(lines) - labelled} files without a class are left out" if labelled < len(lines) else ""
    reasons.append(f"{len(sizes)} classes, by folder{left}")
    return True


def _flip(lines: Sequence[ManifestLine], drawn: bool, labelled: bool, captioned: bool, reasons: list[str]) -> bool:
    """Photographs are mirrored, unless a mirrored one would contradict its caption or class."""
    texts = [_texts(line, labelled, captioned) for line in lines]
    named = [found[0] for text in texts if (found := _DIRECTION.search(text))]
    if drawn:
        reasons.append("not mirrored, which would change letters and drawings (data.flip=true to mirror)")
    elif named:
        word, count = Counter(word.lower() for word in named).most_common(1)[0][0], format_count(len(named), "picture")
        reasons.append(
            f"not mirrored: captions or classes of {count} name directions, such as {word!r} (data.flip=true to mirror)"
        )
    else:
        reasons.append("mirrored at random, since photographs remain plausible")
    return not drawn and not named


def _texts(line: ManifestLine, labelled: bool, captioned: bool) -> str:
    caption = (line.get("caption") or []) if captioned else []
    texts = [caption] if isinstance(caption, str) else [*caption]
    return " ".join([*texts, *([line["label"] or ""] if labelled else [])]).replace("_", " ")


_DIRECTION = re.compile(
    r"\b((left|right)(most|wards?|[ -]?hand(ed)?)?|arrows?|((counter|anti)[ -]?)?clockwise|(east|west)(ern|wards?)?)\b",
    re.IGNORECASE,
)


def _network(stages: list[int], count: int, words: TextProposal, reasons: list[str]) -> str:
    """Patches of 2 pixels; one more stage when the size doubles; attention at low resolution."""
    width, few = (48, ", dropout: 0.1") if count < _FEW else (64, "")
    reasons.append(f"width {width}{' with dropout' if few else ''} for {count} different pictures")
    attention = [len(stages) - 1] if len(stages) == 2 else [len(stages) - 2, len(stages) - 1]
    head = ", head_dim: 24" if width == 48 else ""
    return (
        f"{{use: image/unet, width: {width}{head}, stages: {stages}, blocks: 2, attention: {attention}, patch: 2{few}"
        f"{words.network}}}"
    )


def _text(
    size: int,
    channels: int,
    labelled: bool,
    words: TextProposal,
    network: str,
    flip: bool,
    drawn: bool,
    lines: Sequence[ManifestLine],
    context: RecipeProposalContext,
    reasons: Sequence[str],
) -> str:
    count, few = len(lines), len(lines) < _FEW
    square = all(line["width"] == line["height"] for line in lines)
    about = f"{count} pictures of {context.root.name} at {size}x{size}."
    guidance = ", guidance: {use: cfg, scale: 1.5}" if labelled or words.condition else ""
    classes = len({line["label"] for line in lines if line["label"] is not None})
    shown_ = min(64, max(16, 2 * classes)) if labelled else 16
    body = [
        f"# {format_command('sonolux', 'train', escape_control_characters(format_path(context.recipe)))}",
        f"# Proposed by `sonolux prepare` for {count} different pictures. Quality: not measured.",
        *(f"# - {reason}" for reason in reasons),
        "recipe: 1",
        f"name: {valid_recipe_name(context.name)}",
        f"about: {format_json(about)}",
        "seed: 7",
        f"modality: {{use: image, size: {size}, channels: {channels}}}",
        "data:",
        "  use: image/folder",
        f"  root: {format_json(str(context.root))}",
        f"  manifest: {NAME}",
        f"  label: {'folder' if labelled else 'none'}",
        f"  crop: {'centre' if square else 'random'}",
        f"  flip: {'true' if flip else 'false'}",
        f"  split: {{by: hash, valid: {0.15 if few else 0.1}}}",
        "codec: {use: image/pixels}",
        f"network: {network}",
        *(["conditioning:"] if labelled or words.condition else []),
        *(["  label: {use: class, drop: 0.1}"] if labelled else []),
        *([f"  {words.condition}"] if words.condition else []),
        "process:",
        "  schedule: {use: edm}",
        "  parameterization: {use: edm}",
        "objective:",
        f"  timestep_sampling: {{use: lognormal, mean: {-0.6 if drawn else -0.4}, std: 1.2}}",
        "train:",
        f"  minutes: {5 if size <= 28 else 15 if size <= 32 else 30}",
        f"  batch: {64 if size <= 32 else 32}",
        f"  optimizer: {{use: adamw, lr: {1.5e-3 if size <= 28 else 1.0e-3}}}",
        "  warmup: 100",
        f"  ema: {{half_life: {100 if size <= 28 else 200}}}",
        f"sample: {{use: heun, timesteps: karras, steps: 18{guidance}, count: {shown_}{words.sample}}}",
    ]
    return "\n".join(body) + "\n"
