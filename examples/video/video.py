"""Video for sonolux as a plugin in one file: a modality, a dataset, a codec and a network.

    sonolux train examples/video/video.yaml
    sonolux sample runs/video label=circle --allow-code --out circles
    sonolux sample runs/video label=circle seconds=2 --allow-code --out longer

sonolux contains no code for video: the recipe names the classes of this file (`use: ./video.py:Video`). An installed
package would register them as entry points, see docs/plugins.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageSequence
from sonolux.core.codecs.base import ChannelStandardizer, Codec
from sonolux.core.nn.unet import UNetND
from sonolux.core.types import BadInput, Item, MediaSpec, WrittenFile
from sonolux.core.util.rng import keyed_generator
from torch import Tensor


class Video:
    """Grey clips, (1, frames, height, width) in [-1, 1].

    Args:
        size: Height and width in pixels.
        frames: Number of frames.
        fps: Frames per second; `seconds=1` gives this number of frames.
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
        """Read a GIF as (1, frames, height, width); with `fit` resized to the recipe's height and width."""
        with Image.open(path) as file:
            shown = [frame.convert("L") for frame in ImageSequence.Iterator(file)]
        shown = [frame.resize((self.size, self.size)) for frame in shown] if fit else shown
        return torch.from_numpy(np.stack([np.asarray(frame) for frame in shown])).float()[None] / 127.5 - 1

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one clip as a repeating GIF; values are clipped to [-1, 1], non-finite ones raise BadInput."""
        pictures = [Image.fromarray(frame) for frame in _bytes(media)]
        return WrittenFile(_gif(path, pictures, 1000 / self.fps), float(media.abs().max()))

    def sheet(self, path: Path, media: Sequence[Tensor], captions: Sequence[str] = ()) -> Path:
        """Draw each clip as a row of its frames, enlarged, with grey lines between them."""
        longest = max(clip.shape[1] for clip in media)
        framed = [np.pad(_bytes(clip), ((0, 0), (0, 1), (0, 1)), constant_values=90) for clip in media]
        framed = [np.pad(f, ((0, longest - len(f)), (0, 0), (0, 0)), constant_values=90) for f in framed]
        rows = [np.concatenate(list(frames), axis=1) for frames in framed]
        _enlarged(np.concatenate(rows)).save(path)
        return path

    def strip(self, path: Path, rows: Sequence[Sequence[Tensor]]) -> Path:
        """Draw the middle frame of each clip along its denoising trajectory, one row per clip."""
        return self.sheet(path, [torch.stack([clip[0, clip.shape[1] // 2] for clip in row])[None] for row in rows])

    def animate(self, path: Path, frames: Sequence[Sequence[Tensor]]) -> Path:
        """Animate the middle frames of several clips, side by side, along their denoising trajectories."""
        middle = [np.concatenate([_bytes(c)[c.shape[1] // 2] for c in clips], axis=1) for clips in frames]
        return _gif(path, [_enlarged(picture) for picture in middle], 100)


class Balls:
    """A bright ball that moves across, up and down, or in a circle; synthetic, deterministic for a seed.

    Args:
        spec: Media specification of the clips.
        split: train or valid.
        valid: Share of the clips for validation, 0 to 1.
        seed: Seed of all clips.
        count: Number of clips in both splits together.
        shortest: Number of frames of the shortest clips; shorter clips are padded with black; null: all clips have the
            full length.
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
        held_out = max(1, round(count * valid)) if valid else 0
        self.size, self.split, self.seed, self.shortest = spec.size, split, seed, shortest
        self.count = count - held_out if split == "train" else held_out

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: Any = None) -> Item:
        """Clip `index`; the three classes alternate."""
        frames, height, width = self.size
        label = index % len(self.classes)
        draw = keyed_generator(self.seed, index, f"balls {self.split}")
        phase, radius = draw.uniform(0, 1), draw.uniform(0.09, 0.14)
        turn = 2 * np.pi * (phase + np.arange(frames) / frames)  # periodic: the last frame continues into the first
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
        """One record per clip."""
        return [{"source": str(i), "label": self.classes[i % len(self.classes)]} for i in range(len(self))]


class Frames(Codec):
    """Grey values, standardized to mean 0 and variance 1.

    Time can wrap, so that clips can be loops, and clips of different lengths can share a batch.

    Args:
        spec: Media specification of the clips.
    """

    wrap = (0,)

    def __init__(self, spec: MediaSpec):
        super().__init__(spec)
        self.standard = ChannelStandardizer(spec.channels)

    def fit(self, items: Iterable[Item]) -> None:
        """Fit mean and standard deviation to the training split."""
        self.standard.fit((item.media[None], None) for item in items)

    def encode(self, media: Tensor, loop: bool = False) -> Tensor:
        """(B, 1, frames, H, W) -> the same shape, with unit variance."""
        return self.standard(media)

    def decode(self, z: Tensor, length: int | None = None, loop: bool = False) -> Tensor:
        """Inverse of `encode`, cut to `length` frames."""
        return self.spec.trim(self.standard.inverse(z), length)

    def shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(1, frames, H, W)."""
        return (self.spec.channels, *size)

    def valid(self, lengths: Tensor, size: tuple[int, ...]) -> Tensor:
        """(B, 1, frames, H, W): 1 in the first `lengths` frames, else 0."""
        inside = torch.arange(size[0]) < lengths[:, None]
        return inside[:, None, :, None, None].float().expand(-1, -1, *size).contiguous()

    def log_det(self, size: tuple[int, ...]) -> float:
        """log |det| of `encode`: -(number of elements) log(scale)."""
        return -math.prod(size) * float(self.standard.scale.double().log())


class UNet(UNetND):
    """The core's U-Net in 3 dimensions (frames, height, width).

    Args:
        spec: Media specification, with the shape (C, frames, H, W) of the diffused tensor.
        width: Channels at multiplier 1.
        stages: Channel multipliers; each stage halves the resolution.
        attention: Stages with self-attention.
        patch: Elements along each axis that are folded into channels at the input.
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
    """(1, frames, H, W) in [-1, 1] -> (frames, H, W) uint8.

    Raises:
        BadInput: A value is not finite.
    """
    if not bool(torch.isfinite(clip).all()):
        raise BadInput("the clip contains values that are not finite")
    return ((clip[0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()


def _enlarged(picture: np.ndarray, times: int = 3) -> Image.Image:
    return Image.fromarray(picture.repeat(times, 0).repeat(times, 1))


def _gif(path: Path, pictures: Sequence[Image.Image], milliseconds: float) -> Path:
    first, *rest = pictures
    first.save(path, save_all=True, append_images=rest, duration=round(milliseconds), loop=0)
    return path
