"""Prints what a sampling step costs outside of the network: update and bookkeeping, for every sampler.

    python benchmarks/step_cost.py

One thread, float32, (4, 3, 32, 32), 20 steps; `denoise` returns a fixed tensor and noise is drawn before the loop. What
a run pays beside that is printed apart: drawing noise, preconditioning, guidance. Where diffusers or k-diffusion can be
imported, their samplers are timed in the same way, in the same run. The figure is the lowest of many repeats.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator

import torch
from sonolux.core import registry
from sonolux.core.guidance.base import Run
from sonolux.core.guidance.cfg import CFG
from sonolux.core.noise import Noise
from sonolux.core.predictions.edm import EDM as Prediction
from sonolux.core.samplers.base import run
from sonolux.core.schedulers.edm import EDM
from sonolux.core.spacings.karras import Karras
from sonolux.core.types import Conditions, Estimate, Level

SHAPE, STEPS, LIMIT = (4, 3, 32, 32), 20, 25.0


class Fixed:
    """A denoiser that costs nothing."""

    def __init__(self, x0: torch.Tensor):
        self.made = {len(x0) * n: Estimate(x0.repeat(n, 1, 1, 1)) for n in (1, 2)}

    def denoise(self, x: torch.Tensor, level: Level, conditions: Conditions) -> Estimate:
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


def own() -> Iterator[tuple[str, float]]:
    """(sampler, microseconds a step)."""
    levels, x, denoiser = Karras().levels(EDM(), STEPS), torch.randn(SHAPE), Fixed(torch.randn(SHAPE))
    for name in registry.builtins("sampler"):
        plan = registry.find("sampler", name)().plan(EDM(), levels)
        noise = {key: torch.randn(SHAPE) for key in plan.noises}
        yield name, lowest(lambda plan=plan, noise=noise: run(plan, denoiser, x, noise=noise)) / STEPS


def apart() -> Iterator[tuple[str, float]]:
    """(what, microseconds a step): what a run pays beside the update."""
    x, output, none = torch.randn(SHAPE), torch.randn(SHAPE), Conditions()
    level, prediction = Level(1.5, 1.0, 1.5), Prediction()
    noise = Noise(0, range(SHAPE[0]), SHAPE[1:])
    told = Conditions({"label": torch.randn(4, 64)}, {"label": torch.zeros(4, 64)})
    fixed = Fixed(output)
    guided = CFG(2.0).wrap(fixed, Run(noise))
    yield "noise, drawn for four samples", lowest(lambda: noise.normal("sampler", ("step", 3)))
    yield "preconditioning (edm)", lowest(lambda: (x * prediction.input_scale(level), prediction.x0(x, output, level)))
    plain = lowest(lambda: fixed.denoise(x, level, none))
    yield "guidance (cfg, both estimates in one batch)", lowest(lambda: guided.denoise(x, level, told)) - plain


def diffusers() -> Iterator[tuple[str, float]]:
    """(scheduler, microseconds a step) of diffusers, where it can be imported."""
    import diffusers as peer

    peer.utils.logging.set_verbosity_error()
    x, output, z = torch.randn(SHAPE), torch.randn(SHAPE), torch.randn(SHAPE)
    for name, options in (
        ("DDIMScheduler", {}),
        ("EulerDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("DDPMScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("UniPCMultistepScheduler", {}),
    ):
        cls = getattr(peer, name)
        module, scheduler = sys.modules[cls.__module__], cls(**options)
        if hasattr(module, "randn_tensor"):
            module.randn_tensor = lambda *_, **__: z  # type: ignore[attr-defined]

        def loop(scheduler=scheduler) -> None:
            scheduler.set_timesteps(STEPS)
            sample = x
            for t in scheduler.timesteps:
                sample = scheduler.step(output, t, sample).prev_sample

        setup = lowest(lambda scheduler=scheduler: scheduler.set_timesteps(STEPS), repeats=20, inner=2)
        yield f"diffusers {name}{' sde' if options else ''}", (lowest(loop, repeats=20, inner=2) - setup) / STEPS


def k_diffusion() -> Iterator[tuple[str, float]]:
    """(sampler, microseconds a step) of k-diffusion's sampling module, whose package needs more than it uses here."""
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("k_diffusion is not installed")
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)  # the package without its __init__
    sys.modules["k_diffusion"] = package
    sampling = importlib.import_module("k_diffusion.sampling")
    x, output, z = torch.randn(SHAPE), torch.randn(SHAPE), torch.randn(SHAPE)
    sigmas = torch.tensor([float(a.sigma) for a in Karras().levels(EDM(), STEPS)])
    for name in ("euler", "heun", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde"):
        sampler = getattr(sampling, f"sample_{name}")
        extra = {"noise_sampler": lambda *_: z} if "ancestral" in name or "sde" in name else {}
        call = lambda sampler=sampler, extra=extra: sampler(lambda *_, **__: output, x, sigmas, disable=True, **extra)  # noqa: E731
        yield f"k-diffusion {name}", lowest(call, repeats=20, inner=2) / STEPS


def main() -> int:
    """Print the table; 1 if one of our samplers costs more than the limit."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"microseconds a step, {SHAPE} float32, one thread, {STEPS} steps")
    print(f"\nupdate and bookkeeping, at most {LIMIT:g}")
    costs = dict(own())
    for name, cost in costs.items():
        print(f"  {name:52}{cost:8.1f}{'  TOO SLOW' if cost > LIMIT else ''}")
    print("\napart from that, for each step that uses it")
    for name, cost in apart():
        print(f"  {name:52}{cost:8.1f}")
    print("\npeers, measured alike")
    for peer in (diffusers, k_diffusion):
        try:
            for name, cost in peer():
                print(f"  {name:52}{cost:8.1f}")
        except ImportError as error:
            print(f"  {peer.__name__}: not here ({error})")
    return int(max(costs.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
