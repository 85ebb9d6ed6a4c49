"""The samplers against plain implementations in their papers' own variables, on the same grid and noise."""

import ast
import itertools
import math

import pytest
import torch
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.ddim import DDIM
from sonolux.core.samplers.ddpm import DDPM
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.euler_ancestral import EulerAncestral
from sonolux.core.samplers.heun import Heun
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    keep_left_operand,
    keep_right_operand,
    replace_expression,
    set_argument,
    swap_arguments,
    swap_attribute,
    swap_constant,
    swap_operands,
    swap_operator,
)
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.timesteps.uniform_logsnr import UniformLogSNR
from sonolux.core.types import BadInput, NoiseLevel

MIXTURE = example_mixture()
SIGMAS = [float(a.sigma) for a in Karras().levels(EDM(), 12)]


def randn(seed):
    return torch.randn(3, *MIXTURE.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def D(x, alpha, sigma):
    return MIXTURE.denoise(x, NoiseLevel(0.0, alpha, sigma)).x0


def compare(sampler, schedule, levels, expected, scale=1.0):
    """`expected(x, noise)` against the plan, from the same start and the same noises."""
    plan = sampler.plan(schedule, levels)
    z = [randn(100 + i) for i in range(len(levels))]
    made = run_plan(plan, MIXTURE, scale * randn(0), noise=dict(zip(plan.noises, z, strict=False)))
    assert torch.allclose(made, expected(scale * randn(0), z), atol=1e-9, rtol=1e-9)


# --- data plus noise: x = x0 + sigma eps, the variables of EDM and of SDE-VE ----------------------------------------


def euler_sigma(x, z):
    for now, then in itertools.pairwise(SIGMAS):
        x = x + (then - now) * (x - D(x, 1.0, now)) / now
    return x


def heun_sigma(x, z):
    """Algorithm 1 of EDM without churn."""
    for now, then in itertools.pairwise(SIGMAS):
        slope = (x - D(x, 1.0, now)) / now
        trial = x + (then - now) * slope
        if then == 0:
            x = trial
        else:
            x = x + (then - now) * (slope + (trial - D(trial, 1.0, then)) / then) / 2
    return x


def ancestral_sigma(x, z):
    for i, (now, then) in enumerate(itertools.pairwise(SIGMAS)):
        up = math.sqrt(then**2 * (now**2 - then**2) / now**2)
        down = math.sqrt(then**2 - up**2)
        x = x + (down - now) * (x - D(x, 1.0, now)) / now + up * z[i]
    return x


def two_m(x, alphas, sigmas, eta, z):
    """DPM-Solver++(2M) and its SDE form in lambda, with the last step of first order."""
    lam = [math.log(a / s) if s else math.inf for a, s in zip(alphas, sigmas, strict=True)]
    old = None
    for i in range(len(sigmas) - 1):
        now = D(x, alphas[i], sigmas[i])
        if sigmas[i + 1] == 0:
            return alphas[i + 1] * now
        h = lam[i + 1] - lam[i]
        mixed = now
        if old is not None:
            r = (lam[i] - lam[i - 1]) / h
            mixed = now + (now - old) / (2 * r)
        x = (sigmas[i + 1] / sigmas[i]) * math.exp(-eta * h) * x - alphas[i + 1] * math.expm1(-(1 + eta) * h) * mixed
        x = x + sigmas[i + 1] * math.sqrt(-math.expm1(-2 * eta * h)) * z[i]
        old = now
    return x


def check_sigma(cls):
    reference = {
        Euler: euler_sigma,
        DDIM: euler_sigma,
        Heun: heun_sigma,
        EulerAncestral: ancestral_sigma,
        DPMpp2M: lambda x, z: two_m(x, [1.0] * 13, SIGMAS, 0.0, z),
        DPMpp2MSDE: lambda x, z: two_m(x, [1.0] * 13, SIGMAS, 1.0, z),
    }
    expected = next(f for known, f in reference.items() if known.__name__ == cls.__name__)
    compare(cls(), EDM(), Karras().levels(EDM(), 12), expected, scale=80.0)


@pytest.mark.parametrize("cls", [Euler, DDIM, Heun, EulerAncestral, DPMpp2M, DPMpp2MSDE])
def test_data_plus_noise(cls):
    check_sigma(cls)


# --- variance preserving: the variables of DDPM and DDIM -------------------------------------------------------------


def check_ddim(cls):
    """Equation 12 of DDIM with eta of equation 16."""
    for eta in (0.0, 0.4, 1.0):
        levels = Trailing().levels(Discrete(), 10)
        bars = [float(a.alpha**2) for a in levels]

        def expected(x, z, bars=bars, eta=eta):
            for i, (now, then) in enumerate(itertools.pairwise(bars)):
                x0 = D(x, now**0.5, (1 - now) ** 0.5)
                eps = (x - now**0.5 * x0) / (1 - now) ** 0.5
                noise = eta * math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
                x = then**0.5 * x0 + math.sqrt(max(1 - then - noise**2, 0)) * eps + noise * z[i]
            return x

        compare(cls(eta=eta), Discrete(), levels, expected)


def check_ddpm(cls):
    """Equations 6 and 7 of DDPM: mean and variance of q(x_{t-1} | x_t, x0), over a hundred neighbouring steps."""
    schedule = Discrete()
    levels = [*(schedule.level(float(t)) for t in range(60, -1, -1)), schedule.clean()]
    bars = [float(a.alpha**2) for a in levels]
    for variance in ("small", "large"):

        def expected(x, z, variance=variance):
            for i, (now, then) in enumerate(itertools.pairwise(bars)):
                beta = 1 - now / then
                x0 = D(x, now**0.5, (1 - now) ** 0.5)
                mean = then**0.5 * beta / (1 - now) * x0 + (1 - beta) ** 0.5 * (1 - then) / (1 - now) * x
                spread = (1 - then) / (1 - now) * beta if variance == "small" else beta * (then < 1)
                x = mean + math.sqrt(spread) * z[i]
            return x

        compare(cls(variance=variance), schedule, levels, expected)


def check_two_m_preserving(cls):
    levels = UniformLogSNR().levels(VPLinear(), 12)
    alphas, sigmas = [float(a.alpha) for a in levels], [float(a.sigma) for a in levels]
    eta = 0.0 if cls.__name__ == "DPMpp2M" else 1.0
    compare(cls(), VPLinear(), levels, lambda x, z: two_m(x, alphas, sigmas, eta, z))


def test_ddim():
    check_ddim(DDIM)


def test_ddpm():
    check_ddpm(DDPM)


@pytest.mark.parametrize("cls", [DPMpp2M, DPMpp2MSDE])
def test_two_m_preserving(cls):
    check_two_m_preserving(cls)


# --- flow: x = (1 - t) x0 + t eps, from t = 1 exactly ----------------------------------------------------------------


def check_flow(cls):
    levels = Trailing().levels(RectifiedFlow(), 8)

    def expected(x, z):
        for i in range(8):
            t = 1 - i / 8
            velocity = MIXTURE.flow(x, NoiseLevel(t, 1 - t, t))
            x = x - velocity / 8
        return x

    compare(cls(), RectifiedFlow(), levels, expected)


@pytest.mark.parametrize("cls", [Euler, DDIM])
def test_flow(cls):
    check_flow(cls)


PLANTED = [
    (Euler, check_sigma, "draft", (swap_operands(ast.Div),)),
    (Euler, check_flow, "draft", (keep_left_operand(ast.Sub),)),
    (Heun, check_sigma, "heun_step", (swap_constant(2, 1),)),
    (Heun, check_sigma, "heun_step", (replace_expression(call_target("denoise"), "D", at=1),)),
    (EulerAncestral, check_sigma, "draft", (keep_left_operand(ast.Mult, near="falls", at=-1),)),
    (DPMpp2M, check_sigma, "draft", (swap_constant(2, 1),)),
    (DPMpp2M, check_two_m_preserving, "higher_order_terms", (set_argument("newton_integral", "scale", "s.alpha"),)),
    (DPMpp2M, check_sigma, "draft", (swap_arguments("higher_order_terms", 0, 1),)),
    (DPMpp2M, check_sigma, "newton_integral", (swap_operands(ast.Sub, near="r"),)),
    (DPMpp2MSDE, check_sigma, "draft", (keep_right_operand(ast.Add, near="eta"),)),
    (DDIM, check_ddim, "draft", (keep_left_operand(ast.Mult, near="eta", at=-1),)),
    (DDPM, check_ddpm, "draft", (swap_operator(ast.Eq, ast.NotEq),)),
    (DDPM, check_ddpm, "draft", (replace_expression(call_target("select_by_mask"), "std"),)),
    (DDPM, check_ddpm, "draft", (swap_attribute("sigma", "alpha"),)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check, cls, also=(KeyError, IndexError, BadInput))
