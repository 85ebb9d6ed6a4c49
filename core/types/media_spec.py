"""`MediaSpec`: modality, channels and axes of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..util.errors import BadInput

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
