"""Toy data and settings with which `gpu.py --smoke` runs the recipes cifar10 and game_sounds on a CPU in seconds."""

from __future__ import annotations

import json
from pathlib import Path

from sonolux.core.types import MediaSpec
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.io import write_sound
from sonolux.modalities.image.datasets.shapes import Shapes
from sonolux.modalities.image.io import write_picture

_SHORT = ["train.minutes=null", "train.steps=4", "train.batch=4", "train.device=cpu", "train.warmup=1"]
_SAMPLED = ["sample.steps=2", "sample.count=4", "eval.repeats=10", "eval.memorization=false", "eval.page_samples=0"]
TOY_RUNS = {
    "cifar10": [
        *_SHORT,
        *_SAMPLED,
        "modality.size=16",
        "network={use: image/unet, width: 32, stages: [1, 1], blocks: 1, attention: [1], patch: 2}",
    ],
    "game_sounds": [
        *_SHORT,
        *_SAMPLED,
        "sample.prompt=null",
        "modality={use: audio, rate: 4000, seconds: 0.25, channels: 1}",
        "codec={use: audio/logmel, n_fft: 128, hop: 32, mels: 16}",
        "network={use: audio/unet2d, width: 32, stages: [1, 1], patch: [4, 4], attention: [1], cross_attention: [1]}",
        "conditioning.caption.length=8",
        "conditioning.seconds.range=[0.02, 0.25]",
    ],
}


def toy_pictures(folder: Path, count: int = 60) -> Path:
    """A folder of pictures of shapes, one folder for each class."""
    data = Shapes(MediaSpec("image", 3, ("height", "width"), (16, 16), (None, None)), count=count, shapes=1, valid=0)
    for i in range(len(data)):
        item = data.item(i)
        target = folder / data.classes[item.label or 0]
        target.mkdir(parents=True, exist_ok=True)
        write_picture(target / f"{i}.png", item.media)
    return folder


def toy_sounds(folder: Path, count: int = 40) -> Path:
    """A folder of made sounds with the table of their captions."""
    data = SynthSfx(MediaSpec("audio", 1, ("time",), (1000,), (4000.0,)), count=count, valid=0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(len(data)):
        item = data.item(i)
        write_sound(folder / f"{i}.wav", item.media, 4000)
        rows.append(json.dumps({"file": f"{i}.wav", "caption": item.caption or "a sound"}))
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
