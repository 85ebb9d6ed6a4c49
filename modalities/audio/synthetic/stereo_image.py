"""Stereo sounds with a known level difference and a known correlation of their channels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .shaping import Array
from .textures import SoundTexture

LOUDER = 12.0  # dB, largest level difference
NARROW = 0.1  # smallest correlation
_MIDDLE = 3.0  # dB, level difference up to which a sound is in the middle
_WIDE = 0.6  # correlation below which a sound is wide


@dataclass(frozen=True)
class StereoImage:
    """How a sound is placed between two channels.

    Attributes:
        level_difference: Level of the left channel above that of the right one, in dB.
        correlation: Correlation of the channels.
    """

    level_difference: float
    correlation: float

    @property
    def caption(self) -> str:
        """The image in words: "wide, on the left"."""
        side = "left" if self.level_difference > 0 else "right"
        place = f"on the {side}" if abs(self.level_difference) > _MIDDLE else "in the middle"
        return f"{'wide' if self.correlation < _WIDE else 'narrow'}, {place}"


@dataclass(frozen=True)
class StereoTexture:
    """The description of a stereo recording: that of its texture, and its stereo image."""

    texture: SoundTexture
    image: StereoImage

    @property
    def family(self) -> str:
        """The family of the texture."""
        return self.texture.family

    @property
    def captions(self) -> list[str]:
        """The texture and its image in words: "fast bright rain, wide, on the left"."""
        return [f"{caption}, {self.image.caption}" for caption in self.texture.captions]

    def attributes(self) -> dict[str, Any]:
        """Those of the texture, `level_difference` in dB and `correlation`."""
        return {**self.texture.attributes(), **asdict(self.image)}


def draw_stereo_image(rng: np.random.Generator) -> StereoImage:
    """A level difference of up to 12 dB to either side, and a correlation from 0.1 to 1."""
    return StereoImage(float(rng.uniform(-LOUDER, LOUDER)), float(rng.uniform(NARROW, 1.0)))


def render_stereo(first: Array, second: Array, image: StereoImage) -> Array:
    """Two channels (2, frames) from two independent signals (frames,) of the same kind.

    L = g_L (a cos u + b sin u) and R = g_R (a cos u - b sin u), where a is the first signal and b the part of the
    second that is orthogonal to it, with the power of a. The correlation is then cos 2u, and the level difference
    20 log10(g_L / g_R); both are exact. g_L^2 + g_R^2 = 2.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    b = b - a * (a @ b) / (a @ a)
    b *= np.sqrt((a @ a) / (b @ b))
    angle, ratio = np.arccos(image.correlation) / 2, 10 ** (image.level_difference / 20)
    right = np.sqrt(2 / (1 + ratio**2))
    pair = np.stack([a * np.cos(angle) + b * np.sin(angle), a * np.cos(angle) - b * np.sin(angle)])
    return (pair * [[ratio * right], [right]]).astype(np.float32)
