"""Prints the cost of sampling outside the network, for every sampler, and that of diffusers and k-diffusion.

    python benchmarks/step_cost.py

One thread, float32, (4, 3, 32, 32), 20 steps. Two measurements per sampler:

loop   update and bookkeeping, microseconds per step: `denoise` returns a fixed tensor, noise is drawn before the loop
whole  a whole call, milliseconds: levels, plan, noise and loop (`sonolux.sample`, with the plan cached by the first
call; `cold` builds it again); `set_timesteps` and the loop with its noise (diffusers); sigmas and the function
(k-diffusion)

Where the libraries can be imported, their samplers of the same method are timed in the same run, and the ratios sonolux
/ peer are printed: below 1 is faster. A value is the lowest of many repeats, in processor time, so that the ratios are
valid on a machine with other load. The exit status is 1 if a ratio to diffusers is above 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import sonolux
import torch
from _peers import k_diffusion, schedulers
from sonolux.core.config import registry
from sonolux.core.guidance.base import SamplingRun
from sonolux.core.guidance.cfg import CFG
from sonolux.core.parameterizations.edm import EDM as Prediction
from sonolux.core.samplers._cache import clear_plan_cache
from sonolux.core.samplers.base import run_plan
from sonolux.core.schedulers.edm import EDM
from sonolux.core.timesteps.karras import Karras
from sonolux.core.types import Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

SHAPE, STEPS = (4, 3, 32, 32), 20

# Our sampler -> diffusers' scheduler of the same method with its options, and the name of k-diffusion's function. The
# noise of an SDE solver is a Brownian path in k-diffusion and independent at every step in diffusers: both are rows.
_MULTI = "DPMSolverMultistepScheduler"
PEERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ddim": ("DDIMScheduler", {}, ""),
    "ddpm": ("DDPMScheduler", {}, ""),
    "deis": ("DEISMultistepScheduler", {"solver_order": 3}, ""),
    "dpm_2": ("KDPM2DiscreteScheduler", {}, "dpm_2"),
    "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}, "dpm_2_ancestral"),
    "dpmpp_2m": (_MULTI, {}, "dpmpp_2m"),
    "dpmpp_2m_sde": ("", {}, "dpmpp_2m_sde"),
    "dpmpp_2m_sde noise=step": (_MULTI, {"algorithm_type": "sde-dpmsolver++"}, ""),
    "dpmpp_2s_ancestral": ("", {}, "dpmpp_2s_ancestral"),
    "dpmpp_3m": (_MULTI, {"solver_order": 3}, ""),
    "dpmpp_3m_sde": ("", {}, "dpmpp_3m_sde"),
    "dpmpp_3m_sde noise=step": (_MULTI, {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}, ""),
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
    """A denoiser without cost."""

    def __init__(self, x0: torch.Tensor):
        self.made = {len(x0) * n: Estimate(x0.repeat(n, 1, 1, 1)) for n in (1, 2)}

    def denoise(self, x: torch.Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The fixed tensor, at the size of x."""
        return self.made[len(x)]


def lowest(function: Callable[[], object], repeats: int = 60, inner: int = 5) -> float:
    """Microseconds of processor time per call: the lowest of `repeats` means.

    Args:
        function: What is called.
        repeats: Number of means.
        inner: Number of calls in a mean.
    """
    function()
    best = float("inf")
    for _ in range(repeats):
        begin = time.thread_time()
        for _ in range(inner):
            function()
        best = min(best, (time.thread_time() - begin) / inner)
    return best * 1e6


def own_sampler(name: str) -> Any:
    """The sampler of a row: its name, and options such as `noise=step` after it."""
    use, *options = name.split()
    return registry.find_class("sampler", use)(**dict(option.split("=") for option in options))


def own(name: str) -> tuple[dict[str, float], int]:
    """(loop in microseconds per step, whole and cold call in milliseconds; evaluations) of one of our samplers."""
    levels, x, denoiser = Karras().levels(EDM(), STEPS), torch.randn(SHAPE), Fixed(torch.randn(SHAPE))
    sampler = own_sampler(name)
    plan = sampler.plan(EDM(), levels)
    noise = {key: torch.randn(SHAPE) for key in plan.noises}

    def call() -> object:
        return sonolux.sample(denoiser, SHAPE, EDM(), sampler=sampler, timesteps="karras", steps=STEPS)

    def cold() -> object:
        clear_plan_cache()
        return call()

    loop = lowest(lambda: run_plan(plan, denoiser, x, noise=noise)) / STEPS
    return {"loop": loop, "whole": lowest(call, 20, 2) / 1e3, "cold": lowest(cold, 10, 1) / 1e3}, plan.nfe


def of_diffusers(name: str, options: dict[str, Any]) -> dict[str, float]:
    """The same for a scheduler: the loop without `set_timesteps` and noise, the whole call with both."""
    cls = getattr(schedulers(), name)
    x, output, z = torch.randn(SHAPE), torch.randn(SHAPE), torch.randn(SHAPE)
    scheduler, names = cls(**options), cls.step.__globals__

    def start(fixed: bool) -> None:
        scheduler.set_timesteps(STEPS)
        if hasattr(scheduler, "noise_sampler"):
            scheduler.noise_sampler = (lambda *_: z) if fixed else None

    def call(fixed: bool) -> None:
        start(fixed)
        sample = x if fixed else torch.randn(SHAPE) * getattr(scheduler, "init_noise_sigma", 1.0)
        for t in scheduler.timesteps:
            sample = scheduler.step(output, t, sample).prev_sample

    whole = lowest(lambda: call(fixed=False), 20, 2) / 1e3
    drawn = names.get("randn_tensor")
    if drawn is not None:
        names["randn_tensor"] = lambda *_, **__: z
    try:
        setup = lowest(lambda: start(fixed=True), repeats=20, inner=2)
        return {"loop": (lowest(lambda: call(fixed=True), repeats=20, inner=2) - setup) / STEPS, "whole": whole}
    finally:
        if drawn is not None:
            names["randn_tensor"] = drawn


def of_k_diffusion(name: str) -> dict[str, float]:
    """The same for one of k-diffusion's functions."""
    module = k_diffusion()
    sampler = getattr(module, f"sample_{name}")
    x, output, z = torch.randn(SHAPE), torch.randn(SHAPE), torch.randn(SHAPE)
    sigmas = torch.tensor([float(a.sigma) for a in Karras().levels(EDM(), STEPS)])
    extra = {"noise_sampler": lambda *_: z} if "ancestral" in name or "sde" in name else {}

    def call() -> object:
        made = module.get_sigmas_karras(STEPS, 0.002, 80.0)
        return sampler(lambda *_, **__: output, torch.randn(SHAPE) * made[0], made, disable=True)

    loop = lowest(lambda: sampler(lambda *_, **__: output, x, sigmas, disable=True, **extra), 20, 2) / STEPS
    return {"loop": loop, "whole": lowest(call, 10, 1) / 1e3}


def row(name: str) -> dict[str, Any]:
    """The cost of one of our samplers, and of the peers' of the same method; None where there is no peer."""
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
    return found


def ratio(found: dict[str, Any], library: str, what: str) -> float | None:
    """Our cost divided by the peer's; None where there is no peer."""
    return None if found[library] is None else found["sonolux"][what] / found[library][what]


def additional_costs() -> dict[str, float]:
    """The cost of a run in addition to the update: name -> microseconds per step that uses it."""
    x, output, none = torch.randn(SHAPE), torch.randn(SHAPE), Conditioning()
    level, prediction, levels = NoiseLevel(1.5, 1.0, 1.5), Prediction(), Karras().levels(EDM(), STEPS)
    noise = KeyedNoise(0, range(SHAPE[0]), SHAPE[1:])
    labels = Conditioning({"label": torch.randn(4, 64)}, {"label": torch.zeros(4, 64)})
    fixed, sampler = Fixed(output), registry.find_class("sampler", "dpmpp_2m")()
    guided = CFG(2.0).wrap(fixed, SamplingRun(noise))
    plain = lowest(lambda: fixed.denoise(x, level, none))
    return {
        "building the plan (dpmpp_2m), once per run": lowest(lambda: sampler.plan(EDM(), levels), 20, 2) / STEPS,
        "noise, drawn for four samples": lowest(lambda: noise.normal("sampler", ("step", 3))),
        "preconditioning (edm)": lowest(lambda: (x * prediction.input_scale(level), prediction.x0(x, output, level))),
        "guidance (cfg, both estimates in one batch)": lowest(lambda: guided.denoise(x, level, labels)) - plain,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if one of our samplers costs more than diffusers' of the same method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samplers", nargs="*", help="names; default: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    show = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
    show(f"{SHAPE} float32, one thread, {STEPS} steps; ratios are sonolux / peer\n")
    show(f"  {'':24}{'':>6}{'loop, us per step':>28}{'whole call, ms':>36}")
    head = f"{'sonolux':>10}{'/diffus.':>9}{'/k-diff.':>9}"
    show(f"  {'sampler':24}{'nfe':>6}{head}{'sonolux':>10}{'cold':>8}{'/diffus.':>9}{'/k-diff.':>9}")
    rows = []
    for name in options.samplers or sorted({*registry.builtin_files("sampler"), *PEERS}):
        rows.append(found := row(name))
        shares = {
            what: "".join(
                f"{'' if (own := ratio(found, library, what)) is None else f'{own:.2f}':>9}"
                for library in ("diffusers", "k-diffusion")
            )
            for what in ("loop", "whole")
        }
        cost = found["sonolux"]
        show(
            f"  {name:24}{found['nfe']:6}{cost['loop']:10.1f}{shares['loop']}"
            f"{cost['whole']:10.2f}{cost['cold']:8.2f}{shares['whole']}"
        )
    show("\nadditional cost per step that uses it, us")
    additional = additional_costs()
    for what, cost in additional.items():
        show(f"  {what:56}{cost:8.1f}")
    if options.json:
        print(json.dumps({"samplers": rows, "apart": additional}, indent=1))
    shares = [ratio(found, "diffusers", what) for found in rows for what in ("loop", "whole")]
    return int(any(own is not None and own > 1 for own in shares))


if __name__ == "__main__":
    sys.exit(main())
