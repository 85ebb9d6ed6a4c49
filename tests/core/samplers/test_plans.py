"""Every sampler on every schedule: invariants, maps of levels; the loop that runs a plan."""

import ast
import itertools
import weakref

import numpy as np
import pytest
import torch
from sonolux.core.config import registry
from sonolux.core.samplers import plan as plans
from sonolux.core.samplers import solver
from sonolux.core.samplers.base import LinearCombination, PlanBuilder, PlannedSampler, run_plan, trace_plan
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
from sonolux.core.testing.conformance import check_level_maps, check_plan, even_tau_levels
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.invariants import largest_deviation
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    call_target,
    condition_target,
    constant_target,
    drop_statement,
    keep_left_operand,
    keep_right_operand,
    negate_expression,
    planted_error,
    replace_expression,
    scale_expression,
    swap_constant,
    swap_operator,
)
from sonolux.core.types import BadInput, Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import KeyedNoise
from torch.utils._python_dispatch import TorchDispatchMode

SCHEDULES = {name: registry.find_class("schedule", name)() for name in registry.builtin_files("schedule")}
SAMPLERS = {name: registry.find_class("sampler", name)() for name in registry.builtin_files("sampler")}
WITH_OPTIONS = {
    "ddim eta 0.5": DDIM(eta=0.5),
    "ddim eta 1": DDIM(eta=1.0),
    "ddpm large": DDPM(variance="large"),
    "euler_ancestral eta 0": EulerAncestral(eta=0.0),
    "euler_ancestral eta 0.3": EulerAncestral(eta=0.3),
    "dpmpp_2m_sde eta 0": DPMpp2MSDE(eta=0.0),
    "dpmpp_2m_sde eta 0.5": DPMpp2MSDE(eta=0.5),
}
ALL = {**SAMPLERS, **WITH_OPTIONS}
MIXTURE = example_mixture()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "schedule"), list(itertools.product(ALL, SCHEDULES)))
def test_invariants_at_every_point(name, schedule):
    for steps in (1, 2, 9):
        check_plan(ALL[name], SCHEDULES[schedule], steps)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "schedule"), list(itertools.product(ALL, ("vp_linear", "edm", "rectified_flow"))))
def test_a_map_gives_what_the_number_gives(name, schedule):
    check_level_maps(ALL[name], SCHEDULES[schedule])


def test_ddpm_with_the_large_variance_is_the_named_exception():
    plan = DDPM(variance="large").plan(VPLinear(), even_tau_levels(VPLinear(), 9))
    found = largest_deviation(plan)
    assert found.data < 1e-9 and found.noise > 1e-3


FLOW = RectifiedFlow()
PLANTED = [
    (DDIM, "draft", (scale_expression(argument_target("first_order_step", 5), 1.6),)),
    (Euler, "draft", (swap_operator(ast.Sub, ast.Add),)),
    (EulerAncestral, "draft", (scale_expression(argument_target("first_order_step", 5), 2.0),)),
    (EulerAncestral, "draft", (keep_right_operand(ast.Mult, near="down"),)),
    (DDPM, "draft", (negate_expression(condition_target()),)),
    (Heun, "heun_step", (swap_operator(ast.Sub, ast.Add, near="eps_t"),)),
    (DPMpp2M, "draft", (replace_expression(argument_target("first_order_step", 5), "s.sigma"),)),
    (DPMpp2MSDE, "kept_noise_share", (replace_expression(ast.USub, "eta"),)),
    (DDIM, "first_order_step", (keep_left_operand(ast.Sub, near="sigma_d"),)),
    (EulerAncestral, "first_order_step", (keep_right_operand(ast.Mult, near="ratio", at=2),)),
    (DPMpp2M, "newton_integral", (replace_expression(ast.USub, "distance"),)),
    (DPMpp2MSDE, "first_order_step", (scale_expression(call_target("noise"), 2.0),)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "where", "errors"), PLANTED)
def test_planted_error_is_caught_by_the_invariants(cls, where, errors):
    with faulty_sampler(cls, where, *errors):
        sampler = cls(**({"eta": 0.7} if cls is DDIM else {}))
        assert_caught(lambda: [check_plan(sampler, schedule, 9) for schedule in (FLOW, VPLinear(), EDM())])


def check_ends(sampler):
    check_plan(sampler, FLOW)
    check_level_maps(sampler, FLOW)
    check_level_maps(sampler, EDM())


@pytest.mark.parametrize(
    ("cls", "where", "errors"),
    [
        (
            DPMpp2M,
            "newton_integral",
            (
                replace_expression(condition_target(), "False", near="any_true"),
                replace_expression(call_target("select_by_mask"), "moment * inverse[j]"),
            ),
        ),
        (
            DPMpp2M,
            "newton_integral",
            (replace_expression(ast.BitOr, "True"),),
        ),  # division by a step that an element did not take
        (
            Heun,
            "heun_step",
            (replace_expression(call_target("has_finite_lambda"), "s.alpha >= 0"),),
        ),  # a slope that is not defined
    ],
)
def test_planted_error_at_the_ends_is_caught(cls, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check_ends, cls(), also=(ZeroDivisionError,))


def test_an_unfused_map_would_be_caught(monkeypatch):
    def unfused(terms, values, like):
        return sum(values[s] * (c if isinstance(c, torch.Tensor) else float(torch.tensor(c))) for s, c in terms)

    check_level_maps(Heun(), FLOW)
    monkeypatch.setattr(solver, "_total", lambda terms, values, like: unfused(terms, values, like) + 0)
    shifted = plans.broadcast_like
    monkeypatch.setattr(plans, "broadcast_like", lambda value, x: shifted(value, x) * (1 + 1e-7))
    with pytest.raises(AssertionError, match="bit for bit"):
        check_level_maps(Heun(), FLOW)


# --- the loop --------------------------------------------------------------------------------------------------------


def start(count=3, dtype=torch.float64):
    return torch.randn(count, *MIXTURE.shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def noise(count=3, dtype=torch.float64):
    return KeyedNoise(seed=5, samples=range(count), shapes=MIXTURE.shape, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_the_batch(name):
    plan = SAMPLERS[name].plan(FLOW, even_tau_levels(FLOW, 6))
    together = run_plan(plan, MIXTURE, start(), noise=noise())
    alone = run_plan(plan, MIXTURE, start()[1:2], noise=KeyedNoise(5, [1], MIXTURE.shape, dtype=torch.float64))
    assert torch.allclose(together[1:2], alone, atol=1e-12)


def test_noise_drawn_before_is_the_noise_drawn_on_the_way():
    plan = EulerAncestral().plan(FLOW, even_tau_levels(FLOW, 6))
    before = {key: noise().normal("sampler", key) for key in plan.noises}
    assert torch.equal(run_plan(plan, MIXTURE, start(), noise=noise()), run_plan(plan, MIXTURE, start(), noise=before))
    with pytest.raises(BadInput, match="pass `noise`"):
        run_plan(plan, MIXTURE, start())


@pytest.mark.parametrize(("name", "evaluations"), [("euler", 6), ("dpmpp_2m", 6), ("heun", 10), ("ddpm", 6)])
def test_number_of_evaluations(name, evaluations):
    """Heun evaluates twice a step, but once at the first, from alpha = 0, and at the last, to sigma = 0."""
    assert SAMPLERS[name].plan(FLOW, even_tau_levels(FLOW, 6)).nfe == evaluations


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_callbacks_see_the_end_of_every_step(name):
    seen = []
    levels = even_tau_levels(EDM(), 5)
    out = run_plan(SAMPLERS[name].plan(EDM(), levels), MIXTURE, start(), noise=noise(), on_step=seen.append)
    assert [(p.step, p.steps) for p in seen] == [(i, 5) for i in range(1, 6)]
    assert [p.level.sigma for p in seen] == [float(a.sigma) for a in levels[1:]]
    assert torch.equal(seen[-1].x, out) and all(p.x0 is not None for p in seen)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_loop_reads_no_number_off_the_device(name):
    """No `.item()`, no truth value of a tensor, no transfer: nothing in the loop waits for a device."""

    class Refuse(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert "_local_scalar_dense" not in str(func) and "_to_copy" not in str(func), func
            return func(*args, **(kwargs or {}))

    class Linear:
        def denoise(self, x, level, conditions):
            return Estimate(x * 0.5)

    plan = SAMPLERS[name].plan(FLOW, even_tau_levels(FLOW, 4))
    drawn = {key: start() for key in plan.noises}
    with Refuse():
        run_plan(plan, Linear(), start(), noise=drawn)


class Watching:
    """Counts the points and estimates that are alive whenever it is called."""

    def __init__(self):
        self.made, self.alive = [], []

    def denoise(self, x, level, conditions):
        x0 = torch.tanh(x)
        self.made += [weakref.ref(x), weakref.ref(x0)]
        self.alive.append(sum(made() is not None for made in self.made))
        return Estimate(x0)


def check_freed(sampler, most=12):
    """What a run holds does not grow with its steps: no more than the longest history, and the stages of a step."""
    seen = Watching()
    run_plan(sampler.plan(FLOW, even_tau_levels(FLOW, 20)), seen, start(), noise=noise())
    assert max(seen.alive) <= most, "what is no longer needed is freed"


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_what_is_no_longer_needed_is_freed(name):
    check_freed(ALL[name])


def test_points_that_only_the_denoiser_sees_are_freed():
    """A predictor's point enters no later row, so no row is its last use."""
    with planted_error(plans, "last_uses", drop_statement(constant_target("x"), at=-1)):
        check_freed(Euler())
        for name in ("heun_exp", "dpmpp_2s", "lcm"):
            assert_caught(check_freed, SAMPLERS[name])


def test_an_estimate_may_move_the_state():
    class Shifting:
        def denoise(self, x, level, conditions):
            return Estimate(torch.zeros_like(x), x=x + 1)

    plan = Euler().plan(EDM(), [EDM().level(t) for t in (4.0, 2.0, 1.0)])
    assert torch.allclose(run_plan(plan, Shifting(), torch.zeros(1, 1, 1)), torch.tensor((1 / 2 + 1) / 2))


def test_gradients_flow_through_a_run():
    plan = Heun().plan(FLOW, even_tau_levels(FLOW, 3))
    assert torch.autograd.gradcheck(lambda x: run_plan(plan, MIXTURE, x), start().requires_grad_(), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_follows_float64(name):
    schedule = Discrete()
    plan = SAMPLERS[name].plan(schedule, even_tau_levels(schedule, 12))
    exact = run_plan(plan, MIXTURE, start(), noise=noise())
    single = run_plan(plan, MIXTURE, start(dtype=torch.float64).float(), noise=noise(dtype=torch.float32))
    assert single.dtype == torch.float32 and torch.allclose(single.double(), exact, atol=1e-5)


def test_a_sampler_is_written_like_its_paper():
    class Mine(PlannedSampler):
        def draft(self, builder: PlanBuilder) -> None:
            x = builder.start()
            for s, t in builder.pairs():
                D = builder.denoise(x)
                x = builder.step((t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * D, t)

    levels = even_tau_levels(FLOW, 5)
    assert torch.allclose(
        run_plan(Mine().plan(FLOW, levels), MIXTURE, start()),
        run_plan(Euler().plan(FLOW, levels), MIXTURE, start()),
        atol=1e-12,
    )


def test_algebra_of_combinations():
    x, D = LinearCombination({("x", 0): 1.0}), LinearCombination({("D", 0): 1.0})
    two = np.float64(2.0)
    made = two * x - (D - x) / 4 + -x * two
    assert {k: float(v) for k, v in made.terms.items()} == {("x", 0): 0.25, ("D", 0): -0.25}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Euler().plan(EDM(), []), "at least two levels"),
        (lambda: Euler().plan(EDM(), [EDM().level(1.0)]), "at least two levels"),
        (lambda: Euler().plan(EDM(), [EDM().level(1.0), EDM().level(2.0)]), "noisier"),
        (lambda: Euler().plan(EDM(), [EDM().level(1.0), EDM().level(1.0)]), "repeats"),
        (lambda: DDIM(eta=1.5), "eta"),
        (lambda: EulerAncestral(eta=-0.1), "eta"),
        (lambda: DPMpp2MSDE(eta=-1.0), "eta"),
        (lambda: DDPM(variance="medium"), "small or large"),  # type: ignore[arg-type]
    ],
)
def test_wrong_requests_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_denoise_wants_a_point():
    builder = PlanBuilder(EDM(), [EDM().level(2.0), EDM().level(1.0)])
    with pytest.raises(BadInput, match=r"builder\.point"):
        builder.denoise(builder.start() * 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_levels_may_differ_from_sample_to_sample(name):
    """Levels (B,): every sample follows its own list, as if it were alone."""
    starts = (1.0, 0.7, 0.4)
    lists = [[FLOW.level(u * (1 - i / 5)) for i in range(6)] for u in starts]
    columns = zip(*lists, strict=True)
    together = [
        NoiseLevel(*(torch.stack([getattr(a, f) for a in own]) for f in ("t", "alpha", "sigma"))) for own in columns
    ]
    plan = SAMPLERS[name].plan(FLOW, together)
    x = run_plan(plan, MIXTURE, start(), noise=noise())
    for i, own in enumerate(lists):
        plan = SAMPLERS[name].plan(FLOW, own)
        alone = run_plan(
            plan, MIXTURE, start()[i : i + 1], noise=KeyedNoise(5, [i], MIXTURE.shape, dtype=torch.float64)
        )
        assert torch.allclose(x[i : i + 1], alone, atol=1e-12)


def test_levels_may_be_plain_numbers():
    plan = Euler().plan(FLOW, [NoiseLevel(1.0, 0.0, 1.0), NoiseLevel(0.0, 1.0, 0.0)])
    assert torch.allclose(run_plan(plan, MIXTURE, start(), Conditioning()).reshape(3, -1), MIXTURE.mean.expand(3, -1))


# --- trace -----------------------------------------------------------------------------------------------------------


def check_trace(sampler):
    """Every row is the sum of its coefficients times the tensors of those names, and the last is the run's result."""
    plan = sampler.plan(FLOW, even_tau_levels(FLOW, 6))
    rows = list(trace_plan(plan, MIXTURE, start(), noise=noise()))
    assert [row.index for row in rows] == list(range(len(plan.rows)))
    for row, own in zip(rows[1:], plan.rows[1:], strict=True):
        assert row.coefficients.keys() == row.tensors.keys() and row.noises.keys() == own.z.keys(), "all are named"
        total = sum(c * row.tensors[name] for name, c in row.coefficients.items())
        assert torch.allclose(total, row.x, atol=1e-12), "a row is its sum"
        assert (row.x0 is not None) == own.evaluate and row.level == own.level and row.step == own.step
    assert torch.equal(rows[-1].x, run_plan(plan, MIXTURE, start(), noise=noise())), "the numbers are the run's"
    evaluated = [row for row in rows if row.x0 is not None]
    assert all(torch.equal(row.x0, MIXTURE.denoise(row.x, row.level).x0) for row in evaluated), "x0 belongs to its x"


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_trace_shows_every_quantity(name):
    check_trace(SAMPLERS[name])


def test_a_trace_knows_where_an_estimate_moved_the_state():
    class Shifting:
        def denoise(self, x, level, conditions):
            return Estimate(torch.zeros_like(x), x=x + 1)

    plan = Euler().plan(EDM(), [EDM().level(t) for t in (4.0, 2.0, 1.0)])
    rows = list(trace_plan(plan, Shifting(), torch.zeros(1, 1, 1)))
    assert [float(row.x) for row in rows] == [0.0, 0.5, 0.75] and float(rows[2].tensors["x[1]"]) == 1.5


def test_a_trace_that_shows_wrong_rows_is_caught():
    with planted_error(solver, "trace_plan", swap_constant("x[", "D[")):
        assert_caught(check_trace, Heun(), also=(KeyError,))
    with planted_error(solver, "_total", negate_expression(argument_target("add_", "alpha"))):
        assert_caught(check_trace, Euler())
