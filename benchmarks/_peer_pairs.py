"""Every deterministic sampler of diffusers and k-diffusion with every timestep spacing that either library offers.

All on diffusers' default process of 1000 steps (linear betas), which is our `discrete`: the same range of sigma.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product, repeat
from typing import Any

import torch
from _peers import Denoise, exact, follow, k_diffusion, levels, model, schedulers
from torch import Tensor

End = Callable[[Denoise, Tensor], Tensor]  # denoise, standard normal noise -> x0


@dataclass(frozen=True)
class Pair:
    """A sampler with a timestep spacing at some number of evaluations.

    Attributes:
        of: The library.
        sampler: Name of the sampler with its options.
        timesteps: Name of the timestep spacing.
        end: Denoise, standard normal noise (B, *shape) -> the last point; raises where the pair cannot be run.
    """

    of: str
    sampler: str
    timesteps: str
    end: End


TIMESTEPS: dict[str, dict[str, Any]] = {
    "linspace": {"timestep_spacing": "linspace"},
    "leading": {"timestep_spacing": "leading"},
    "trailing": {"timestep_spacing": "trailing"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "lu": {"use_lu_lambdas": True},
    "log_linear": {"interpolation_type": "log_linear"},
}
TIMES, SIGMAS = ("linspace", "leading", "trailing"), ("karras", "exponential", "beta")


@dataclass(frozen=True)
class _Scheduler:
    name: str
    timesteps: tuple[str, ...] = (*TIMES, *SIGMAS)
    options: tuple[dict[str, Any], ...] = ({},)
    step: tuple[dict[str, Any], ...] = ({},)


_ENDS = {"final_sigmas_type": "sigma_min"}
_SCHEDULERS = (
    _Scheduler("DDIMScheduler", TIMES, ({"clip_sample": False},)),
    _Scheduler("EulerDiscreteScheduler", (*TIMES, *SIGMAS, "log_linear")),
    _Scheduler("HeunDiscreteScheduler"),
    _Scheduler("KDPM2DiscreteScheduler"),
    _Scheduler("LMSDiscreteScheduler", step=({"order": 2}, {"order": 3}, {"order": 4})),
    _Scheduler("PNDMScheduler", TIMES, ({"skip_prk_steps": True}, {"skip_prk_steps": True, "set_alpha_to_one": True})),
    _Scheduler(
        "DPMSolverMultistepScheduler",
        (*TIMES, *SIGMAS, "lu"),
        (
            *({"solver_order": n, "solver_type": t} for n, t in ((2, "midpoint"), (2, "heun"), (3, "midpoint"))),
            {"solver_order": 3, "lower_order_final": False},
            *({"algorithm_type": "dpmsolver", "solver_order": n, **_ENDS} for n in (1, 2, 3)),
            {"algorithm_type": "dpmsolver", "solver_type": "heun", **_ENDS},
        ),
    ),
    _Scheduler(
        "DPMSolverSinglestepScheduler",
        ("linspace", *SIGMAS),
        (
            *({"solver_order": n, "solver_type": t} for n, t in product((2, 3), ("midpoint", "heun"))),
            {"solver_order": 3, **_ENDS},
        ),
    ),
    _Scheduler(
        "UniPCMultistepScheduler",
        options=(
            *({"solver_order": n, "solver_type": t} for n, t in product((1, 2, 3), ("bh1", "bh2"))),
            *({"solver_order": n, "lower_order_final": False, **_ENDS} for n in (2, 3)),
            *({"solver_order": n, "predict_x0": False, **_ENDS} for n in (2, 3)),
        ),
    ),
    _Scheduler("DEISMultistepScheduler", options=tuple({"solver_order": n} for n in (1, 2, 3))),
    _Scheduler(
        "SASolverScheduler",
        options=tuple(
            {"predictor_order": p, "corrector_order": c, "tau_func": lambda t: 0} for p, c in ((2, 2), (3, 3), (3, 4))
        ),
    ),
)


def pairs(nfe: int) -> Iterator[Pair]:
    """Every pair of the libraries that can be imported, with the largest number of steps that `nfe` allows."""
    for found in (_of_diffusers, _of_k_diffusion):
        try:
            yield from found(nfe)
        except ImportError:
            continue


def installed() -> dict[str, str]:
    """library -> "" if it can be imported, else the reason why not."""
    reasons = {}
    for name, load in (("diffusers", schedulers), ("k-diffusion", k_diffusion)):
        try:
            load()
            reasons[name] = ""
        except ImportError as error:
            reasons[name] = f"not installed ({error})"
    return reasons


# --- diffusers --------------------------------------------------------------------------------------------------------


def _of_diffusers(nfe: int) -> Iterator[Pair]:
    library = schedulers()
    for kind in _SCHEDULERS:
        cls = getattr(library, kind.name)
        steps = (nfe + 1) // 2 if cls.order == 2 else nfe - (kind.name == "PNDMScheduler")  # its first step needs two
        for timesteps, options, step in product(kind.timesteps, kind.options, kind.step):
            label = ", ".join(str(v) for k, v in {**options, **step}.items() if k not in ("clip_sample", "tau_func"))
            name = f"{kind.name.removesuffix('Scheduler')}{f' ({label})' if label else ''}"
            spaced = (
                {} if kind.name == "DPMSolverSinglestepScheduler" and timesteps == "linspace" else TIMESTEPS[timesteps]
            )
            yield Pair("diffusers", name, timesteps, _followed(cls, {**options, **spaced}, step, steps))
    for timesteps, sigmas in {"own": None, **grids(nfe)}.items():
        betas = None if sigmas is None else (sigmas / (1 + sigmas**2).sqrt()).tolist()
        yield Pair(
            "diffusers", "IPNDM", timesteps, _followed(library.IPNDMScheduler, {"trained_betas": betas}, {}, nfe)
        )


def _followed(cls: type, options: dict[str, Any], step: dict[str, Any], steps: int) -> End:
    def end(denoise: Denoise, noise: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler = cls(**options)
            scheduler.set_timesteps(steps)
            sigma = levels(exact(scheduler))[0][1]
            return follow(scheduler, denoise, sigma * noise, repeat(torch.zeros_like(noise)), **step)[-1]

    return end


# --- k-diffusion ------------------------------------------------------------------------------------------------------


def _of_k_diffusion(nfe: int) -> Iterator[Pair]:
    k = k_diffusion()
    half, none = (nfe + 1) // 2, {"disable": True}
    for name, steps, options in (
        ("euler", nfe, {}),
        ("heun", half, {}),
        ("dpm_2", half, {}),
        *(("lms", nfe, {"order": n}) for n in (2, 3, 4)),
        ("dpmpp_2s_ancestral", half, {"eta": 0.0}),
        ("dpmpp_2m", nfe, {}),
        *(("dpmpp_2m_sde", nfe, {"eta": 0.0, "solver_type": t}) for t in ("midpoint", "heun")),
        ("dpmpp_3m_sde", nfe, {"eta": 0.0}),
    ):
        label = ", ".join(f"{v}" if key != "eta" else "eta 0" for key, v in options.items())
        title = f"{name}{f' ({label})' if label else ''}"
        if "sde" in name or "ancestral" in name:
            options = {**options, "noise_sampler": lambda *_: 0.0}
        for timesteps, sigmas in grids(steps).items():
            yield Pair(
                "k-diffusion", title, timesteps, _sampled(getattr(k, f"sample_{name}"), sigmas, {**none, **options})
            )
    yield Pair("k-diffusion", "dpm_fast", "own", _fast(k, nfe))


def _sampled(function: Callable[..., Tensor], sigmas: Tensor, options: dict[str, Any]) -> End:
    def end(denoise: Denoise, noise: Tensor) -> Tensor:
        return function(model(denoise), sigmas[0] * noise, sigmas, **options)

    return end


def _fast(k: Any, nfe: int) -> End:
    low, high = _range()

    def end(denoise: Denoise, noise: Tensor) -> Tensor:
        with torch.no_grad():
            start, stop = (torch.tensor(s, dtype=torch.float64) for s in (high, low))
            solver = k.DPMSolver(model(denoise))
            return solver.dpm_solver_fast(high * noise, solver.t(start), solver.t(stop), nfe)

    return end


def grids(steps: int) -> dict[str, Tensor]:
    """name -> sigmas (steps + 1,): timestep spacings of k-diffusion, and of diffusers if installed; no duplicates."""
    k, (low, high) = k_diffusion(), _range()
    found = {
        "karras": k.get_sigmas_karras(steps, low, high),
        "exponential": k.get_sigmas_exponential(steps, low, high),
        "polyexponential": k.get_sigmas_polyexponential(steps, low, high, rho=2.0),
        "discrete": k.append_zero(_at(torch.linspace(999, 0, steps, dtype=torch.float64))),
    }
    try:
        library = schedulers()
    except ImportError:
        return {name: sigmas.double() for name, sigmas in found.items()}
    offered = [(library.DPMSolverMultistepScheduler, name) for name in TIMESTEPS if name != "log_linear"]
    offered += [(library.EulerDiscreteScheduler, name) for name in TIMESTEPS if name != "lu"]
    for cls, name in offered:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler = cls(**TIMESTEPS[name])
            scheduler.set_timesteps(steps - (name == "log_linear"))  # it adds one step
        if not any(torch.allclose(scheduler.sigmas, known.float(), rtol=1e-4) for known in found.values()):
            found[f"{cls.__name__[:3].lower()}'s {name}"] = scheduler.sigmas
    return {name: sigmas.double() for name, sigmas in found.items()}


def _bars() -> Tensor:
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def _range() -> tuple[float, float]:
    bars = _bars()
    return float(((1 - bars[0]) / bars[0]).sqrt()), float(((1 - bars[-1]) / bars[-1]).sqrt())


def _at(t: Tensor) -> Tensor:
    """sigma at real indices, linear in its logarithm (DiscreteSchedule.t_to_sigma)."""
    bars = _bars()
    log, below = ((1 - bars) / bars).sqrt().log(), t.floor().long()
    above = t.ceil().long()
    return ((1 - t.frac()) * log[below] + t.frac() * log[above]).exp()
