"""Options of edits, validated like the keys of a recipe: from Python and on the command line."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from ...config.components import PathField, RecipeSection
from ...config.sections import Seconds
from ...util.annotations import Range
from ...util.limits import MOST_SAMPLES, MOST_STEPS

Count = Annotated[int, Range(1, MOST_SAMPLES)]
LISTS = Strict(False)  # a list is accepted as a tuple


class VaryOptions(RecipeSection):
    """Options of variations."""

    strength: Annotated[float, Range(0, 1)] = 0.5
    """0: the file as the codec reconstructs it, 1: samples that do not depend on the file"""
    count: Count = 1
    """number of variations per file"""


class KnownPartOptions(RecipeSection):
    """Options of inpainting and continuation."""

    count: Count = 1
    """number of results per file"""
    resample: Annotated[int, Range(1, 1000)] | None = None
    """how often each segment of `jump` steps is run (RePaint: Lugmayr et al. 2022, arXiv:2201.09865): larger values fit
    the known part better, and the time is proportional; null: 4, or 1 for a network trained for such edits"""
    jump: Annotated[int, Range(1, MOST_STEPS)] = 4
    """number of steps in a segment"""
    trained: bool | None = None
    """give the known part to the network, which was trained with one (condition `reference`, degradation `mask`); null:
    if it was trained so"""


class InpaintOptions(KnownPartOptions):
    """Options of inpainting."""

    spans: list[Annotated[tuple[float, float], LISTS]] = Field(default_factory=list)
    """parts along the time axis, each [from, to] in seconds"""
    box: Annotated[tuple[int, int, int, int], LISTS] | None = None
    """[left, top, right, bottom] in elements of the file, on the two axes that are not time"""
    mask: PathField | None = None
    """file of the same size that is positive (white) in the part"""


class ExtendOptions(KnownPartOptions):
    """Options of continuation."""

    seconds: Seconds = 1.0
    """length that is added along time"""


class RestoreOptions(RecipeSection):
    """Options of restoration."""

    count: Count = 1
    """number of results per file"""
    reference: str | None = None
    """name of the condition that receives the file; null: the only one of the run"""


class MorphOptions(RecipeSection):
    """Options of morphs."""

    count: Annotated[int, Range(2, MOST_SAMPLES)] = 5
    """number of samples, both ends included"""


class TimeSpanOptions(RecipeSection):
    """Parts along time as the command line gives them."""

    start: float | list[float] = Field(default_factory=list, alias="from")
    """time in seconds at which the part begins, or a list of them"""
    end: float | list[float] = Field(default_factory=list, alias="to")
    """time in seconds at which it ends, or a list"""
