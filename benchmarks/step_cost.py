"""Prints what a sampling step costs outside of the network: update and bookkeeping, for every sampler.

    python benchmarks/step_cost.py

One thread, float32, (4, 3, 32, 32), 20 steps; `denoise` returns a fixed tensor and noise is drawn before the loop. What
a run pays beside that is printed apart: making the plan, drawing noise, preconditioning, guidance. Where diffusers or
k-diffusion can be imported, their samplers of the same method are timed in the same way, in the same run. A figure is
the lowest of many repeats, in processor time, so that a busy machine still shows the ratios.

Samplers that evaluate once a step are held to a limit; the others pay for every evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from _peers import k_diffusion, schedulers
from sonolux.core.config import registry
from sonolux.core.guidance.base import Run
from sonolux.core.guidance.cfg import CFG
from sonolux.core.parameterizations.edm import EDM as Prediction
from sonolux.core.samplers.base import run
from sonolux.core.schedulers.edm import EDM
from sonolux.core.timesteps.karras import Karras
from sonolux.core.types import Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import Noise

SHAPE, STEPS, LIMIT = (4, 3, 32, 32), 20, 25.0

# Our sampler -> diffusers' scheduler of the same method with its options, and the name of k-diffusion's function.
_MULTI = "DPMSolverMultistepScheduler"
PEERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ddim": ("DDIMScheduler", {}, ""),
    "ddpm": ("DDPMScheduler", {}, ""),
    "deis": ("DEISMultistepScheduler", {"solver_order": 3}, ""),
    "dpm_2": ("KDPM2DiscreteScheduler", {}, "dpm_2"),
    "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}, "dpm_2_ancestral"),
    "dpmpp_2m": (_MULTI, {}, "dpmpp_2m"),
    "dpmpp_2m_sde": (_MULTI, {"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde"),
    "dpmpp_2s_ancestral": ("", {}, "dpmpp_2s_ancestral"),
    "dpmpp_3m": (_MULTI, {"solver_order": 3}, ""),
    "dpmpp_3m_sde": (_MULTI, {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}, "dpmpp_3m_sde"),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {}, "dpmpp_sde"),
    "euler": ("EulerDiscreteScheduler", {}, "euler"),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}, "euler_ancestral"),
    "exp_ab": (_MULTI, {"solver_type": "heun"}, ""),
    "heun": ("HeunDiscreteScheduler", {}, "heun"),
    "heun_flow": ("FlowMatchHeunDiscreteScheduler", {}, ""),
    "ipndm": ("IPNDMScheduler", {}, ""),
    "lcm": ("LCMScheduler", {}, ""),
    "lms": ("LMSDiscreteScheduler", {}, "lms"),
    "sa_solver": ("SASolverScheduler", {"predictor_order": 3, "corrector_order": 4}, ""),
    "tcd": ("TCDScheduler", {}, ""),
    "unipc": ("UniPCMultistepScheduler", {}, ""),
}


class Fixed:
    """A denoiser that costs nothing."""

    def __init__(self, x0: torch.Tensor):
        self.made = {len(x0) * n: Estimate(x0.repeat(n, 1, 1, 1)) for n in (1, 2)}

    def denoise(self, x: torch.Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The fixed tensor, at the size of x."""
        return self.made[len(x)]


def lowest(function: Callable[[], object], repeats: int = 60, inner: int = 5) -> float:
    """Microseconds of processor time a call takes (others may be using the machine), the lowest of `repeats` means."""
    function()
    best = float("inf")
    for _ in range(repeats):
        begin = time.thread_time()
        for _ in range(inner):
            function()
        best = min(best, (time.thread_time() - begin) / inner)
    return best * 1e6


def own(name: str) -> tuple[float, int]:
    """(microseconds a step, evaluations of the run) of one of our samplers."""
    levels, x, denoiser = Karras().levels(EDM(), STEPS), torch.randn(SHAPE), Fixed(torch.randn(SHAPE))
    plan = registry.find("sampler", name)().plan(EDM(), levels)
    noise = {key: torch.randn(SHAPE) for key in plan.noises}
    return lowest(lambda: run(plan, denoiser, x, noise=noise)) / STEPS, plan.nfe


def of_diffusers(name: str, options: dict[str, Any]) -> float:
    """Microseconds a step of a scheduler, setting its timesteps left out."""
    cls = getattr(schedulers(), name)
    x, output, z = torch.randn(SHAPE), torch.randn(SHAPE), torch.randn(SHAPE)
    scheduler, names = cls(**options), cls.step.__globals__

    def start() -> None:
        scheduler.set_timesteps(STEPS)
        if hasattr(scheduler, "noise_sampler"):
            scheduler.noise_sampler = lambda *_: z

    def loop() -> None:
        start()
        sample = x
        for t in scheduler.timesteps:
            sample = scheduler.step(output, t, sample).prev_sample

    drawn = names.get("randn_tensor")
    if drawn is not None:
        names["randn_tensor"] = lambda *_, **__: z
    try:
        setup = lowest(start, repeats=20, inner=2)
        return (lowest(loop, repeats=20, inner=2) - setup) / STEPS
    finally:
        if drawn is not None:
            names["randn_tensor"] = drawn


def of_k_diffusion(name: str) -> float:
    """Microseconds a step of one of k-diffusion's functions."""
    sampler = getattr(k_diffusion(), f"sample_{name}")
    x, output, z = torch.randn(SHAPE), torch.randn(SHAPE), torch.randn(SHAPE)
    sigmas = torch.tensor([float(a.sigma) for a in Karras().levels(EDM(), STEPS)])
    extra = {"noise_sampler": lambda *_: z} if "ancestral" in name or "sde" in name else {}
    return lowest(lambda: sampler(lambda *_, **__: output, x, sigmas, disable=True, **extra), 20, 2) / STEPS


def row(name: str) -> dict[str, Any]:
    """The cost of one of our samplers, and of the peers' of the same method; None where there is none."""
    scheduler, options, function = PEERS.get(name, ("", {}, ""))
    cost, nfe = own(name)
    found: dict[str, Any] = {"sampler": name, "nfe": nfe, "sonolux": cost, "diffusers": None, "k-diffusion": None}
    for library, wanted, measure in (
        ("diffusers", scheduler, lambda: of_diffusers(scheduler, options)),
        ("k-diffusion", function, lambda: of_k_diffusion(function)),
    ):
        if wanted:
            try:
                found[library] = measure()
            except ImportError:
                found[library] = None
    found["held"] = nfe <= STEPS
    return found


def apart() -> dict[str, float]:
    """What a run pays beside the update: what -> microseconds for each step that uses it."""
    x, output, none = torch.randn(SHAPE), torch.randn(SHAPE), Conditioning()
    level, prediction, levels = NoiseLevel(1.5, 1.0, 1.5), Prediction(), Karras().levels(EDM(), STEPS)
    noise = Noise(0, range(SHAPE[0]), SHAPE[1:])
    told = Conditioning({"label": torch.randn(4, 64)}, {"label": torch.zeros(4, 64)})
    fixed, sampler = Fixed(output), registry.find("sampler", "dpmpp_2m")()
    guided = CFG(2.0).wrap(fixed, Run(noise))
    plain = lowest(lambda: fixed.denoise(x, level, none))
    return {
        "making the plan (dpmpp_2m), once a run": lowest(lambda: sampler.plan(EDM(), levels), 20, 2) / STEPS,
        "noise, drawn for four samples": lowest(lambda: noise.normal("sampler", ("step", 3))),
        "preconditioning (edm)": lowest(lambda: (x * prediction.input_scale(level), prediction.x0(x, output, level))),
        "guidance (cfg, both estimates in one batch)": lowest(lambda: guided.denoise(x, level, told)) - plain,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if one of our multistep samplers costs more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    told = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
    told(f"microseconds a step, {SHAPE} float32, one thread, {STEPS} steps\n")
    told(f"update and bookkeeping; one evaluation a step: at most {LIMIT:g}")
    told(f"  {'sampler':20}{'evaluations':>12}{'sonolux':>9}{'diffusers':>11}{'k-diffusion':>13}")
    rows = []
    for name in registry.builtins("sampler"):
        rows.append(found := row(name))
        others = "".join(
            f"{'' if found[library] is None else f'{found[library]:.1f}':>{wide}}"
            for library, wide in (("diffusers", 11), ("k-diffusion", 13))
        )
        slow = "  TOO SLOW" if found["held"] and found["sonolux"] > LIMIT else ""
        told(f"  {name:20}{found['nfe']:12}{found['sonolux']:9.1f}{others}{slow}")
    told("\napart from that, for each step that uses it")
    beside = apart()
    for what, cost in beside.items():
        told(f"  {what:52}{cost:8.1f}")
    if options.json:
        print(json.dumps({"limit": LIMIT, "samplers": rows, "apart": beside}, indent=1))
    return int(any(found["held"] and found["sonolux"] > LIMIT for found in rows))


if __name__ == "__main__":
    sys.exit(main())
