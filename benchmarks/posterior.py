"""Compares DPS, PiGDM and MMPS with the closed-form posterior of Gaussian data and of a Gaussian mixture.

    python benchmarks/posterior.py [--count 400] [--steps 60] [--seed 0]

For each operator A a measurement y = A x0 + 0.1 n of one draw of the data, `count` samples of every method, and the
exact p(x0 | y). Bias: |mean of the samples - posterior mean| / |posterior mean|; in brackets the same for `count` exact
samples, which is what chance alone gives. Spread: root of the total variance of the samples, divided by the exact one;
1 is right, and 0 is a method that gives one answer. The sampler is stochastic (dpmpp_2m_sde) with `steps` steps on the
flow schedule.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

import sonolux
import torch
from sonolux.core.degradations.base import LinearOperator
from sonolux.core.degradations.channel_mean import ChannelMean
from sonolux.core.degradations.crop import Crop
from sonolux.core.degradations.downsample import Downsample
from sonolux.core.degradations.low_pass import LowPass
from sonolux.core.editing.posterior.base import Observation, PosteriorEdit, PosteriorGuidance
from sonolux.core.editing.posterior.dps import DPS
from sonolux.core.editing.posterior.mmps import MMPS
from sonolux.core.editing.posterior.pigdm import PiGDM
from sonolux.core.testing.dense import DenseMixture, ar1_sequences, measured
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.types import MediaSpec
from sonolux.modalities.audio.degradations.band import Band
from torch import Tensor

NOISE = 0.1  # standard deviation of the noise on y; the data have unit variance
CHANNELS, LENGTH, RATE = 2, 16, 16.0
SPEC = MediaSpec("audio", CHANNELS, ("time",), (LENGTH,), (RATE,), (), (CHANNELS, LENGTH))
OPERATORS: dict[str, LinearOperator] = {
    "crop": Crop(0.25, 0.75),
    "downsample": Downsample(SPEC, 2),
    "low_pass": LowPass(SPEC, 3.0),
    "channel_mean": ChannelMean(SPEC),
    "band": Band(SPEC, 1.0, 5.0, n_fft=8),
}
METHODS: dict[str, Callable[[], PosteriorGuidance]] = {"dps": DPS, "pigdm": PiGDM, "mmps": lambda: MMPS(30)}


class PosteriorErrors(NamedTuple):
    """Errors of samples of a posterior.

    Attributes:
        bias: |mean - exact mean| / |exact mean|.
        spread: Root of the total variance, divided by the exact one.
    """

    bias: float
    spread: float


def problems() -> dict[str, DenseMixture]:
    """Gaussian data with correlated neighbours, and a mixture of three components, with samples (2, 16)."""
    return {
        "gaussian": ar1_sequences(LENGTH, 0.8, CHANNELS),
        "mixture": example_mixture(seed=2, shape=(CHANNELS, LENGTH), rank=4).dense(),
    }


def as_matrix(operator: LinearOperator, shape: tuple[int, ...]) -> Tensor:
    """A as a matrix (n, d) on flat samples."""
    d = int(torch.tensor(shape).prod())
    return operator.apply(torch.eye(d, dtype=torch.float64).reshape(d, *shape)).flatten(1).T


def errors_of(made: Tensor, exact: DenseMixture) -> PosteriorErrors:
    """The errors of samples (B, *shape)."""
    flat = made.flatten(1)
    bias = float((flat.mean(0) - exact.mean).norm() / exact.mean.norm())
    return PosteriorErrors(bias, float((flat.var(0).sum() / exact.covariance.diagonal().sum()).sqrt()))


def measure(
    data: DenseMixture, operator: LinearOperator, method: PosteriorGuidance, count: int, steps: int, seed: int = 0
) -> tuple[PosteriorErrors, PosteriorErrors]:
    """The errors of a method's samples, and of exact ones."""
    x0 = data.draw(1, seed)
    y = operator.apply(x0)
    y = y + NOISE * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
    exact = measured(data, as_matrix(operator, data.shape), y.flatten(), NOISE)
    measurement = Observation(operator, y.expand(count, *y.shape[1:]), NOISE)
    made = sonolux.sample(
        data,
        (count, *data.shape),
        schedule="rectified_flow",
        timesteps="trailing",
        sampler="dpmpp_2m_sde",
        steps=steps,
        edits=[PosteriorEdit(measurement, method)],
        seed=seed,
        dtype=torch.float64,
    )
    return errors_of(made, exact), errors_of(exact.draw(count, seed + 1), exact)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"{args.count} samples, {args.steps} steps, noise {NOISE}: bias of the mean (by chance), and spread\n")
    print(f"{'data':10}{'operator':12}" + "".join(f"{name:>26}" for name in METHODS))
    for title, data in problems().items():
        for name, operator in OPERATORS.items():
            cells = []
            for make in METHODS.values():
                found, chance = measure(data, operator, make(), args.count, args.steps, args.seed)
                cells.append(f"{found.bias:8.1%} ({chance.bias:5.1%}) {found.spread:5.2f}")
            print(f"{title:10}{name:12}" + "".join(f"{cell:>26}" for cell in cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
