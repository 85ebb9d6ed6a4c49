"""What a report holds: measurements with their reference values, a gallery of examples, and a record of each sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..adapter import MediaFile


@dataclass(frozen=True)
class ReferenceValue:
    """What real data reaches in the same computation: the baseline of a distance, the ceiling of an accuracy.

    Attributes:
        name: what was computed
        value: its value, or the mean of its draws
        low: 95 % of the draws lie above; None: it was not drawn
        high: and below
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Measurement:
    """One line of the table.

    Attributes:
        key: its name in metrics.json
        name: its name in the table
        value: its value; NaN: unknown
        format: how value, interval and references are shown
        interval: 95 % interval of the value; None: none was computed
        references: what it is compared with
        meaning: one line on what it says
    """

    key: str
    name: str
    value: float
    format: str = "{:.3g}"
    interval: tuple[float, float] | None = None
    references: tuple[ReferenceValue, ...] = ()
    meaning: str = ""


@dataclass(frozen=True)
class GalleryItem:
    """One example on the page.

    Attributes:
        files: what is shown of it
        caption: the text below
        warn: it is marked as faulty
    """

    files: list[MediaFile]
    caption: str
    warn: bool = False


@dataclass(frozen=True)
class GalleryRow:
    """Some examples under one heading, with a line on how they were chosen."""

    heading: str
    about: str
    items: list[GalleryItem]


@dataclass(frozen=True)
class SimilarityHistogram:
    """Similarities to the nearest training example, and the threshold above which an example counts as a copy."""

    samples: list[float]
    held_out: list[float]
    threshold: float


@dataclass
class EvaluationReport:
    """Everything that was found.

    Attributes:
        title: what was measured
        facts: how it was measured, by topic
        measurements: heading -> lines of the table
        remarks: warnings, which the page shows first
        gallery: examples
        classes: names of the classes
        confusion: (K, K) counts: row the class asked for, column the class predicted; None: no classes
        similarity: what the histogram shows; None: copies were not looked for
        samples: a record for each sample
    """

    title: str
    facts: dict[str, Any]
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    gallery: list[GalleryRow] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    confusion: Tensor | None = None
    similarity: SimilarityHistogram | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)
