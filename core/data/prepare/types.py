"""Interface between `prepare` and a modality."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from ...util.plots import DistributionPlot
from ..manifest import ManifestLine


@dataclass(frozen=True)
class MediaSummary:
    """A modality's summary of its files.

    Attributes:
        numbers: Entries of summary.json.
        lines: Lines to print.
        panels: Panels of summary.png.
    """

    numbers: dict[str, Any]
    lines: list[str]
    panels: list[DistributionPlot]


@dataclass(frozen=True)
class NearCopyPair:
    """Two files that are near copies.

    Attributes:
        first: Index of one file.
        second: Index of the other.
        similarity: Similarity; 1 means that the content is the same.
    """

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class RecipeProposalContext:
    """What a proposal needs in addition to the manifest's lines.

    Attributes:
        name: Name of the recipe.
        root: Folder of the media.
        recipe: Path of the recipe.
    """

    name: str
    root: Path
    recipe: Path


@dataclass(frozen=True)
class ProposedRecipe:
    """A proposed recipe.

    Attributes:
        text: The recipe, YAML.
        reasons: Explanations of its values, one line each.
    """

    text: str
    reasons: list[str]


class FolderAnalyzer(Protocol):
    """A modality's part of `prepare`, returned by `Modality.folder_analyzer()`.

    Attributes:
        modality: The modality's registered name.
        nouns: Name of one file, and of several files.
        suffixes: Suffixes of files that can be read, in lower case, with the dot.
        foreign: Suffixes of unsupported formats of this modality: such files are listed with the reason, not ignored.
        analysis: Version of the measurements of `inspect`; with a new version, `prepare` measures again.
        facts: The measurements of `inspect` with their types and limits; a line of an earlier run that differs is
            measured again.
    """

    @property
    def modality(self) -> str: ...

    @property
    def nouns(self) -> tuple[str, str]: ...

    @property
    def suffixes(self) -> Collection[str]: ...

    @property
    def foreign(self) -> Collection[str]: ...

    @property
    def analysis(self) -> int: ...

    @property
    def facts(self) -> type[BaseModel]: ...

    def begin(self, count: int) -> None:
        """Called with the number of files before the first is measured."""
        ...

    def inspect(self, path: Path) -> tuple[ManifestLine, Any]:
        """Decode a file once.

        Returns:
            The measurements, and the fingerprint: a fingerprint by which copies are found.

        Raises:
            BadInput: The file is not usable.
        """
        ...

    def fingerprint(self, path: Path) -> Any:
        """Only the fingerprint, for a file that was measured in an earlier run."""
        ...

    def near_copy_pairs(self, fingerprints: Sequence[Any]) -> list[NearCopyPair]:
        """Find pairs of near copies by their fingerprints."""
        ...

    def summarise(self, lines: Sequence[ManifestLine]) -> MediaSummary:
        """Summarise the usable lines."""
        ...

    def propose(self, lines: Sequence[ManifestLine], context: RecipeProposalContext) -> ProposedRecipe:
        """Propose a recipe for the usable lines."""
        ...


@dataclass
class PrepareReport:
    """Result of `prepare`.

    Attributes:
        folder: Folder that it was written to.
        summary: Content of summary.json.
        lines: Lines to print.
        recipe: Path of the proposed recipe.
    """

    folder: Path
    summary: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    recipe: Path | None = None


def valid_recipe_name(name: str) -> str:
    """A valid name for a recipe and its run folder: letters, digits, `_`, dots and dashes, with a letter first."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return plain if re.match(r"[^\W\d_]", plain) else f"data-{plain}".rstrip("-")
