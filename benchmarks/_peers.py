"""Runs the samplers of diffusers and k-diffusion on a denoiser of x0 that is known in closed form, in float64.

Both are optional: `schedulers()` and `k_diffusion()` raise ImportError if a library is not installed. Defined here for
each scheduler of diffusers: the model output that it expects (noise, velocity, x0, EDM's raw output) and the noise
level of each call.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from sonolux.core.schedulers.edm import EDM
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.ode import random_start, solve_ode
from sonolux.core.testing.orders import HISTORY, MeasuredOrder, uneven_levels
from sonolux.core.types import NoiseLevel
from torch import Tensor

Denoise = Callable[[Tensor, float, float], Tensor]  # x, alpha, sigma -> x0

# Schedulers whose state is x0 + sigma eps; schedulers with two sigmas per step, the second at its midpoint.
_ADDS_NOISE = ("Euler", "Heun", "KDPM2", "LMS", "DPMSolverSDE", "EDM", "Cosine")
_BY_INDEX = ("DDIM", "DDPM", "PNDM", "LCM", "TCD")


def schedulers() -> types.ModuleType:
    """diffusers, without log messages.

    Raises:
        ImportError: It is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        diffusers = importlib.import_module("diffusers")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    return diffusers


def k_diffusion() -> types.ModuleType:
    """k-diffusion's module of samplers.

    Its package is not imported, because it imports much that the samplers do not need (pkg_resources, wandb ...).

    Raises:
        ImportError: It is not installed.
    """
    if "k_diffusion.sampling" not in sys.modules:
        spec = importlib.util.find_spec("k_diffusion")
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError("No module named 'k_diffusion'")
        package = types.ModuleType("k_diffusion")
        package.__path__ = list(spec.submodule_search_locations)  # the package without its __init__
        sys.modules["k_diffusion"] = package
    return importlib.import_module("k_diffusion.sampling")


def model(denoise: Denoise) -> Callable[..., Tensor]:
    """A denoiser with the interface of k-diffusion: model(x, sigma (B,)) -> x0, for x = x0 + sigma eps."""
    return lambda x, sigma, **_: denoise(x, 1.0, float(sigma[0]))


def interior_order(sampler: Callable[[Denoise, Tensor, Tensor], Tensor], steps: Sequence[int] = (24, 48, 96)) -> float:
    """The order of a deterministic multistep sampler itself: uneven steps of sigma, history from the exact solution.

    Args:
        sampler: (denoise, x, sigmas (N + 1,)) -> the point at the last sigma, for x = x0 + sigma eps; linear in x and
            in the estimates. The first estimates are those of the exact solution, and the start is chosen such that x
            is exact after them.
        steps: Numbers of steps.
    """
    problem, errors = example_mixture(), []
    for n in steps:
        stops = uneven_levels(EDM(), n, HISTORY)
        x = random_start(problem, stops[HISTORY], 16)
        sigmas = torch.stack([level.sigma for level in stops])
        back = solve_ode(problem, x, stops[HISTORY::-1])[::-1]
        known = {
            float(s): problem.denoise(b, NoiseLevel(s, 1.0, float(s))).x0 for s, b in zip(sigmas, back, strict=False)
        }
        del known[float(sigmas[HISTORY])]

        def pinned(x: Tensor, alpha: float, sigma: float, known: dict[float, Tensor] = known) -> Tensor:
            return known[sigma] if sigma in known else problem.denoise(x, NoiseLevel(sigma, alpha, sigma)).x0

        offset = sampler(pinned, torch.zeros_like(x), sigmas[: HISTORY + 1])
        end = sampler(pinned, (x - offset) * sigmas[0] / sigmas[HISTORY], sigmas)
        exact = solve_ode(problem, x, [stops[HISTORY], stops[-1]])[-1]
        errors.append(float((end - exact).square().mean().sqrt()))
    return MeasuredOrder(tuple(steps), tuple(errors)).slope


# --- diffusers --------------------------------------------------------------------------------------------------------


def state(scheduler: Any) -> str:
    """The form of the scheduler's samples: `adds` (x0 + sigma eps), `flow`, or `keeps` (the variance)."""
    name = type(scheduler).__name__
    if name.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas"):
        return "flow"
    return "adds" if name.startswith(_ADDS_NOISE) else "keeps"


def pair(scheduler: Any, sigma: Tensor | float) -> tuple[float, float]:
    """(alpha, sigma) of an entry of the scheduler's `sigmas`."""
    sigma = float(sigma)
    if state(scheduler) == "flow":
        return 1 - sigma, sigma
    if state(scheduler) == "adds":
        return 1.0, sigma
    alpha = 1 / math.sqrt(sigma**2 + 1)
    return alpha, sigma * alpha


def at_index(scheduler: Any, t: Tensor | int) -> tuple[float, float]:
    """(alpha, sigma) at an index of its 1000 steps; below 0 its last level."""
    bar = float(scheduler.alphas_cumprod[int(t)] if int(t) >= 0 else getattr(scheduler, "final_alpha_cumprod", 1.0))
    return math.sqrt(bar), math.sqrt(1 - bar)


def called_at(scheduler: Any, n: int, t: Tensor) -> tuple[float, float]:
    """(alpha, sigma) of the scheduler's call n, with timestep t."""
    name = type(scheduler).__name__
    if name.startswith(_BY_INDEX):
        return at_index(scheduler, t)
    if name == "IPNDMScheduler":
        return float(scheduler.alphas[n]), float(scheduler.betas[n])
    if name == "SCMScheduler":
        return math.cos(float(t)), math.sin(float(t))
    sigmas = scheduler.sigmas
    if n % 2 and name.startswith("KDPM2"):
        return pair(scheduler, scheduler.sigmas_interpol[n - ("Ancestral" in name)])
    if n % 2 and name == "DPMSolverSDEScheduler":
        return pair(scheduler, math.sqrt(float(sigmas[n - 1] * sigmas[n])))
    return pair(scheduler, sigmas[n])


def levels(scheduler: Any) -> list[tuple[float, float]]:
    """(alpha, sigma) at the ends of its steps, including the first and the last level."""
    name = type(scheduler).__name__
    if name.startswith(_BY_INDEX):
        stops = [*scheduler.timesteps.tolist(), 0 if name == "TCDScheduler" else -1]
        return [at_index(scheduler, t) for t in stops]
    if name == "IPNDMScheduler":
        return [(float(a), float(b)) for a, b in zip(scheduler.alphas, scheduler.betas, strict=True)]
    if name == "SCMScheduler":
        return [(math.cos(t), math.sin(t)) for t in scheduler.timesteps[:-1].tolist()] + [(1.0, 0.0)]
    sigmas = scheduler.sigmas.tolist()
    if scheduler.order == 2:  # s0 s1 s1 s2 s2 ... 0; KDPM2 has two more 0
        sigmas = [sigmas[0], *sigmas[1::2]]
        sigmas = sigmas[: len(sigmas) - name.startswith("KDPM2")]
    return [pair(scheduler, s) for s in sigmas]


def ends(scheduler: Any) -> list[int]:
    """The calls after which a step is complete."""
    calls = range(len(scheduler.timesteps) - (type(scheduler).__name__ == "SCMScheduler"))
    if scheduler.order != 2 or type(scheduler).__name__ == "DPMSolverSinglestepScheduler":
        return list(calls)
    return [n for n in calls if n % 2 or n == calls[-1]]


def exact(scheduler: Any) -> Any:
    """The scheduler with its coefficients in float64; its grid keeps the rounded values."""
    for name, value in vars(scheduler).items():
        if isinstance(value, Tensor) and value.dtype == torch.float32 and name != "timesteps":
            setattr(scheduler, name, value.double())
    return scheduler


def wanted(scheduler: Any, x: Tensor, x0: Tensor, alpha: float, sigma: float) -> Tensor:
    """The model output that `step` expects for an estimate of x0 at x."""
    name, config = type(scheduler).__name__, scheduler.config
    if name.startswith(("EDM", "Cosine")):  # EDM's raw output
        data, sign = config.sigma_data, -1.0 if config.prediction_type == "v_prediction" else 1.0
        total = sigma**2 + data**2
        return (x0 - data**2 / total * x) / (sign * sigma * data / math.sqrt(total))
    if state(scheduler) == "flow":
        return (x - x0) / sigma  # eps - x0
    if name == "IPNDMScheduler":
        return alpha * (x - alpha * x0) / sigma - sigma * x0
    if name == "SCMScheduler":
        return (alpha * x - x0) / sigma
    return x0 if config.prediction_type == "sample" else (x - alpha * x0) / sigma


def follow(scheduler: Any, denoise: Denoise, x: Tensor, noises: Iterable[Tensor] = (), **options: Any) -> list[Tensor]:
    """The point after every call of `step`, from x at the scheduler's first level; timesteps are already set.

    Args:
        scheduler: The scheduler.
        denoise: The denoiser.
        x: The point at the first level.
        noises: Noises that replace those that it would draw, in order.
        **options: Passed to `step`.
    """
    points, drawn = [], iter(noises)
    with _noise_from(scheduler, drawn):
        for n in count():
            if n >= len(scheduler.timesteps) - (type(scheduler).__name__ == "SCMScheduler"):
                return points
            t = scheduler.timesteps[n]
            if hasattr(scheduler, "scale_model_input"):
                scheduler.scale_model_input(x, t)
            alpha, sigma = called_at(scheduler, n, t)
            output = wanted(scheduler, x, denoise(x, alpha, sigma), alpha, sigma)
            x = scheduler.step(output, t, x, **options).prev_sample
            points.append(x)
    raise AssertionError


@contextmanager
def _noise_from(scheduler: Any, drawn: Iterator[Tensor]) -> Iterator[None]:
    names = type(scheduler).step.__globals__  # not those of its module, which differ if an error is planted
    own = names.get("randn_tensor")
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = lambda *_: next(drawn)
    if own is not None:
        names["randn_tensor"] = lambda *_, **__: next(drawn)
    try:
        yield
    finally:
        if own is not None:
            names["randn_tensor"] = own
