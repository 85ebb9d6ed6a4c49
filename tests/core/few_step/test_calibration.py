"""Calibrated plans: the search prices steps rightly, finds the least path, keeps the invariants, holds elsewhere."""

import ast
import itertools
import math
from dataclasses import replace

import pytest
import torch
from sonolux.core.few_step import calibrate as calibration
from sonolux.core.few_step import level_search, refine
from sonolux.core.few_step.calibrate import calibrate_plan, multistep_samplers, rank_registered_pairs, timestep_spacings
from sonolux.core.few_step.level_search import optimal_levels
from sonolux.core.few_step.problem import CalibrationBatch, CalibrationProblem
from sonolux.core.few_step.reference import solve_reference
from sonolux.core.few_step.refine import refine_plan
from sonolux.core.few_step.stored_plans import plan_from_json, plan_to_json
from sonolux.core.guidance.apg import APG
from sonolux.core.guidance.base import GuidedDenoiser, SamplingRun
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.euler_ancestral import EulerAncestral
from sonolux.core.samplers.ipndm import IPNDM
from sonolux.core.samplers.rk4 import RK4
from sonolux.core.samplers.unipc import UniPC
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing import mutation, ode
from sonolux.core.testing.invariants import largest_deviation
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import assert_caught, keep_left_operand, planted_error, swap_attribute
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.types import BadInput, Conditioning, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

MIXTURE = example_mixture(shape=(2, 4), rank=1)
SCHEDULES = [EDM(), RectifiedFlow()]


def problem(schedule, seed=0, count=64):
    first = schedule.level(schedule.t_max)
    z = torch.randn(count, *MIXTURE.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    parts = (z * first.sigma).split([count // 4, count - count // 4])  # two batches, of unequal size
    return CalibrationProblem(schedule, tuple(CalibrationBatch(MIXTURE, part, Conditioning()) for part in parts))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_fine_solution_is_the_exact_one(schedule):
    mine = problem(schedule, count=8)
    reference = solve_reference(mine, 96, 2)
    exact = ode.solve_ode(MIXTURE, mine.start, [schedule.level(schedule.t_max), schedule.clean()])[-1]
    assert mine.error(reference.x0, exact) < 1e-3
    assert reference.nfe == 2 * 192 - 1  # one at the step to clean


def D(x, level):
    return MIXTURE.denoise(x, NoiseLevel(*(float(v) for v in (level.t, level.alpha, level.sigma)))).x0


def direct_cost(sampler, schedule, reference, points, i, j, k):
    """The error of the second of two steps from exact points, with the tensors themselves."""
    xs, Ds = points
    levels = [*reference.levels, schedule.clean()]
    row = sampler.plan(schedule, [levels[n] for n in (i, j, k)]).rows[2]
    at = (i, j)
    made = sum(c * xs[at[n]] for n, c in row.x.items()) + sum(c * Ds[at[n]] for n, c in row.d.items())
    exact = xs[k] if k < len(xs) else reference.x0
    return float((made - exact).square().mean().sqrt() / (row.level.alpha + row.level.sigma))


def check_prices():
    for schedule, sampler in itertools.product(SCHEDULES, (Euler(), DPMpp2M())):
        mine = problem(schedule, count=16)
        reference = solve_reference(mine, 8, 3)
        exact = ode.solve_ode(MIXTURE, mine.start, reference.levels)
        # exact points, so that only the fine solution's own error separates the two
        points = exact, [D(x, level) for x, level in zip(exact, reference.levels, strict=True)]
        costs = level_search._costs(sampler, schedule, reference)
        for i, j, k in ((0, 2, 4), (1, 2, 7), (0, 3, 8)):
            expected = direct_cost(sampler, schedule, reference, points, i, j, k)
            assert float(costs[i, j, k]) == pytest.approx(expected, rel=0.15, abs=5e-3)
        assert torch.isinf(costs[3, 2, 5]) and torch.isinf(costs[2, 4, 4])


@pytest.mark.slow
def test_every_step_is_priced_rightly():
    check_prices()


def check_least_path():
    """Dynamic programming against all paths of a small grid."""
    schedule, sampler = RectifiedFlow(), DPMpp2M()
    reference = solve_reference(problem(schedule, count=32), 9, 3)
    first, pairs = (f(sampler, schedule, reference) for f in (level_search._first_costs, level_search._costs))
    G = len(reference.levels)
    for steps in (2, 3, 4):
        paths = {}
        for inner in itertools.combinations(range(1, G), steps - 1):
            path = (0, *inner, G)
            triples = zip(path, path[1:], path[2:], strict=False)
            paths[path] = float(first[path[1]]) + sum(float(pairs[t]) for t in triples)
        least = min(paths, key=paths.__getitem__)
        found = optimal_levels(sampler, schedule, reference, steps)
        assert [float(a.tau) for a in found[:-1]] == [float(reference.levels[n].tau) for n in least[:-1]]
        assert float(found[-1].sigma) == 0


def test_the_path_of_least_error_is_found():
    check_least_path()


def test_one_step_goes_from_noise_to_clean():
    reference = solve_reference(problem(EDM(), count=4), 8, 1)
    assert len(optimal_levels(Euler(), EDM(), reference, 1)) == 2


def check_refined():
    """Times and weights help on other seeds, leave a constant estimate exact and the norm of the noise alone."""
    for schedule in SCHEDULES:
        mine, other = problem(schedule, count=128), problem(schedule, seed=1, count=128)
        reference, held = solve_reference(mine, 24, 2), solve_reference(other, 24, 2)
        for sampler in (DPMpp2M(), IPNDM()):  # ipndm's rows look back on points, too
            plan = sampler.plan(schedule, optimal_levels(sampler, schedule, reference, 5))
            fitted, error = refine_plan(plan, mine, reference, rounds=20)
            found = largest_deviation(fitted)
            assert found.data < 1e-9 and found.noise < 1e-9
            assert error == pytest.approx(mine.error(mine.final_states(fitted), reference.x0))
            assert other.error(other.final_states(fitted), held.x0) < 0.5 * other.error(
                other.final_states(plan), held.x0
            )
            assert all(a.level.sigma != b.level.sigma for a, b in zip(fitted.rows[1:-1], plan.rows[1:-1], strict=True))


@pytest.mark.slow
def test_plans_are_refined_within_the_invariants():
    check_refined()


def check_rewritten():
    """Rows written on the last point alone are the same plan: nothing is refined in no rounds."""
    flow = RectifiedFlow()
    mine = problem(flow, count=4)
    for sampler in (IPNDM(), UniPC(3)):
        plan = sampler.plan(flow, Trailing().levels(flow, 6))
        rho = torch.tensor([math.log(float(row.level.rho)) for row in plan.rows[1:-1]], dtype=torch.float64)
        weights = [torch.tensor(each[:-1], dtype=torch.float64) for each in refine._weights_on_estimates(plan)]
        again = refine._with_variables(plan, flow, rho, weights, rho)
        assert all(set(row.x) <= {i - 1} for i, row in enumerate(again.rows))
        assert torch.allclose(mine.final_states(again), mine.final_states(plan), atol=1e-12)


def test_a_plan_is_rewritten_as_it_was():
    check_rewritten()


def test_only_plans_of_one_evaluation_a_step_are_refined():
    flow = RectifiedFlow()
    mine = problem(flow, count=4)
    with pytest.raises(BadInput, match="one evaluation per step"):
        refine_plan(RK4().plan(flow, Trailing().levels(flow, 2)), mine, solve_reference(mine, 8, 1))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_five_evaluations_beat_stock_on_seeds_not_seen(schedule):
    mine, other = problem(schedule, count=64), problem(schedule, seed=1, count=64)
    reference, held = solve_reference(mine), solve_reference(other)
    found = calibrate_plan(mine, 5, reference)
    pair = rank_registered_pairs(mine, reference, 5)[0]
    assert pair == found.stock and found.error < found.stock.error
    sampler, spacing = multistep_samplers()[pair.sampler], timestep_spacings()[pair.timesteps]
    theirs = run_plan(sampler.plan(schedule, spacing.levels(schedule, 5)), MIXTURE, other.start)
    assert found.plan.nfe == 5
    assert other.error(other.final_states(found.plan), held.x0) < 0.6 * other.error(theirs, held.x0)


def test_a_plan_is_stored_and_read_back_exactly():
    plan = DPMpp2M().plan(RectifiedFlow(), Trailing().levels(RectifiedFlow(), 4))
    again = plan_from_json(plan_to_json(plan))
    start = problem(RectifiedFlow()).start
    assert torch.equal(run_plan(plan, MIXTURE, start), run_plan(again, MIXTURE, start))
    assert [set(a.last) for a in again.rows] == [set(a.last) for a in plan.rows]


def test_what_cannot_be_stored_or_read_is_refused():
    levels = Trailing().levels(RectifiedFlow(), 4)
    with pytest.raises(BadInput, match="draws noise"):
        plan_to_json(EulerAncestral().plan(RectifiedFlow(), levels))
    rows = plan_to_json(Euler().plan(RectifiedFlow(), levels))
    with pytest.raises(BadInput, match="calibrate again"):
        plan_from_json([{**row, "level": ["noise"]} for row in rows])
    with pytest.raises(BadInput, match="row 1"):
        plan_from_json([rows[0], {**rows[1], "D": [[7, 1.0]]}])
    few = problem(EDM(), count=4)
    with pytest.raises(BadInput, match="2 or more"):
        calibrate_plan(few, 1)
    with pytest.raises(BadInput, match="8 evaluations or fewer, not 9"):
        calibrate_plan(few, 9, solve_reference(few, 8, 1))


@pytest.mark.slow
def test_every_multistep_method_takes_part():
    assert (
        {"euler", "dpmpp_2m"} <= set(multistep_samplers())
        and "heun" not in multistep_samplers()
        and "ddpm" not in multistep_samplers()
    )
    assert "karras" in timestep_spacings() and "explicit" not in timestep_spacings()
    assert all(
        not math.isnan(pair.error)
        for pair in rank_registered_pairs(problem(EDM(), count=4), solve_reference(problem(EDM(), count=4)), 3)
    )


def check_batches():
    """One batch and several, of any size: the same fine solution, the same prices, the same plan."""
    flow = RectifiedFlow()
    mine = problem(flow, count=12)
    whole = CalibrationProblem(flow, (CalibrationBatch(MIXTURE, mine.start, Conditioning()),))
    a, b = solve_reference(mine, 12, 2), solve_reference(whole, 12, 2)
    assert torch.allclose(a.x0, b.x0, atol=1e-12) and torch.allclose(a.gram, b.gram, atol=1e-12)
    plan = DPMpp2M().plan(flow, optimal_levels(DPMpp2M(), flow, b, 4))
    weights = [refine_plan(plan, p, b, rounds=3)[0].rows[3].d for p in (mine, whole)]
    assert weights[0].keys() == weights[1].keys() == {0, 1, 2}
    assert all(weights[0][j] == pytest.approx(weights[1][j], abs=1e-9) for j in weights[0])


@pytest.mark.slow
def test_batches_do_not_matter():
    check_batches()


def check_runs():
    """A guidance with momentum sees each run alone."""
    flow = RectifiedFlow()
    mine = problem(flow, count=8)
    told = MIXTURE.conditions(torch.arange(8) % 3)
    guided = CalibrationProblem(
        flow,
        (
            CalibrationBatch(
                APG(3.0).wrap(MIXTURE, SamplingRun(KeyedNoise(0, range(8), MIXTURE.shape))), mine.start, told
            ),
        ),
    )
    plan = DPMpp2M().plan(flow, Trailing().levels(flow, 4))
    first = guided.final_states(plan)
    assert torch.equal(first, guided.final_states(plan)), "a run knows nothing of the one before"
    fresh = APG(3.0).wrap(MIXTURE, SamplingRun(KeyedNoise(0, range(8), MIXTURE.shape)))
    assert torch.equal(first, run_plan(plan, fresh, mine.start, told)), "it is what sampling makes"


def test_what_guidance_remembers_stays_in_its_run():
    check_runs()


def check_memory_is_refused():
    """Momentum makes the fine solution another denoiser's than that of few steps; without it there is one target."""
    flow = RectifiedFlow()
    mine = problem(flow, count=8)
    told, known = MIXTURE.conditions(torch.arange(8) % 3), SamplingRun(KeyedNoise(0, range(8), MIXTURE.shape))
    ends = {}
    for momentum, parts in itertools.product((0.0, -0.5), (4, 8)):
        guided = CalibrationProblem(
            flow, (CalibrationBatch(APG(3.0, momentum=momentum).wrap(MIXTURE, known), mine.start, told),)
        )
        if momentum:
            with pytest.raises(BadInput, match="momentum=0"):
                solve_reference(guided, 24, parts)
        else:
            ends[parts] = solve_reference(guided, 24, parts).x0
    assert torch.allclose(ends[4], ends[8], atol=2e-2)


@pytest.mark.slow
def test_guidance_that_remembers_is_refused():
    check_memory_is_refused()


# --- planted errors --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planted_error_in_the_price_is_caught(monkeypatch):
    check_prices()
    right = level_search._step_errors
    monkeypatch.setattr(
        level_search, "_step_errors", lambda plan, row, at, to, ref: right(plan, row, at[::-1], to, ref)
    )
    assert_caught(check_prices)


def test_planted_error_in_the_search_is_caught():
    """The error of the step to clean data is left out of the choice of the last step."""
    check_least_path()
    with planted_error(level_search, "optimal_levels", keep_left_operand(ast.Add, near="pairs", at=-1)):
        assert_caught(check_least_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "error"),
    [
        (
            check_refined,
            keep_left_operand(ast.Sub, near="sum"),
        ),  # the newest weight is not balanced
        (check_refined, swap_attribute("sigma", "rho", at=None)),
        (check_rewritten, mutation.replace_expression(ast.List, "[newest, *weights[i - 1]]", near="newest")),
    ],
)
def test_planted_error_in_the_rows_is_caught(check, error):
    with planted_error(refine, "_with_variables", error):
        assert_caught(check)


@pytest.mark.slow
def test_planted_memory_in_the_target_is_caught(monkeypatch):
    monkeypatch.setattr(APG, "stateful", property(lambda self: False, lambda self, value: None))
    with pytest.raises(pytest.fail.Exception):
        check_memory_is_refused()


@pytest.mark.slow
def test_planted_search_that_ignores_the_data_is_caught(monkeypatch):
    monkeypatch.setattr(calibration, "refine_plan", lambda plan, *rest, **named: (plan, 0.0))
    monkeypatch.setattr(
        calibration, "optimal_levels", lambda sampler, schedule, ref, nfe: Trailing().levels(schedule, nfe)
    )
    assert_caught(test_five_evaluations_beat_stock_on_seeds_not_seen, RectifiedFlow())


def test_planted_memory_is_caught(monkeypatch):
    monkeypatch.setattr(GuidedDenoiser, "fresh_copy", lambda self: self)
    assert_caught(check_runs)


@pytest.mark.slow
def test_planted_batch_left_out_is_caught(monkeypatch):
    right = CalibrationProblem.final_states
    check_batches()
    monkeypatch.setattr(
        CalibrationProblem, "final_states", lambda self, plan: right(replace(self, batches=self.batches[:1] * 2), plan)
    )
    with pytest.raises((AssertionError, RuntimeError)):
        check_batches()


def test_a_solution_that_is_not_finite_is_refused(monkeypatch):
    found = problem(SCHEDULES[0], count=4)
    monkeypatch.setattr(type(found.batches[0]), "run", lambda batch, plan, watch=None: batch.start * float("inf"))
    with pytest.raises(BadInput, match=r"the reference solution is not finite.*check the weights"):
        solve_reference(found)


def test_the_reference_solution_reports_every_evaluation():
    mine, shares = problem(EDM(), count=4), list[float]()
    calls = solve_reference(mine, 8, 2, report=shares.append).nfe * len(mine.batches)
    assert len(mine.batches) > 1 and shares == [i / calls for i in range(calls)]


@pytest.mark.slow
def test_the_search_reports_every_pair_that_it_tries():
    mine, said = problem(EDM(), count=4), []
    pairs = rank_registered_pairs(mine, solve_reference(mine, 8, 1), 3, lambda *found: said.append(found))
    assert {(f"stock {p.sampler} on {p.timesteps}", p.error) for p in pairs} <= set(said)
