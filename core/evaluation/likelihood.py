"""The log density of data under a model, by the probability-flow ODE, for any network and schedule.

In the bounded variables u = x / (alpha + sigma) and tau = sigma / (alpha + sigma), the ODE is the same for every
schedule, du/dtau = f = (u - D) / tau, and the log density changes along it by the divergence of f (Chen et al. 2018,
arXiv:1806.07366, eq. 8; Song et al. 2021, arXiv:2011.13456, eq. 39):

    log p(u at tau_0) = log p(u at tau_1) + int_tau_0^tau_1 div f dtau,     div f = (d - tr dD/du) / tau.

The integral ends at tau_1, the schedule's highest noise level. Where alpha is 0 there, x is exactly standard normal.
Elsewhere (VE, EDM, VP) the marginal is not a Gaussian; N(alpha mean, alpha^2 std^2 + sigma^2) is used as an
approximation, with the mean and deviation of the data; for data of unit variance its error is about alpha^2 / sigma^2
nats per dimension.

It begins at tau_0 > 0, the lowest noise level that the network was trained on. The result is therefore the density of
the data with added Gaussian noise of deviation rho_min = sigma / alpha, at the point x0. As rho_min decreases, it tends
to the density of the data itself, where that exists.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import BadInput, Conditioning, Denoiser, Item, NoiseLevel, move_like
from ..util.progress import with_progress
from ..util.rng import KeyedNoise

if TYPE_CHECKING:
    from ..pipeline.pipeline import Pipeline

KNEE = 0.05  # steps are uniform in asinh(tau / KNEE): uniform in tau above KNEE, increasingly short below
ROWS = 512  # rows per call of the denoiser when the divergence is exact

# The method of order 5 of Dormand and Prince 1980 (Hairer, Norsett and Wanner 1993, table II.5.2).
ORDER = 5
_C = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)

Prior = Callable[[Tensor, NoiseLevel], Tensor]
BATCH = 8  # items per batch in `likelihood_of_items`


@dataclass(frozen=True)
class LikelihoodResult:
    """The log density of each example.

    Attributes:
        log_p: (B,) nats, float64: density in the diffused space, in units of x0.
        uncertainty: (B,) nats, the standard error of Hutchinson's estimate; 0 where the divergence is exact.
        step_error: (B,) nats, an estimate of the error of integration from results with half and a quarter of the
            steps; NaN below 4 steps.
        dimensions: (B,) number of elements: all, or the valid ones.
        level: The lowest noise level: noise of deviation level.rho is part of the density.
        nfe: Evaluations of the denoiser, without those for derivatives.
    """

    log_p: Tensor
    uncertainty: Tensor
    step_error: Tensor
    dimensions: Tensor
    level: NoiseLevel
    nfe: int

    @property
    def bits_per_dimension(self) -> Tensor:
        """Bits per dimension, (B,): -log2 p / d. It may be negative, since p is a density."""
        return -self.log_p / (self.dimensions * math.log(2))

    @property
    def mean_bits_per_dimension(self) -> float:
        """The mean over examples."""
        return float(self.bits_per_dimension.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean_bits_per_dimension` for these examples that is due to the random probes."""
        error = self.uncertainty / (self.dimensions * math.log(2))
        return float(error.square().sum().sqrt()) / len(error)

    def in_media_space(self, log_det: float | None, dimensions: int, scale: float = 1.0) -> LikelihoodResult:
        """The same in media space: log p(media) = log p(z) + log |dz / dmedia|.

        Args:
            log_det: `codec.log_det(size)`.
            dimensions: Elements of one example in media space.
            scale: Number of steps of a coarser unit in one unit of media: 127.5 for media in [-1, 1] that were bytes.

        Raises:
            BadInput: If the codec is not one to one (log_det is None).
        """
        if log_det is None:
            raise BadInput(
                "this codec is not one to one, so there is no density in media space: only that of the codec"
            )
        count = torch.full_like(self.dimensions, dimensions)
        return replace(self, log_p=self.log_p + log_det - dimensions * math.log(scale), dimensions=count)


def log_likelihood(
    denoiser: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    conditions: Conditioning | None = None,
    *,
    divergence: Literal["auto", "exact", "hutchinson"] = "auto",
    probes: int = 8,
    steps: int = 32,
    rho_min: float | None = None,
    mean: float | Tensor = 0.0,
    std: float | Tensor = 1.0,
    prior: Prior | None = None,
    seed: int = 0,
    first: int = 0,
) -> LikelihoodResult:
    """log p(x0) of each row of x0 (B, C, *spatial), in the diffused space. Computes in the dtype of x0.

    Args:
        denoiser: The model.
        schedule: Noise schedule of the model.
        x0: Data (B, C, *spatial) in the diffused space.
        conditions: Conditions of the rows; padding (`valid`) is left out.
        divergence: `exact`: one derivative per element; `hutchinson`: e^T (dD/dx) e for random signs e; `auto`: exact
            for up to 64 elements.
        probes: Number of random sign vectors per row, at least 2; they are constant along the trajectory.
        steps: Steps of a method of order 5 with six evaluations each, shorter where the noise is low; results with half
            and a quarter of them give the error estimate.
        rho_min: Noise that is part of the density, sigma / alpha; None: that of the schedule's t_min.
        mean: Mean of the data, a number or (C, *spatial), for the Gaussian at a highest level with alpha > 0.
        std: Standard deviation of the data, a number or (C, *spatial), for the same Gaussian.
        prior: Replaces that Gaussian: (x, level) -> log p(x), (B,), at the highest noise level.
        seed: Seed of the probes.
        first: Sample number of the first row in the random numbers; row i is sample first + i.

    Returns:
        Log density, its errors and the number of evaluations.

    Raises:
        BadInput: For a denoiser that changes the state x, and for bad values.
    """
    if divergence not in ("auto", "exact", "hutchinson"):
        raise BadInput(f"likelihood's divergence is auto, exact or hutchinson, not {divergence!r}")
    if probes < 2 or steps < 1:
        raise BadInput(
            f"likelihood needs at least 2 probes (for their standard error) and 1 step, not {probes}, {steps}"
        )
    conditions = Conditioning() if conditions is None else conditions
    mask = torch.ones_like(x0) if conditions.valid is None else conditions.valid.to(x0).expand_as(x0)
    lowest, highest = _ends(schedule, rho_min)
    exact = divergence == "exact" or (divergence == "auto" and x0[0].numel() <= 64)
    if exact:
        field: _Field = _Exact(denoiser, schedule, conditions, mask)
    else:
        field = random = _Hutchinson(denoiser, schedule, conditions, mask)
        noise = KeyedNoise(seed, range(first, first + len(x0)), tuple(x0.shape[1:]), x0.device, x0.dtype)
        random.signs = [torch.where(noise.normal("likelihood", p) < 0, -mask, mask) for p in range(probes)]

    count = mask.double().flatten(1).sum(1)
    size = float(highest.alpha + highest.sigma)
    top = NoiseLevel(float(highest.t), float(highest.alpha), float(highest.sigma))
    # From the density of u = x / (alpha + sigma) to that of x at the highest level, and of x / alpha at the lowest.
    shift = math.log(size) + math.log(float(lowest.alpha / (lowest.alpha + lowest.sigma)))

    def log_density(steps: int) -> Tensor:
        """(B, probes or 1)."""
        u = (x0 * mask) * float(lowest.alpha / (lowest.alpha + lowest.sigma))
        u, integral = _integrated(field, u, _grid(float(lowest.tau), float(highest.tau), steps))
        start = prior(u * size, top).double() if prior is not None else _gaussian(u * size, top, mean, std, mask)
        return start[:, None] + integral + (count * shift)[:, None]

    each = log_density(steps)
    log_p, error = each.mean(1), torch.full_like(count, torch.nan)
    if steps >= 4:
        error = _step_error(log_p, log_density(steps // 2).mean(1), log_density(steps // 4).mean(1))
    spread = each.std(1) / each.shape[1] ** 0.5 if each.shape[1] > 1 else torch.zeros_like(count)
    return LikelihoodResult(log_p, spread, error, count, lowest, field.calls)


def likelihood_of_items(
    trained: Pipeline, items: Sequence[Item], **options: Any
) -> tuple[LikelihoodResult, LikelihoodResult | None]:
    """The likelihood of data under a trained model, in its diffused space and in media space.

    The second is None where the codec is not one to one or an item is shorter than the size of the model.

    Args:
        trained: A loaded checkpoint. Each item is conditioned as in training, with its label and its other conditions.
        items: Examples of the recipe's modality and size.
        **options: Options of `log_likelihood`.

    Raises:
        BadInput: Without items, and for an item with NaN or infinite values.
    """
    from ..conditioning.base import build_conditioning
    from ..training.build import check_item_finite, condition_values

    if not items:
        raise BadInput("there are no examples to take the likelihood of")
    media, whole = items[0].media, True
    size, count, found = tuple(media.shape[1:]), media.numel(), []
    elements = trained.components.spec.length_of(size) or 0
    denoiser, schedule = trained.components.process.denoiser(trained.model), trained.components.process.schedule
    batches = range(0, len(items), BATCH)
    for first in with_progress(batches, "likelihood", "batch", len(batches)):
        rows = list(items[first : first + BATCH])
        media = torch.stack([check_item_finite(item).media for item in rows]).to(trained.device)
        lengths = torch.tensor([elements if item.length is None else item.length for item in rows])
        with torch.no_grad():
            z = trained.codec.encode(media)
            values = condition_values(trained.model, rows)
            # A reference is made of the example itself, which would then be known.
            values |= {
                n: [None] * len(rows) for n, c in trained.model.conditions.items() if getattr(c, "kind", "") == "concat"
            }
            conditions = build_conditioning(trained.model.conditions, values)
        if bool((lengths < elements).any()):
            valid, whole = trained.codec.valid(lengths, size), False
            conditions = replace(conditions, valid=None if valid is None else move_like(valid, z))
        found.append(log_likelihood(denoiser, schedule, z, conditions, first=first, **options))
    columns = zip(*((f.log_p, f.uncertainty, f.step_error, f.dimensions) for f in found), strict=True)
    joined = LikelihoodResult(*map(torch.cat, columns), level=found[0].level, nfe=found[0].nfe)
    log_det = trained.codec.log_det(size) if whole else None
    return joined, None if log_det is None else joined.in_media_space(log_det, count)


def _ends(schedule: Schedule, rho_min: float | None) -> tuple[NoiseLevel, NoiseLevel]:
    highest = schedule.level(schedule.t_max)
    lowest = schedule.level(schedule.t_min) if rho_min is None else schedule.level_of_rho(rho_min)
    if not 0 < float(lowest.tau) < float(highest.tau):
        raise BadInput(f"rho_min lies between 0 and the schedule's highest, {float(highest.rho):g}, not {rho_min}")
    return lowest, highest


def _grid(low: float, high: float, steps: int) -> list[float]:
    a, b = math.asinh(low / KNEE), math.asinh(high / KNEE)
    return [low, *(KNEE * math.sinh(a + (b - a) * i / steps) for i in range(1, steps)), high]


def _step_error(fine: Tensor, half: Tensor, quarter: Tensor) -> Tensor:
    """The error of `fine`, (B,), from results with half and a quarter of its steps.

    For a method of order p, halving the number of steps multiplies the error by 2^p, and the error is
    |fine - half| / (2^p - 1) (Richardson). Where the observed ratio is smaller, it replaces 2^p: trajectories that the
    steps do not resolve yet have a lower order. Where the last two results agree by chance, the error implied by the
    first difference is used.
    """
    last, previous = (fine - half).abs(), (half - quarter).abs()
    ratio = (previous / last).nan_to_num(2.0**ORDER).clamp(2.0, 2.0**ORDER)
    return torch.maximum(last / (ratio - 1), previous / (2.0**ORDER - 1) ** 2)


def _gaussian(x: Tensor, level: NoiseLevel, mean: float | Tensor, std: float | Tensor, mask: Tensor) -> Tensor:
    """log N(x; alpha mean, alpha^2 std^2 + sigma^2) over the valid elements, (B,) float64."""
    m, s = (torch.as_tensor(v, dtype=torch.float64, device=x.device) for v in (mean, std))
    variance = level.alpha**2 * s**2 + level.sigma**2
    each = (x.double() - level.alpha * m).square() / variance + torch.log(2 * math.pi * variance)
    return -(each * mask).flatten(1).sum(1) / 2


class _Field(ABC):
    """f and n estimates of its divergence: (u, tau) -> ((B, C, *spatial), (B, n) float64)."""

    def __init__(self, denoiser: Denoiser, schedule: Schedule, conditions: Conditioning, mask: Tensor):
        self.denoiser, self.schedule, self.conditions, self.mask = denoiser, schedule, conditions, mask
        self.count, self.calls = mask.double().flatten(1).sum(1), 0

    def __call__(self, u: Tensor, tau: float) -> tuple[Tensor, Tensor]:
        level = self.schedule.level_of_rho(torch.tensor(tau, dtype=torch.float64) / (1 - tau))
        at = NoiseLevel(float(level.t), float(level.alpha), float(level.sigma))
        size = at.alpha + at.sigma  # type: ignore[operator]
        x0, trace = self.estimate(u * size, at)
        self.calls += 1
        return (u - x0) * self.mask / tau, (self.count[:, None] - size * trace) / tau

    @abstractmethod
    def estimate(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        """D and estimates of tr dD/dx, (B, n) float64."""

    def denoised(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Tensor:
        """The denoiser's x0; BadInput for a denoiser that changes the state, since there is no ODE then."""
        estimate = self.denoiser.denoise(x, level, conditions)
        if estimate.x is not None:
            raise BadInput("this denoiser changes the state x, so it has no density: remove that guidance")
        return estimate.x0


class _Exact(_Field):
    """tr dD/dx by one derivative per element, on copies of a sample, one for each element."""

    def estimate(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        B, d = len(x), x[0].numel()
        trace, x0 = torch.zeros(B, dtype=torch.float64, device=x.device), x
        at_once = max(1, min(d, ROWS // B))
        for start in range(0, d, at_once):
            picked = torch.arange(start, min(d, start + at_once), device=x.device)
            n = len(picked)
            pick = torch.nn.functional.one_hot(picked, d).to(x).repeat_interleave(B, 0).reshape(n * B, *x.shape[1:])
            with torch.enable_grad():
                copies = torch.cat([x.detach()] * n).requires_grad_()
                x0 = self.denoised(copies, level, Conditioning.stack([self.conditions] * n))
                slope = torch.autograd.grad((x0 * pick).sum(), copies)[0]
            trace += (slope * pick * torch.cat([self.mask] * n)).double().flatten(1).sum(1).reshape(n, B).sum(0)
        return x0[:B].detach(), trace[:, None]


class _Hutchinson(_Field):
    """tr dD/dx as the mean of e^T (dD/dx) e over random signs e (Hutchinson 1990): one derivative per probe."""

    signs: list[Tensor]

    def estimate(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = self.denoised(x, level, self.conditions)
            traces = []
            for i, e in enumerate(self.signs):
                slope = torch.autograd.grad((x0 * e).sum(), x, retain_graph=i + 1 < len(self.signs))[0]
                traces.append((slope * e).double().flatten(1).sum(1))
        return x0.detach(), torch.stack(traces, dim=1)


def _integrated(field: _Field, u: Tensor, taus: list[float]) -> tuple[Tensor, Tensor]:
    """u at the last tau, and the integral of the divergence (B, n)."""
    total: float | Tensor = 0.0
    slopes = [field(u, taus[0])]
    for tau, after in pairwise(taus):
        h = after - tau
        start = u
        for c, row in zip(_C[1:], _A[1:], strict=True):
            u = start + h * sum(a * v for a, (v, _) in zip(row, slopes, strict=True) if a)
            slopes.append(field(u, tau + c * h))
        # The last stage is the result of the step, and its slope is the first of the next step.
        total = total + h * sum(a * g for a, (_, g) in zip(_A[-1], slopes, strict=False) if a)
        slopes = slopes[-1:]
    return u, total  # type: ignore[return-value]
