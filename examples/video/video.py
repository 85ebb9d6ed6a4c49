"""Video for sonolux, as a plugin in one file: a modality, a dataset, a codec and a network.

    sonolux train examples/video/video.yaml
    sonolux sample runs/video label=circle --allow-code --out circles
    sonolux sample runs/video label=circle seconds=2 --allow-code --out longer

Nothing in sonolux knows of this file: the recipe names its classes (`use: ./video.py:Video`). A package would name them
as entry points instead; docs/plugins.md says how.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageSequence
from sonolux.core.codecs.base import Codec, Standardise
from sonolux.core.nn.unet import UNetND
from sonolux.core.types import BadInput, Item, MediaSpec, WrittenFile
from sonolux.core.util.rng import generator
from torch import Tensor


class Video:
    """Grey clips, (1, frames, height, width) in [-1, 1].

    Args:
        size: Height and width in pixels.
        frames: How many.
        fps: Frames a second: `seconds=1` are so many.
    """

    name = "video"
    suffix = ".gif"

    def __init__(self, size: int = 16, frames: int = 12, fps: float = 10.0):
        if min(size, frames) < 4:
            raise BadInput(f"modality.size and modality.frames are 4 or more; got {size} and {frames}")
        self.size, self.frames, self.fps = size, frames, fps

    def spec(self) -> MediaSpec:
        """One channel; time has a rate, height and width have none."""
        size = (self.frames, self.size, self.size)
        return MediaSpec(self.name, 1, ("time", "height", "width"), size, (self.fps, None, None))

    def read(self, path: Path, fit: bool = True) -> Tensor:
        """A GIF as `write` makes them, (1, frames, height, width); with `fit` at the recipe's height and width."""
        with Image.open(path) as file:
            shown = [frame.convert("L") for frame in ImageSequence.Iterator(file)]
        shown = [frame.resize((self.size, self.size)) for frame in shown] if fit else shown
        return torch.from_numpy(np.stack([np.asarray(frame) for frame in shown])).float()[None] / 127.5 - 1

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one clip as an endless GIF; values outside [-1, 1] are cut, non-finite ones refused."""
        pictures = [Image.fromarray(frame) for frame in _bytes(media)]
        return WrittenFile(_gif(path, pictures, 1000 / self.fps), float(media.abs().max()))

    def sheet(self, path: Path, media: Sequence[Tensor], captions: Sequence[str] = ()) -> Path:
        """Each clip as a row of its frames, enlarged, with grey lines between them."""
        longest = max(clip.shape[1] for clip in media)
        framed = [np.pad(_bytes(clip), ((0, 0), (0, 1), (0, 1)), constant_values=90) for clip in media]
        framed = [np.pad(f, ((0, longest - len(f)), (0, 0), (0, 0)), constant_values=90) for f in framed]
        rows = [np.concatenate(list(frames), axis=1) for frames in framed]
        _enlarged(np.concatenate(rows)).save(path)
        return path

    def strip(self, path: Path, rows: Sequence[Sequence[Tensor]]) -> Path:
        """Each row the middle frames of one clip along its denoising trajectory."""
        return self.sheet(path, [torch.stack([clip[0, clip.shape[1] // 2] for clip in row])[None] for row in rows])

    def animate(self, path: Path, frames: Sequence[Sequence[Tensor]]) -> Path:
        """The middle frames of a few clips side by side along their denoising trajectories."""
        middle = [np.concatenate([_bytes(c)[c.shape[1] // 2] for c in clips], axis=1) for clips in frames]
        return _gif(path, [_enlarged(picture) for picture in middle], 100)


class Balls:
    """A bright ball that moves across, up and down, or in a circle; made by code, deterministic by seed.

    Args:
        spec: The recipe's facts about the clips.
        split: Which part: train or valid.
        valid: Share of the clips for validation, 0 to 1.
        seed: Number that all clips follow from.
        count: Clips in both parts together.
        shortest: Frames of the shortest clips, which are padded with black to the size of the others; null: none are
            short.
    """

    classes = ("across", "updown", "circle")

    def __init__(
        self,
        spec: MediaSpec,
        split: Literal["train", "valid"] = "train",
        valid: float = 0.1,
        seed: int = 0,
        count: int = 6000,
        shortest: int | None = None,
    ):
        if len(spec.size) != 3:
            raise BadInput("video.py:Balls makes clips: it needs `modality: {use: ./video.py:Video}`")
        held = max(1, round(count * valid)) if valid else 0
        self.size, self.split, self.seed, self.shortest = spec.size, split, seed, shortest
        self.count = count - held if split == "train" else held

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: Any = None) -> Item:
        """Clip `index`; kinds of motion take turns."""
        frames, height, width = self.size
        label = index % len(self.classes)
        draw = generator(self.seed, index, f"balls {self.split}")
        phase, radius = draw.uniform(0, 1), draw.uniform(0.09, 0.14)
        turn = 2 * np.pi * (phase + np.arange(frames) / frames)  # a round trip: the last frame leads to the first
        fixed = draw.uniform(0.25, 0.75)
        swing = 0.5 + 0.32 * np.cos(turn)
        x = np.full(frames, fixed) if label == 1 else swing
        y = np.full(frames, fixed) if label == 0 else swing if label == 1 else 0.5 + 0.32 * np.sin(turn)
        rows, columns = (np.arange(n) / n + 0.5 / n for n in (height, width))
        away = np.hypot(rows[None, :, None] - y[:, None, None], columns[None, None] - x[:, None, None])
        picture = np.clip((radius - away) * width + 0.5, 0, 1) * 2 - 1
        length = None if self.shortest is None else int(draw.integers(self.shortest, frames + 1))
        if length is not None:
            picture[length:] = -1
        return Item(torch.from_numpy(picture).float()[None], length, label, source=str(index))

    def manifest(self) -> list[dict[str, Any]]:
        """One record a clip."""
        return [{"source": str(i), "label": self.classes[i % len(self.classes)]} for i in range(len(self))]


class Frames(Codec):
    """Grey values shifted and scaled to unit variance; time may wrap, so that a clip is a loop; clips may be shorter
    than the longest of their batch.

    Args:
        spec: Channels and size of the clips.
    """

    wrap = (0,)

    def __init__(self, spec: MediaSpec):
        super().__init__(spec)
        self.standard = Standardise(spec.channels)

    def fit(self, items: Iterable[Item]) -> None:
        """Mean and standard deviation of the training split."""
        self.standard.fit((item.media[None], None) for item in items)

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, 1, frames, H, W) -> the same shape, of unit variance."""
        return self.standard(media)

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """The way back, cut to `length` frames."""
        return self.spec.trim(self.standard.inverse(z), length)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(1, frames, H, W)."""
        return (self.spec.channels, *size)

    def valid(self, lengths: Tensor, size: tuple[int, ...]) -> Tensor:
        """(B, 1, frames, H, W): 1 in the first `lengths` frames."""
        inside = torch.arange(size[0]) < lengths[:, None]
        return inside[:, None, :, None, None].float().expand(-1, -1, *size).contiguous()

    def log_det(self, size: tuple[int, ...]) -> float:
        """- elements x log(scale)."""
        return -math.prod(size) * float(self.standard.scale.double().log())


class UNet(UNetND):
    """The 3D U-Net: the core's layers over (frames, height, width).

    Args:
        spec: Facts of the data, with the shape (C, frames, H, W) of the diffused tensor.
        width: Channels at multiplier 1.
        stages: Channel multipliers; each stage halves the resolution.
        attention: Stages with self-attention.
        patch: Elements along each axis that are folded into channels first.
    """

    def __init__(
        self,
        spec: MediaSpec,
        width: int = 64,
        stages: tuple[int, ...] = (1, 2),
        attention: tuple[int, ...] = (),
        patch: int = 1,
    ):
        super().__init__(3, spec.latent[0], width, stages, blocks=1, attention=attention, patch=patch)


def _bytes(clip: Tensor) -> np.ndarray:
    """(1, frames, H, W) in [-1, 1] -> (frames, H, W) of bytes.

    Raises:
        BadInput: For values that are not finite.
    """
    if not bool(torch.isfinite(clip).all()):
        raise BadInput("a clip holds values that are not finite")
    return ((clip[0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()


def _enlarged(picture: np.ndarray, times: int = 3) -> Image.Image:
    return Image.fromarray(picture.repeat(times, 0).repeat(times, 1))


def _gif(path: Path, pictures: Sequence[Image.Image], milliseconds: float) -> Path:
    first, *rest = pictures
    first.save(path, save_all=True, append_images=rest, duration=round(milliseconds), loop=0)
    return path
