"""The comparison of errors by evaluations: its exact solutions, its count of evaluations, and who may be best."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.rk4 import RK4
from sonolux.core.timesteps.karras import Karras

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
compare = importlib.import_module("error_nfe")


def solved(name):
    return compare.samples(name, 0, 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", compare.problems())
def test_the_exact_solution_is_where_a_fine_one_leads(name):
    found = solved(name)
    plan = RK4().plan(compare.SCHEDULE, Karras().levels(compare.SCHEDULE, 100))
    x0 = run_plan(plan, found.problem, float(compare.FIRST.sigma) * found.noise)
    assert found.error(x0) < 1e-4
    assert found.error(x0 + 0.01) > 9e-3  # what an error is


@pytest.mark.slow
def test_our_pairs_keep_to_the_evaluations(monkeypatch):
    found, spaced = solved("sequences").part(1), compare.own_timesteps()
    some = {name: spaced[name] for name in ("karras", "linspace to t_min")}
    monkeypatch.setattr(compare, "own_timesteps", lambda: some)
    offered = compare.own_pairs.__wrapped__(5)
    assert len(offered) > 50
    for pair in offered:
        denoise = compare.Counted(found.problem)
        pair.end(denoise, found.noise)
        assert 1 <= denoise.calls <= 5, pair


def test_pairs_that_fail_or_cost_more_are_left_out():
    found = solved("sequences")

    def clip_lengths(calls, offset):
        def end(denoise, noise):
            for _ in range(calls):
                denoise(noise, 0.5, 0.5)
            return found.exact + offset

        return end

    def fails(denoise, noise):
        raise IndexError("out of steps")

    offered = [
        compare.Pair("peer", name, "", end)
        for name, end in {
            "good": clip_lengths(3, 0.1),
            "better": clip_lengths(3, 0.05),
            "costs more": clip_lengths(4, 0.0),
            "fails": fails,
            "not a number": clip_lengths(3, float("nan")),
        }.items()
    ]
    assert [(round(error, 6), pair.sampler) for error, pair in compare.errors(offered, 3, found)] == [
        (0.05, "better"),
        (0.1, "good"),
    ]
    with pytest.raises(IndexError):  # ours may not
        compare.errors([compare.Pair("sonolux", "", "", fails)], 3, found)


@pytest.mark.slow
def test_the_pair_is_chosen_on_other_samples_than_those_reported(monkeypatch):
    """One that is exact on the samples of seed 1 alone is chosen, and its error is that on seed 2."""
    for name, count in (("LISTED", ((3, 2),)), ("CHOSEN_ON", 4), ("SAMPLES", 5)):
        monkeypatch.setattr(compare, name, count)
    chosen, reported = compare.samples("sequences", 1, 4), compare.samples("sequences", 2, 5)

    def lucky(denoise, noise):
        return chosen.exact[: len(noise)] if torch.equal(noise, chosen.noise[: len(noise)]) else reported.exact + 0.3

    def steady(denoise, noise):
        return (chosen if len(noise) < 5 else reported).exact[: len(noise)] + 0.1

    offered = [compare.Pair("peer", "lucky", "", lucky), compare.Pair("peer", "steady", "", steady)]
    found = compare.best(offered, 5, "sequences")
    assert found["sampler"] == "lucky" and found["error"] == pytest.approx(0.3)
