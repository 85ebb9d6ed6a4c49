"""Prints the error of the best sampler and spacing for a number of evaluations, beside diffusers' and k-diffusion's.

    python benchmarks/error_nfe.py

Three problems whose solution is known exactly: clusters on planes, a mixture of correlated sequences, and a mixture of
smooth pictures. Every deterministic sampler with every spacing of each library runs on the same process (1000 steps,
linear betas) from the same noise; the error is the root mean square distance of its last point from where the exact
probability-flow ODE leads, over 4096 samples. Which pair is best is decided on other samples. `calibrated` is a plan
that was fitted to the denoiser on samples of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from _peer_pairs import Pair, installed, pairs
from sonolux.core.config import registry
from sonolux.core.few_step.calibrate import calibrate, timestep_spacings
from sonolux.core.few_step.problem import CalibrationBatch, CalibrationProblem
from sonolux.core.samplers.base import Sampler, run
from sonolux.core.samplers.plan import Plan
from sonolux.core.schedulers.base import NoiseLevel64, Schedule
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.testing.base import Problem
from sonolux.core.testing.budget import within
from sonolux.core.testing.dense import DenseMixture
from sonolux.core.testing.mixture import GaussianMixture, example
from sonolux.core.testing.ode import trajectory
from sonolux.core.timesteps.base import TimestepSpacing
from sonolux.core.types import Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import Noise
from torch import Tensor

NFE, SAMPLES = (5, 8, 10, 20), 4096  # errors have heavy tails: of 1024 samples the three worst can make a quarter
LISTED, CHOSEN_ON, FITTED_ON = ((256, 96), (1024, 24)), 4096, 1024  # (samples, pairs that go on) before the choice
SCHEDULE = Discrete()
FIRST = SCHEDULE.level(SCHEDULE.t_max)
SAME = 1.001  # a tie: peers round to float32
TARGET = 0.6  # of the calibrated plan's error over the best stock pair's, at the fewest evaluations


# --- problems ---------------------------------------------------------------------------------------------------------
# Clusters overlap. Where they do not, the error is mostly how many samples end in another cluster than the exact
# solution, and which pair does best is chance.


def planes() -> GaussianMixture:
    """The laboratory's mixture with four wide directions a component, its means at half their distance."""
    made = example(seed=1, shape=(3, 4, 4), rank=4)
    shape = made.shape
    return GaussianMixture(
        made.means.reshape(-1, *shape) / 2, made.std, made.weights, made.basis.reshape(3, 4, *shape), made.spread
    )


def sequences(length: int = 32) -> DenseMixture:
    """Three kinds of sequence: around no wave, one and two, whose neighbours correlate by 0.95, 0.8 and 0.5."""
    i = torch.arange(length, dtype=torch.float64)
    waves = torch.stack([torch.zeros_like(i), *(torch.cos(2 * math.pi * k * i / length) for k in (1, 2))])
    phi, size = torch.tensor([0.95, 0.8, 0.5]).double(), torch.tensor([1.0, 0.5, 0.3]).double()
    covariances = size[:, None, None] ** 2 * phi[:, None, None] ** (i[:, None] - i).abs()
    return DenseMixture(waves[:, None] / 2, covariances)


def pictures(size: int = 8, classes: int = 4, rank: int = 8) -> GaussianMixture:
    """Smooth pictures (3, 8, 8) of four classes: means and directions are low cosines, spread falls with frequency."""
    rng, grid = torch.Generator().manual_seed(3), (torch.arange(size, dtype=torch.float64) + 0.5) / size
    waves = [(k, l) for k, l in product(range(4), repeat=2) if k + l < 4]
    drawn = [torch.cos(math.pi * k * grid)[:, None] * torch.cos(math.pi * l * grid) for k, l in waves]
    fall = torch.tensor([1 / (1 + k + l) for k, l in waves], dtype=torch.float64)

    def smooth(*shape: int) -> Tensor:
        weights = torch.randn(*shape, 3, len(waves), generator=rng, dtype=torch.float64) * fall
        return torch.einsum("...cw,wij->...cij", weights, torch.stack(drawn))

    means = 0.4 * smooth(classes)
    basis = torch.linalg.qr(smooth(classes, rank).reshape(classes, rank, -1).mT)[0].mT
    spread = 6.0 / torch.arange(1, rank + 1, dtype=torch.float64).expand(classes, rank)
    return GaussianMixture(means, 0.1, None, basis.reshape(classes, rank, 3, size, size), spread)


@cache
def problems() -> dict[str, Problem]:
    """name -> problem."""
    return {"planes": planes(), "sequences": sequences(), "pictures": pictures()}


@dataclass(frozen=True)
class Samples:
    """Noise, standard normal (B, *shape), and where the exact ODE leads from it."""

    problem: Problem
    noise: Tensor
    exact: Tensor

    def error(self, x0: Tensor) -> float:
        """Root mean square over samples and elements."""
        return float((x0 - self.exact).square().mean().sqrt())

    def part(self, count: int) -> Samples:
        """The first of them."""
        return Samples(self.problem, self.noise[:count], self.exact[:count])


@cache
def samples(name: str, seed: int, count: int) -> Samples:
    """Samples of a seed with their solutions."""
    problem = problems()[name]
    noise = Noise(seed, range(count), problem.shape, dtype=torch.float64).normal("start")
    tau = float(FIRST.tau)
    return Samples(problem, noise, trajectory(problem, noise * tau, (tau, 0.0))[-1])


# --- our pairs --------------------------------------------------------------------------------------------------------

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "dpmpp_2s": [{}, {"exact": True}],
    "exp_ab": [{"order": n} for n in (2, 3, 4)],
    "exp_abm": [{"order": n, "mode": mode} for n, mode in product((2, 3, 4), ("pece", "pec"))],
    "unipc": [
        *({"predictor_order": n, "variant": v} for n, v in product((1, 2, 3), ("bh1", "bh2"))),
        *({"predictor_order": n, "lower_final": True} for n in (2, 3)),
    ],
    "deis": [{"order": n} for n in (2, 3)],
    "lms": [{"order": n} for n in (2, 3, 4)],
    "ipndm": [{"estimates": n} for n in (2, 3, 4)],
    "sa_solver": [
        {"eta": 0.0, "predictor_order": p, "corrector_order": c, **final}
        for (p, c), final in product(((2, 2), (2, 3), (3, 3), (3, 4)), ({}, {"lower_final": True}))
    ],
    "er_sde": [{"phi": "ode", "order": n} for n in (2, 3)],
}


@cache
def own_samplers() -> dict[str, Sampler]:
    """Every registered deterministic sampler, with its orders and variants."""
    made = {}
    for name in registry.builtins("sampler"):
        for options in OPTIONS.get(name, [{}]):
            sampler = registry.find("sampler", name)(**options)
            if not (sampler.stochastic or sampler.adaptive):
                made[f"{name}{_told(options)}"] = sampler
    return made


def _told(options: dict[str, Any]) -> str:
    return f" ({', '.join(k if v is True else str(v) for k, v in options.items() if k != 'eta')})" if options else ""


Levels = Callable[[Schedule, int], Sequence[NoiseLevel64]]


def _to_t_min(spacing: TimestepSpacing) -> Levels:
    """Levels that end at t_min and not at clean data, where a denoiser is good to the end."""

    def levels(schedule: Schedule, steps: int) -> list[NoiseLevel64]:
        last = schedule.level(schedule.t_min)
        made = [schedule.level(t) for t in spacing.times(schedule, steps)]
        if float(made[-1].rho) > 1.01 * float(last.rho):
            return [*made, last]
        return [schedule.level(t) for t in spacing.times(schedule, steps + 1)]

    return levels


@cache
def own_spacings() -> dict[str, Levels]:
    """Every registered spacing with its defaults; and, as explicit lists, some that end at t_min."""
    made: dict[str, Levels] = {name: spacing.levels for name, spacing in timestep_spacings().items()}
    for name in ("linspace", "leading", "trailing", "karras", "exponential", "beta"):
        made[f"{name} to t_min"] = _to_t_min(timestep_spacings()[name])
    return made


@cache
def own_pairs(nfe: int) -> list[Pair]:
    """Every one of our samplers with every spacing, with as many steps as `nfe` allows; the same levels once."""
    made, seen = [], set()
    for (spaced, levels), (name, sampler) in product(own_spacings().items(), own_samplers().items()):
        found = within(sampler, SCHEDULE, nfe, levels)
        if found is None:
            continue
        key = (name, *(round(math.log1p(float(row.level.rho)), 9) for row in found[1].rows))
        if key not in seen:
            seen.add(key)
            made.append(Pair("sonolux", name, spaced, _ended(found[1])))
    return made


def _ended(plan: Plan) -> Callable[..., Tensor]:
    first = plan.rows[0].level

    def end(denoise: Any, noise: Tensor) -> Tensor:
        return run(plan, denoise, first.sigma * noise)

    return end


# --- the comparison ---------------------------------------------------------------------------------------------------


class Counted:
    """A problem's denoiser that counts its calls; a Denoiser for us, a function of (x, alpha, sigma) for the peers."""

    def __init__(self, problem: Problem):
        self.problem, self.calls = problem, 0

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """E[x0 | x]."""
        self.calls += 1
        return self.problem.denoise(x, level)

    def __call__(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x0 | x] alone."""
        return self.denoise(x, NoiseLevel(sigma, alpha, sigma), Conditioning()).x0


def errors(offered: Sequence[Pair], nfe: int, on: Samples) -> list[tuple[float, Pair]]:
    """(error, pair) of the pairs that run with `nfe` evaluations or fewer, least first."""
    found: list[tuple[float, Pair]] = []
    for pair in offered:
        denoise = Counted(on.problem)
        try:
            error = on.error(pair.end(denoise, on.noise))
        except Exception:
            if pair.of == "sonolux":
                raise
            continue  # its library refuses it, or fails
        if denoise.calls <= nfe and math.isfinite(error):
            found.append((error, pair))
    return sorted(found, key=lambda each: each[0])


def best(offered: Sequence[Pair], nfe: int, name: str) -> dict[str, Any] | None:
    """The pair with the least error, and its error on the samples of seed 2; None where nothing runs.

    It is chosen on those of seed 1, in rounds of more samples and fewer pairs.
    """
    left, tried = list(offered), 0
    for count, kept in (*LISTED, (CHOSEN_ON, 1)):
        found = errors(left, nfe, samples(name, 1, CHOSEN_ON).part(count))
        left, tried = [pair for _, pair in found[:kept]], tried or len(found)
    if not left:
        return None
    pair = left[0]
    error = errors([pair], nfe, samples(name, 2, SAMPLES))[0][0]
    return {"error": error, "sampler": pair.sampler, "spacing": pair.spacing, "pairs": tried}


def compared(name: str, nfe: int) -> dict[str, Any]:
    """One row: the best pair of each library on a problem."""
    offered = [*own_pairs(nfe), *pairs(nfe)]
    found = {library: best([p for p in offered if p.of == library], nfe, name) for library in ("sonolux", *installed())}
    peers = [row["error"] for library, row in found.items() if row and library != "sonolux"]
    own = found["sonolux"]
    assert own is not None  # every one of ours runs
    return {"problem": name, "nfe": nfe, **found, "ratio": own["error"] / min(peers) if peers else None}


def fitted(name: str, nfe: int, stock: float) -> dict[str, Any]:
    """A plan calibrated on the samples of seed 3, measured on those of seed 2."""
    learnt, reported = samples(name, 3, FITTED_ON), samples(name, 2, SAMPLES)
    start = float(FIRST.sigma) * learnt.noise
    made = calibrate(CalibrationProblem(SCHEDULE, (CalibrationBatch(learnt.problem, start, Conditioning()),)), nfe)
    error = reported.error(run(made.plan, reported.problem, float(FIRST.sigma) * reported.noise))
    return {"problem": name, "nfe": nfe, "sampler": made.sampler, "error": error, "ratio": error / stock}


def text(row: dict[str, Any]) -> str:
    """A row of the table, a line for each library."""
    lines = []
    for library in ("sonolux", *installed()):
        found = row[library]
        said = f"{found['error']:9.5f}  {found['sampler']} | {found['spacing']}" if found else installed()[library]
        lines.append(f"  {row['nfe']:3}  {library:12}{said}")
    if row["ratio"] is not None:
        lines[0] += f"   ({row['ratio']:.2f} of the best peer's{'' if row['ratio'] <= SAME else ': WORSE'})"
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a peer is better, or calibration gains too little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=[*problems()], action="append", help="one or more (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows, plans = [], []
    told = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
    told(
        f"root mean square error of the final x0 over {SAMPLES} samples, by evaluations: the best pair of each library"
    )
    for name in options.problem or problems():
        problem = problems()[name]
        told(f"\n{name}, {problem.shape}, deviations down to {problem.scale:.2g}")
        for nfe in NFE:
            rows.append(compared(name, nfe))
            told(text(rows[-1]))
        first = next(row for row in rows if row["problem"] == name)
        plans.append(fitted(name, NFE[0], first["sonolux"]["error"]))
        told(
            f"  {NFE[0]:3}  calibrated  {plans[-1]['error']:9.5f}  from {plans[-1]['sampler']}   "
            f"({plans[-1]['ratio']:.2f} of our best stock pair's{'' if plans[-1]['ratio'] <= TARGET else ': TOO MUCH'})"
        )
    if options.json:
        print(json.dumps({"samples": SAMPLES, "stock": rows, "calibrated": plans}, indent=1))
    told(f"\n{time.process_time():.0f} s of processor time")
    missed = [row for row in rows if row["ratio"] is not None and row["ratio"] > SAME]
    return int(bool(missed) or any(plan["ratio"] > TARGET for plan in plans))


if __name__ == "__main__":
    sys.exit(main())
