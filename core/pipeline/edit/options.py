"""Options of edits, validated like the keys of a recipe: from Python and on the command line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from ...config.components import ComponentField, PathField, RecipeSection, Text
from ...config.sections import Seconds
from ...config.spec import ComponentSpec
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
    reference: str | None = None
    """name of the condition that receives the known part; null: the only one of the run"""


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


class RepromptOptions(RecipeSection):
    """Options of edits by exact inversion."""

    source: Text | None = None
    """prompt, or class, of the file as it is: inversion is conditioned on it; null: the name of the file's folder if it
    is a class, else nothing"""
    strength: Annotated[float, Range(0.05, 1)] = 0.8
    """inversion ends at the noise level tau = strength tau_max: smaller values keep more of the file"""


class RecoverOptions(RecipeSection):
    """Options of recovery: inverse problems with a known operator."""

    operator: Annotated[ComponentSpec, ComponentField("degradation")] | None = None
    """what was done to the file, a linear degradation: crop, downsample, low_pass, channel_mean, ..., with its options:
    operator.cutoff=2000"""
    noise: Annotated[float, Range(0.0001, 10)] = 0.02
    """standard deviation of the noise of the measurement, at the level of the training data (1 is full scale)"""
    method: Literal["mmps", "pigdm", "dps"] = "mmps"
    """mmps is the most accurate, pigdm is faster, dps is the simplest"""
    degrade: bool = False
    """whether the file is clean: noise is added to its measurement"""
    count: Count = 1
    """number of results per file"""


class TimeSpanOptions(RecipeSection):
    """Parts along time as the command line gives them."""

    start: float | list[float] = Field(default_factory=list, alias="from")
    """time in seconds at which the part begins, or a list of them"""
    end: float | list[float] = Field(default_factory=list, alias="to")
    """time in seconds at which it ends, or a list"""
