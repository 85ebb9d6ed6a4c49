"""The samplers against k-diffusion's on the same sigmas and the same noise, to 1e-6; its faults, against the exact ODE.

k-diffusion is optional. Every fault is asserted to be there still, so that these tests tell when it is mended.
"""

import importlib
import itertools
import sys
from dataclasses import dataclass, field
from dataclasses import replace as replace_in
from pathlib import Path

import pytest
import torch
from sonolux.core.samplers import solver
from sonolux.core.samplers.base import iterate_plan
from sonolux.core.samplers.ddim import DDIM
from sonolux.core.samplers.dpm_2 import DPM2
from sonolux.core.samplers.dpm_2_ancestral import DPM2Ancestral
from sonolux.core.samplers.dpm_adaptive import DPMAdaptive
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.dpmpp_2s import DPMpp2S
from sonolux.core.samplers.dpmpp_2s_ancestral import DPMpp2SAncestral
from sonolux.core.samplers.dpmpp_3m import DPMpp3M
from sonolux.core.samplers.dpmpp_3m_sde import DPMpp3MSDE
from sonolux.core.samplers.dpmpp_sde import DPMppSDE
from sonolux.core.samplers.edm_churn import EDMChurn
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.euler_ancestral import EulerAncestral
from sonolux.core.samplers.exp_ab import ExpAB
from sonolux.core.samplers.heun import Heun
from sonolux.core.samplers.lms import LMS
from sonolux.core.schedulers.edm import EDM
from sonolux.core.testing import ode
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import assert_caught, mutated_function, scale_expression, variable_target
from sonolux.core.timesteps.karras import Karras
from sonolux.core.types import NoiseLevel
from sonolux.core.util.rng import KeyedNoise

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
peers = importlib.import_module("_peers")
pytestmark = pytest.mark.usefixtures("k_diffusion")
MIXTURE, SCHEDULE, STEPS = example_mixture(), EDM(), 12
LEVELS = Karras().levels(SCHEDULE, STEPS)
SIGMAS = torch.stack([level.sigma for level in LEVELS])


def randn(seed, count=3):
    return torch.randn(count, *MIXTURE.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


START, Z = 80.0 * randn(0), [randn(100 + i) for i in range(2 * STEPS)]


def denoise(x, alpha, sigma):
    return MIXTURE.denoise(x, NoiseLevel(sigma, alpha, sigma)).x0


MODEL = peers.model(denoise)


def ours(sampler, x=START, levels=LEVELS, noise=None):
    """Where the steps of our sampler end, with noise Z[i] in step i unless `noise` is given."""
    plan = sampler.plan(SCHEDULE, levels)
    if noise is None:
        noise = {key: Z[key[1] if key[0] == "step" else i] for i, key in enumerate(plan.noises)}
    return [x for row, x, _ in iterate_plan(plan, MIXTURE, x, noise=noise) if row.step]


def theirs(name, function=None, sigmas=SIGMAS, noises=Z, **options):
    """Where the steps of their sampler end."""
    seen, drawn = [], iter(noises)
    if name.endswith(("ancestral", "sde")):
        options["noise_sampler"] = lambda *_: next(drawn)
    function = function or getattr(peers.k_diffusion(), f"sample_{name}")
    end = function(MODEL, START, sigmas, disable=True, callback=lambda told: seen.append(told["x"]), **options)
    return [*seen[1:], end]


def difference(mine, other):
    """Largest difference at the end of a step over the largest value there."""
    assert len(mine) == len(other)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(mine, other, strict=True))


def off(cls, part, by=1.001):
    """The sampler with an error in its plans: coefficients on points (x), estimates (d) or noises (z) times `by`."""

    class Off(cls):
        def plan(self, *given, **options):
            plan = super().plan(*given, **options)
            if not any(getattr(row, part) for row in plan.rows):
                raise ValueError(f"no row of {cls.__name__}'s plan has coefficients {part!r}: nothing is planted")
            rows = [replace_in(row, **{part: {k: by * c for k, c in getattr(row, part).items()}}) for row in plan.rows]
            return replace_in(plan, rows=rows)

    return Off


@dataclass
class Case:
    """One of our samplers, and the one of theirs that it is."""

    cls: type
    name: str
    ours: dict = field(default_factory=dict)
    theirs: dict = field(default_factory=dict)

    def check(self, cls=None):
        assert difference(ours((cls or self.cls)(**self.ours)), theirs(self.name, **self.theirs)) < 1e-6


CASES = {
    "euler": Case(Euler, "euler"),
    "ddim": Case(DDIM, "euler"),
    "ddim eta 1": Case(DDIM, "euler_ancestral", {"eta": 1.0}),
    "euler_ancestral": Case(EulerAncestral, "euler_ancestral"),
    "euler_ancestral eta 0.4": Case(EulerAncestral, "euler_ancestral", {"eta": 0.4}, {"eta": 0.4}),
    "heun": Case(Heun, "heun"),
    "dpm_2": Case(DPM2, "dpm_2"),
    "dpm_2_ancestral": Case(DPM2Ancestral, "dpm_2_ancestral"),
    "dpm_2_ancestral eta 0.4": Case(DPM2Ancestral, "dpm_2_ancestral", {"eta": 0.4}, {"eta": 0.4}),
    **{f"lms {n}": Case(LMS, "lms", {"order": n}, {"order": n}) for n in (1, 2, 3, 4)},
    "dpmpp_2s": Case(DPMpp2S, "dpmpp_2s_ancestral", {}, {"eta": 0.0}),
    "dpmpp_2s_ancestral": Case(DPMpp2SAncestral, "dpmpp_2s_ancestral"),
    "dpmpp_2s_ancestral eta 0.4": Case(DPMpp2SAncestral, "dpmpp_2s_ancestral", {"eta": 0.4}, {"eta": 0.4}),
    "dpmpp_2m": Case(DPMpp2M, "dpmpp_2m"),
    "dpmpp_2m_sde": Case(DPMpp2MSDE, "dpmpp_2m_sde"),
    "dpmpp_2m_sde eta 0.4": Case(DPMpp2MSDE, "dpmpp_2m_sde", {"eta": 0.4}, {"eta": 0.4}),
    "dpmpp_2m_sde eta 0": Case(DPMpp2MSDE, "dpmpp_2m_sde", {"eta": 0.0}, {"eta": 0.0}),
    "exp_ab 2": Case(ExpAB, "dpmpp_2m_sde", {"order": 2}, {"eta": 0.0, "solver_type": "heun"}),
    "dpmpp_sde eta 0": Case(DPMppSDE, "dpmpp_sde", {"eta": 0.0}, {"eta": 0.0}),
    "dpmpp_sde eta 0, r 0.3": Case(DPMppSDE, "dpmpp_sde", {"eta": 0.0, "r": 0.3}, {"eta": 0.0, "r": 0.3}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_parity(name):
    CASES[name].check()


def check_sde_of_two_stages(cls):
    """dpmpp_sde at eta = 1: their noise over a whole step is made of our two parts of it, as the SDE's is.

    n_st = (sigma_t / sigma_m)^2 n_sm + n_mt with n_ab = sigma_b sqrt(1 - (sigma_b / sigma_a)^2) z_ab.
    """
    noises = []
    for i, (s, t) in enumerate(itertools.pairwise(SIGMAS[:-1])):
        m = (s * t).sqrt()
        first, second = (b * (1 - (b / a) ** 2).sqrt() * Z[2 * i + j] for j, (a, b) in enumerate([(s, m), (m, t)]))
        noises += [Z[2 * i], ((t / m) ** 2 * first + second) / (t * (1 - (t / s) ** 2).sqrt())]
    mine, other = ours(cls()), theirs("dpmpp_sde", noises=noises)
    assert difference(mine, other) < 1e-6


def test_sde_of_two_stages():
    check_sde_of_two_stages(DPMppSDE)


def check_one_path(cls):
    """Their sampler, drawing from our Brownian path on tau, which knows nothing of their steps."""
    noise = KeyedNoise(7, range(len(START)), MIXTURE.shape, dtype=torch.float64)
    plan = cls().plan(SCHEDULE, LEVELS)
    keys = iter(plan.noises)  # (B,) and numbers alike: sigma / (1 + sigma) of the step's two ends
    drawn = []

    def sampled(s, t):
        key = next(keys)
        assert torch.allclose(
            torch.tensor(key, dtype=torch.float64), torch.stack([s / (1 + s), t / (1 + t)]), atol=1e-12
        )
        drawn.append(noise.normal("sampler", key))
        return drawn[-1]

    end = peers.k_diffusion().sample_dpmpp_2m_sde(MODEL, START, SIGMAS, disable=True, noise_sampler=sampled)
    assert difference(ours(cls(), noise=noise)[-1:], [end]) < 1e-6
    assert len(drawn) == STEPS - 1


def test_one_path():
    check_one_path(DPMpp2MSDE)


def check_churn(cls, monkeypatch):
    """EDM's churn: Heun with noise added before a step, from the second level on (ours stays within the schedule)."""
    drawn = iter(Z)
    monkeypatch.setattr(peers.k_diffusion().torch, "randn_like", lambda x: next(drawn))
    options = {"s_churn": 6.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003}
    other = theirs("heun", **options)
    monkeypatch.undo()
    # Their callback sees x after the noise was added: only the end is compared.
    assert difference(ours(cls(**options))[-1:], other[-1:]) < 1e-6


def test_churn(monkeypatch):
    check_churn(EDMChurn, monkeypatch)


def exactly(x=START):
    return ode.solve_ode(MIXTURE, x, [LEVELS[0], LEVELS[-1]])[-1]


def adaptive(x, order, tolerance):
    """Their dpm_adaptive from 80 to 0.002, and Euler's step from there: it cannot reach 0."""
    options = {"order": order, "rtol": tolerance, "atol": tolerance}
    return denoise(peers.k_diffusion().sample_dpm_adaptive(MODEL, x, 0.002, 80.0, disable=True, **options), 1.0, 0.002)


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 3])
def test_adaptive_steps_lead_to_the_same_end(order):
    """The step lengths differ (ours in tau and for each sample), the tolerance and the end do not."""
    truth = exactly()
    for tolerance, allowed in ((1e-3, 3e-2), (1e-5, 1e-3)):
        sampler = DPMAdaptive(order=order, rtol=tolerance, atol=tolerance)
        mine = sampler.solve(SCHEDULE, [LEVELS[0], LEVELS[-1]], MIXTURE, START).x
        assert (mine - truth).abs().max() < allowed
        assert (adaptive(START, order, tolerance) - truth).abs().max() < allowed


# --- their faults -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_their_3m_has_half_the_weight_of_the_second_derivative():
    """With it doubled theirs is ours, of third order; without, it is of second order."""
    mended = mutated_function(peers.k_diffusion().sample_dpmpp_3m_sde, scale_expression(variable_target("d2"), 2))
    for eta in (0.0, 1.0):
        mine = ours(DPMpp3MSDE(eta=eta))
        assert difference(mine, theirs("dpmpp_3m_sde", mended, eta=eta)) < 1e-6
        assert difference(mine, theirs("dpmpp_3m_sde", eta=eta)) > 1e-3, "mended: compare dpmpp_3m_sde as the others"
    assert difference(ours(DPMpp3M()), ours(DPMpp3MSDE(eta=0.0))) < 1e-12

    def order(function):
        return peers.interior_order(lambda D, x, s: function(peers.model(D), x, s, disable=True, eta=0.0))

    assert order(peers.k_diffusion().sample_dpmpp_3m_sde) < 2.2
    assert order(mended) > 2.8


@pytest.mark.parametrize(("name", "cls"), [("dpmpp_2m_sde", DPMpp2MSDE), ("dpmpp_3m_sde", DPMpp3MSDE)])
def test_their_multistep_sdes_cannot_make_one_step(name, cls):
    levels = [LEVELS[0], LEVELS[-1]]
    with pytest.raises(UnboundLocalError):
        theirs(name, sigmas=SIGMAS[[0, -1]])
    assert torch.allclose(ours(cls(), levels=levels)[-1], denoise(START, 1.0, 80.0))


def test_their_adaptive_steps_depend_on_the_neighbours():
    together, alone = adaptive(START, 3, 1e-2), adaptive(START[:1], 3, 1e-2)
    assert (together[:1] - alone).abs().max() > 1e-6
    sampler, ends = DPMAdaptive(rtol=1e-2, atol=1e-2), [LEVELS[0], LEVELS[-1]]
    mine = [sampler.solve(SCHEDULE, ends, MIXTURE, x).x[:1] for x in (START, START[:1])]
    assert torch.allclose(*mine, atol=1e-12)


def test_their_noise_depends_on_the_batch():
    ends = []
    for count in (3, 2):
        torch.manual_seed(0)
        ends.append(peers.k_diffusion().sample_euler_ancestral(MODEL, START[:count], SIGMAS, disable=True)[:2])
    assert (ends[0] - ends[1]).abs().max() > 1e-3


def test_their_churn_leaves_the_range_of_the_schedule(monkeypatch):
    """They ask the network for noise above sigma_max, which it was not trained on; ours churns up to it."""
    asked = []
    peers.k_diffusion().sample_heun(
        lambda x, s, **_: asked.append(float(s[0])) or x * 0, START, SIGMAS, disable=True, s_churn=40
    )
    assert max(asked) > 80
    plan = EDMChurn(s_churn=40.0, s_tmax=1e9).plan(SCHEDULE, LEVELS)
    assert max(row.level.sigma for row in plan.rows) <= 80


# An error of a thousandth in any coefficient of a plan must show: on points, on estimates of x0, on noises.
OFF = [
    *itertools.product(
        ["euler", "heun", "dpm_2", "lms 3", "dpmpp_2s", "dpmpp_2m", "exp_ab 2", "dpmpp_sde eta 0"], "xd"
    ),
    *itertools.product(["euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_2m_sde"], "xdz"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), OFF)
def test_planted_error_is_caught(name, part):
    assert_caught(CASES[name].check, off(CASES[name].cls, part))


def test_planted_errors_in_noise_are_caught(monkeypatch):
    assert_caught(check_sde_of_two_stages, off(DPMppSDE, "z"))
    assert_caught(check_sde_of_two_stages, off(DPMppSDE, "z", -1.0))
    assert_caught(check_churn, lambda **options: EDMChurn(**{**options, "s_noise": 1.0}), monkeypatch)


def test_an_error_in_the_loop_is_caught(monkeypatch):
    total = solver._total
    monkeypatch.setattr(solver, "_total", lambda *given: total(*given) * (1 + 1e-5))
    assert_caught(CASES["dpmpp_2m"].check)
