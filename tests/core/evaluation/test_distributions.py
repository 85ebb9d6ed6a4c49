"""Distributions of single numbers: distances in units of the spread, baselines, classes, and who is outside."""

import ast
import json

import numpy as np
import pytest
import torch
from sonolux.core.evaluation import distributions
from sonolux.core.evaluation.distributions import compare_distributions, distribution_measurements
from sonolux.core.evaluation.measures import ExampleMeasure, measure_examples
from sonolux.core.evaluation.report import table
from sonolux.core.evaluation.report.contents import EvaluationReport
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_attribute, swap_operator


def normal(count, mean=0.0, seed=0):
    return mean + 10 * np.random.default_rng(seed).standard_normal(count)


def compared(*sets, labels=None, classes=()):
    """The comparison of one measure, from arrays of samples, training and held-out examples."""
    given = labels or [np.full(len(one), -1) for one in sets]
    return compare_distributions(
        [[ExampleMeasure("m", "measure, dB", torch.tensor(one), "{:.1f}")] for one in sets], given, classes
    )[0]


def check_distance():
    """Samples shifted by 20 with a spread of 10 are at distance 2; a real spread does not depend on the units."""
    row = compared(normal(200, 20), normal(300, seed=1), normal(200, seed=2)).table.rows[0]
    assert row.distance == pytest.approx(2, abs=0.4)
    same = compared(normal(200), normal(300, seed=1), normal(200, seed=2)).table.rows[0]
    assert same.baseline[1] <= same.distance <= 1.3 * same.baseline[2] < 0.4 < row.distance
    few = compared(normal(40, 20), normal(60, seed=1)).table.rows[0]
    assert few.distance == pytest.approx(2, abs=0.6) and few.baseline[2] < 1
    assert row.samples.quantiles[2] == pytest.approx(20, abs=2) and row.real.quantiles[2] == pytest.approx(0, abs=2)
    assert row.real.count == 200, "held-out examples are shown"


def check_outside():
    samples = np.array([0.0, 1e3, -1e3, np.nan, 5.0, *normal(20)])
    found = compared(samples, normal(300, seed=1))
    assert found.outside[[0, 3, 4]].max() == 0 and found.outside[1:3].min() > 10
    assert found.table.rows[0].samples.share == pytest.approx(24 / 25)


def check_classes():
    """Each class has a row, and its own range: what is usual in one class is outside of another."""
    labels = [np.repeat([0, 1], n) for n in (20, 60)]
    sets = [np.concatenate([normal(n, 0, n), normal(n, 200, n)]) for n in (20, 60)]
    sets[0][0] = 200.0  # of class 0
    found = compared(*sets, labels=labels, classes=("low", "high"))
    assert [row.name for row in found.table.rows] == ["", "low", "high"]
    assert found.outside[0] > 1 and found.outside[1:].max() < 1
    assert found.table.rows[1].real.quantiles[2] == pytest.approx(0, abs=4)
    rare = compared(*sets, labels=[labels[0], np.repeat([0, 1], [117, 3])], classes=("low", "high"))
    assert [row.name for row in rare.table.rows] == ["", "low"], "a class of three examples has no row"


@pytest.mark.parametrize("check", [check_distance, check_outside, check_classes])
def test_comparison(check):
    check()


@pytest.mark.parametrize(
    ("function", "mutation", "check"),
    [
        ("_spread", swap_operator(ast.Div, ast.Mult), check_distance),
        ("_distance", swap_operator(ast.Div, ast.Mult), check_distance),
        ("_distance", swap_attribute("values", "baseline_values"), check_distance),
        ("_outside", swap_operator(ast.Sub, ast.Add, at=1), check_outside),
        ("_ranges", swap_operator(ast.GtE, ast.Lt, at=-1), check_classes),
    ],
)
def test_planted_errors_are_caught(function, mutation, check):
    with planted_error(distributions, function, mutation):
        assert_caught(check)


def test_tables_and_json_of_missing_and_constant_numbers():
    nothing = np.full(30, np.nan)
    for samples, real in ((nothing, normal(40)), (normal(30), nothing), (nothing, nothing), (np.ones(30), np.ones(40))):
        found = compared(samples, real)
        report = EvaluationReport("title", {}, {"Distributions": distribution_measurements([found], "sounds")})
        report.distributions = [found.table]
        json.dumps(table.report_to_dict(report), allow_nan=False)
        assert "nan" not in "\n".join(table.table_lines(report))
    (line,) = distribution_measurements([compared(normal(30), normal(40))], "sounds")
    assert ": samples " in line.meaning and "; real sounds " in line.meaning and " to " in line.meaning


def test_measures_of_examples():
    columns = (("mean", "mean", "{:.1f}"), ("size", "size", "{:.0f}"))
    found = measure_examples([torch.ones(1, 4), torch.zeros(1, 2)], columns, lambda m: (float(m.mean()), m.numel()))
    assert [one.key for one in found] == ["mean", "size"]
    assert found[0].values.tolist() == [1, 0] and found[1].values.tolist() == [4, 2]
    assert [len(one.values) for one in measure_examples([], columns, lambda m: (0, 0))] == [0, 0]
