"""Prints the error of the best sampler and timestep spacing by evaluations, compared with diffusers and k-diffusion.

    python benchmarks/error_nfe.py

Three problems whose solution is known exactly: clusters on planes, a mixture of correlated sequences, and a mixture of
smooth images. Every deterministic sampler with every timestep spacing of each library runs on the same process (1000
steps, linear betas) from the same noise; the error is the root mean square distance between its last point and the end
of the exact probability-flow ODE, over 4096 samples. The best pair is selected on other samples. `calibrated` is a plan
that was fitted to the denoiser on a third set of samples.
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
from sonolux.core.few_step.calibrate import calibrate_plan, timestep_spacings
from sonolux.core.few_step.problem import CalibrationBatch, CalibrationProblem
from sonolux.core.samplers.base import Sampler, run_plan
from sonolux.core.samplers.plan import Plan
from sonolux.core.schedulers.base import NoiseLevel64, Schedule
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.testing.base import AnalyticProblem
from sonolux.core.testing.budget import plan_within_nfe
from sonolux.core.testing.dense import DenseMixture
from sonolux.core.testing.mixture import GaussianMixture, example_mixture
from sonolux.core.testing.ode import solve_in_tau
from sonolux.core.timesteps.base import TimestepSpacing
from sonolux.core.types import Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import KeyedNoise
from torch import Tensor

NFE, SAMPLES = (
    (5, 8, 10, 20),
    4096,
)  # errors have heavy tails: the worst 3 of 1024 samples can be a quarter of it
LISTED, CHOSEN_ON, FITTED_ON = ((256, 96), (1024, 24)), 4096, 1024  # (samples, remaining pairs) of each round
SCHEDULE = Discrete()
FIRST = SCHEDULE.level(SCHEDULE.t_max)
SAME = 1.001  # ratios up to this count as equal: peers round to float32
TARGET = 0.6  # largest ratio of the calibrated plan's error to the best stock pair's, at the fewest evaluations


# --- problems ---------------------------------------------------------------------------------------------------------
# The clusters overlap. Otherwise the error would mainly count the samples that end in another cluster than the exact
# solution, and the best pair would be a matter of chance.


def planes() -> GaussianMixture:
    """The example mixture with four directions of extra variance per component, its means at half the distance."""
    made = example_mixture(seed=1, shape=(3, 4, 4), rank=4)
    shape = made.shape
    return GaussianMixture(
        made.means.reshape(-1, *shape) / 2, made.std, made.weights, made.basis.reshape(3, 4, *shape), made.spread
    )


def sequences(length: int = 32) -> DenseMixture:
    """Three kinds of sequence: zero, one and two waves as mean, with neighbour correlations 0.95, 0.8 and 0.5."""
    i = torch.arange(length, dtype=torch.float64)
    waves = torch.stack([torch.zeros_like(i), *(torch.cos(2 * math.pi * k * i / length) for k in (1, 2))])
    phi, size = torch.tensor([0.95, 0.8, 0.5]).double(), torch.tensor([1.0, 0.5, 0.3]).double()
    covariances = size[:, None, None] ** 2 * phi[:, None, None] ** (i[:, None] - i).abs()
    return DenseMixture(waves[:, None] / 2, covariances)


def pictures(size: int = 8, classes: int = 4, rank: int = 8) -> GaussianMixture:
    """Smooth images (3, 8, 8) of four classes: means and directions are low cosines; high ones have less variance."""
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
def problems() -> dict[str, AnalyticProblem]:
    """name -> problem."""
    return {"planes": planes(), "sequences": sequences(), "pictures": pictures()}


@dataclass(frozen=True)
class Samples:
    """Noise, standard normal (B, *shape), and the end of the exact ODE from it."""

    problem: AnalyticProblem
    noise: Tensor
    exact: Tensor

    def error(self, x0: Tensor) -> float:
        """Root mean square over samples and elements."""
        return float((x0 - self.exact).square().mean().sqrt())

    def part(self, count: int) -> Samples:
        """The first `count` of them."""
        return Samples(self.problem, self.noise[:count], self.exact[:count])


@cache
def samples(name: str, seed: int, count: int) -> Samples:
    """Samples of a seed with their solutions."""
    problem = problems()[name]
    noise = KeyedNoise(seed, range(count), problem.shape, dtype=torch.float64).normal("start")
    tau = float(FIRST.tau)
    return Samples(problem, noise, solve_in_tau(problem, noise * tau, (tau, 0.0))[-1])


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
    for name in registry.builtin_files("sampler"):
        for options in OPTIONS.get(name, [{}]):
            sampler = registry.find_class("sampler", name)(**options)
            if not (sampler.stochastic or sampler.adaptive):
                made[f"{name}{_label(options)}"] = sampler
    return made


def _label(options: dict[str, Any]) -> str:
    return f" ({', '.join(k if v is True else str(v) for k, v in options.items() if k != 'eta')})" if options else ""


Levels = Callable[[Schedule, int], Sequence[NoiseLevel64]]


def _to_t_min(timesteps: TimestepSpacing) -> Levels:
    """Levels that end at t_min instead of clean data, where a denoiser is still accurate."""

    def levels(schedule: Schedule, steps: int) -> list[NoiseLevel64]:
        last = schedule.level(schedule.t_min)
        made = [schedule.level(t) for t in timesteps.times(schedule, steps)]
        if float(made[-1].rho) > 1.01 * float(last.rho):
            return [*made, last]
        return [schedule.level(t) for t in timesteps.times(schedule, steps + 1)]

    return levels


@cache
def own_timesteps() -> dict[str, Levels]:
    """Every registered timestep spacing with its defaults; also, as explicit lists, some that end at t_min."""
    made: dict[str, Levels] = {name: timesteps.levels for name, timesteps in timestep_spacings().items()}
    for name in ("linspace", "leading", "trailing", "karras", "exponential", "beta"):
        made[f"{name} to t_min"] = _to_t_min(timestep_spacings()[name])
    return made


@cache
def own_pairs(nfe: int) -> list[Pair]:
    """Each of our samplers with each timestep spacing, with the most steps that `nfe` allows; no equal levels."""
    made, seen = [], set()
    for (spaced, levels), (name, sampler) in product(own_timesteps().items(), own_samplers().items()):
        found = plan_within_nfe(sampler, SCHEDULE, nfe, levels)
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
        return run_plan(plan, denoise, first.sigma * noise)

    return end


# --- the comparison ---------------------------------------------------------------------------------------------------


class Counted:
    """A problem's denoiser that counts its calls: a Denoiser for us, a function of (x, alpha, sigma) for the peers."""

    def __init__(self, problem: AnalyticProblem):
        self.problem, self.calls = problem, 0

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """E[x0 | x]."""
        self.calls += 1
        return self.problem.denoise(x, level)

    def __call__(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x0 | x] as a tensor."""
        return self.denoise(x, NoiseLevel(sigma, alpha, sigma), Conditioning()).x0


def errors(offered: Sequence[Pair], nfe: int, on: Samples) -> list[tuple[float, Pair]]:
    """(error, pair) of the pairs that run with at most `nfe` evaluations, in increasing order."""
    found: list[tuple[float, Pair]] = []
    for pair in offered:
        denoise = Counted(on.problem)
        try:
            error = on.error(pair.end(denoise, on.noise))
        except Exception:
            if pair.of == "sonolux":
                raise
            continue  # its library refuses it or fails
        if denoise.calls <= nfe and math.isfinite(error):
            found.append((error, pair))
    return sorted(found, key=lambda each: each[0])


def best(offered: Sequence[Pair], nfe: int, name: str) -> dict[str, Any] | None:
    """The pair with the smallest error, and its error on the samples of seed 2; None if no pair runs.

    It is selected on the samples of seed 1, in rounds with more samples and fewer pairs.
    """
    left, tried = list(offered), 0
    for count, kept in (*LISTED, (CHOSEN_ON, 1)):
        found = errors(left, nfe, samples(name, 1, CHOSEN_ON).part(count))
        left, tried = [pair for _, pair in found[:kept]], tried or len(found)
    if not left:
        return None
    pair = left[0]
    error = errors([pair], nfe, samples(name, 2, SAMPLES))[0][0]
    return {"error": error, "sampler": pair.sampler, "timesteps": pair.timesteps, "pairs": tried}


def compared(name: str, nfe: int) -> dict[str, Any]:
    """One row: the best pair of each library on a problem."""
    offered = [*own_pairs(nfe), *pairs(nfe)]
    found = {library: best([p for p in offered if p.of == library], nfe, name) for library in ("sonolux", *installed())}
    peers = [row["error"] for library, row in found.items() if row and library != "sonolux"]
    own = found["sonolux"]
    assert own is not None  # all of ours run
    return {"problem": name, "nfe": nfe, **found, "ratio": own["error"] / min(peers) if peers else None}


def fitted(name: str, nfe: int, stock: float) -> dict[str, Any]:
    """A plan calibrated on the samples of seed 3, measured on those of seed 2."""
    learnt, reported = samples(name, 3, FITTED_ON), samples(name, 2, SAMPLES)
    start = float(FIRST.sigma) * learnt.noise
    made = calibrate_plan(CalibrationProblem(SCHEDULE, (CalibrationBatch(learnt.problem, start, Conditioning()),)), nfe)
    error = reported.error(run_plan(made.plan, reported.problem, float(FIRST.sigma) * reported.noise))
    return {"problem": name, "nfe": nfe, "sampler": made.sampler, "error": error, "ratio": error / stock}


def text(row: dict[str, Any]) -> str:
    """A row of the table, a line for each library."""
    lines = []
    for library in ("sonolux", *installed()):
        found = row[library]
        said = f"{found['error']:9.5f}  {found['sampler']} | {found['timesteps']}" if found else installed()[library]
        lines.append(f"  {row['nfe']:3}  {library:12}{said}")
    if row["ratio"] is not None:
        lines[0] += f"   ({row['ratio']:.2f} of the best peer's{'' if row['ratio'] <= SAME else ': WORSE'})"
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a peer is better, or calibration gains too little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=[*problems()], action="append", help="one or more (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows, plans = [], []
    show = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
    show(
        f"root mean square error of the final x0 over {SAMPLES} samples, by evaluations: the best pair of each library"
    )
    for name in options.problem or problems():
        problem = problems()[name]
        show(f"\n{name}, {problem.shape}, deviations down to {problem.scale:.2g}")
        for nfe in NFE:
            rows.append(compared(name, nfe))
            show(text(rows[-1]))
        first = next(row for row in rows if row["problem"] == name)
        plans.append(fitted(name, NFE[0], first["sonolux"]["error"]))
        show(
            f"  {NFE[0]:3}  calibrated  {plans[-1]['error']:9.5f}  from {plans[-1]['sampler']}   "
            f"({plans[-1]['ratio']:.2f} of our best stock pair's{'' if plans[-1]['ratio'] <= TARGET else ': TOO MUCH'})"
        )
    if options.json:
        print(json.dumps({"samples": SAMPLES, "stock": rows, "calibrated": plans}, indent=1))
    show(f"\n{time.process_time():.0f} s of processor time")
    missed = [row for row in rows if row["ratio"] is not None and row["ratio"] > SAME]
    return int(bool(missed) or any(plan["ratio"] > TARGET for plan in plans))


if __name__ == "__main__":
    sys.exit(main())
