"""Stochastic samplers against plain implementations in their papers' variables; paths, distributions, wrong options."""

import ast
import itertools
import math

import numpy as np
import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.dpm_2 import DPM2
from sonolux.core.samplers.dpm_2_ancestral import DPM2Ancestral
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.dpmpp_2s import DPMpp2S
from sonolux.core.samplers.dpmpp_2s_ancestral import DPMpp2SAncestral
from sonolux.core.samplers.dpmpp_3m_sde import DPMpp3MSDE
from sonolux.core.samplers.dpmpp_sde import DPMppSDE
from sonolux.core.samplers.edm_churn import EDMChurn
from sonolux.core.samplers.er_sde import ERSDE
from sonolux.core.samplers.heun import Heun
from sonolux.core.samplers.lcm import LCM
from sonolux.core.samplers.restart import Restart
from sonolux.core.samplers.sa_solver import SASolver
from sonolux.core.samplers.tcd import TCD
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import check_level_maps, check_order, check_plan, even_tau_levels
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.moments import sampler_moments
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    attribute_target,
    call_target,
    condition_target,
    keep_left_operand,
    keep_right_operand,
    negate_expression,
    replace_expression,
    scale_expression,
    set_argument,
    swap_constant,
    swap_operands,
    variable_target,
)
from sonolux.core.testing.ode import random_start
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.types import BadInput, NoiseLevel
from sonolux.core.util.brownian import BrownianIncrementKey
from sonolux.core.util.rng import KeyedNoise

MIXTURE = example_mixture()
STEPS = 10
SIGMAS = [float(a.sigma) for a in Karras().levels(EDM(), STEPS)]
FINE = np.polynomial.legendre.leggauss(120)
OPTIONS = {
    "dpm_2_ancestral eta 0": DPM2Ancestral(eta=0.0),
    "dpm_2_ancestral on a path": DPM2Ancestral(eta=0.5, noise="path"),
    "dpmpp_2s_ancestral eta 0": DPMpp2SAncestral(eta=0.0),
    "dpmpp_2s_ancestral r 0.3": DPMpp2SAncestral(eta=0.5, r=0.3, noise="path"),
    "dpmpp_sde eta 0": DPMppSDE(eta=0.0),
    "dpmpp_sde of steps": DPMppSDE(eta=0.5, r=0.4, noise="step"),
    "dpmpp_3m_sde eta 0": DPMpp3MSDE(eta=0.0),
    "sa_solver eta 0": SASolver(eta=0.0),
    "sa_solver eta 0, 2 and 3": SASolver(eta=0.0, predictor_order=2, corrector_order=3),
    "sa_solver 2 and 2": SASolver(predictor_order=2, corrector_order=2),
    "sa_solver, no corrector": SASolver(predictor_order=1, corrector_order=0, noise="step"),
    "er_sde ode": ERSDE(phi="ode"),
    "er_sde ode 2": ERSDE(phi="ode", order=2),
    "er_sde sde": ERSDE(phi="sde", order=2),
    "restart wide": Restart(low=0.2, high=2.0, times=1, steps=3),
    "edm_churn everywhere": EDMChurn(s_churn=100, s_tmin=0.0, s_tmax=math.inf),
    "edm_churn 0": EDMChurn(s_churn=0),
    "edm_churn noisier": EDMChurn(s_noise=1.003),
    "tcd 0": TCD(gamma=0.0),
    "tcd 1": TCD(gamma=1.0),
}


def randn(seed):
    return torch.randn(2, *MIXTURE.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def D(x, alpha, sigma):
    return MIXTURE.denoise(x, NoiseLevel(0.0, alpha, sigma)).x0


def compare(sampler, schedule, levels, expected, scale=1.0):
    """`expected(x, z)` against the plan, from the same start and the same noises, handed out in order of use."""
    plan = sampler.plan(schedule, levels)
    z = [randn(100 + i) for i in range(4 * len(levels))]
    made = run_plan(plan, MIXTURE, scale * randn(0), noise=dict(zip(plan.noises, z, strict=False)))
    assert torch.allclose(made, expected(scale * randn(0), iter(z)), atol=1e-9, rtol=1e-9)


def on_edm(sampler, expected):
    compare(sampler, EDM(), Karras().levels(EDM(), STEPS), expected, scale=80.0)


def on_preserving(sampler, expected):
    """`expected(x, z, alphas, sigmas)` on a variance-preserving schedule that starts below pure noise."""
    levels = [VPLinear().level(t) for t in np.linspace(0.9, 0.02, 9)] + [VPLinear().clean()]
    pairs = [float(a.alpha) for a in levels], [float(a.sigma) for a in levels]
    compare(sampler, VPLinear(), levels, lambda x, z: expected(x, z, *pairs))


# --- ancestral: data plus noise, as in k-diffusion -------------------------------------------------------------------


def up_and_down(now, then, eta):
    up = min(then, eta * math.sqrt(then**2 * (now**2 - then**2) / now**2))
    return up, math.sqrt(then**2 - up**2)


def check_dpm_2_ancestral(cls):
    for eta in (1.0, 0.6):

        def expected(x, z, eta=eta):
            for now, then in itertools.pairwise(SIGMAS):
                up, down = up_and_down(now, then, eta)
                slope = (x - D(x, 1.0, now)) / now
                if down > 0:
                    middle = math.sqrt(now * down)
                    x_m = x + (middle - now) * slope
                    slope = (x_m - D(x_m, 1.0, middle)) / middle
                x = x + (down - now) * slope + (up * next(z) if up else 0)
            return x

        on_edm(cls(eta=eta), expected)


def check_dpmpp_2s_ancestral(cls):
    for eta, r in ((1.0, 0.5), (0.6, 0.3)):

        def expected(x, z, eta=eta, r=r):
            for now, then in itertools.pairwise(SIGMAS):
                up, down = up_and_down(now, then, eta)
                x0 = D(x, 1.0, now)
                if down > 0:
                    h = math.log(now / down)
                    middle = now * math.exp(-r * h)
                    x_m = middle / now * x - math.expm1(-r * h) * x0
                    x0 = (1 - 1 / (2 * r)) * x0 + D(x_m, 1.0, middle) / (2 * r)
                x = down / now * x + (1 - down / now) * x0 + (up * next(z) if up else 0)
            return x

        on_edm(cls(eta=eta, r=r), expected)


# --- the reverse SDE: x / sigma in lambda, its integrals by quadrature -----------------------------------------------


def check_dpmpp_sde(cls):
    for eta, r in ((1.0, 0.5), (0.4, 0.7)):

        def expected(x, z, alphas, sigmas, eta=eta, r=r):
            for a, b, s, t in zip(alphas, alphas[1:], sigmas, sigmas[1:], strict=False):
                x0 = D(x, a, s)
                if t == 0:
                    return b * x0
                h = math.log(b * s / (a * t))
                rho = s / a * math.exp(-r * h)
                m = float(VPLinear().t_of_rho(torch.tensor(rho, dtype=torch.float64)))
                am, sm = float(VPLinear().level(m).alpha), float(VPLinear().level(m).sigma)
                first = sm * math.sqrt(1 - math.exp(-2 * eta * r * h)) * next(z)
                second = t * math.sqrt(1 - math.exp(-2 * eta * (1 - r) * h)) * next(z)
                x_m = sm / s * math.exp(-eta * r * h) * x + am * (1 - math.exp(-(1 + eta) * r * h)) * x0 + first
                mixed = x0 + (D(x_m, am, sm) - x0) / (2 * r)
                x = t / s * math.exp(-eta * h) * x + b * (1 - math.exp(-(1 + eta) * h)) * mixed
                x = x + t / sm * math.exp(-eta * (1 - r) * h) * first + second
            return x

        on_preserving(cls(eta=eta, r=r), expected)


def integrated(nodes, start, end, eta):
    """int (1 + eta) e^(-(1 + eta) (end - l)) P(l) dl with P the Lagrange polynomial through (lambda, estimate)."""
    total = 0.0
    for node, weight in zip(*FINE, strict=True):
        l = start + (end - start) * (node + 1) / 2
        P = 0.0
        for j, (lj, Dj) in enumerate(nodes):
            P = P + Dj * math.prod((l - lk) / (lj - lk) for k, (lk, _) in enumerate(nodes) if k != j)
        total = total + weight / 2 * (end - start) * (1 + eta) * math.exp(-(1 + eta) * (end - l)) * P
    return total


def adams(x, z, alphas, sigmas, strength, predictor, corrector):
    """SA-Solver as its algorithm 1 is printed: predict, evaluate, correct with the same noise; predictor alone: 3M."""
    lam = [math.log(a / s) if s else math.inf for a, s in zip(alphas, sigmas, strict=True)]
    history = [(lam[0], D(x, alphas[0], sigmas[0]))]
    for i in range(len(sigmas) - 1):
        a, s, eta = alphas[i + 1], sigmas[i + 1], strength(sigmas[i] / (alphas[i] + sigmas[i]))
        if s == 0:
            return a * history[-1][1]
        h = lam[i + 1] - lam[i]
        kept = s / sigmas[i] * math.exp(-eta * h) * x
        if eta:
            kept = kept + s * math.sqrt(1 - math.exp(-2 * eta * h)) * next(z)
        predicted = kept + a * integrated(history[-predictor:], lam[i], lam[i + 1], eta)
        new = (lam[i + 1], D(predicted, a, s))
        x = predicted
        if corrector:
            x = kept + a * integrated([*history[-(corrector - 1) :], new], lam[i], lam[i + 1], eta)
        history.append(new)
    return x


def check_dpmpp_3m_sde(cls):
    for eta in (1.0, 0.5):
        on_preserving(cls(eta=eta), lambda x, z, a, s, eta=eta: adams(x, z, a, s, lambda tau: eta, 3, 0))


def check_sa_solver(cls):
    for predictor, corrector in ((3, 4), (2, 2), (1, 0), (1, 3)):
        solver = cls(eta=0.7, window=(0.2, 0.6), predictor_order=predictor, corrector_order=corrector)
        on_preserving(solver, lambda x, z, a, s, p=predictor, c=corrector: adams(x, z, a, s, in_window, p, c))


def in_window(tau):
    return 0.7 if 0.2 <= tau <= 0.6 else 0.0


def check_er_sde(cls):
    """Equations of the paper's appendix, x' and x'' at s from the parabola through the last three estimates."""
    functions = {
        "er": lambda r: r * (math.exp(r**0.3) + 10),
        "ode": lambda r: r,
        "sde": lambda r: r**2,
    }
    for name, order in (("er", 3), ("sde", 2), ("er", 1), ("ode", 3)):
        phi = functions[name]

        def expected(x, z, alphas, sigmas, phi=phi, order=order):
            rho, known = [s / a for a, s in zip(alphas, sigmas, strict=True)], []
            for i in range(len(rho) - 1):
                now, then = rho[i], rho[i + 1]
                known.append((now, D(x, alphas[i], sigmas[i])))
                if then == 0:
                    return alphas[i + 1] * known[-1][1]
                ratio = phi(then) / phi(now)
                y = ratio * x / alphas[i] + (1 - ratio) * known[-1][1]
                points = [(now + then) / 2 + (now - then) / 2 * u for u in FINE[0]]
                weights = [w * (now - then) / 2 for w in FINE[1]]
                slope = curve = torch.zeros_like(x)
                if order > 1 and i > 0:
                    (r1, D1), (r0, D0) = known[-2], known[-1]
                    slope = (D0 - D1) / (r0 - r1)
                if order > 2 and i > 1:
                    r2, D2 = known[-3]
                    curve = 2 * (slope - (D1 - D2) / (r1 - r2)) / (r0 - r2)
                    slope = slope + (r0 - r1) * curve / 2
                first = sum(w / phi(r) for r, w in zip(points, weights, strict=True))
                second = sum(w * (r - now) / phi(r) for r, w in zip(points, weights, strict=True))
                y = y + (then - now + phi(then) * first) * slope
                y = y + ((then - now) ** 2 / 2 + phi(then) * second) * curve
                noise = math.sqrt(max(then**2 - (now * ratio) ** 2, 0))
                x = alphas[i + 1] * (y + (noise * next(z) if phi(2.0) != 2 else 0))
            return x

        on_preserving(cls(phi=name, order=order), expected)


# --- forward moves: EDM's algorithm 2, restart -----------------------------------------------------------------------


def heun_step(x, now, then):
    slope = (x - D(x, 1.0, now)) / now
    trial = x + (then - now) * slope
    return x + (then - now) * (slope + (trial - D(trial, 1.0, then)) / then) / 2 if then else trial


def check_edm_churn(cls):
    def expected(x, z):
        for now, then in itertools.pairwise(SIGMAS):
            gamma = min(3 / STEPS, math.sqrt(2) - 1) if 0.05 <= now <= 50 else 0
            hat = now + gamma * now
            if gamma:
                x = x + math.sqrt(hat**2 - now**2) * 1.007 * next(z)
            x = heun_step(x, hat, then)
        return x

    on_edm(cls(s_churn=3, s_noise=1.007), expected)


def check_restart(cls):
    nearest = min(range(1, STEPS), key=lambda i: abs(math.log(SIGMAS[i] / 0.1)))
    low, high = SIGMAS[nearest], SIGMAS[nearest] * 4

    def expected(x, z):
        for i in range(STEPS):
            x = heun_step(x, SIGMAS[i], SIGMAS[i + 1])
            for _ in range(3 if i + 1 == nearest else 0):
                x = x + math.sqrt(high**2 - low**2) * next(z)
                ladder = [(high ** (1 / 7) + j / 3 * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for j in range(4)]
                for now, then in itertools.pairwise(ladder):
                    x = heun_step(x, now, then)
        return x

    on_edm(cls(low=0.1, high=0.4, times=3, steps=3), expected)


# --- distilled networks ----------------------------------------------------------------------------------------------


def check_lcm(cls):
    levels = Trailing().levels(RectifiedFlow(), 5)

    def expected(x, z):
        for i in range(5):
            t, then = 1 - i / 5, 1 - (i + 1) / 5
            x = (1 - then) * D(x, 1 - t, t) + (then * next(z) if i < 4 else 0)
        return x

    compare(cls(), RectifiedFlow(), levels, expected)


def check_tcd(cls):
    """Down the ODE to alpha', sigma' at s = (1 - gamma) t of T = 1000 steps counted from 1, then q(x_t | x_s)."""
    levels = Trailing().levels(Discrete(), 8)
    betas = np.linspace(1e-4, 0.02, 1000)
    knots = np.concatenate([[0.0], np.cumsum(np.log(1 - betas))])
    bar = lambda step: math.exp(np.interp(step, np.arange(1001), knots))  # noqa: E731

    def expected(x, z):
        for i in range(8):
            now, then = 1000 - 125 * i, 1000 - 125 * (i + 1)
            s, t, lower = bar(now), bar(then), bar(0.7 * then)
            x0 = D(x, s**0.5, (1 - s) ** 0.5)
            eps = (x - s**0.5 * x0) / (1 - s) ** 0.5
            x = lower**0.5 * x0 + (1 - lower) ** 0.5 * eps
            if then:
                x = (t / lower) ** 0.5 * x + (1 - t / lower) ** 0.5 * next(z)
        return x

    compare(cls(gamma=0.3), Discrete(), levels, expected)


FORMULAS = [
    (DPM2Ancestral, check_dpm_2_ancestral),
    (DPMpp2SAncestral, check_dpmpp_2s_ancestral),
    (DPMppSDE, check_dpmpp_sde),
    (DPMpp3MSDE, check_dpmpp_3m_sde),
    (SASolver, check_sa_solver),
    (ERSDE, check_er_sde),
    (EDMChurn, check_edm_churn),
    (Restart, check_restart),
    (LCM, check_lcm),
    (TCD, check_tcd),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check"), FORMULAS)
def test_formula(cls, check):
    check(cls)


PLANTED = [
    (DPM2Ancestral, check_dpm_2_ancestral, "draft", (replace_expression(attribute_target("rho"), "t.rho"),)),
    (DPM2Ancestral, check_dpm_2_ancestral, "draft", (swap_operands(ast.Sub, near="eps_m"),)),
    (
        DPM2Ancestral,
        check_dpm_2_ancestral,
        "ancestral_level",
        (replace_expression(variable_target("eta"), "1.0"),),
    ),  # the wrong power of eta
    (DPMpp2SAncestral, check_dpmpp_2s_ancestral, "draft", (swap_constant(2, 1, at=-1),)),
    (DPMpp2SAncestral, check_dpmpp_2s_ancestral, "draft", (set_argument("lambda_step", 1, "t"),)),
    (DPMppSDE, check_dpmpp_sde, "draft", (replace_expression(variable_target("noise_m"), "noise_m * 1.2", at=-1),)),
    (
        DPMppSDE,
        check_dpmpp_sde,
        "draft",
        (keep_left_operand(ast.Mult, near="decay_m", at=-1),),
    ),  # the wrong noise scale
    (
        DPMppSDE,
        check_dpmpp_sde,
        "draft",
        (replace_expression(argument_target("noise", 0), "keys[2 * i]", at=1),),
    ),  # both halves see one
    (DPMpp3MSDE, check_dpmpp_3m_sde, "draft", (keep_right_operand(ast.Mult, near="h", at=-1),)),
    (DPMpp3MSDE, check_dpmpp_3m_sde, "draft", (swap_constant(2, 1),)),  # second order
    (
        DPMpp3MSDE,
        check_dpmpp_3m_sde,
        "newton_integral",
        (replace_expression(argument_target("select_by_mask", 1), "_ / k"),),
    ),  # half weight
    (SASolver, check_sa_solver, "draft", (replace_expression(condition_target(), "False"),)),  # no corrector
    (SASolver, check_sa_solver, "draft", (keep_left_operand(ast.Sub, near="predicted"),)),
    (SASolver, check_sa_solver, "_higher_terms", (keep_right_operand(ast.Add, near="_strength"),)),
    (SASolver, check_sa_solver, "kept_noise_share", (scale_expression(ast.USub, 0.5),)),
    (
        ERSDE,
        check_er_sde,
        "_moment",
        (replace_expression(variable_target("k"), "1", at=-1),),
    ),  # the paper's weight of x'' halved
    (ERSDE, check_er_sde, "draft", (scale_expression(call_target("_steepness"), 1.1, at=1),)),
    (ERSDE, check_er_sde, "_moment", (replace_expression(argument_target("range", 0), "k"),)),
    (EDMChurn, check_edm_churn, "_churned", (scale_expression(variable_target("gamma"), 0.5),)),
    (EDMChurn, check_edm_churn, "draft", (set_argument("heun_step", 2, "s"),)),  # called at the old level
    (EDMChurn, check_edm_churn, "add_forward_noise", (replace_expression(variable_target("scale"), "1.0"),)),
    (
        Restart,
        check_restart,
        "add_forward_noise",
        (replace_expression(variable_target("scale"), "0.0"),),
    ),  # forgets to add noise
    (Restart, check_restart, "draft", (replace_expression(argument_target("range", 0), "_ - 1"),)),
    (LCM, check_lcm, "draft", (replace_expression(ast.Mult, "t.sigma"),)),
    (TCD, check_tcd, "draft", (replace_expression(ast.Mult, "lower.sigma", near="lower"),)),
    (TCD, check_tcd, "draft", (keep_right_operand(ast.Add, near="clean"),)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check, cls, also=(StopIteration, KeyError, BadInput))


# --- options, and one method on every process ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_options_keep_the_invariants(name):
    for schedule in (VPLinear(), EDM(), RectifiedFlow()):
        for steps in (1, 2, 9):
            check_plan(OPTIONS[name], schedule, steps)
        check_level_maps(OPTIONS[name], schedule)
    check_order(OPTIONS[name])


TIMED = ("tcd",)  # its lower level is a share of the schedule's own time, so it differs from process to process
STOCHASTIC = {
    name: made
    for name in registry.builtin_files("sampler")
    if (made := registry.find_class("sampler", name)()).stochastic
}


def check_processes(sampler):
    """x / alpha is the same on flow as on data plus noise, from the same levels of rho with the same noises."""
    levels = [EDM().level(s) for s in (40.0, 12.0, 5.0, 2.0, 0.9, 0.4, 0.15, 0.05)] + [EDM().clean()]
    plan = sampler.plan(EDM(), levels)
    noise = {key: randn(7 + i) for i, key in enumerate(plan.noises)}
    x = 40 * randn(0)
    reference = run_plan(plan, MIXTURE, x, noise=noise)
    for schedule in (RectifiedFlow(), VPLinear()):
        other = [schedule.level_of_rho(a.rho) for a in levels]
        other[-1] = schedule.clean()
        plan = sampler.plan(schedule, other)
        named = dict(zip(plan.noises, noise.values(), strict=True))
        assert torch.allclose(run_plan(plan, MIXTURE, x * other[0].alpha, noise=named), reference, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STOCHASTIC if name not in TIMED])
def test_one_method_on_every_process(name):
    check_processes(STOCHASTIC[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "where", "errors"),
    [
        (Restart, "add_forward_noise", (keep_left_operand(ast.Mult, near="x"),)),  # noise of data plus noise on flow
        (EDMChurn, "add_forward_noise", (keep_right_operand(ast.Mult, near="sigma", at=1),)),
        (
            EDMChurn,
            "_churned",
            (replace_expression(call_target("where"), "_ if False else s.__class__(s.t, m.alpha, m.sigma)", at=-1),),
        ),
        (DPMpp2SAncestral, "draft", (keep_right_operand(ast.Mult, near="weight", at=-1),)),
        (ERSDE, "draft", (set_argument("newton_integral", "scale", "1.0"),)),
    ],
)
def test_an_error_on_other_processes_is_caught(cls, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(lambda sampler: [check_processes(sampler), check_called_where_it_stands(sampler)], cls())


def check_called_where_it_stands(sampler):
    """Every level that the denoiser receives is one of the schedule: its time gives its alpha and sigma."""
    schedule = RectifiedFlow()
    for row in sampler.plan(schedule, even_tau_levels(schedule, 8)).rows:
        level = schedule.level(row.level.t)
        assert abs(level.alpha - row.level.alpha) < 1e-9 and abs(level.sigma - row.level.sigma) < 1e-9


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_denoiser_receives_the_level_of_the_point(name):
    check_called_where_it_stands(STOCHASTIC[name])


@pytest.mark.parametrize(
    ("sampler", "twin"),
    [
        (DPM2Ancestral(eta=0.0), DPM2()),
        (DPMpp2SAncestral(eta=0.0), DPMpp2S()),
        (DPMppSDE(eta=0.0), DPMpp2S()),
        (EDMChurn(s_churn=0.0), Heun()),
        (TCD(gamma=1.0), LCM()),
        (SASolver(eta=1.0, predictor_order=3, corrector_order=0), DPMpp3MSDE()),
        (ERSDE(phi="sde", order=1), SASolver(predictor_order=1, corrector_order=0)),
    ],
)
def test_methods_that_are_one_another_at_some_setting(sampler, twin):
    levels = Karras().levels(EDM(), 8)
    plans = [s.plan(EDM(), levels) for s in (sampler, twin)]
    z = [randn(i) for i in range(20)]
    ends = [run_plan(p, MIXTURE, 80 * randn(9), noise=dict(zip(p.noises, z, strict=False))) for p in plans]
    assert torch.allclose(*ends, atol=1e-9)


@pytest.mark.parametrize(
    ("sampler", "evaluations"),
    [
        (DPM2Ancestral(), 10),  # two a step, but one at the first, from alpha = 0, and at the last
        (DPMppSDE(), 10),
        (DPMpp3MSDE(), 6),
        (SASolver(), 6),
        (ERSDE(), 6),
        (Restart(times=3, steps=2), 10 + 3 * 4),
        (EDMChurn(), 10),
        (LCM(), 6),
        (TCD(), 6),
    ],
)
def test_number_of_evaluations(sampler, evaluations):
    assert sampler.plan(RectifiedFlow(), even_tau_levels(RectifiedFlow(), 6)).nfe == evaluations


def test_restart_rises_and_comes_back():
    rows = Restart(low=0.1, high=1.0, times=2, steps=3).plan(EDM(), Karras().levels(EDM(), 12)).rows
    tops = [row.level.sigma for before, row in itertools.pairwise(rows) if row.level.sigma > before.level.sigma]
    assert len(tops) == 2 and tops[0] == tops[1] and 0.5 < tops[0] < 2


def test_a_restart_up_to_a_level_of_the_list_works_on_maps_too():
    levels = [EDM().level(s) for s in (8.0, 4.0, 2.0, 1.0)] + [EDM().clean()]
    sampler = Restart(low=1.0, high=2.0, times=1, steps=2)
    maps = [NoiseLevel(*(v.expand(2, 1, 3) for v in (a.t, a.alpha, a.sigma))) for a in levels]
    plans = [sampler.plan(EDM(), own) for own in (levels, maps)]
    ends = [run_plan(p, MIXTURE, randn(0), noise={key: randn(5) for key in p.noises}) for p in plans]
    assert torch.equal(*ends)
    assert max(row.level.sigma for row in plans[0].rows[4:]) == pytest.approx(2.0)


# --- distributions ---------------------------------------------------------------------------------------------------

WEAK = {  # order at which the variance of Gaussian data is approached between 32 and 64 steps, as measured
    "dpm_2_ancestral": 1.5, "dpmpp_2s_ancestral": 1.6, "dpmpp_sde": 1.6, "dpmpp_2m_sde": 1.3,
    "dpmpp_3m_sde": 2.0, "sa_solver": 1.9, "er_sde": 1.7, "restart": 2.0, "edm_churn": 0.8,
}  # fmt: skip


def off(sampler, steps):
    """Relative error of the variance of Gaussian data, on flow from alpha = 0."""
    return abs(
        sampler_moments(sampler, RectifiedFlow(), even_tau_levels(RectifiedFlow(), steps), 0.7, 0.4).variance / 0.16 - 1
    )


def check_variance(sampler, order):
    fine = off(sampler, 64)
    assert fine < 0.03 and math.log2(off(sampler, 32) / fine) > order - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", WEAK)
def test_weak_order_on_gaussian_data(name):
    check_variance(STOCHASTIC[name], WEAK[name])


def test_a_method_of_first_order_is_of_weak_order_one():
    assert math.log2(off(ERSDE(order=1), 32) / off(ERSDE(order=1), 64)) == pytest.approx(1, abs=0.15)


def distance(x, y):
    """Energy distance of two samples (N, d): 2 E|x - y| - E|x - x'| - E|y - y'|, unbiased."""
    n, m = len(x), len(y)
    within = torch.cdist(x, x).sum() / (n * (n - 1)) + torch.cdist(y, y).sum() / (m * (m - 1))
    return float(2 * torch.cdist(x, y).mean() - within)


def check_drawn(sampler, count=1200, steps=48):
    """Drawn samples are those of the mixture: no farther from exact ones than chance and the step allow."""
    schedule, generator = RectifiedFlow(), torch.Generator().manual_seed(3)
    plan = sampler.plan(schedule, even_tau_levels(schedule, steps))
    draw = lambda: torch.randn(count, *MIXTURE.shape, generator=generator, dtype=torch.float64)  # noqa: E731
    made = run_plan(plan, MIXTURE, draw(), noise={key: draw() for key in plan.noises}).reshape(count, -1)
    exact = MIXTURE.sample(count, seed=11)[0].reshape(count, -1)
    assert distance(made, exact) < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("name", WEAK)
def test_drawn_from_a_mixture(name):
    check_drawn(STOCHASTIC[name])


@pytest.mark.slow
def test_what_a_method_for_distilled_networks_makes_of_a_denoiser_is_no_sample():
    for sampler in (LCM(), TCD()):
        assert not sampler.converges
        assert_caught(check_drawn, sampler)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "where", "errors"),
    [
        (DPMppSDE, "draft", (keep_left_operand(ast.Mult, near="decay", at=-1),)),
        (DPMppSDE, "draft", (replace_expression(variable_target("noise_m"), "noise_m * -1.0", at=-1),)),
        (SASolver, "first_order_step", (scale_expression(call_target("noise"), 1.15),)),
        (DPMpp3MSDE, "draft", (scale_expression(call_target("higher_order_terms"), -1.0),)),
        (
            DPM2Ancestral,
            "ancestral_level",
            (replace_expression(attribute_target("alpha"), "1.0"),),
        ),  # rho taken for sigma
        (EDMChurn, "add_forward_noise", (replace_expression(variable_target("scale"), "0.8"),)),
        (Restart, "add_forward_noise", (replace_expression(variable_target("scale"), "0.0"),)),
    ],
)
def test_an_error_in_the_distribution_is_caught(cls, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(lambda sampler: [check_drawn(sampler), check_variance(sampler, 0.8)], cls())


# --- paths -----------------------------------------------------------------------------------------------------------


def strong(sampler, steps=(16, 32, 64), count=24):
    """Median distance between the ends of runs of n and 2 n steps that have the same seed."""
    schedule = RectifiedFlow()
    x = random_start(MIXTURE, schedule.level(1.0), count)
    noises = [KeyedNoise(0, range(count), MIXTURE.shape, dtype=torch.float64) for _ in steps]
    ends = [
        run_plan(sampler.plan(schedule, even_tau_levels(schedule, n)), MIXTURE, x, noise=noise)
        for n, noise in zip(steps, noises, strict=True)
    ]
    return [float((a - b).flatten(1).norm(dim=1).median()) for a, b in itertools.pairwise(ends)]


def check_strong(sampler):
    coarse, fine = strong(sampler)
    assert fine < 0.65 * coarse


ON_A_PATH = [DPMppSDE(), DPMpp2MSDE(), DPMpp3MSDE(), SASolver(), ERSDE(phi="sde"), DPMpp2SAncestral(noise="path")]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ON_A_PATH, ids=lambda s: type(s).__name__)
def test_more_steps_follow_the_same_path(sampler):
    check_strong(sampler)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [DPMppSDE, DPMpp3MSDE])
def test_with_noise_of_steps_they_do_not(cls):
    assert_caught(check_strong, cls(noise="step"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "errors"),
    [
        ("step_noise_keys", (replace_expression(call_target("BrownianIncrementKey"), "(len(rows), *_)"),)),
        ("draft", (replace_expression(argument_target("noise", 0), "(i, _)"),)),
        ("draft", (negate_expression(call_target("noise")),)),
    ],
)
def test_noise_that_is_not_of_one_path_is_caught(where, errors):
    with faulty_sampler(DPMppSDE, where, *errors):
        assert_caught(check_strong, DPMppSDE())


@pytest.mark.slow
def test_er_sde_from_pure_noise_follows_no_single_solution():
    """As _noise_keys.py says: its first step replaces all noise at any number of steps."""
    coarse, fine = strong(ERSDE(), (20, 40, 80))
    assert fine > 0.6 * coarse, "the distance between N and 2 N steps does not fall"
    coarse, fine = strong(DPMpp2MSDE(), (20, 40, 80))
    assert fine < 0.8 * coarse, "that of another method does"


def test_keys_of_a_path_are_intervals_of_tau():
    levels = even_tau_levels(EDM(), 5)
    taus = [float(a.tau) for a in levels]
    plan = DPMpp3MSDE().plan(EDM(), levels)
    assert plan.noises == [BrownianIncrementKey(a, b) for a, b in itertools.pairwise(taus[:-1])]
    assert DPMpp3MSDE(noise="step").plan(EDM(), levels).noises == [("step", i) for i in range(4)]
    stages = DPMppSDE().plan(RectifiedFlow(), even_tau_levels(RectifiedFlow(), 5)).noises
    assert all(a.low == b.high for a, b in itertools.pairwise(stages)) and len(stages) == 8


def test_levels_nearer_than_the_cells_of_a_path_draw_the_noise_of_steps():
    near = [EDM().level(s) for s in (0.9, 0.8999, 0.5)] + [EDM().clean()]
    assert DPMpp3MSDE().plan(EDM(), near).noises == [("step", 0), ("step", 1)]


def test_a_map_follows_its_median_element_and_a_batch_its_samples():
    levels = even_tau_levels(RectifiedFlow(), 4)
    fields = [[torch.as_tensor(v).repeat(2, 1, 5) for v in (a.t, a.alpha, a.sigma)] for a in levels]
    for own in fields[1:]:
        for field, clean in zip(own, (0.0, 1.0, 0.0), strict=True):
            field[:, :, 0] = clean
    plain = DPMpp3MSDE().plan(RectifiedFlow(), levels).noises
    assert DPMpp3MSDE().plan(RectifiedFlow(), [NoiseLevel(*f) for f in fields]).noises == plain
    waits = [*fields[:2], fields[1], *fields[2:]]  # the median waits a step
    waits[2] = [f.clone() for f in waits[1]]
    for field, value in zip(waits[2], (0.6, 0.4, 0.6), strict=True):
        field[:, :, 1] = value
    assert DPMpp3MSDE().plan(RectifiedFlow(), [NoiseLevel(*f) for f in waits]).noises[0] == ("step", 0)
    batch = [NoiseLevel(*(torch.stack([f, f]) for f in (a.t, a.alpha, a.sigma))) for a in levels]
    assert DPMpp3MSDE().plan(RectifiedFlow(), batch).noises == plain
    one, two = even_tau_levels(RectifiedFlow(), 4), [RectifiedFlow().level(u) for u in (0.8, 0.5, 0.3, 0.1, 0.0)]
    mixed = [
        NoiseLevel(*(torch.stack([getattr(a, n), getattr(b, n)]) for n in ("t", "alpha", "sigma")))
        for a, b in zip(one, two, strict=True)
    ]
    first = DPMpp3MSDE().plan(RectifiedFlow(), mixed).noises[0]
    assert first == BrownianIncrementKey((1.0, 0.8), (0.75, 0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DPM2Ancestral(eta=1.2), "eta lies between 0"),
        (lambda: DPM2Ancestral(noise="brownian"), "noise is path"),
        (lambda: DPMpp2SAncestral(eta=-1), "eta lies between 0"),
        (lambda: DPMpp2SAncestral(r=1.0), "r lies between 0 and 1"),
        (lambda: DPMppSDE(eta=-0.1), "eta is at least 0"),
        (lambda: DPMppSDE(r=0.0), "r lies between 0 and 1"),
        (lambda: DPMpp3MSDE(eta=-0.1), "eta is at least 0"),
        (lambda: SASolver(eta=-1), "eta is at least 0"),
        (lambda: SASolver(window=(0.6, 0.2)), "lowest < highest"),
        (lambda: SASolver(predictor_order=5), "predictor_order is 1 to 4"),
        (lambda: SASolver(corrector_order=1), "0 for no corrector"),
        (lambda: ERSDE(phi="vp"), "phi is er, ode or sde"),
        (lambda: ERSDE(order=4), "order is 1, 2 or 3"),
        (lambda: Restart(low=0.3, high=0.1), "0 < low < high"),
        (lambda: Restart(times=0), "at least once"),
        (lambda: Restart(steps=0), "at least 1 step"),
        (lambda: EDMChurn(s_churn=-1), "s_churn is at least 0"),
        (lambda: EDMChurn(s_tmin=2, s_tmax=1), "s_tmin < s_tmax"),
        (lambda: EDMChurn(s_noise=0), "s_noise is positive"),
        (lambda: TCD(gamma=1.1), "gamma lies between 0"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()
