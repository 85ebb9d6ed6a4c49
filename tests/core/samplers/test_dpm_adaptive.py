"""The adaptive sampler: errors follow the tolerances, every sample has its own steps, and evaluations are counted."""

import ast
import itertools
import math

import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.pipeline.functional import sample
from sonolux.core.samplers.base import Solution, run_plan
from sonolux.core.samplers.dpm_adaptive import DPMAdaptive, _Control, _KnownFirst, _Path
from sonolux.core.samplers.heun import Heun
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import even_tau_levels
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    attribute_target,
    call_target,
    condition_target,
    keep_right_operand,
    planted_error,
    replace_expression,
    set_argument,
    swap_name,
    swap_operator,
    variable_target,
)
from sonolux.core.testing.ode import random_start, solve_in_tau
from sonolux.core.types import BadInput, Conditioning, Estimate, NoiseLevel

FLOW = RectifiedFlow()
MIXTURE = example_mixture()
WHOLE = [FLOW.level(1.0), FLOW.clean()]
START = random_start(MIXTURE, NoiseLevel(1.0, 0.0, 1.0), 4)


class Counting:
    """Counts the calls."""

    def __init__(self, denoiser=MIXTURE):
        self.denoiser, self.calls = denoiser, 0

    def denoise(self, x, level, conditions):
        self.calls += 1
        return self.denoiser.denoise(x, level, conditions)


class Smooth:
    """Acts element by element."""

    def denoise(self, x, level, conditions):
        return Estimate(torch.tanh(x))


def within(order, scale, **more):
    """A sampler whose tolerances are the usual ones times `scale`."""
    return DPMAdaptive(order, rtol=0.05 * scale, atol=0.0078 * scale, **more)


# --- against a plain implementation of one sample, in lambda --------------------------------------------------------


def alone(x, first, last, order, rtol, atol, p):
    """One sample from tau = first to last on a variance-preserving process; returns its end and its evaluations."""

    def at(tau):
        lam = math.log((1 - tau) / tau)
        return lam, math.sqrt(1 / (1 + math.exp(-2 * lam))), math.sqrt(1 / (1 + math.exp(2 * lam)))

    def at_lambda(lam):
        return lam, math.sqrt(1 / (1 + math.exp(-2 * lam))), math.sqrt(1 / (1 + math.exp(2 * lam)))

    def D(x, level):
        return MIXTURE.denoise(x, NoiseLevel(0.0, level[1], level[2])).x0

    def to(x, a, b, estimate):
        return b[2] / a[2] * x - b[1] * math.expm1(a[0] - b[0]) * estimate

    done, step, nfe, before, fresh = 0.0, 0.05, 0, None, True
    while done < 1:
        aim = 1.0 if done + 1.01 * step >= 1 else done + step
        s, t = (at(first + share * (last - first)) for share in (done, aim))
        h = t[0] - s[0]
        nfe += fresh
        D_s = D(x, s)
        if order == 2:
            m = at_lambda(s[0] + h / 2)
            D_m = D(to(x, s, m, D_s), m)
            low, high = to(x, s, t, D_s), to(x, s, t, D_m)
            nfe += 1
        else:
            m, n = at_lambda(s[0] + h / 3), at_lambda(s[0] + 2 * h / 3)
            D_m = D(to(x, s, m, D_s), m)
            bend = 2 * (math.expm1(-2 * h / 3) / (2 * h / 3) + 1)
            D_n = D(to(x, s, n, D_s) + n[1] * bend * (D_m - D_s), n)
            low = to(x, s, t, D_s + 1.5 * (D_m - D_s))
            high = to(x, s, t, D_s) + t[1] * (math.expm1(-h) / h + 1) * 1.5 * (D_n - D_s)
            nfe += 2
        scale = t[1] + t[2]
        allowed = torch.maximum(
            rtol * torch.maximum((low / scale).abs(), (x / (s[1] + s[2])).abs()), torch.tensor(atol)
        )
        inverse = 1 / (float(((high - low) / scale / allowed).square().mean().sqrt()) + 1e-8)
        factor = inverse ** ((p + 1) / order) * (before or inverse) ** (-p / order)
        factor = 1 + math.atan(factor - 1)
        fresh = factor >= 0.81
        before = inverse if fresh or before is None else before
        step = (aim - done) * factor
        if fresh:
            done, x = aim, high
    return x, nfe


def check_alone(cls):
    """Every sample of a batch against a run of its own, in other variables, between two inner levels."""
    vp, (first, last) = VPLinear(), (0.95, 0.03)
    levels = [vp.level_of_rho(tau / (1 - tau)) for tau in (first, last)]
    x = random_start(MIXTURE, levels[0], 4)
    for order, p in ((2, 0.0), (3, 0.0), (3, 0.3)):
        rtol, atol = 0.01, 0.002
        made = cls(order=order, rtol=rtol, atol=atol, p=p).solve(vp, levels, MIXTURE, x)
        assert len(set(made.nfe)) > 1, "the samples differ in their steps"
        for i in range(4):
            expected, nfe = alone(x[i : i + 1], first, last, order, rtol, atol, p)
            assert made.nfe[i] == nfe, f"{nfe} evaluations, not {made.nfe[i]}"
            assert torch.allclose(made.x[i : i + 1], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.slow
def test_alone():
    check_alone(DPMAdaptive)


# --- tolerances -----------------------------------------------------------------------------------------------------


def check_tolerances(cls, order=3, scales=(1.0, 0.1, 0.01)):
    """From pure noise to clean data the error follows the tolerance, and evaluations grow as it falls."""
    exact = solve_in_tau(MIXTURE, START, (1.0, 0.0))[-1]
    nfe, errors = [], []
    for scale in scales:
        made = cls(order=order, rtol=0.05 * scale, atol=0.0078 * scale).solve(FLOW, WHOLE, MIXTURE, START)
        errors.append(float((made.x - exact).square().mean().sqrt()))
        nfe.append(sum(made.nfe))
        assert errors[-1] < 0.05 * scale, f"an error of {errors[-1]:.1e} at the tolerance {0.05 * scale:g}"
    assert nfe == sorted(nfe) and nfe[0] < nfe[-1] / 2, f"evaluations {nfe}"
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 10, f"errors {errors}"


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 3])
def test_tolerances(order):
    check_tolerances(DPMAdaptive, order)


@pytest.mark.slow
def test_the_higher_pair_needs_fewer_evaluations_at_tight_tolerances():
    made = [sum(within(order, 0.01).solve(FLOW, WHOLE, MIXTURE, START).nfe) for order in (2, 3)]
    assert made[1] < made[0] / 1.5


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.builtin_files("schedule"))
def test_finite_from_the_noisiest_level_to_clean(name):
    try:
        schedule = registry.find_class("schedule", name)()
    except TypeError:
        pytest.skip(f"{name} has no defaults")
    levels = even_tau_levels(schedule, 1)
    scale = float(levels[0].alpha + levels[0].sigma)
    for order in (2, 3):
        made = within(order, 1.0).solve(schedule, levels, MIXTURE, START * scale)
        assert torch.isfinite(made.x).all() and max(made.nfe) < 100


@pytest.mark.slow
def test_every_schedule_takes_the_same_steps():
    """Between the same two values of tau the curve is the same, and so are steps and errors."""
    made = []
    for schedule in (VPLinear(), EDM(), FLOW):
        levels = [schedule.level_of_rho(tau / (1 - tau)) for tau in (0.95, 0.03)]
        start, end = (float(a.alpha + a.sigma) for a in levels)
        solved = within(3, 0.1).solve(schedule, levels, MIXTURE, START * start)
        made.append((solved.x / end, solved.nfe))
    for (x, nfe), (y, other) in itertools.pairwise(made):
        assert nfe == other and torch.allclose(x, y, atol=1e-9)


# --- each sample by itself ------------------------------------------------------------------------------------------


def check_batch(cls):
    """Samples of a batch, of which one is far easier, against the same samples alone."""
    x = torch.cat([START, 0 * START[:1]])
    sampler = cls(rtol=0.005, atol=0.0008)
    together = sampler.solve(FLOW, WHOLE, MIXTURE, x)
    assert len(set(together.nfe)) > 1
    for i in range(len(x)):
        single = sampler.solve(FLOW, WHOLE, MIXTURE, x[i : i + 1])
        assert single.nfe == together.nfe[i : i + 1]
        assert torch.allclose(single.x, together.x[i : i + 1], atol=1e-11)


@pytest.mark.slow
def test_a_sample_does_not_depend_on_the_batch():
    check_batch(DPMAdaptive)


def check_padding(cls):
    """A sample that is padded to a batch's size takes the steps it takes without."""
    x = START.reshape(4, 2, 3)[:1]
    padded = torch.cat([x, torch.full((1, 2, 5), 3.0, dtype=torch.float64)], dim=2)
    valid = torch.cat([torch.ones(1, 1, 3), torch.zeros(1, 1, 5)], dim=2)
    sampler = cls(rtol=0.01, atol=0.001)
    bare = sampler.solve(FLOW, WHOLE, Smooth(), x)
    made = sampler.solve(FLOW, WHOLE, Smooth(), padded, Conditioning(valid=valid))
    assert made.nfe == bare.nfe and torch.allclose(made.x[..., :3], bare.x, atol=1e-12)


@pytest.mark.slow
def test_padding():
    check_padding(DPMAdaptive)


def check_maps(cls):
    """A constant map is a number; an element that is clean from the start keeps its value and has no say."""
    x = START.reshape(4, 2, 3)
    sampler = cls(rtol=0.01, atol=0.001)
    number = sampler.solve(FLOW, WHOLE, Smooth(), x)
    maps = [NoiseLevel(*(v.repeat(4, 1, 3) for v in (a.t, a.alpha, a.sigma))) for a in WHOLE]
    made = sampler.solve(FLOW, maps, Smooth(), x)
    assert made.nfe == number.nfe and torch.allclose(made.x, number.x, atol=1e-12)
    mixed = [NoiseLevel(*(v.clone() for v in (a.t, a.alpha, a.sigma))) for a in maps]
    for own, clean in zip((mixed[0].t, mixed[0].alpha, mixed[0].sigma), (0.0, 1.0, 0.0), strict=True):
        own[:, :, 1] = clean
    made = sampler.solve(FLOW, mixed, Smooth(), x)
    bare = sampler.solve(FLOW, WHOLE, Smooth(), x[:, :, [0, 2]])
    assert torch.equal(made.x[:, :, 1], x[:, :, 1])
    assert made.nfe == bare.nfe and torch.allclose(made.x[:, :, [0, 2]], bare.x, atol=1e-12)


@pytest.mark.slow
def test_maps():
    check_maps(DPMAdaptive)


# --- what it costs and reports --------------------------------------------------------------------------------------


def check_count(cls):
    """Every evaluation is counted, those of rejected steps too, and none is made twice for a sample alone."""
    for first in (0.05, 1.0):
        counting, seen = Counting(), []
        sampler = cls(rtol=0.005, atol=0.0008, first=first)
        made = sampler.solve(FLOW, WHOLE, counting, START[:1], on_step=seen.append)
        assert made.nfe == (counting.calls,)
        rejected = (counting.calls - 3 * len(seen)) / 2  # a step tried again begins with the estimate it has
        assert rejected == int(rejected) >= (first == 1.0)


def test_count():
    check_count(DPMAdaptive)


def test_callbacks():
    seen = []
    made = DPMAdaptive().solve(FLOW, WHOLE, MIXTURE, START, on_step=seen.append)
    assert isinstance(made, Solution) and torch.equal(seen[-1].x, made.x) and seen[-1].nfe == made.nfe
    assert [p.step for p in seen] == list(range(1, len(seen) + 1)) and all(p.steps is None for p in seen)
    sigma = torch.stack([p.level.sigma for p in seen])
    assert (torch.diff(sigma, dim=0) <= 0).all() and (torch.diff(sigma, dim=0) < 0).any(1).all()
    assert torch.equal(sigma[-1], torch.zeros(4, dtype=torch.float64))
    assert (sigma[:-1].std(1) > 0).any(), "samples are at levels of their own"
    assert all(p.x0 is not None and torch.isfinite(p.x0).all() for p in seen)
    assert all(a <= b for p, q in itertools.pairwise(seen) for a, b in zip(p.nfe, q.nfe, strict=True))


def test_other_samplers_report_what_they_cost_in_the_same_way():
    levels, seen = even_tau_levels(FLOW, 6), []
    made = Heun().solve(FLOW, levels, MIXTURE, START, on_step=seen.append)
    plan = Heun().plan(FLOW, levels)
    assert torch.equal(made.x, run_plan(plan, MIXTURE, START)) and made.nfe == (plan.nfe,) * 4
    assert [p.nfe[0] for p in seen] == [2, 4, 6, 8, 10, 10] and all(len(p.nfe) == 4 for p in seen)
    assert DPMAdaptive.adaptive and not Heun.adaptive


def test_an_estimate_may_move_the_state():
    """A denoiser that moves the noise it is first given is a run from there."""

    class Moving(Counting):
        def denoise(self, x, level, conditions):
            moved = START if self.calls == 0 else None
            return Estimate(super().denoise(x if moved is None else moved, level, conditions).x0, moved)

    made = DPMAdaptive().solve(FLOW, WHOLE, Moving(), START.flip(0))
    plain = DPMAdaptive().solve(FLOW, WHOLE, MIXTURE, START)
    assert torch.allclose(made.x, plain.x, atol=0.02)


def test_samples_from_a_module():
    class Ideal(torch.nn.Module):
        def forward(self, x, t):
            return x * 0.6

    seen = []
    x = sample(Ideal(), (3, 2, 8), sampler="dpm_adaptive", seed=4, on_step=seen.append)
    one = sample(Ideal(), (1, 2, 8), sampler="dpm_adaptive", seed=4, first=1)
    assert x.dtype == torch.float32 and torch.allclose(x[1:2], one, atol=1e-5) and min(seen[-1].nfe) > 5


def test_float32_follows_float64():
    exact = DPMAdaptive().solve(FLOW, WHOLE, MIXTURE, START)
    single = DPMAdaptive().solve(FLOW, WHOLE, MIXTURE, START.float())
    assert single.nfe == exact.nfe and torch.allclose(single.x.double(), exact.x, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DPMAdaptive(order=4), "order is 2 or 3"),
        (lambda: DPMAdaptive(atol=0.0), "atol above 0"),
        (lambda: DPMAdaptive(rtol=-1.0), "rtol of at least 0"),
        (lambda: DPMAdaptive(first=0.0), "fraction of the interval"),
        (lambda: DPMAdaptive(p=-1.0), "controller"),
        (lambda: DPMAdaptive(safety=1.0), "safety"),
        (lambda: DPMAdaptive(trials=5).solve(FLOW, WHOLE, MIXTURE, START), "raise rtol or atol"),
        (lambda: DPMAdaptive().solve(FLOW, WHOLE[::-1], MIXTURE, START), "noisier"),
        (lambda: DPMAdaptive().solve(FLOW, [], MIXTURE, START), "at least two levels"),
    ],
)
def test_wrong_requests_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_an_estimate_that_is_no_number_ends_the_run():
    class Broken:
        def denoise(self, x, level, conditions):
            return Estimate(x * math.nan)

    with pytest.raises(ArithmeticError, match="not finite"):
        DPMAdaptive().solve(FLOW, WHOLE, Broken(), START)


PLANTED = [
    (DPMAdaptive, check_alone, _Control, "judge", (replace_expression(variable_target("before"), "now", at=0),)),
    (DPMAdaptive, check_alone, _Control, "judge", (swap_operator(ast.Add, ast.Sub, near="atan"),)),
    (
        DPMAdaptive,
        check_alone,
        _Control,
        "judge",
        (replace_expression(attribute_target("safety"), "0"),),
    ),  # everything is accepted
    (DPMAdaptive, check_alone, _Control, "judge", (replace_expression(attribute_target("pair_order"), "_ + 1"),)),
    (DPMAdaptive, check_alone, DPMAdaptive, "integrate", (set_argument("where", 1, "low"),)),
    (DPMAdaptive, check_alone, DPMAdaptive, "_error", (swap_name("after", "before", at=1),)),
    (DPMAdaptive, check_alone, DPMAdaptive, "_error", (replace_expression(call_target("maximum"), "low.abs()"),)),
    (DPMAdaptive, check_tolerances, DPMAdaptive, "_error", (swap_operator(ast.Div, ast.Mult, near="allowed"),)),
    (
        DPMAdaptive,
        check_batch,
        DPMAdaptive,
        "integrate",
        (replace_expression(argument_target("judge", 0), "_.mean().expand(len(x))"),),
    ),
    (
        DPMAdaptive,
        check_batch,
        DPMAdaptive,
        "integrate",
        (replace_expression(attribute_target("running"), "1", at=1),),
    ),  # finished pay on
    (DPMAdaptive, check_padding, DPMAdaptive, "_error", (replace_expression(condition_target(), "False"),)),
    (DPMAdaptive, check_maps, _Path, "__init__", (replace_expression(ast.NotEq, "self.first.tau == self.first.tau"),)),
    (DPMAdaptive, check_batch, DPMAdaptive, "integrate", (keep_right_operand(ast.BitAnd),)),
    (
        DPMAdaptive,
        check_count,
        _KnownFirst,
        "denoise",
        (replace_expression(condition_target(), "False"),),
    ),  # the known estimate is made again
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "check", "owner", "where", "errors"), PLANTED)
def test_planted_error_is_caught(cls, check, owner, where, errors):
    with planted_error(owner, where, *errors):
        assert_caught(check, cls, also=(BadInput, RuntimeError))
