"""Where diffusers is wrong: the fault is there still (so that these tests tell when it is mended), and ours is right.

Right is the exact solution of the probability-flow ODE of a mixture, or the marginal that a sampler must keep.
"""

import importlib
import math
import sys
from pathlib import Path

import pytest
import torch
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.ddim import DDIM
from sonolux.core.samplers.ddpm import DDPM
from sonolux.core.samplers.deis import DEIS
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.samplers.dpmpp_3m import DPMpp3M
from sonolux.core.samplers.dpmpp_3m_sde import DPMpp3MSDE
from sonolux.core.samplers.edm_churn import EDMChurn
from sonolux.core.samplers.ipndm import IPNDM
from sonolux.core.samplers.sa_solver import SASolver
from sonolux.core.samplers.tcd import TCD
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing import ode
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    constant_target,
    mutated_class,
    replace_expression,
    scale_expression,
    variable_target,
)
from sonolux.core.timesteps.linspace import Linspace
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.types import Estimate, NoiseLevel

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
peers = importlib.import_module("_peers")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("diffusers")]
MIXTURE, FLOW = example_mixture(), RectifiedFlow()
SDE = {"algorithm_type": "sde-dpmsolver++"}


def randn(seed, shape=(16, *MIXTURE.shape)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NOISE, Z = randn(0), [randn(100 + i) for i in range(40)]


def denoise(x, alpha, sigma):
    return MIXTURE.denoise(x, NoiseLevel(sigma, alpha, sigma)).x0


def made(cls, steps, **options):
    """A scheduler of that class, or name, with its timesteps."""
    cls = getattr(peers.schedulers(), cls) if isinstance(cls, str) else cls
    if "prediction_type" not in options and not cls.__name__.startswith(("FlowMatch", "IPNDM", "EDM")):
        options["prediction_type"] = "flow_prediction" if options.get("use_flow_sigmas") else "sample"
    scheduler = cls(**options)
    scheduler.set_timesteps(steps)
    return peers.exact(scheduler)


def listed(scheduler):
    return [NoiseLevel(-float(i), a, s) for i, (a, s) in enumerate(peers.levels(scheduler))]


def end(scheduler, x, denoiser=denoise, **step):
    return peers.follow(scheduler, denoiser, x, Z, **step)[-1]


def ours(sampler, levels, x, schedule=FLOW, denoiser=MIXTURE):
    plan = sampler.plan(schedule, levels)
    return run_plan(
        plan, denoiser, x, noise={key: Z[key[1] if key[0] == "step" else i] for i, key in enumerate(plan.noises)}
    )


def exactly(x, level):
    """Where the ODE leads from x at the level."""
    return ode.solve_ode(MIXTURE, x, [level, NoiseLevel(0.0, 1.0, 0.0)])[-1]


def error(x, truth):
    return float((x - truth).square().mean().sqrt())


def difference(a, b):
    return float((a - b).abs().max() / b.abs().max())


# --- DPM-Solver++ of third order --------------------------------------------------------------------------------------

THIRD_ORDER = "multistep_dpm_solver_third_order_update"
DOUBLED = scale_expression(variable_target("D2"), 2)  # the second derivative's weight, of dpmsolver++
SDE_MENDED = (
    scale_expression(variable_target("D2"), 2, at=-1),
    replace_expression(constant_target(0.5), "-0.5", at=-1),
)  # of sde-dpmsolver++
EVEN = {"use_exponential_sigmas": True, "solver_order": 3}


def in_sigma(cls):
    """A DPM-Solver of order 3 as a sampler for x = x0 + sigma eps: through x / sqrt(sigma^2 + 1)."""

    def sampler(D, x, sigmas):
        scheduler = made(cls, len(sigmas) - 1, lower_order_final=False, final_sigmas_type="sigma_min", **EVEN)
        scheduler.sigmas = sigmas
        first, last = (math.sqrt(float(s) ** 2 + 1) for s in sigmas[[0, -1]])
        known = {math.sqrt(float(s) ** 2 + 1): float(s) for s in sigmas}

        def keeping(x, alpha, sigma):
            size = min(known, key=lambda k: abs(k - 1 / alpha))
            return D(x * size, 1.0, known[size])

        return peers.follow(scheduler, keeping, x / first)[-1] * last

    return sampler


@pytest.mark.slow
def test_their_3m_is_of_second_order():
    """The weight of the second derivative is half of what it is to be; doubled, theirs is ours."""
    own = peers.schedulers().DPMSolverMultistepScheduler
    mended = mutated_class(own, THIRD_ORDER, DOUBLED)
    levels = listed(made(own, 20, **EVEN))
    mine = ours(DPMpp3M(), levels, NOISE, Discrete())
    assert difference(end(made(mended, 20, **EVEN), NOISE), mine) < 1e-5
    assert difference(end(made(own, 20, **EVEN), NOISE), mine) > 1e-4, "mended: compare dpmpp_3m as the others"
    assert peers.interior_order(in_sigma(own)) < 2.3
    assert peers.interior_order(in_sigma(mended)) > 2.7


def test_their_3m_sde_has_a_wrong_sign():
    """- 0.5 for + 0.5: the weight of the second derivative tends to -1 as steps shrink, where it is to vanish."""
    own = peers.schedulers().DPMSolverMultistepScheduler
    mended = mutated_class(own, THIRD_ORDER, *SDE_MENDED)
    levels = listed(made(own, 20, **EVEN))
    mine = ours(DPMpp3MSDE(noise="step"), levels, NOISE, Discrete())
    assert difference(end(made(mended, 20, **EVEN, **SDE), NOISE), mine) < 1e-5
    wrong = end(made(own, 20, **EVEN, **SDE), NOISE)
    assert difference(wrong, mine) > 0.1, "mended: compare dpmpp_3m_sde as the others"


def test_their_3m_for_edm_has_the_same_fault_and_its_sde_is_missing():
    edm = {"prediction_type": "epsilon", "solver_order": 3}
    scheduler = made("EDMDPMSolverMultistepScheduler", 20, **edm)
    x = 80 * NOISE
    mine = ours(DPMpp3M(), listed(scheduler), x, Discrete())
    assert difference(end(scheduler, x), mine) > 1e-4, "mended: compare dpmpp_3m as the others"
    mended = mutated_class(type(scheduler), THIRD_ORDER, DOUBLED)
    assert difference(end(made(mended, 20, **edm), x), mine) < 1e-5


# --- ends of the list of levels ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cls"), [("DEISMultistepScheduler", DEIS), ("SASolverScheduler", SASolver)])
def test_their_last_step_stands_still(name, cls):
    """The last sigma is repeated in place of 0: of ten steps on flow the last does nothing, and sigma = 0.1 is left."""
    options = {"use_flow_sigmas": True} | ({"tau_func": lambda t: 0} if cls is SASolver else {})
    scheduler = made(name, 10, **options)
    sigmas = scheduler.sigmas
    assert sigmas[-1] == sigmas[-2] > 0.09, "mended: compare the last step as well"
    karras = made(name, 10, use_karras_sigmas=True).sigmas
    assert karras[-1] == karras[-2] > 0
    first = listed(scheduler)[0]
    x = first.alpha * MIXTURE.draw(16) + first.sigma * NOISE
    truth, levels = exactly(x, first), [*listed(scheduler)[:-1], NoiseLevel(0.0, 1.0, 0.0)]
    sampler = cls(eta=0.0) if cls is SASolver else cls()
    left = end(scheduler, x)
    assert not bool(torch.isfinite(left).all()) or error(left, truth) > 0.05  # SA-Solver divides by the step
    assert error(ours(sampler, levels, x), truth) < 0.04


def test_their_tcd_ends_noisy():
    """The last step leads to index 0, which has noise, and not to clean data."""
    assert peers.levels(made("TCDScheduler", 4))[-1][1] > 0.02
    plan = TCD().plan(Discrete(), Trailing().levels(Discrete(), 4))
    assert plan.rows[-1].level.sigma == 0 and plan.rows[-1].x == {}


def test_their_ddpm_with_the_large_variance_ends_noisy():
    """On trailing timesteps noise is added to the last, clean sample: of the forward step that led from it."""
    point = torch.ones(16, *MIXTURE.shape, dtype=torch.float64)
    spaced = {"timestep_spacing": "trailing", "clip_sample": False}
    scheduler = made("DDPMScheduler", 10, variance_type="fixed_large", **spaced)
    ended = end(scheduler, NOISE, lambda x, alpha, sigma: point)
    assert 0.2 < float((ended - point).std()) < 0.4, "mended: compare ddpm large on trailing timesteps"

    class Point:
        def denoise(self, x, level, conditions=None):
            return Estimate(point)

    assert torch.equal(ours(DDPM("large"), listed(scheduler), NOISE, Discrete(), Point()), point)


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"])
def test_their_flow_times_are_cut_to_whole_numbers(name):
    """Their first level is alpha = 1e-3 or 1e-6, and the network receives times truncated to whole thousandths."""
    scheduler = made(name, 12, use_flow_sigmas=True)
    assert 0 < peers.levels(scheduler)[0][0] < 2e-3, "mended: start at alpha = 0"
    assert scheduler.timesteps.dtype == torch.int64
    assert (scheduler.timesteps / 1000 - scheduler.sigmas[:-1]).abs().max() > 1e-4
    assert float(FLOW.level(FLOW.t_max).alpha) == 0


@pytest.mark.slow
def test_their_flow_does_not_start_at_pure_noise():
    """Pure noise is taken for the level alpha = 1e-3: an error that more steps do not reduce."""
    x, scheduler = NOISE[:4], made("DPMSolverMultistepScheduler", 320, use_flow_sigmas=True)
    truth = exactly(x, FLOW.level(1.0))
    mine = ours(DPMpp2M(), Trailing().levels(FLOW, 320), x)
    assert error(end(scheduler, x), truth) > 3e-4, "mended: start at alpha = 0"
    assert error(mine, truth) < 1e-4


def test_their_ipndm_ignores_the_first_estimate():
    """At alpha = 0 the estimate cannot be read from its output: the first step leads where there is no data at all."""
    scheduler = made("IPNDMScheduler", 10)
    assert peers.levels(scheduler)[0] == (0.0, 1.0)
    first = peers.follow(scheduler, denoise, NOISE)[0]
    alpha, sigma = peers.levels(scheduler)[1]
    assert torch.allclose(first, sigma * NOISE, atol=1e-6), "mended: compare the first step as well"
    truth, pure = exactly(NOISE, FLOW.level(1.0)), denoise(NOISE, 0.0, 1.0)
    mine = IPNDM().plan(FLOW, listed(scheduler)[:2])
    assert torch.allclose(run_plan(mine, MIXTURE, NOISE), alpha * pure + sigma * NOISE)
    scheduler = made("IPNDMScheduler", 10)
    assert error(ours(IPNDM(), listed(scheduler), NOISE), truth) < error(end(scheduler, NOISE), truth)


def test_their_zero_terminal_is_not_zero():
    """alpha at the last index is 2^-12 in place of 0; ours is 0."""
    scheduler = made("EulerDiscreteScheduler", 10, rescale_betas_zero_snr=True)
    assert float(scheduler.alphas_cumprod[-1]) == 2**-24
    schedule = Discrete(zero_terminal=True)
    assert float(schedule.level(schedule.t_max).alpha) == 0


# --- grids ------------------------------------------------------------------------------------------------------------


def test_their_ddim_on_linspace_leads_elsewhere():
    """A step goes to t - 1000 // N, which on linspace is not the next timestep, so the network gets a wrong level.

    Where the data is one point, x = alpha x0 + sigma eps at every level, with the eps of the start.
    """
    point = 2 * torch.ones(16, *MIXTURE.shape, dtype=torch.float64)
    scheduler = made("DDIMScheduler", 10, timestep_spacing="linspace", clip_sample=False)
    stops = listed(scheduler)
    found = peers.follow(scheduler, lambda x, alpha, sigma: point, stops[0].alpha * point + stops[0].sigma * NOISE)
    right = stops[6].alpha * point + stops[6].sigma * NOISE
    assert difference(found[5], right) > 0.01, "mended: compare ddim on linspace"

    class Point:
        def denoise(self, x, level, conditions=None):
            return Estimate(point)

    start = stops[0].alpha * point + stops[0].sigma * NOISE
    assert difference(ours(DDIM(), stops[:7], start, Discrete(), Point()), right) < 1e-12


def test_their_flow_grid_is_shifted_twice():
    """The last sigma is shifted when the scheduler is made and again when timesteps are set."""
    once = 3 * 1e-3 / (1 + 2e-3)
    twice = 3 * once / (1 + 2 * once)
    last = float(made("FlowMatchEulerDiscreteScheduler", 10, shift=3.0).sigmas[-2])
    assert abs(last - twice) < 1e-6, "mended: the shift counts once"
    schedule = RectifiedFlow(shift=3.0)
    assert abs(float(Linspace().levels(schedule, 10)[-2].sigma) - once) < 1e-12


def test_their_single_step_with_a_terminal_shift_is_no_number():
    scheduler = made("FlowMatchEulerDiscreteScheduler", 1, shift_terminal=0.02)
    assert not bool(torch.isfinite(scheduler.sigmas).all()), "mended"
    levels = Trailing().levels(FLOW, 1)
    assert torch.allclose(ours(DDIM(), levels, NOISE), denoise(NOISE, 0.0, 1.0))


def test_their_repeated_timesteps_skip_a_level():
    """Karras' sigmas rounded to whole timesteps repeat; the first is then looked up as the second, and one is left."""
    scheduler = made("DPMSolverMultistepScheduler", 200, use_karras_sigmas=True)
    t = scheduler.timesteps
    assert len(set(t.tolist())) < len(t), "mended: timesteps differ"
    scheduler._init_step_index(t[0])
    assert scheduler.step_index == int(t[0] == t[1])


# --- stochastic steps on flow, state ----------------------------------------------------------------------------------


def test_their_flow_euler_ignores_churn():
    ends = []
    for churn in (0.0, 30.0):
        scheduler = made("FlowMatchEulerDiscreteScheduler", 8)
        ends.append(end(scheduler, NOISE, s_churn=churn))
    assert torch.equal(*ends), "mended: compare churn on flow"


def test_their_churn_on_flow_breaks_the_marginal():
    """FlowMatchHeun adds noise without shrinking the data, and asks the network at the old time.

    Where the data is one point, a perfect denoiser must leave x = alpha x0 + noise of deviation sigma at every step.
    """
    x0 = 2 * torch.ones(64, 64, dtype=torch.float64)
    start = randn(1, x0.shape)
    drawn = [randn(200 + i, x0.shape) for i in range(20)]
    scheduler = made("FlowMatchHeunDiscreteScheduler", 8)
    found = peers.follow(scheduler, lambda x, alpha, sigma: x0, start, drawn, s_churn=3.0)
    scheduler = made("FlowMatchHeunDiscreteScheduler", 8)
    n, (alpha, sigma) = peers.ends(scheduler)[4], peers.levels(scheduler)[5]
    assert abs(float((found[n] - alpha * x0).square().mean().sqrt()) / sigma - 1) > 0.05, (
        "mended: compare churn on flow"
    )

    class Point:
        def denoise(self, x, level, conditions=None):
            return Estimate(x0)

    levels = listed(made("FlowMatchHeunDiscreteScheduler", 8))[:6]
    plan = EDMChurn(s_churn=3.0, s_tmin=0.0, s_tmax=1e9).plan(FLOW, levels)
    assert plan.noises
    mine = run_plan(plan, Point(), start, noise=dict(zip(plan.noises, drawn, strict=False)))
    assert abs(float((mine - alpha * x0).square().mean().sqrt()) / sigma - 1) < 0.04  # 4096 draws


def test_their_runs_disturb_each_other():
    """A scheduler holds where a run is, and its history: two runs in turn are not what each is alone."""
    alone = end(made("DPMSolverMultistepScheduler", 6), NOISE)
    scheduler = made("DPMSolverMultistepScheduler", 6)
    x = y = NOISE
    with pytest.raises(IndexError):
        for n, t in enumerate(scheduler.timesteps):
            x = scheduler.step(denoise(x, *peers.called_at(scheduler, n, t)), t, x).prev_sample
            y = scheduler.step(denoise(y, *peers.called_at(scheduler, n, t)), t, y).prev_sample
    assert difference(x, alone) > 0.1
    assert set(vars(DPMpp2M())) == set()  # ours holds nothing: a run's values live in the run
