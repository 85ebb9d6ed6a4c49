"""The samplers against diffusers' schedulers on their own rounded grids and the same noise: 1e-5 relative.

diffusers is optional. It rounds every sample to float32; its grid is taken as it is. What of it is wrong is in
test_diffusers_faults.py.
"""

import importlib
import itertools
import math
import sys
from dataclasses import dataclass, field
from dataclasses import replace as replace_in
from pathlib import Path

import pytest
import torch
from sonolux.core.samplers.base import iterate_plan
from sonolux.core.samplers.ddim import DDIM
from sonolux.core.samplers.ddpm import DDPM
from sonolux.core.samplers.deis import DEIS
from sonolux.core.samplers.dpm_2 import DPM2
from sonolux.core.samplers.dpm_2_ancestral import DPM2Ancestral
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.dpmpp_2s import DPMpp2S
from sonolux.core.samplers.dpmpp_sde import DPMppSDE
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.euler_ancestral import EulerAncestral
from sonolux.core.samplers.exp_ab import ExpAB
from sonolux.core.samplers.heun import Heun
from sonolux.core.samplers.heun_flow import HeunFlow
from sonolux.core.samplers.ipndm import IPNDM
from sonolux.core.samplers.lcm import LCM
from sonolux.core.samplers.lms import LMS
from sonolux.core.samplers.sa_solver import SASolver
from sonolux.core.samplers.tcd import TCD
from sonolux.core.samplers.unipc import UniPC
from sonolux.core.schedulers.base import NoiseLevel64, Schedule
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import assert_caught, call_target, planted_error, replace_expression, swap_constant
from sonolux.core.types import Estimate, NoiseLevel

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
peers = importlib.import_module("_peers")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("diffusers")]
MIXTURE, STEPS = example_mixture(), 16
SPACE = {"adds": EDM(), "keeps": Discrete(), "flow": RectifiedFlow()}


def randn(seed):
    return torch.randn(3, *MIXTURE.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Z = [randn(100 + i) for i in range(2 * STEPS)]


def denoise(x, alpha, sigma):
    return MIXTURE.denoise(x, NoiseLevel(sigma, alpha, sigma)).x0


def made(name, steps=STEPS, **options):
    """A scheduler that takes x0 where it can, with its timesteps."""
    cls = name if isinstance(name, type) else getattr(peers.schedulers(), name)
    known = dict(options)
    if cls.__name__ in ("DDIMScheduler", "DDPMScheduler"):
        known.setdefault("clip_sample", False)
    if cls.__name__.startswith(
        ("DDIM", "DDPM", "DPMSolverM", "DPMSolverSi", "UniPC", "DEIS", "SA", "LCM", "TCD", "LMS")
    ):
        known.setdefault("prediction_type", "flow_prediction" if options.get("use_flow_sigmas") else "sample")
    scheduler = cls(**known)
    scheduler.set_timesteps(steps)
    return peers.exact(scheduler)


def start(scheduler):
    alpha, sigma = peers.levels(scheduler)[0]
    return alpha * MIXTURE.draw(3) + sigma * randn(0)


def listed(scheduler):
    """The scheduler's levels as ours."""
    return [NoiseLevel(-float(i), a, s) for i, (a, s) in enumerate(peers.levels(scheduler))]


def ours(sampler, scheduler, schedule=None, levels=None, denoiser=MIXTURE):
    """Where the steps of our sampler end on the scheduler's levels, with noise Z[i] in step i."""
    schedule = schedule or SPACE[peers.state(scheduler)]
    plan = sampler.plan(schedule, levels or listed(scheduler))
    noise = {key: Z[key[1] if key[0] == "step" else i] for i, key in enumerate(plan.noises)}
    return [x for row, x, _ in iterate_plan(plan, denoiser, start(scheduler), noise=noise) if row.step]


def theirs(scheduler, noises=Z, **step):
    """Where the steps of theirs end."""
    found = peers.follow(scheduler, denoise, start(scheduler), noises, **step)
    return [found[n] for n in peers.ends(scheduler)]


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
    """One of our samplers, and the scheduler that it is: its name, options and steps; options of its `step`."""

    cls: type
    name: str
    ours: dict = field(default_factory=dict)
    theirs: dict = field(default_factory=dict)
    step: dict = field(default_factory=dict)
    steps: int = STEPS

    def found(self, cls=None):
        scheduler = made(self.name, self.steps, **self.theirs)
        return ours((cls or self.cls)(**self.ours), scheduler), theirs(scheduler, **self.step)

    def check(self, cls=None):
        assert difference(*self.found(cls)) < 1e-5


MULTI, SDE = "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}
LAST = {"final_sigmas_type": "sigma_min", "lower_order_final": False}  # a last step of full order, and so not to 0
FLOW = {"use_flow_sigmas": True}
CASES = {
    "ddim": Case(DDIM, "DDIMScheduler"),
    "ddim, not to clean": Case(DDIM, "DDIMScheduler", {}, {"set_alpha_to_one": False, "steps_offset": 1}),
    "ddim eta 0.6": Case(DDIM, "DDIMScheduler", {"eta": 0.6}, {}, {"eta": 0.6}),
    "ddim eta 1": Case(DDIM, "DDIMScheduler", {"eta": 1.0}, {}, {"eta": 1.0}),
    "ddpm small": Case(DDPM, "DDPMScheduler", {}, {"timestep_spacing": "trailing"}),
    "ddpm large": Case(DDPM, "DDPMScheduler", {"variance": "large"}, {"variance_type": "fixed_large"}),
    "euler": Case(Euler, "EulerDiscreteScheduler", {}, {"prediction_type": "sample"}),
    "euler, beta": Case(Euler, "EulerDiscreteScheduler", {}, {"use_beta_sigmas": True}),
    "euler, zero terminal": Case(Euler, "EulerDiscreteScheduler", {}, {"rescale_betas_zero_snr": True}),
    "euler of dpm": Case(Euler, MULTI, {}, {"solver_order": 1}),
    "edm euler": Case(Euler, "EDMEulerScheduler"),
    "flow euler": Case(Euler, "FlowMatchEulerDiscreteScheduler"),
    "flow euler, shifted": Case(DDIM, "FlowMatchEulerDiscreteScheduler", {}, {"shift": 3.0}),
    "euler_ancestral": Case(EulerAncestral, "EulerAncestralDiscreteScheduler"),
    "heun": Case(Heun, "HeunDiscreteScheduler", {}, {"use_karras_sigmas": True}),
    "heun_flow": Case(HeunFlow, "FlowMatchHeunDiscreteScheduler"),
    "dpm_2": Case(DPM2, "KDPM2DiscreteScheduler"),
    "dpm_2_ancestral": Case(DPM2Ancestral, "KDPM2AncestralDiscreteScheduler"),
    "lms": Case(LMS, "LMSDiscreteScheduler"),
    **{f"lms {n}": Case(LMS, "LMSDiscreteScheduler", {"order": n}, {}, {"order": n}) for n in (2, 3)},
    "dpmpp_2m": Case(DPMpp2M, MULTI),
    "dpmpp_2m, ten steps": Case(DPMpp2M, MULTI, {}, {"use_karras_sigmas": True}, {}, 10),
    "dpmpp_2m, one step": Case(DPMpp2M, MULTI, {}, {}, {}, 1),
    "dpmpp_2m, edm": Case(DPMpp2M, "EDMDPMSolverMultistepScheduler"),
    "dpmpp_2m, flow": Case(DPMpp2M, MULTI, {}, FLOW),
    "exp_ab 2": Case(ExpAB, MULTI, {"order": 2}, {"solver_type": "heun"}),
    "dpmpp_2m_sde": Case(DPMpp2MSDE, MULTI, {}, {**SDE, "use_exponential_sigmas": True}),
    "dpmpp_2m_sde, flow": Case(DPMpp2MSDE, MULTI, {}, {**SDE, **FLOW}),
    "dpmpp_2m_sde, edm": Case(DPMpp2MSDE, "EDMDPMSolverMultistepScheduler", {}, SDE),
    "dpmpp_2m_sde, cosine": Case(DPMpp2MSDE, "CosineDPMSolverMultistepScheduler"),
    **{
        f"unipc {v}": Case(UniPC, "UniPCMultistepScheduler", {"variant": v}, {"solver_type": v}) for v in ("bh1", "bh2")
    },
    **{
        f"unipc {n} {v}": Case(
            UniPC,
            "UniPCMultistepScheduler",
            {"predictor_order": n, "variant": v},
            {"solver_order": n, "solver_type": v, **LAST},
        )
        for n in (1, 3)
        for v in ("bh1", "bh2")
    },
    "unipc 3, lower at the end": Case(
        UniPC, "UniPCMultistepScheduler", {"predictor_order": 3, "lower_final": True}, {"solver_order": 3}
    ),
    "unipc, flow": Case(UniPC, "UniPCMultistepScheduler", {}, FLOW),
    **{f"deis {n}": Case(DEIS, "DEISMultistepScheduler", {"order": n}, {"solver_order": n}) for n in (1, 2, 3)},
    "deis, flow": Case(DEIS, "DEISMultistepScheduler", {"order": 1}, {"solver_order": 1, "flow_shift": 2.0}),
    "lcm": Case(LCM, "LCMScheduler", {}, {"timestep_scaling": 1e6}),  # no skip: D stands for f
    "lcm, flow": Case(LCM, "FlowMatchEulerDiscreteScheduler", {}, {"stochastic_sampling": True}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_parity(name):
    CASES[name].check()


def check_sde_of_two_stages(cls):
    """dpmpp_sde: their noise over a whole step is made of our two parts of it, as the SDE's is."""
    scheduler, noises = made("DPMSolverSDEScheduler"), []
    sigmas = [sigma for _, sigma in peers.levels(scheduler)][:-1]
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        m = math.sqrt(s * t)
        first, second = (b * math.sqrt(1 - (b / a) ** 2) * Z[2 * i + j] for j, (a, b) in enumerate([(s, m), (m, t)]))
        noises += [Z[2 * i], ((t / m) ** 2 * first + second) / (t * math.sqrt(1 - (t / s) ** 2))]
    assert difference(ours(cls(noise="step"), scheduler), theirs(scheduler, noises)) < 1e-5


def test_sde_of_two_stages():
    check_sde_of_two_stages(DPMppSDE)


def check_single_step(cls):
    """DPMSolverSinglestep of order 2 on sigmas even in log: every other level is our midpoint."""
    scheduler = made("DPMSolverSinglestepScheduler", **LAST)
    scheduler.sigmas = torch.logspace(1, -1, STEPS + 1, dtype=torch.float64)
    found = peers.follow(scheduler, denoise, start(scheduler))[1::2]
    assert difference(ours(cls(), scheduler, levels=listed(scheduler)[::2]), found) < 1e-5


def test_single_step():
    check_single_step(DPMpp2S)


def check_ipndm(cls):
    """On betas (which it uses as sigmas) that start above alpha = 0."""
    betas = [0.999 * math.sin((1 - i / STEPS) * math.pi / 2) ** 2 for i in range(STEPS + 1)]
    scheduler = made("IPNDMScheduler", trained_betas=betas)
    assert difference(ours(cls(), scheduler), theirs(scheduler)) < 1e-5


def test_ipndm():
    check_ipndm(IPNDM)


def check_plms(cls):
    """PNDM without Runge-Kutta's start, from its second level on: before, it makes a step of Heun's kind of its own."""
    scheduler = made("PNDMScheduler", skip_prk_steps=True, set_alpha_to_one=True)
    found = peers.follow(scheduler, denoise, start(scheduler))[1:]  # after the first step, made twice
    times = [*scheduler.timesteps.tolist()[::1]]
    levels = [NoiseLevel(-float(i), *peers.at_index(scheduler, t)) for i, t in enumerate([times[0], *times[2:], -1])]

    class Moved:
        def denoise(self, x, level, conditions=None):
            x = found[0] if level.t == -1.0 else x
            return Estimate(denoise(x, level.alpha, level.sigma), x)

    assert difference(ours(cls(), scheduler, levels=levels, denoiser=Moved())[1:], found[1:]) < 1e-5


def test_plms():
    check_plms(IPNDM)


def check_trig_flow(cls):
    """SCM: x = cos(t) x0 + sin(t) eps."""
    scheduler = peers.schedulers().SCMScheduler(sigma_data=1.0)
    times = [1.5, 1.2, 0.8, 0.3, 0.0]
    scheduler.set_timesteps(4, timesteps=times, max_timesteps=None, intermediate_timesteps=None)
    assert difference(ours(cls(), scheduler), theirs(scheduler)) < 1e-5


def test_trig_flow():
    check_trig_flow(LCM)


class _Indices(Schedule):
    """TCD's clock: clean is index 0, and times between indices are those below."""

    t_min, t_max, t_clean = 1.0, 999.0, 0.0

    def __init__(self, scheduler):
        self.bars = scheduler.alphas_cumprod

    def alpha(self, t):
        return self.bars[torch.floor(t).long()].sqrt()

    def sigma(self, t):
        return (1 - self.bars[torch.floor(t).long()]).sqrt()

    def t_of_rho(self, rho):
        rho = torch.as_tensor(rho)[..., None]
        return ((1 - self.bars) / self.bars - rho**2).abs().argmin(-1).double()

    def level(self, t):
        t = torch.as_tensor(t, dtype=torch.float64)
        return NoiseLevel64(t, self.alpha(t), self.sigma(t))


def check_tcd(cls):
    for gamma in (0.0, 0.3, 0.8):
        scheduler = made("TCDScheduler")
        mine = ours(cls(gamma=gamma), scheduler, _Indices(scheduler))
        assert difference(mine, theirs(scheduler, eta=gamma)) < 1e-5


def test_tcd():
    check_tcd(TCD)


# Their code weighs two nodes with H / 2 where the integral is psi_1, which for few steps was found to look better.
THEIR_SECOND = "[*_[:1], (1 + self._strength(s)) * lambda_step(s, t) / {}] if min(order, len(nodes)) == 2 else _"
TWEAKED, WRONG = (
    replace_expression(call_target("exponential_moments"), THEIR_SECOND.format(half)) for half in (2, 2.001)
)  # half the step in lambda


def check_sa_solver(cls, orders, eta, lower=False):
    """eta None: theirs draws noise between the indices 200 and 800 alone."""
    predictor, corrector = orders
    options = {"predictor_order": predictor, "corrector_order": corrector, "lower_order_final": lower}
    scheduler = made("SASolverScheduler", tau_func=None if eta is None else (lambda t: eta**0.5), **options)
    low, high = (float(Discrete().level(t).tau) for t in (199.5, 800.5))
    mine = {"eta": 1.0, "window": (low, high)} if eta is None else {"eta": eta}
    sampler = cls(predictor_order=predictor, corrector_order=corrector, noise="step", lower_final=lower, **mine)
    assert difference(ours(sampler, scheduler), theirs(scheduler)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("orders", [(1, 2), (2, 2), (3, 3), (2, 4)])
@pytest.mark.parametrize("eta", [0.0, 0.5, None])
def test_sa_solver(orders, eta):
    with planted_error(SASolver, "_higher_terms", TWEAKED):
        check_sa_solver(SASolver, orders, eta)
        if eta == 0:
            check_sa_solver(SASolver, orders, eta, lower=True)


# An error of a thousandth in any coefficient of a plan must show: on points, on estimates of x0, on noises.
OFF = [
    *itertools.product(
        ["euler", "edm euler", "heun", "heun_flow", "dpm_2", "lms 3", "dpmpp_2m", "dpmpp_2m, flow", "exp_ab 2"], "xd"
    ),
    *itertools.product(["unipc bh1", "unipc 3, lower at the end", "unipc 3 bh2", "deis 3"], "xd"),
    *itertools.product(["ddim eta 0.6", "ddim eta 1", "ddpm large", "euler_ancestral", "dpm_2_ancestral"], "xdz"),
    *itertools.product(["dpmpp_2m_sde"], "xdz"),
    *itertools.product(["lcm", "lcm, flow"], "dz"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), OFF)
def test_planted_error_is_caught(name, part):
    assert_caught(CASES[name].check, off(CASES[name].cls, part))


OFF_APART = [
    *((DPMppSDE, check_sde_of_two_stages, part) for part in "xdz"),
    *((cls, check, part) for cls, check in ((DPMpp2S, check_single_step), (IPNDM, check_ipndm)) for part in "xd"),
    *((cls, check, part) for cls, check in ((IPNDM, check_plms), (LCM, check_trig_flow)) for part in "d"),
    *((TCD, check_tcd, part) for part in "xd"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "part"), OFF_APART)
def test_planted_error_is_caught_apart(cls, check, part):
    assert_caught(check, off(cls, part))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddim eta 0.6", {"eta": 0.36}),
        ("unipc 3, lower at the end", {"lower_final": False}),
        ("unipc 3 bh2", {"predictor_order": 2}),
        ("unipc bh1", {"variant": "bh2"}),
        ("ddpm large", {"variance": "small"}),
        ("deis 3", {"order": 2}),
    ],
)
def test_another_option_is_noticed(name, options):
    case = CASES[name]
    assert_caught(Case(case.cls, case.name, {**case.ours, **options}, case.theirs, case.step, case.steps).check)


def test_noises_of_the_other_sign_are_noticed():
    assert_caught(check_sde_of_two_stages, off(DPMppSDE, "z", -1.0))


@pytest.mark.slow
def test_planted_error_in_sa_solver_is_caught():
    with planted_error(SASolver, "_higher_terms", WRONG):
        assert_caught(check_sa_solver, SASolver, (2, 2), 0.5)
    with planted_error(SASolver, "_higher_terms", swap_constant(1, 1.001)):
        assert_caught(check_sa_solver, SASolver, (3, 3), 0.5)
