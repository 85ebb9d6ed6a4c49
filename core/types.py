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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from .util.errors import BadInput, BrokenPlugin

__all__ = [
    "CONDITIONING_KINDS",
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
    "Tokens",
    "WrittenFile",
    "expand",
    "per_sample",
    "sent",
    "stacked",
]  # fmt: skip

Number = float | Tensor
CONDITIONING_KINDS = ("vector", "tokens", "concat")
_GROUPS = (*CONDITIONING_KINDS, "unconditional")


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


class Tokens(NamedTuple):
    """A sequence of vectors a sample, such as a text encoder's output.

    Attributes:
        values: (B, L, E).
        mask: (B, L) bool, True where a token belongs to the sample, False where it is padding.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Conditioning:
    """What a batch of samples is conditioned on: one record whose rows are samples.

    There are three kinds of conditioning; a network declares in `accepts` which of them it takes. A name belongs to
    one kind.

    Attributes:
        vector: Name -> (B, E), added to the embedding of the noise level.
        unconditional: Name -> the counterpart of any kind that stands for "unconditional", in the shape of the
            conditioned one: classifier-free guidance puts it in its place.
        valid: (B, 1, *spatial), 1 where an element belongs to the sample and 0 where it is padding; None: all valid.
        wrap: Spatial axes (0 is the first) that are circular: convolutions take their padding from the other end.
        tokens: Name -> `Tokens`, a sequence that a network attends to.
        concat: Name -> (B, C', *spatial), channels beside x; an axis of size 1 stands for any size.
    """

    vector: Mapping[str, Tensor] = field(default_factory=dict)
    unconditional: Mapping[str, Tensor | Tokens] = field(default_factory=dict)
    valid: Tensor | None = None
    wrap: tuple[int, ...] = ()
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    concat: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.vector.keys() | self.tokens.keys() | self.concat.keys()) < len(self.names):
            raise BadInput(f"a condition is of one kind, and one name occurs in several: {sorted(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all conditions, whatever their kind."""
        return (*self.vector, *self.tokens, *self.concat)

    @property
    def kinds(self) -> frozenset[str]:
        """Which of "vector", "tokens" and "concat" the record holds."""
        return frozenset(kind for kind in CONDITIONING_KINDS if getattr(self, kind))

    def __getitem__(self, name: str) -> Tensor | Tokens:
        """The condition of that name, of any kind."""
        for kind in CONDITIONING_KINDS:
            if name in (own := getattr(self, kind)):
                return own[name]
        raise KeyError(name)

    def without(self, names: Collection[str] | None = None) -> Conditioning:
        """The same record with the conditions `names` (None: all) replaced by their unconditional counterparts."""
        drop = self.names if names is None else names

        def swapped(own: Mapping[str, Any]) -> dict[str, Any]:
            return {name: self.unconditional[name] if name in drop else value for name, value in own.items()}

        return replace(self, **{kind: swapped(getattr(self, kind)) for kind in CONDITIONING_KINDS})

    def rows(self, index: slice | Sequence[int] | Tensor) -> Conditioning:
        """The record of some of the samples, in the order of `index` (a slice, numbers, or a tensor of them)."""
        if not isinstance(index, (slice, Tensor)):
            index = torch.as_tensor(index, dtype=torch.long)

        def taken(value: Tensor | Tokens) -> Tensor | Tokens:
            if isinstance(value, Tokens):
                return Tokens(value.values[index], value.mask[index])
            return value[index]

        groups = {key: {k: taken(v) for k, v in getattr(self, key).items()} for key in _GROUPS}
        return replace(self, valid=None if self.valid is None else self.valid[index], **groups)

    @staticmethod
    def stack(records: Sequence[Conditioning]) -> Conditioning:
        """One record with the rows of all, in order, so that guidance evaluates every branch in one batch.

        Token sequences are padded to the longest, and channels are expanded to the largest size.
        """
        first = records[0]
        if len(records) == 1:
            return first
        groups = {
            key: {name: stacked([getattr(r, key)[name] for r in records]) for name in getattr(first, key)}
            for key in _GROUPS
        }
        valid = None if first.valid is None else torch.cat([r.valid for r in records if r.valid is not None])
        return Conditioning(valid=valid, wrap=first.wrap, **groups)


def stacked(parts: Sequence[Any]) -> Any:
    """Tensors or `Tokens` of several batches as one: tokens padded to the longest, axes of size 1 expanded."""
    if isinstance(parts[0], Tokens):
        longest = max(part.values.shape[1] for part in parts)
        return Tokens(
            torch.cat([F.pad(part.values, (0, 0, 0, longest - part.values.shape[1])) for part in parts]),
            torch.cat([F.pad(part.mask, (0, longest - part.mask.shape[1])) for part in parts]),
        )
    largest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    return torch.cat([part if list(part.shape[1:]) == largest else part.expand(-1, *largest) for part in parts])


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

    Attributes:
        media: (C, *spatial) float32, nominally in [-1, 1].
        length: Valid elements along the time axis (the rest is padding); None: all of them.
        label: Index into the dataset's `classes`, or None.
        caption: Text, or None.
        attributes: Machine-readable facts (numbers and names) that conditions and checkers may use.
        source: The file it came from, or the index of a made one: named in messages.
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


@dataclass(frozen=True)
class WrittenFile:
    """A sample that was written to a file.

    Attributes:
        path: the file
        peak: the largest absolute value of the sample, 1 is full scale
        scaled: it was scaled down to full scale, since the format holds no more
    """

    path: Path
    peak: float = 0.0
    scaled: bool = False


class Output(Protocol):
    """How a sample becomes a file, where that is not the modality's own way: finished, and in another format.

    A constructor's `loop: bool` is set by sonolux: nothing may then be done to a sample that opens its seam.
    """

    suffix: str

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one (C, *spatial) sample; refuses non-finite values before anything is written."""
        ...


class Modality(Protocol):
    """Names a kind of media and how its files are written and shown. Its components sit beside it in the tree.

    A modality may have more, and what asks for it says so where it is absent:

    preparer() -> data.prepare.types.Preparer  (static) what `sonolux prepare` does with a folder of its files
    evaluation() -> EvaluationAdapter      what `sonolux eval` needs: see core/evaluation/adapter.py
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

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one (C, *spatial) example; refuses non-finite values."""
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
