"""Multistep samplers against their papers' own formulas, integrals by quadrature; their orders; planted errors."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import gamma, gammainc
from sonolux.core.samplers import exponential
from sonolux.core.samplers.base import run
from sonolux.core.samplers.deis import DEIS, _gammas
from sonolux.core.samplers.dpmpp_3m import DPMpp3M
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.exp_ab import ExpAB
from sonolux.core.samplers.exp_abm import ExpABM
from sonolux.core.samplers.ipndm import IPNDM
from sonolux.core.samplers.lms import LMS
from sonolux.core.samplers.unipc import UniPC
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.spacings.karras import Karras
from sonolux.core.spacings.trailing import Trailing
from sonolux.core.spacings.uniform_logsnr import UniformLogSNR
from sonolux.core.testing.conformance import check_map, check_order, check_plan, falling
from sonolux.core.testing.mixture import example
from sonolux.core.testing.ode import random_start, solve
from sonolux.core.testing.orders import Order, Pinned, own_start, whole
from sonolux.core.testing.planted import plant
from sonolux.core.types import BadInput, Estimate, Level

MIXTURE = example()
# From sigma = 80, from VP's noisiest level, and from alpha = 0 exactly; all to sigma = 0.
GRIDS = [(EDM(), Karras(), 10), (VPLinear(), UniformLogSNR(), 9), (RectifiedFlow(), Trailing(), 8)]


def D(x, alpha, sigma):
    return MIXTURE.denoise(x, Level(0.0, alpha, sigma)).x0


def compare(sampler, expected, grids=GRIDS):
    """The plan against `expected(x, alphas, sigmas)`, from the same start on every grid."""
    for schedule, spacing, steps in grids:
        levels = spacing.levels(schedule, steps)
        noise = torch.randn(3, *MIXTURE.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = float(levels[0].sigma) * noise
        made = run(sampler.plan(schedule, levels), MIXTURE, x)
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


@pytest.mark.parametrize("cls", CHECKS)
def test_formula(cls):
    CHECKS[cls](cls)


def test_families_meet():
    """The same method under two names: 3M is exp_ab of order 3, and every family begins with Euler's step."""
    start = torch.randn(2, *MIXTURE.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for schedule in (VPLinear(), RectifiedFlow()):
        levels = falling(schedule, 7)
        for one, other in (
            (DPMpp3M(), ExpAB(order=3)),
            (Euler(), ExpAB(order=1)),
            (Euler(), LMS(order=1)),
            (Euler(), DEIS(order=1)),
            (Euler(), IPNDM(estimates=1)),
        ):
            made = [run(s.plan(schedule, levels), MIXTURE, start) for s in (one, other)]
            assert torch.allclose(*made, atol=1e-12)


# --- integrals -------------------------------------------------------------------------------------------------------


def check_psi(module=exponential):
    H = torch.tensor([1e-8, 1e-3, 0.3, 0.999, 1.0, 2.5, 8.0, 40.0, -0.2, -0.9], dtype=torch.float64)
    for k, values in enumerate(module.psi(H, 5)):
        for h, value in zip(H.tolist(), values.tolist(), strict=True):
            exact = integral(lambda r, h=h, k=k: h * np.exp(-h * (1 - r)) * r**k, 0, 1)
            assert value == pytest.approx(exact, rel=1e-11), (h, k)
    ends = module.psi(torch.tensor([0.0, math.inf], dtype=torch.float64), 5)
    assert all(value.tolist() == [0.0, 1.0] for value in ends)


def test_psi():
    check_psi()


def test_incomplete_gammas():
    h = [1e-8, 1e-3, 0.3, 0.999, 1.0, 2.5, 8.0, 40.0, math.inf]
    for k, values in enumerate(_gammas(torch.tensor(h, dtype=torch.float64), 3)):
        exact = [float(gamma(k + 1) * gammainc(k + 1, v)) for v in h]
        assert values.tolist() == pytest.approx(exact, rel=1e-12), k


# --- orders ----------------------------------------------------------------------------------------------------------

# Options other than the defaults, which are measured where all samplers are.
OPTIONS = {
    "exp_ab 1": ExpAB(order=1),
    "exp_ab 3": ExpAB(order=3),
    "exp_ab 4": ExpAB(order=4),
    "exp_abm 2 pec": ExpABM(order=2, mode="pec"),
    "exp_abm 4 pec": ExpABM(order=4, mode="pec"),
    "exp_abm 2 pece": ExpABM(order=2, mode="pece"),
    "exp_abm 3 pece": ExpABM(order=3, mode="pece"),
    "exp_abm 4 pece": ExpABM(order=4, mode="pece"),
    "unipc 1 bh1": UniPC(predictor_order=1, variant="bh1"),
    "unipc 1 bh2": UniPC(predictor_order=1, variant="bh2"),
    "unipc 2 bh1": UniPC(predictor_order=2, variant="bh1"),
    "unipc 3 bh2": UniPC(predictor_order=3, variant="bh2"),
    "lms 2": LMS(order=2),
    "lms 3": LMS(order=3),
    "deis 2": DEIS(order=2),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_order(name):
    check_order(OPTIONS[name])


def test_stated_orders():
    assert [UniPC(predictor_order=p).order for p in (1, 2, 3)] == [2, 3, 4]
    assert [ExpAB(order=k).order for k in (1, 2, 3, 4)] == [LMS(order=k).order for k in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert [DEIS(order=k).order for k in (1, 2, 3)] == [1, 2, 3] and DPMpp3M().order == 3


def on_grid(sampler, lams):
    """Order on levels given by lams(n) of EDM: (lambdas, how many of them are history on the exact solution)."""
    schedule, errors, steps = EDM(), [], (24, 48, 96)
    for n in steps:
        grid, history = lams(n)
        levels = [schedule.level_of_rho(math.exp(-v)) for v in grid]
        first = random_start(MIXTURE, levels[history], 16)
        back = solve(MIXTURE, first, levels[history::-1])[::-1]
        x = run(sampler.plan(schedule, levels), Pinned(MIXTURE, levels[: history + 1], back), back[0])
        errors.append(float((x - solve(MIXTURE, first, [levels[history], levels[-1]])[-1]).square().mean().sqrt()))
    return Order(steps, tuple(errors)).slope


def equal_rho(n):
    return [-math.log(1.4 - 0.8 * i / n) for i in range(-4, n + 1)], 4


def even(n):
    return [-0.75 + 1.5 * i / n for i in range(-4, n + 1)], 4


def check_ipndm_orders(cls):
    """The weights belong to equal steps of rho: full order there, order 2 on another smooth grid."""
    for count in (1, 2, 3, 4):
        sampler = cls(estimates=count)
        assert abs(on_grid(sampler, equal_rho) - count) < 0.2, f"order {count} on equal steps of rho"
        assert abs(on_grid(sampler, even) - min(count, 2)) < 0.2, "order 2 on equal steps of lambda"


def test_ipndm_orders():
    check_ipndm_orders(IPNDM)


@pytest.mark.parametrize("cls", CHECKS)
def test_own_start_and_whole_interval(cls):
    """No offsets at alpha = 0 and sigma = 0: finite there, and orders with the method's own first steps are printed."""
    for schedule in (RectifiedFlow(), Discrete(zero_terminal=True)):
        started, all_ = own_start(cls(), schedule), whole(cls(), schedule, steps=(16, 32, 64))
        print(f"{cls.__name__}: own start {started.slope:.2f}, whole {all_.slope:.2f} {all_.errors[-1]:.1e}")
        assert started.finite and all_.finite and all_.errors[-1] < all_.errors[0] / 3


# --- ends, maps, moves, costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_plan_and_maps(name):
    for schedule in (EDM(), RectifiedFlow()):
        for steps in (1, 2, 5):
            check_plan(OPTIONS[name], schedule, steps)
        check_map(OPTIONS[name], schedule)


def test_evaluations():
    """One a step; PECE two, but one from alpha = 0 and one to sigma = 0."""
    levels = falling(RectifiedFlow(), 6)
    for sampler in (DPMpp3M(), ExpAB(), ExpABM(mode="pec"), UniPC(), LMS(), DEIS(), IPNDM()):
        assert sampler.plan(RectifiedFlow(), levels).nfe == 6
    assert ExpABM(mode="pece").plan(RectifiedFlow(), levels).nfe == 10


def test_terms_are_few():
    """A predictor-corrector step of PEC is one row: one point and the estimates of both, the final step D alone."""
    for p in (1, 2, 3):
        plan = UniPC(predictor_order=p).plan(EDM(), falling(EDM(), 8))
        assert len(plan.rows) == 9 and max(len(terms) for terms in plan.terms) == p + 2
        assert plan.terms[-1] == ((("D", 7), 1.0),)


def check_waiting(cls):
    """An element that keeps its level for three steps, then falls, goes the way of a run that starts there."""

    class Elementwise:
        def denoise(self, x, level, conditions):
            return Estimate(torch.tanh(x))

    for schedule in (EDM(), RectifiedFlow()):
        levels = falling(schedule, 9)
        for first in (0, 1):
            own = [*[levels[first]] * 3, *levels[first + 1 :]]
            pairs = zip(falling(schedule, len(own) - 1), own, strict=True)
            both = [
                Level(*(torch.stack([getattr(a, f), getattr(b, f)]) for f in ("t", "alpha", "sigma"))) for a, b in pairs
            ]
            x = torch.full((2, 1, 1), 0.7, dtype=torch.float64)
            made = run(cls().plan(schedule, both), Elementwise(), x)[1:]
            alone = run(cls().plan(schedule, levels[first:]), Elementwise(), x[1:])
            assert torch.allclose(made, alone, atol=1e-12)


@pytest.mark.parametrize("cls", CHECKS)
def test_waiting(cls):
    check_waiting(cls)


@pytest.mark.parametrize("cls", [UniPC, ExpABM, DPMpp3M, ExpAB])
def test_moves(cls):
    """A method that moves the state moves the path: a corrector does not go back to what was there before."""

    class Shifting:
        def denoise(self, x, level, conditions):
            return Estimate(torch.zeros_like(x), x=x + 1)

    levels = falling(RectifiedFlow(), 6)[:-1]
    made = [run(s.plan(RectifiedFlow(), levels), Shifting(), torch.zeros(1, 1, 1)) for s in (cls(), Euler())]
    assert torch.allclose(*made)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExpAB(order=5), "1, 2, 3 or 4"),
        (lambda: ExpABM(order=1), "2, 3 or 4"),
        (lambda: ExpABM(mode="pecec"), "pece"),  # type: ignore[arg-type]
        (lambda: UniPC(predictor_order=4), "1, 2 or 3"),
        (lambda: UniPC(variant="bh3"), "bh1 or bh2"),  # type: ignore[arg-type]
        (lambda: LMS(order=0), "1, 2, 3 or 4"),
        (lambda: DEIS(order=4), "1, 2 or 3"),
        (lambda: IPNDM(estimates=5), "1, 2, 3 or 4"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


# --- planted errors --------------------------------------------------------------------------------------------------

HALF_WEIGHT = ("(moment * column[0])", "(moment / k * column[0])")  # the second derivative at half its weight
PLANTED = [
    (DPMpp3M, check_three, *HALF_WEIGHT, exponential),
    (DPMpp3M, check_three, "*nodes[:2]", "*nodes[:1]", None),  # one estimate too few
    (ExpAB, check_exp_ab, "column[j + 1] - column[j]", "column[j] - column[j + 1]", exponential),  # sign
    (ExpAB, check_exp_ab, "_times_root(power, r[k - 1])", "_times_root(power, r[k])", exponential),  # off by one
    (ExpAB, check_exp_ab, "(r[j + k] - r[j])", "(r[j + 1] - r[j])", exponential),
    (ExpAB, check_exp_ab, "[(s, D), *nodes]", "[*nodes, (s, D)]", None),
    (ExpABM, check_exp_abm, "x = x + self._correction(*pair", "x = x + 0.0 * self._correction(*pair", None),  # skipped
    (ExpABM, check_exp_abm, "draft.step(x + self", "draft.step(x - self", None),
    (ExpABM, check_exp_abm, "- higher(s, t, nodes, psis)", "- 0.0 * higher(s, t, nodes, psis)", None),
    (ExpABM, check_exp_abm, "[nodes[0], new, *nodes[1:]]", "[nodes[0], new, *nodes[2:]]", None),
    (UniPC, check_unipc, "psis[0]) / 2", "psis[0]) / 1", None),
    (UniPC, check_unipc, "two = (h if", "two = (-h if", None),
    (UniPC, check_unipc, "torch.where(_three(nodes), psis[1], two)", "two", None),
    (UniPC, check_unipc, "torch.isfinite(older[0]) & ", "", None),  # an estimate at alpha = 0 counts
    (UniPC, check_unipc, "if before is not None", "if False", None),  # the corrector is skipped
    (UniPC, check_unipc, " - predicted\n", "\n", None),
    (UniPC, check_unipc, "self._beyond(before, s,", "self._beyond(before, t,", None),
    (LMS, check_lms, "/ (k + 1)", "/ (k + 2)", None),
    (LMS, check_lms, "- s.alpha * D", "+ s.alpha * D", None),
    (LMS, check_lms, "(level.rho - s.rho) / width", "(s.rho - level.rho) / width", None),
    (DEIS, check_deis, "-s.rho * gamma", "s.rho * gamma", None),
    (DEIS, check_deis, "k * made[-1] - power", "made[-1] - power", None),
    (DEIS, check_deis, "torch.where(torch.isinf(h), 0.0, ", "torch.where(h < 0, 0.0, ", None),  # inf e^-inf
    (IPNDM, check_ipndm, "-float(j)", "float(j)", None),
    (IPNDM, check_ipndm, "torch.isfinite(rho[j]) & ", "", None),  # an estimate at alpha = 0 counts
]


def order_of(cls):
    check_order(cls())


PLANTED_ORDER = [
    (DPMpp3M, order_of, *HALF_WEIGHT, exponential),
    (DPMpp3M, order_of, "log_step(s, level) / h for", "-torch.ones(()) for", exponential),  # steps taken as equal
    (UniPC, order_of, "if before is not None", "if False", None),
    (UniPC, order_of, " - predicted\n", "\n", None),
    (ExpABM, order_of, "x = x + self._correction(*pair", "x = x - self._correction(*pair", None),
    (LMS, order_of, "/ (k + 1)", "/ (k + 1.5)", None),
    (DEIS, order_of, "/ (k + 1), k * made", "/ k, k * made", None),
    (IPNDM, check_ipndm_orders, "/ (k + 1)", "/ (k + 2)", None),
]
PLANTED_WAITING = [
    (ExpAB, check_waiting, "usable & torch.isfinite(r[k])", "usable", exponential),
    (ExpAB, check_waiting, "usable & (r[j] != r[k])", "usable", exponential),
    (UniPC, check_waiting, " & (older[0] > torch.maximum(first, second))", "", None),
    (IPNDM, check_waiting, " & (rho[j] > rho[j - 1])", "", None),
]


@pytest.mark.parametrize(("cls", "check", "old", "new", "helper"), PLANTED + PLANTED_ORDER + PLANTED_WAITING)
def test_planted_error_is_caught(cls, check, old, new, helper):
    with pytest.raises(AssertionError):
        check(plant(cls, old, new, helper))


def test_a_wrong_series_is_caught():
    source = "torch.where(H.abs() < 1, _series(H, k)"
    module = plant(ExpAB, source, source.replace("k)", "k - 1)"), exponential).draft.__globals__
    with pytest.raises(AssertionError):
        check_psi(type("Faulty", (), {"psi": staticmethod(module["psi"])}))
