"""Notation and contracts of the package: read this file first.

A diffusion model is defined by the forward process q(x | x0) = N(alpha x0, sigma^2 I), that is

    x = alpha x0 + sigma eps,    eps ~ N(0, I)

Letters, the same in code, docstrings and docs:

    x0             clean data, as the codec encodes it: mean 0 and variance 1
    x              noisy data
    eps            standard normal noise
    t              time in the units of the noise schedule; it decreases from t_max (noise) to t_clean (data)
    alpha, sigma   scale of the data and of the noise at time t
    rho            sigma / alpha, the noise-to-signal ratio: the "sigma" of EDM (Karras et al. 2022, arXiv:2206.00364)
    lambda         log(alpha / sigma), `lam` in code; logsnr = 2 lambda
    tau            sigma / (alpha + sigma), a bounded noise level: 1 is pure noise and 0 is clean data on every schedule
    D              the denoiser's estimate of x0: D(x; alpha, sigma) ~ E[x0 | x]
    NFE            number of function evaluations: how often the denoiser is called for one sample

A schedule fixes alpha(t) and sigma(t). Variance exploding: alpha = 1. Variance preserving: alpha^2 + sigma^2 = 1.
Flow matching (rectified flow): alpha = 1 - t, sigma = t, so that tau = t.

Shapes: tensors are (B, C, *spatial), with any number of spatial axes. A noise level, mask or coefficient is a scalar,
a tensor (B,) with one value per sample, or a map (B, 1, *spatial) with one value per element.

Contracts, in the order in which sampling uses them:

    MediaSpec      modality, channels, and name, size and rate of each axis
    Conditioning   what a batch is conditioned on: vectors, token sequences, channels; one row per sample
    NoiseLevel     (t, alpha, sigma), from which rho, lambda and tau follow
    Denoiser       (x, NoiseLevel, Conditioning) -> Estimate of x0: the interface of a model to samplers and guidance
    Dataset        Items by index, for training and evaluation
    Modality       reads, writes and draws one kind of media; Output writes samples in another format

Defined elsewhere: Schedule (`core/schedulers/base.py`), Parameterization (`core/parameterizations/base.py`),
Sampler (`core/samplers/base.py`), Codec (`core/codecs/base.py`). `docs/glossary.md` lists all terms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
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
    "FileSupport",
    "Item",
    "MediaSpec",
    "Modality",
    "NoiseLevel",
    "Number",
    "Output",
    "Tokens",
    "WrittenFile",
    "broadcast_like",
    "concatenate_batches",
    "move_like",
    "per_sample_value",
]  # fmt: skip

Number = float | Tensor
CONDITIONING_KINDS = ("vector", "tokens", "concat")
_GROUPS = (*CONDITIONING_KINDS, "unconditional")


def move_like(value: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Move `value` to the device and dtype of x.

    The copy to a GPU starts from pinned memory and does not block the host.

    Args:
        value: Any tensor.
        x: Gives the device and the dtype.
        dtype: Overrides the dtype of x.
    """
    dtype = x.dtype if dtype is None else dtype
    if x.is_cuda and not value.is_cuda:
        return value.to(dtype).pin_memory().to(x.device, non_blocking=True)
    return value.to(device=x.device, dtype=dtype)


def broadcast_like(value: Number, x: Tensor) -> Number:
    """Reshape `value` to broadcast against x (B, C, *spatial): (B,) becomes (B, 1, ..., 1), others are unchanged."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    value = move_like(value, x)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim == 1 else value


def per_sample_value(value: Number, x: Tensor) -> Tensor:
    """`value` as a network receives it: (B,) or a map (B, 1, *spatial), on the device and in the dtype of x."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        if isinstance(value, Tensor):
            return move_like(value, x).expand(x.shape[0])
        return torch.full((x.shape[0],), value, device=x.device, dtype=x.dtype)
    value = move_like(value, x)
    if value.ndim == x.ndim and all(n == 1 for n in value.shape[1:]):
        return value.reshape(-1)
    return value


@dataclass(frozen=True)
class NoiseLevel:
    """A noise level: q(x | x0) = N(alpha x0, sigma^2 I) at time t.

    Each field is a float (one level for the whole batch), a tensor (B,) or a map (B, 1, *spatial). While a sampler
    builds its plan, fields are float64 tensors. In the sampling loop a scalar level holds Python floats, which keep
    float64 precision and need no transfer to the device.

    Attributes:
        t: Time in the units of the schedule.
        alpha: Scale of the data.
        sigma: Standard deviation of the noise.
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
        """The level with fields that broadcast against x (B, C, *spatial), on the device and in the dtype of x."""
        return NoiseLevel(broadcast_like(self.t, x), broadcast_like(self.alpha, x), broadcast_like(self.sigma, x))

    def exact(self, x: Tensor) -> NoiseLevel:
        """As `on`, but in float64: a value computed from a map is then rounded only once, as one computed from a float.

        Devices without float64 (MPS) get float32.
        """
        dtype = torch.float32 if x.device.type == "mps" else torch.float64

        def placed(v: Number) -> Number:
            if not isinstance(v, Tensor) or v.ndim == 0:
                return v
            v = move_like(v, x, dtype)
            v = v.reshape(-1, *[1] * (x.ndim - 1)) if v.ndim == 1 else v
            return v.expand(x.shape[0], *v.shape[1:])

        return NoiseLevel(placed(self.t), placed(self.alpha), placed(self.sigma))

    def repeated(self, times: int) -> NoiseLevel:
        """The level of a batch that contains all samples `times` times, one copy of the batch after the other."""

        def tile(v: Number) -> Number:
            return torch.cat([v] * times) if isinstance(v, Tensor) and v.ndim else v

        return NoiseLevel(tile(self.t), tile(self.alpha), tile(self.sigma))


@dataclass(frozen=True)
class Estimate:
    """What a denoiser returns.

    Attributes:
        x0: Estimate of the clean data, (B, C, *spatial).
        x: Replaces the sampler's state, (B, C, *spatial); None: the state is unchanged.
    """

    x0: Tensor
    x: Tensor | None = None


class Tokens(NamedTuple):
    """A sequence of vectors for each sample, such as the output of a text encoder.

    Attributes:
        values: (B, L, E), L tokens of width E.
        mask: (B, L) bool: True for a token of the sample, False for padding.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Conditioning:
    """What a batch of samples is conditioned on; row i of every tensor belongs to sample i.

    There are three kinds of conditioning: `vector`, `tokens` and `concat`. A network declares in `accepts` which of
    them it takes. The same name must not occur in two kinds.

    Attributes:
        vector: Name -> (B, E), which is added to the embedding of the noise level.
        unconditional: Name -> the value that means "unconditional", of the same kind as the condition: (B, E), `Tokens`
            of any length, or (B, C', *spatial), usually with axes of size 1. Classifier-free guidance replaces the
            condition by it.
        valid: (B, 1, *spatial), 1 where an element belongs to the sample and 0 where it is padding; None: no padding.
        wrap: Indices of the spatial axes (0 is the first) that are circular: convolutions pad circularly along them.
        tokens: Name -> `Tokens`, a sequence that the network attends to (cross-attention).
        concat: Name -> (B, C', *spatial), channels that are concatenated to x; an axis of size 1 is broadcast.

    Raises:
        BadInput: The same name occurs in two kinds.
    """

    vector: Mapping[str, Tensor] = field(default_factory=dict)
    unconditional: Mapping[str, Tensor | Tokens] = field(default_factory=dict)
    valid: Tensor | None = None
    wrap: tuple[int, ...] = ()
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    concat: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.vector.keys() | self.tokens.keys() | self.concat.keys()) < len(self.names):
            raise BadInput(f"a condition is of one kind, but a name occurs in several kinds: {sorted(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all conditions, of every kind."""
        return (*self.vector, *self.tokens, *self.concat)

    def __getitem__(self, name: str) -> Tensor | Tokens:
        """The condition called `name`, of any kind."""
        for kind in CONDITIONING_KINDS:
            if name in (group := getattr(self, kind)):
                return group[name]
        raise KeyError(name)

    def without(self, names: Collection[str] | None = None) -> Conditioning:
        """The same record with the conditions `names` (None: all) replaced by their unconditional counterparts."""
        drop = self.names if names is None else names

        def dropped(group: Mapping[str, Any]) -> dict[str, Any]:
            return {name: self.unconditional[name] if name in drop else value for name, value in group.items()}

        return replace(self, **{kind: dropped(getattr(self, kind)) for kind in CONDITIONING_KINDS})

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Conditioning:
        """The same record with `function` applied to each tensor (B, C', *spatial): `valid`, and all of `concat`."""
        concat = {name: function(value) for name, value in self.concat.items()}
        unconditional = {
            name: function(value) if name in concat and isinstance(value, Tensor) else value
            for name, value in self.unconditional.items()
        }
        valid = None if self.valid is None else function(self.valid)
        return replace(self, valid=valid, concat=concat, unconditional=unconditional)

    def rows(self, index: slice | Sequence[int] | Tensor) -> Conditioning:
        """The conditioning of some samples, in the order of `index` (a slice, a list of indices or an index tensor)."""
        if not isinstance(index, (slice, Tensor)):
            index = torch.as_tensor(index, dtype=torch.long)

        def select(value: Tensor | Tokens) -> Tensor | Tokens:
            if isinstance(value, Tokens):
                return Tokens(value.values[index], value.mask[index])
            return value[index]

        groups = {key: {k: select(v) for k, v in getattr(self, key).items()} for key in _GROUPS}
        return replace(self, valid=None if self.valid is None else self.valid[index], **groups)

    @staticmethod
    def stack(records: Sequence[Conditioning]) -> Conditioning:
        """Concatenate the rows of several records, so that guidance evaluates all its branches as one batch.

        Token sequences are padded to the longest one, and `concat` axes of size 1 are expanded to the largest size.

        Raises:
            BadInput: Some records have a mask `valid` and others have none, or they differ in their circular axes.
        """
        first = records[0]
        if len(records) == 1:
            return first
        if len({(record.valid is None, record.wrap) for record in records}) > 1:
            raise BadInput("records of one batch have all a mask `valid` or none of them, and the same axes `wrap`")
        groups = {
            key: {name: concatenate_batches([getattr(r, key)[name] for r in records]) for name in getattr(first, key)}
            for key in _GROUPS
        }
        valid = None if first.valid is None else torch.cat([r.valid for r in records if r.valid is not None])
        return Conditioning(valid=valid, wrap=first.wrap, **groups)


def concatenate_batches(parts: Sequence[Any]) -> Any:
    """Concatenate tensors or `Tokens` along the batch; tokens are padded to the longest, axes of size 1 expanded."""
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
    """Estimates x0 from x: the only interface between a model and samplers, guidance and editing.

    The estimate is differentiable with respect to x.
    """

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """Estimate the clean data.

        Args:
            x: Noisy data, (B, C, *spatial).
            level: Its noise level.
            conditions: What the samples are conditioned on.
        """
        ...


_AXES = {1: ("time",), 2: ("height", "width"), 3: ("time", "height", "width")}
"""Number of axes -> their names, for checkpoints of the first edition, which do not name them."""


@dataclass(frozen=True)
class MediaSpec:
    """Media specification: what several parts of a recipe need to know about the data.

    The recipe states it once, in `modality`; every component whose constructor has a parameter `spec` receives it.
    Durations apply to the axis called "time", at any position among the axes; sizes apply to the other axes.

    Attributes:
        modality: Registered name of the modality ("image", "audio").
        channels: Number of channels of the media (3 for RGB, 1 for mono).
        axes: Name of each spatial axis: ("time",), ("height", "width"), ("time", "height", "width").
        size: Number of media elements along each axis.
        rates: Elements per second along each axis (Hz, frames per second), None for an axis without a rate; (): no
            axis has a rate.
        classes: Class names, in the order of their indices; () for data without classes.
        latent: (C, *spatial), the shape of the diffused tensor at this size; () until the codec is known.
        channel_axes: Name and size of each axis that the codec flattens into the C channels, see `Codec`. It follows
            from the codec and is not stored.

    Raises:
        BadInput: The numbers of axes, sizes and rates differ, or two axes have the same name.
    """

    modality: str
    channels: int
    axes: tuple[str, ...]
    size: tuple[int, ...]
    rates: tuple[float | None, ...] = ()
    classes: tuple[str, ...] = ()
    latent: tuple[int, ...] = ()
    channel_axes: tuple[tuple[str, int], ...] = ()

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
        """Elements per second along the time axis, or None."""
        return None if self.time_axis is None else self.rates[self.time_axis]

    @property
    def length(self) -> int | None:
        """Number of elements along the time axis, or None if there is no time axis."""
        return None if self.time_axis is None else self.size[self.time_axis]

    def length_of(self, size: Sequence[int]) -> int | None:
        """Number of elements along the time axis of media whose last axes have these sizes, or None without one."""
        return None if self.time_axis is None else size[self.time_axis - len(self.axes)]

    def with_length(self, size: Sequence[int], length: int | None) -> tuple[int, ...]:
        """`size` with `length` elements along the time axis; unchanged for None or without a time axis."""
        if length is None or self.time_axis is None:
            return tuple(size)
        return (*size[: self.time_axis], length, *size[self.time_axis + 1 :])

    def trim(self, media: Tensor, length: int | None) -> Tensor:
        """The first `length` elements of media (..., *size) along the time axis; all if None or without a time axis."""
        if length is None or self.time_axis is None:
            return media
        axis = media.ndim - len(self.axes) + self.time_axis
        return media.narrow(axis, 0, min(length, media.shape[axis]))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values that JSON can store, without `channel_axes`."""
        facts = dataclasses.asdict(self)
        del facts["channel_axes"]
        return facts

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> MediaSpec:
        """Inverse of `to_dict`; also reads the first edition, which stored one `rate` (of time) and no axes."""
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
        length: Number of valid elements along the time axis (the rest is padding); None: all are valid.
        label: Index into the dataset's `classes`, or None.
        caption: Text, or None.
        attributes: Numbers and names that conditions and checkers may use.
        source: The file, or the index of a synthetic example; messages name it.
    """

    media: Tensor
    length: int | None = None
    label: int | None = None
    caption: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    source: str = ""


class Dataset(Protocol):
    """Examples by index, of one split. Random numbers come only from the `rng` argument, never from a global generator.

    Attributes:
        classes: Class names, in the order of the labels; () for data without classes.
    """

    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def item(self, index: int, rng: Any) -> Item:
        """Example `index`.

        Args:
            index: 0 to len - 1.
            rng: numpy Generator for crops and flips, keyed by (seed, sample, step); None: no augmentation.
        """
        ...

    def manifest(self) -> list[dict[str, Any]]:
        """One plain record per example (source, label, size, hash); a run stores the list and its hash."""
        ...


@dataclass(frozen=True)
class WrittenFile:
    """A sample that was written to a file.

    Attributes:
        path: The file.
        peak: Largest absolute value of the sample before writing; 1 is full scale.
        scaled: Whether the sample was scaled down to full scale because the format cannot store larger values.
        clipped: Share of the values outside of full scale that were clipped, 0 to 1.
        missed: What was asked for and is not so, in words; "" if nothing.
    """

    path: Path
    peak: float = 0.0
    scaled: bool = False
    clipped: float = 0.0
    missed: str = ""


class FileSupport(NamedTuple):
    """The files that a modality can read on this machine, for `sonolux doctor`.

    Attributes:
        formats: Names of the formats that can be read.
        trouble: One line with the remedy for each library that cannot be used.
    """

    formats: Sequence[str] = ()
    trouble: Sequence[str] = ()


class Output(Protocol):
    """Writes samples in another way than the modality: post-processed, or in another format.

    If the constructor has a parameter `loop: bool`, sonolux passes whether samples are loops; processing (trimming,
    fading) must then leave the end of a sample continuous with its beginning.

    Attributes:
        suffix: File name suffix, such as ".wav".
    """

    suffix: str

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one sample (C, *spatial).

        Raises:
            BadInput: The sample contains non-finite values; nothing is written.
        """
        ...


class Modality(Protocol):
    """Names a kind of media, and writes and draws it. Its codecs, networks and datasets are in the same folder.

    Optional methods and attributes; a command that needs one which is missing says so:

        folder_analyzer() -> FolderAnalyzer         static; what `sonolux prepare` does with a folder of such files, see
                                                    core/data/prepare/types.py
        doctor() -> FileSupport                     static; formats that can be read, and libraries that cannot be used,
                                                    for `sonolux doctor`
        evaluation() -> EvaluationAdapter           what `sonolux eval` needs, see core/evaluation/adapter.py
        read(path) -> (C, *spatial)                 reads a file as training does, for `sonolux edit` and `eval
                                                    --folder`. With axes other than time it also takes `fit=False`,
                                                    which keeps the size of the file
        file_spec(path) -> MediaSpec                channels, sizes and rates of a file as it is; edits say what `read`
                                                    changes of it
        fitted(size) -> [(scale, offset), ...]      for each axis other than time: position i in a file of this size is
                                                    at scale i - offset after `read`; boxes are converted by it
        limited(media, known) -> media              media whose part that is not known, (1, *spatial) bool, is brought
                                                    within full scale, if `write` would change the known part too
        levelled(media, data) -> (gain, offset)     the level adjustment of training, gain (media - offset); edits
                                                    apply the inverse
        codec: str                                  default codec of recipes that do not name one

    Attributes:
        name: Registered name, as in recipes.
        suffix: File name suffix, such as ".png".
    """

    name: str
    suffix: str

    def spec(self) -> MediaSpec:
        """The media specification that the recipe's `modality` section describes."""
        ...

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one example (C, *spatial).

        Raises:
            BadInput: The example contains non-finite values; nothing is written.
        """
        ...

    def sheet(self, path: Path, media: Sequence[Tensor], captions: Sequence[str] = ()) -> Path:
        """Draw examples as one PNG: a grid of images, or spectrograms and waveforms."""
        ...

    def strip(self, path: Path, rows: Sequence[Sequence[Tensor]]) -> Path:
        """Draw rows of examples as one PNG; each row is the denoising trajectory of one sample."""
        ...

    def animate(self, path: Path, frames: Sequence[Sequence[Tensor]]) -> Path:
        """Write an animated GIF; each frame shows several examples side by side."""
        ...
