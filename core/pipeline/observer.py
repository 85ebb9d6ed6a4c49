"""What a caller may see of sampling while it runs: steps with their estimates, and finished batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class SamplingProgress:
    """The state of sampling at the end of a step.

    Attributes:
        step: Number of finished steps of the batch.
        steps: Total number of steps; None where an adaptive sampler does not know it.
        batch: Number of the batch, from 0.
        batches: Number of batches of the request.
        estimates: Decodes the estimates of x0 of the first n samples of the batch; empty before the first estimate.
    """

    step: int
    steps: int | None
    batch: int
    batches: int
    estimates: Callable[[int], list[Tensor]]


class SamplingObserver:
    """Methods that sampling calls. Derive from this class and override what is needed; the others do nothing.

    An exception ends the sampling and reaches the caller of the pipeline: this is how sampling is cancelled.
    """

    def on_sampling_step(self, progress: SamplingProgress) -> None:
        """Called at the end of each step, also of an inversion."""

    def on_sampled_batch(self, media: Mapping[int, Tensor], conditions: Mapping[int, Mapping[str, Any]]) -> None:
        """Called after a batch was decoded.

        Args:
            media: Number of the sample in the request -> (C, *spatial).
            conditions: Number of the sample in the request -> its conditions by name.
        """
