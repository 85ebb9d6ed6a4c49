"""The measurements of a sound file in a manifest, with their limits."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from ....core.util.json_files import StoredRecord
from .. import dsp
from ..io_decode import LOUDEST, MOST_CHANNELS, MOST_SAMPLES, RATE_RANGE

_ROUNDING = 1e-4  # seconds

Seconds = Annotated[float, Field(ge=0, le=MOST_SAMPLES / RATE_RANGE[0])]
Level = Annotated[float, Field(ge=20 * math.log10(dsp.SILENCE), le=20 * math.log10(LOUDEST))]


class SoundFacts(StoredRecord):
    """Measurements of a sound, see `prepare.measure_sound`: values that a readable file can have."""

    frames: Annotated[int, Field(ge=1, le=MOST_SAMPLES)]
    rate: Annotated[int, Field(ge=RATE_RANGE[0], le=RATE_RANGE[1])]
    channels: Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
    format: str
    subtype: str
    seconds: Seconds
    peak: Level
    rms: Level
    lufs: Annotated[float, Field(ge=-100, le=250)] | None
    clipped: Annotated[float, Field(ge=0, le=100)]
    lead: Seconds
    trail: Seconds
    bandwidth: Annotated[int, Field(ge=0)]
    width: Annotated[float, Field(ge=-400, le=400)] | None
    remarks: list[str]

    @model_validator(mode="after")
    def _agree(self) -> SoundFacts:
        """Compare the values with each other."""
        longest = self.seconds + 2 * _ROUNDING
        if abs(self.seconds - self.frames / self.rate) > _ROUNDING or self.lead + self.trail > longest:
            raise ValueError("the lengths do not agree")
        if self.frames * self.channels > MOST_SAMPLES or self.bandwidth > self.rate / 2 + 1:
            raise ValueError("more samples or a higher frequency than the file can have")
        return self
