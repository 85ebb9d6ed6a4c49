"""The contracts of the house and the letters used everywhere.

x0      clean data                 x       noisy data: x = alpha x0 + sigma eps
eps     standard normal noise      D       a denoiser's estimate of x0
t       time in the schedule's own units; it falls from noise to data
rho     sigma / alpha              lam     log(alpha / sigma);  logsnr = 2 lam
tau     sigma / (alpha + sigma): a bounded clock, 1 is noise and 0 is clean on every schedule

Tensors are (B, C, *spatial); the core never asks how many spatial axes there are. A level, mask or coefficient is a
scalar, (B,) (always meant per sample), or a map (B, 1, *spatial).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .util.errors import BadInput, BrokenPlugin

__all__ = [
    "BadInput",
    "BrokenPlugin",
    "Conditioning",
    "Dataset",
    "Denoiser",
    "Estimate",
    "Item",
    "MediaSpec",
    "Modality",
    "NoiseLevel",
    "Number",
    "Output",
    "expand",
    "per_sample",
    "sent",
]  # fmt: skip

Number = float | Tensor


def sent(value: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`value` on x's device in x's dtype (or `dtype`); to a GPU from pinned memory, so that the host need not wait."""
    dtype = x.dtype if dtype is None else dtype
    if x.is_cuda and not value.is_cuda:
        return value.to(dtype).pin_memory().to(x.device, non_blocking=True)
    return value.to(device=x.device, dtype=dtype)


def expand(value: Number, x: Tensor) -> Number:
    """Make `value` broadcast against x (B, C, *spatial): a float or map stays, (B,) becomes (B, 1, ..., 1)."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    value = sent(value, x)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim == 1 else value


def per_sample(value: Number, x: Tensor) -> Tensor:
    """`value` as a network takes it: (B,), or the map (B, 1, *spatial) it already is; on x's device in x's dtype."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        if isinstance(value, Tensor):
            return sent(value, x).expand(x.shape[0])
        return torch.full((x.shape[0],), value, device=x.device, dtype=x.dtype)
    value = sent(value, x)
    if value.ndim == x.ndim and all(n == 1 for n in value.shape[1:]):
        return value.reshape(-1)
    return value


@dataclass(frozen=True)
class NoiseLevel:
    """A noise level: q(x | x0) = N(alpha x0, sigma^2 I) at time t.

    Fields are floats (one level for all), (B,) tensors or maps (B, 1, *spatial). While a plan is made they are float64
    tensors; in the sampling loop a scalar level holds Python floats, which cost no transfer and keep full precision.
    """

    t: Number
    alpha: Number
    sigma: Number

    @property
    def rho(self) -> Number:
        """sigma / alpha; infinite at alpha = 0."""
        if isinstance(self.sigma, Tensor):
            return self.sigma / self.alpha
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def lam(self) -> Number:
        """log(alpha / sigma); minus infinity at alpha = 0, plus infinity at sigma = 0."""
        if isinstance(self.sigma, Tensor):
            return torch.log(torch.as_tensor(self.alpha)) - torch.log(self.sigma)
        if self.sigma == 0 or self.alpha == 0:
            return math.inf if self.alpha else -math.inf
        return math.log(self.alpha / self.sigma)

    @property
    def tau(self) -> Number:
        """sigma / (alpha + sigma): bounded, 1 at pure noise, 0 at clean data."""
        return self.sigma / (self.alpha + self.sigma)

    def on(self, x: Tensor) -> NoiseLevel:
        """The same level, broadcastable against x (B, C, *spatial) and on its device."""
        return NoiseLevel(expand(self.t, x), expand(self.alpha, x), expand(self.sigma, x))

    def exact(self, x: Tensor) -> NoiseLevel:
        """The same level shaped for x (B, C, *spatial) and on its device, but in float64.

        What is computed from a map is then rounded once, like what is computed from a number. (float32 on a device
        that has no float64.)
        """
        dtype = torch.float32 if x.device.type == "mps" else torch.float64

        def placed(v: Number) -> Number:
            if not isinstance(v, Tensor) or v.ndim == 0:
                return v
            v = sent(v, x, dtype)
            v = v.reshape(-1, *[1] * (x.ndim - 1)) if v.ndim == 1 else v
            return v.expand(x.shape[0], *v.shape[1:])

        return NoiseLevel(placed(self.t), placed(self.alpha), placed(self.sigma))

    def stacked(self, times: int) -> NoiseLevel:
        """The level for a batch that holds the samples `times` times over."""

        def tile(v: Number) -> Number:
            return torch.cat([v] * times) if isinstance(v, Tensor) and v.ndim else v

        return NoiseLevel(tile(self.t), tile(self.alpha), tile(self.sigma))


@dataclass(frozen=True)
class Estimate:
    """What a denoiser returns: `x0`, and `x` where the method also moves the state the sampler steps from."""

    x0: Tensor
    x: Tensor | None = None


@dataclass(frozen=True)
class Conditioning:
    """What guides a batch of samples: one record whose rows are samples.

    embeddings: name -> (B, E), made once a run from labels, numbers, ...; every network adds them up
    null:       name -> (B, E), the rows that stand for "not told" (the null condition of classifier-free guidance)
    valid:      (B, 1, *spatial), 1 where an element belongs to the sample and 0 where it is padding; None: all valid
    wrap:       spatial axes (0 is the first) along which the sample is a loop: convolutions pad circularly there
    """

    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    null: Mapping[str, Tensor] = field(default_factory=dict)
    valid: Tensor | None = None
    wrap: tuple[int, ...] = ()

    def without(self, names: Sequence[str] | None = None) -> Conditioning:
        """The same record with the named conditions (default: all) replaced by their null rows."""
        drop = self.embeddings.keys() if names is None else names
        return replace(self, embeddings={k: self.null[k] if k in drop else v for k, v in self.embeddings.items()})

    @staticmethod
    def stack(records: Sequence[Conditioning]) -> Conditioning:
        """One record with the rows of all, in order: guidance evaluates every set in one batch."""
        first = records[0]
        if len(records) == 1:
            return first
        return Conditioning(
            embeddings={k: torch.cat([r.embeddings[k] for r in records]) for k in first.embeddings},
            null={k: torch.cat([r.null[k] for r in records]) for k in first.null},
            valid=None if first.valid is None else torch.cat([r.valid for r in records if r.valid is not None]),
            wrap=first.wrap,
        )


@runtime_checkable
class Denoiser(Protocol):
    """x0 from x: the one contract that samplers, guidance and editing know. Differentiable in x."""

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """Estimate the clean data of x (B, C, *spatial) at the level given."""
        ...


_AXES = {1: ("time",), 2: ("height", "width"), 3: ("time", "height", "width")}
"""Axes of the checkpoints of the first edition, which named none, by their number."""


@dataclass(frozen=True)
class MediaSpec:
    """The facts that several parts of a recipe need, stated once in `modality` and passed to any parameter `spec`.

    Durations act on the axis called "time", wherever it is among the axes; sizes act on the other axes.

    Attributes:
        modality: Registered name of the modality ("image", "audio").
        channels: Channels of the media (3 for RGB, 1 for mono).
        axes: Name of each spatial axis: ("time",), ("height", "width"), ("time", "height", "width").
        size: Media elements along each axis.
        rates: Elements a second along each axis (Hz, frames per second), or None for an axis that has no rate; () for
            no rates at all.
        classes: Class names in the order of their indices; () where the data has none.
        latent: (C, *spatial), the shape of the diffused tensor at this size; () until the codec is known.

    Raises:
        BadInput: Axes, sizes and rates are not one each, or an axis is named twice.
    """

    modality: str
    channels: int
    axes: tuple[str, ...]
    size: tuple[int, ...]
    rates: tuple[float | None, ...] = ()
    classes: tuple[str, ...] = ()
    latent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.rates:
            object.__setattr__(self, "rates", (None,) * len(self.axes))
        if not all(isinstance(axis, str) for axis in self.axes) or len(set(self.axes)) != len(self.axes):
            raise BadInput(f"axes are names such as ('time',) or ('height', 'width'), each once; got {self.axes!r}")
        if not len(self.axes) == len(self.size) == len(self.rates):
            raise BadInput(
                f"each of the axes {self.axes} of modality {self.modality} has a size and a rate (or None); got sizes "
                f"{self.size} and rates {self.rates}"
            )

    @property
    def time_axis(self) -> int | None:
        """Index of the axis called time among the spatial axes, or None."""
        return self.axes.index("time") if "time" in self.axes else None

    @property
    def other_axes(self) -> tuple[int, ...]:
        """Indices of the axes that are not time."""
        return tuple(axis for axis in range(len(self.axes)) if axis != self.time_axis)

    @property
    def rate(self) -> float | None:
        """Elements a second along the time axis, or None."""
        return None if self.time_axis is None else self.rates[self.time_axis]

    @property
    def length(self) -> int | None:
        """Elements along the time axis, or None without one."""
        return None if self.time_axis is None else self.size[self.time_axis]

    def length_of(self, size: Sequence[int]) -> int | None:
        """Elements along the time axis of media whose last axes have these sizes, or None without a time axis."""
        return None if self.time_axis is None else size[self.time_axis - len(self.axes)]

    def with_length(self, size: Sequence[int], length: int | None) -> tuple[int, ...]:
        """`size` with `length` elements along the time axis; None, or no such axis: unchanged."""
        if length is None or self.time_axis is None:
            return tuple(size)
        return (*size[: self.time_axis], length, *size[self.time_axis + 1 :])

    def trim(self, media: Tensor, length: int | None) -> Tensor:
        """The first `length` elements of media (..., *size) along the time axis; None, or no such axis: all of it."""
        if length is None or self.time_axis is None:
            return media
        axis = media.ndim - len(self.axes) + self.time_axis
        return media.narrow(axis, 0, min(length, media.shape[axis]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> MediaSpec:
        """The record of `to_dict`, and of the first edition: that had one `rate` (of the time axis) and no axes."""
        size = tuple(facts["size"])
        axes = tuple(facts["axes"]) if "axes" in facts else _AXES[len(size)]
        if "rates" in facts:
            rates = tuple(facts["rates"])
        else:
            rates = tuple(facts.get("rate") if axis == "time" else None for axis in axes)
        classes, latent = tuple(facts["classes"]), tuple(facts["latent"])
        return cls(facts["modality"], facts["channels"], axes, size, rates, classes, latent)


@dataclass
class Item:
    """One example of a dataset.

    media:      (C, *spatial) float32, nominally in [-1, 1]
    length:     valid elements along the time axis (the rest is padding); None: all of them
    label:      index into the dataset's `classes`, or None
    caption:    text, or None
    attributes: machine-readable facts (numbers and names) that conditions and checkers may use
    source:     the file it came from, or the index of a made one: named in messages
    """

    media: Tensor
    length: int | None = None
    label: int | None = None
    caption: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    source: str = ""


class Dataset(Protocol):
    """Examples by index. A dataset is made for one split and never draws on a global generator."""

    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def item(self, index: int, rng: Any) -> Item:
        """Example `index`; `rng` (numpy Generator keyed by seed, sample, step) decides crops and flips; None: none."""
        ...

    def manifest(self) -> list[dict[str, Any]]:
        """One plain record an example (source, label, size, hash): saved with the run, and hashed."""
        ...


class Output(Protocol):
    """How a sample becomes a file, where that is not the modality's own way: finished, and in another format.

    A constructor's `loop: bool` is set by sonolux: nothing may then be done to a sample that opens its seam.
    """

    suffix: str

    def write(self, path: Path, media: Tensor) -> Path:
        """Write one (C, *spatial) sample; refuses non-finite values before anything is written; returns the path."""
        ...


class Modality(Protocol):
    """Names a kind of media and how its files are written and shown. Its components sit beside it in the tree.

    A modality may have more, and what asks for it says so where it is absent:

    preparer() -> prepare_types.Preparer   (static) what `sonolux prepare` does with a folder of its files
    judge() -> measuring.types.Judge       what `sonolux eval` needs to know: defects, likeness, the classifier's sizes
    read(path) -> (C, *spatial)            a file as training reads it: `sonolux edit` and `eval --folder` start there;
                                           media with axes other than time take `fit=False` too: at the file's own size
    levelled(media, data) -> (gain, offset) what training does to the level of a file, so that an edit gives it back
    codec: str                             name of the codec of recipes that name none
    """

    name: str
    suffix: str

    def spec(self) -> MediaSpec:
        """The facts that the recipe's `modality` section states."""
        ...

    def write(self, path: Path, media: Tensor) -> Path:
        """Write one (C, *spatial) example; refuses non-finite values; returns the path."""
        ...

    def sheet(self, path: Path, media: Sequence[Tensor], captions: Sequence[str] = ()) -> Path:
        """Draw examples as one PNG: a grid of pictures, or spectrograms and waveforms."""
        ...

    def strip(self, path: Path, rows: Sequence[Sequence[Tensor]]) -> Path:
        """Draw rows of examples as one PNG: a row is one example as it unveils."""
        ...

    def animate(self, path: Path, frames: Sequence[Sequence[Tensor]]) -> Path:
        """Draw frames, each a few examples side by side, as one GIF."""
        ...
