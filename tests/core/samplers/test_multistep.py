"""Multistep samplers against their papers' own formulas, integrals by quadrature; planted errors."""

import ast
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import gamma, gammainc
from sonolux.core.samplers import _exponential
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.deis import DEIS, _gammas
from sonolux.core.samplers.dpmpp_3m import DPMpp3M
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.exp_ab import ExpAB
from sonolux.core.samplers.exp_abm import ExpABM
from sonolux.core.samplers.ipndm import IPNDM
from sonolux.core.samplers.lms import LMS
from sonolux.core.samplers.unipc import UniPC
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import even_tau_levels
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    call_target,
    condition_target,
    keep_left_operand,
    keep_right_operand,
    planted_error,
    replace_expression,
    scale_expression,
    set_argument,
    swap_arguments,
    swap_constant,
    swap_operands,
    swap_operator,
    variable_target,
)
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.timesteps.uniform_logsnr import UniformLogSNR
from sonolux.core.types import BadInput, NoiseLevel

MIXTURE = example_mixture()
# From sigma = 80, from VP's noisiest level, and from alpha = 0 exactly; all to sigma = 0.
GRIDS = [(EDM(), Karras(), 10), (VPLinear(), UniformLogSNR(), 9), (RectifiedFlow(), Trailing(), 8)]


def D(x, alpha, sigma):
    return MIXTURE.denoise(x, NoiseLevel(0.0, alpha, sigma)).x0


def compare(sampler, expected, grids=GRIDS):
    """The plan against `expected(x, alphas, sigmas)`, from the same start on every grid."""
    for schedule, spacing, steps in grids:
        levels = spacing.levels(schedule, steps)
        noise = torch.randn(3, *MIXTURE.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = float(levels[0].sigma) * noise
        made = run_plan(sampler.plan(schedule, levels), MIXTURE, x)
        wanted = expected(x, [float(a.alpha) for a in levels], [float(a.sigma) for a in levels])
        assert torch.allclose(made, wanted, atol=1e-9, rtol=1e-9), type(schedule).__name__


POINTS, WEIGHTS = np.polynomial.legendre.leggauss(60)


def integral(f, a, b):
    """Of a smooth function of arrays, to rounding."""
    return float(np.sum(WEIGHTS * f((a + b) / 2 + (b - a) / 2 * POINTS)) * (b - a) / 2)


def lagrange(nodes, j, u):
    made = np.ones_like(u)
    for i, v in enumerate(nodes):
        made = made if i == j else made * (u - v) / (nodes[j] - v)
    return made


# --- exponential Adams methods: x_t = (sigma_t / sigma_s) x_s + sigma_t int e^lambda D dlambda -----------------------


def stepped(x, s, t, nodes):
    """From s = (alpha, sigma) to t with the polynomial in lambda through nodes (lambda, D)."""
    nodes = [(lam, d) for lam, d in nodes if math.isfinite(lam)]
    if t[1] == 0:
        return t[0] * nodes[0][1]
    lam_s, lam_t, at = math.log(s[0] / s[1]), math.log(t[0] / t[1]), [lam for lam, _ in nodes]
    weights = [
        integral(lambda u, j=j: t[0] * np.exp(u - lam_t) * lagrange(at, j, u), lam_s, lam_t) for j in range(len(nodes))
    ]
    return t[1] / s[1] * x + sum(w * d for w, (_, d) in zip(weights, nodes, strict=True))


def lam(level):
    return math.log(level[0] / level[1]) if level[0] else -math.inf


def adams(x, alphas, sigmas, order, corrected=0, again=False):
    """`order` nodes predict; `corrected`: nodes of the corrector, or 0; again: evaluate the corrected point too."""
    levels, known, base, point = list(zip(alphas, sigmas, strict=True)), [], x, x  # the estimate is made at `point`
    for i, (s, t) in enumerate(pairwise(levels)):
        d = D(point, *s)
        if corrected and not again and i > 1 - (alphas[0] > 0):
            x = stepped(base, levels[i - 1], s, [(lam(s), d), *known][:corrected])
        known.insert(0, (lam(s), d))
        base = x
        if s[0] == 0:
            point = x = t[1] * x + t[0] * d
            continue
        point = stepped(x, s, t, known[:order])
        if again and t[1]:
            point = stepped(x, s, t, [(lam(t), D(point, *t)), *known][:corrected])
        x = point
    return x


def check_exp_ab(cls):
    for order in (1, 2, 3, 4):
        compare(cls(order=order), lambda x, a, s, order=order: adams(x, a, s, order))


def check_exp_abm(cls):
    for order in (2, 3, 4):
        for mode in ("pec", "pece"):
            compare(
                cls(order=order, mode=mode),
                lambda x, a, s, order=order, mode=mode: adams(x, a, s, order - 1, order, mode == "pece"),
            )


def check_three(cls):
    """The algebra of k-diffusion's 3M in h, with the weight of the second derivative doubled: it is half of D''."""

    def expected(x, alphas, sigmas):
        old, before = [], []
        for now, then in pairwise(sigmas):
            d = D(x, 1.0, now)
            if then == 0:
                return d
            h = math.log(now / then)
            x = math.exp(-h) * x - math.expm1(-h) * d
            phi2 = math.expm1(-h) / h + 1
            phi3 = phi2 / h - 0.5
            if len(old) > 1:
                r0, r1 = before[0] / h, before[1] / h
                first, second = (d - old[0]) / r0, (old[0] - old[1]) / r1
                d1 = first + (first - second) * r0 / (r0 + r1)
                x = x + phi2 * d1 - 2 * phi3 * (first - second) / (r0 + r1)
            elif old:
                x = x + phi2 * (d - old[0]) / (before[0] / h)
            old, before = [d, *old], [h, *before]
        return x

    compare(cls(), expected, GRIDS[:1])


# --- UniPC: the paper's matrices -------------------------------------------------------------------------------------


def unipc(x, alphas, sigmas, p, variant):
    """Algorithms 7 and 8 with R_p(h) a = phi_p(h) / B(h); rising order; no correction to a step from alpha = 0."""

    def moved(x, s, t, d0, others):
        h = lam(t) - lam(s)
        B = {"bh1": -h, "bh2": math.expm1(-h)}[variant]
        r = np.array([(v - lam(s)) / h for v, _ in others])
        n = len(r)
        phi = [math.expm1(-h) / -h]  # phi_1, phi_2, ... at -h
        for k in range(1, n + 1):
            phi.append((phi[-1] - 1 / math.factorial(k)) / -h)
        wanted = [-h * math.factorial(k) * phi[k] / B for k in range(1, n + 1)]
        a = [0.5] if n == 1 else np.linalg.solve(r ** np.arange(n)[:, None], wanted) if n else []
        bent = sum((ak * (d - d0) / rk for ak, rk, (_, d) in zip(a, r, others, strict=True)), torch.zeros_like(x))
        return t[1] / s[1] * x - t[0] * math.expm1(-h) * d0 - t[0] * B * bent

    levels, known, base, point = list(zip(alphas, sigmas, strict=True)), [], x, x
    for i, (s, t) in enumerate(pairwise(levels)):
        d = D(point, *s)
        if known:
            x = moved(base, levels[i - 1], s, known[0][1], [*known[1:p], (lam(s), d)])
        else:
            x = point
        if t[1] == 0:
            return t[0] * d
        if s[0] == 0:
            point = t[1] * x + t[0] * d
            continue
        known, base = [(lam(s), d), *known], x
        point = moved(x, s, t, d, known[1:p])
    return point


def check_unipc(cls):
    for p in (1, 2, 3):
        for variant in ("bh1", "bh2"):
            compare(
                cls(predictor_order=p, variant=variant),
                lambda x, a, s, p=p, variant=variant: unipc(x, a, s, p, variant),
            )


# --- on the noise estimate: y = x / alpha, dy = eps drho -------------------------------------------------------------


def in_rho(x, alphas, sigmas, order, weights):
    """weights(rhos of the nodes, rho_t) -> int l_j drho; from alpha = 0 a first-order step."""
    rhos, known = [s / a if a else math.inf for a, s in zip(alphas, sigmas, strict=True)], []
    for i in range(len(rhos) - 1):
        d = D(x, alphas[i], sigmas[i])
        if alphas[i] == 0:
            x = sigmas[i + 1] * x + alphas[i + 1] * d
            continue
        known = [(rhos[i], (x - alphas[i] * d) / sigmas[i]), *known][:order]
        c = weights([rho for rho, _ in known], rhos[i + 1])
        x = alphas[i + 1] * (x / alphas[i] + sum(cj * eps for cj, (_, eps) in zip(c, known, strict=True)))
    return x


def check_lms(cls):
    """k-diffusion's coefficients: Lagrange polynomials in sigma (here rho), integrated."""

    def weights(at, then):
        return [integral(lambda u, j=j: lagrange(at, j, u), at[0], then) for j in range(len(at))]

    for order in (1, 2, 3, 4):
        compare(cls(order=order), lambda x, a, s, order=order: in_rho(x, a, s, order, weights))


def check_deis(cls):
    def weights(at, then):
        logs = [math.log(v) for v in at]
        made = [quad(lambda u, j=j: float(lagrange(logs, j, np.log(u))), then, at[0]) for j in range(len(at))]
        return [-value for value, _ in made]

    for order in (1, 2, 3):
        compare(cls(order=order), lambda x, a, s, order=order: in_rho(x, a, s, order, weights))


def check_ipndm(cls):
    table = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]

    def weights(at, then):
        return [(then - at[0]) * w for w in table[len(at) - 1]]

    for count in (1, 2, 3, 4):
        compare(cls(estimates=count), lambda x, a, s, count=count: in_rho(x, a, s, count, weights))


CHECKS = {
    DPMpp3M: check_three,
    ExpAB: check_exp_ab,
    ExpABM: check_exp_abm,
    UniPC: check_unipc,
    LMS: check_lms,
    DEIS: check_deis,
    IPNDM: check_ipndm,
}


def fault(check, *args) -> str:
    """What a check finds wrong; nothing where it holds."""
    try:
        check(*args)
    except AssertionError as error:
        return str(error) or "an assertion without words"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("cls", CHECKS)
def test_formula(cls):
    assert fault(CHECKS[cls], cls) == ""


def test_families_meet():
    """The same method under two names: 3M is exp_ab of order 3, and every family begins with Euler's step."""
    start = torch.randn(2, *MIXTURE.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for schedule in (VPLinear(), RectifiedFlow()):
        levels = even_tau_levels(schedule, 7)
        for one, other in (
            (DPMpp3M(), ExpAB(order=3)),
            (Euler(), ExpAB(order=1)),
            (Euler(), LMS(order=1)),
            (Euler(), DEIS(order=1)),
            (Euler(), IPNDM(estimates=1)),
        ):
            made = [run_plan(s.plan(schedule, levels), MIXTURE, start) for s in (one, other)]
            assert torch.allclose(*made, atol=1e-12)


# --- integrals -------------------------------------------------------------------------------------------------------


def check_psi(module=_exponential):
    H = np.array([1e-8, 1e-3, 0.3, 0.999, 1.0, 2.5, 8.0, 40.0, -0.2, -0.9])
    for k, values in enumerate(module.exponential_moments(H, 5)):
        for h, value in zip(H.tolist(), values.tolist(), strict=True):
            exact = integral(lambda r, h=h, k=k: h * np.exp(-h * (1 - r)) * r**k, 0, 1)
            assert value == pytest.approx(exact, rel=1e-11), (h, k)
    ends = module.exponential_moments(np.array([0.0, math.inf]), 5)
    assert all(value.tolist() == [0.0, 1.0] for value in ends)


def test_psi():
    check_psi()


def test_incomplete_gammas():
    h = [1e-8, 1e-3, 0.3, 0.999, 1.0, 2.5, 8.0, 40.0, math.inf]
    for k, values in enumerate(_gammas(np.array(h), 3)):
        exact = [float(gamma(k + 1) * gammainc(k + 1, v)) for v in h]
        assert values.tolist() == pytest.approx(exact, rel=1e-12), k


# --- planted errors --------------------------------------------------------------------------------------------------

PLANTED = [
    (DPMpp3M, check_three, "draft", (swap_constant(2, 1),)),  # one estimate too few
    (ExpAB, check_exp_ab, "newton_integral", (swap_operands(ast.Sub, near="r"),)),  # sign
    (ExpAB, check_exp_ab, "newton_integral", (set_argument("_times_root", 1, "r[k]"),)),
    (ExpAB, check_exp_ab, "newton_integral", (swap_operator(ast.Div, ast.Mult),)),
    (ExpAB, check_exp_ab, "draft", (swap_arguments("higher_order_terms", 0, 1),)),
    (ExpABM, check_exp_abm, "draft", (scale_expression(call_target("_correction"), 0.0),)),  # skipped
    (ExpABM, check_exp_abm, "draft", (scale_expression(call_target("_correction"), -1.0, at=1),)),
    (ExpABM, check_exp_abm, "_correction", (keep_left_operand(ast.Sub),)),
    (ExpABM, check_exp_abm, "_correction", (swap_constant(1, 2),)),
    (UniPC, check_unipc, "_higher_terms", (swap_constant(2, 1),)),
    (UniPC, check_unipc, "_higher_terms", (replace_expression(variable_target("h"), "-h", at=1),)),
    (UniPC, check_unipc, "_higher_terms", (replace_expression(call_target("select_by_mask"), "two"),)),
    (
        UniPC,
        check_unipc,
        "_has_third",
        (replace_expression(call_target("isfinite"), "True"),),
    ),  # an estimate at alpha = 0 counts
    (UniPC, check_unipc, "draft", (replace_expression(condition_target(), "False"),)),  # the corrector is skipped
    (UniPC, check_unipc, "draft", (keep_left_operand(ast.Sub, near="predicted"),)),
    (UniPC, check_unipc, "draft", (swap_arguments("_higher_terms", 0, 1),)),
    (LMS, check_lms, "draft", (swap_constant(1, 2),)),
    (LMS, check_lms, "draft", (swap_operator(ast.Sub, ast.Add),)),
    (LMS, check_lms, "draft", (swap_operands(ast.Sub, near="level"),)),
    (DEIS, check_deis, "draft", (replace_expression(ast.USub, "s.rho"),)),
    (DEIS, check_deis, "_gammas", (keep_right_operand(ast.Mult, near="made"),)),
    (DEIS, check_deis, "_gammas", (replace_expression(call_target("isinf"), "h < 0"),)),  # inf e^-inf
    (IPNDM, check_ipndm, "draft", (replace_expression(ast.USub, "float(j)"),)),
    (
        IPNDM,
        check_ipndm,
        "draft",
        (replace_expression(call_target("isfinite"), "True"),),
    ),  # an estimate at alpha = 0 counts
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check, cls, also=(KeyError, IndexError, BadInput))


def test_a_wrong_series_is_caught():
    with planted_error(
        _exponential, "exponential_moments", replace_expression(argument_target("_series", 1), "_ - 1", at=None)
    ):
        assert_caught(check_psi)
