"""Single numbers of pictures for `sonolux eval`: brightness, contrast, saturation and sharpness."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ...core.evaluation.defects import contrast
from ...core.evaluation.measures import ExampleMeasure, measure_examples
from .defects import sharpness

_COLUMNS = (
    ("brightness", "brightness, 0 to 1", "{:.2f}"),
    ("contrast", "contrast, 0 to 1", "{:.2f}"),
    ("saturation", "saturation, 0 to 1", "{:.2f}"),
    ("sharpness", "sharpness, dB", "{:.1f}"),
)


def measure_pictures(pictures: Sequence[Tensor]) -> list[ExampleMeasure]:
    """All measures of pictures (C, H, W) in [-1, 1]; saturation only of pictures with three channels or more."""

    def measure(picture: Tensor) -> list[float]:
        x = picture.detach().double().cpu()
        colours = x[:3] / 2 + 0.5
        saturation = float((colours.amax(0) - colours.amin(0)).mean()) if len(x) >= 3 else math.nan
        return [float(colours.mean()), float(contrast(x[None])[0]), saturation, sharpness(x)]

    return measure_examples(pictures, _COLUMNS, measure)
