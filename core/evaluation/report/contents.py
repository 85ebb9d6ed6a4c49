"""Contents of a report: measurements with reference values, a gallery of examples, and a record of each sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...util.media_files import MediaFile


@dataclass(frozen=True)
class ReferenceValue:
    """The value of real data in the same computation: the baseline of a distance, the upper limit of an accuracy.

    Attributes:
        name: Name of the reference.
        value: Its value, or the mean over draws.
        low: Lower end of the range that contains 95 % of the draws; None: there are no draws.
        high: Upper end of that range.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Measurement:
    """One line of the table.

    Attributes:
        key: Name in metrics.json.
        name: Name in the table.
        value: The value; NaN: unknown.
        format: Format string of value, interval and references.
        interval: 95 % interval of the value; None: not computed.
        references: Values that it is compared with.
        meaning: Explanation in one line.
    """

    key: str
    name: str
    value: float
    format: str = "{:.3g}"
    interval: tuple[float, float] | None = None
    references: tuple[ReferenceValue, ...] = ()
    meaning: str = ""


@dataclass(frozen=True)
class Quartiles:
    """A distribution: number of examples, share that has a value, and quantiles 5, 25, 50, 75 and 95 %."""

    count: int
    share: float
    quantiles: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class DistributionRow:
    """One measure of all examples or of one class: samples against real ones.

    Attributes:
        name: Name of the class; "": all.
        samples: Of the samples.
        real: Of the real examples that are shown: held-out ones where there are enough.
        distance: W1 in units of the real spread; NaN: too few values.
        baseline: Mean, lower and upper end of the range of 95 % of the draws of real examples against real ones.
    """

    name: str
    samples: Quartiles
    real: Quartiles
    distance: float
    baseline: tuple[float, float, float]


@dataclass(frozen=True)
class DistributionTable:
    """The distributions of one measure: a row for all examples, then one for each class."""

    key: str
    name: str
    format: str
    rows: list[DistributionRow]


@dataclass(frozen=True)
class GalleryItem:
    """One example on the page.

    Attributes:
        files: Files that show it.
        caption: Text below.
        warn: Whether it is marked as faulty.
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
    """All results of an evaluation.

    Attributes:
        title: What was measured.
        facts: How it was measured, by topic.
        measurements: Heading -> lines of the table.
        remarks: Warnings, which the page shows first.
        gallery: Examples.
        classes: Names of the classes.
        confusion: (K, K) counts: row: requested class, column: predicted class; None: no classes.
        similarity: Data of the histogram; None: no search for copies.
        samples: A record for each sample.
        distributions: Distributions of single numbers.
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
    distributions: list[DistributionTable] = field(default_factory=list)
