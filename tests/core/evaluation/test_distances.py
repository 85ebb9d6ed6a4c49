"""Draws of eval: chance alone is seldom taken for a difference, classes in other shares are none, copies are seen."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sonolux.core.evaluation import comparison, distances
from sonolux.core.evaluation.comparison import FeatureSet, choose_comparison_draws
from sonolux.core.evaluation.distances import (
    codec_reference_function,
    default_metrics,
    explain_distance,
    measure_distances,
)
from sonolux.core.evaluation.metrics import mmd as mmds
from sonolux.core.evaluation.metrics.frechet import Frechet
from sonolux.core.evaluation.metrics.mmd import MMD, median_distance, squared_mmd
from sonolux.core.evaluation.report.contents import ReferenceValue
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput

SHARES = np.array([0.7, 0.2, 0.1])


def real(n, rng):
    """n examples of three classes of unequal shares, far apart in the first column."""
    labels = rng.choice(3, n, p=SHARES)
    rows = rng.standard_normal((n, 4))
    rows[:, 0] += 3 * labels
    return FeatureSet(rows, labels)


def samples(n, rng, shift=0.0):
    """As many of each class as of the others, as eval makes them; else just as the real ones."""
    labels = np.arange(n) % 3
    rows = rng.standard_normal((n, 4)) + shift
    rows[:, 0] += 3 * labels
    return FeatureSet(rows, labels)


def apart(n, rng):
    """n examples of ten classes so far apart that what classes do to MMD is most of it."""
    labels = rng.integers(0, 10, n)
    return FeatureSet(rng.standard_normal((n, 10)) + 5 * np.eye(10)[labels], labels)


def unlabelled(n, rng):
    """The same without classes."""
    return apart(n, rng).without_labels()


def partly_labelled(n, rng):
    """The same, one without a class."""
    made = apart(n, rng)
    made.labels[0] = -1
    return made


def alarms(learned, held, trials=16, made=samples, data=real):
    """Share of trials in which MMD tells a difference where there is none."""
    wrong = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        found = choose_comparison_draws(made(60, rng), data(160, rng), data(held, rng), learned, 40)
        figure = measure_distances(found, [MMD()], 10, "real", "examples")[0]
        wrong += "no difference" not in figure.meaning
    return wrong / trials


def check_alarms(learned, held, **sides):
    """5 % are expected where a value is one draw, fewer where it is a mean of draws; 25 % are 3.7 sigma off."""
    assert alarms(learned, held, **sides) <= 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("learned", "held"), [(False, 120), (True, 120), (False, 20)])
def test_chance_is_seldom_taken_for_a_difference(learned, held):
    check_alarms(learned, held)


@pytest.mark.slow
def test_floors_of_other_classes_than_the_samples_are_caught(monkeypatch):
    """Planted: the baseline is drawn with the data's own shares of classes."""
    true = comparison._matched

    def any_class(own, chosen, labels, rows, rng):
        return true(np.full_like(own, -1), chosen, labels, rows, rng)

    monkeypatch.setattr(comparison, "_matched", any_class)
    assert_caught(check_alarms, False, 120)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learned", "held", "made"), [(False, 120, unlabelled), (True, 120, partly_labelled), (False, 20, unlabelled)]
)
def test_samples_without_classes_are_no_difference(learned, held, made):
    check_alarms(learned, held, made=made, data=apart)


@pytest.mark.slow
def test_classes_that_one_side_alone_has_are_caught(monkeypatch):
    """Planted: real examples keep their classes, for which MMD is corrected, and samples have none."""
    monkeypatch.setattr(comparison, "drop_partial_labels", lambda *sides: list(sides))
    assert_caught(check_alarms, False, 120, made=unlabelled, data=apart)


def test_missing_classes_are_reported():
    rng = np.random.default_rng(12)
    for made in (unlabelled, partly_labelled):
        found = choose_comparison_draws(made(60, rng), apart(160, rng), apart(120, rng), False, 10)
        assert found.description.endswith("classes are not matched, since not every example has one")
        assert not any((s.labels >= 0).any() for s in (found.generated, found.real))
    assert (
        "matched" not in choose_comparison_draws(unlabelled(60, rng), unlabelled(160, rng), None, False, 10).description
    ), "there are no classes"
    one, half = apart(60, rng), partly_labelled(60, rng)
    figures = [
        codec_reference_function(FeatureSet(half.rows, labels), half, "codec")(mmd)
        for labels in (one.labels, half.labels)
    ]
    assert figures[0] == figures[1], "classes that one side alone tells do not count"


def of_classes(counts, rng, most=3):
    """So many examples of each class."""
    labels = np.repeat(np.arange(most), counts)
    return FeatureSet(rng.standard_normal((len(labels), 4)), labels)


@pytest.mark.slow
@pytest.mark.parametrize(("learned", "held"), [(False, 120), (True, 120), (False, 20), (False, 0)])
@pytest.mark.parametrize("rare", [0, 1, 3])
def test_samples_of_a_rare_class_are_measured_without_classes(learned, held, rare):
    """All samples show a class that the data hardly has: all of them are measured, and it is said."""
    rng = np.random.default_rng(13)
    made, train = of_classes([0, 0, 60], rng), of_classes([150, 50, rare], rng)
    other = of_classes([held - held // 2 - rare, held // 2, rare], rng) if held else None
    found = choose_comparison_draws(made, train, other, learned, 10)
    assert found.description.endswith(
        "classes are not matched, since too few other real examples have those of the samples"
    )
    assert min(min(len(d.generated), len(d.other)) for d in [*found.baseline, *found.value_draws]) >= 8
    assert all(np.isfinite(f.value) for f in measure_distances(found, default_metrics(), 10, "real", "examples"))
    if found.value is not None:
        assert len(found.value.generated) == 60


def mmd_of_real_examples(count, seeds=12):
    """MMD x 1000 of `count` real examples of ten classes in turn, as often as it is measured, and its baselines."""
    lines = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % 10
        made = FeatureSet(rng.standard_normal((count, 10)) + 5 * np.eye(10)[labels], labels)
        found = choose_comparison_draws(made, apart(300, rng), apart(200, rng), True, 20)
        lines += [line for line in measure_distances(found, [MMD()], 10, "real", "examples") if line.key == "mmd"]
    return [line.value for line in lines], [line.references[0].value for line in lines]


def check_few_of_each_class():
    """For equal distributions MMD is about 0 or left out, whatever the number of samples of each class."""
    for count, measured in ((20, 0), (40, 12), (80, 12)):
        for values in mmd_of_real_examples(count):
            assert len(values) == measured and (not values or abs(np.mean(values)) < 5)


@pytest.mark.slow
def test_few_samples_of_each_class():
    check_few_of_each_class()


@pytest.mark.slow
def test_classes_of_one_sample_are_caught(monkeypatch):
    """Planted: MMD is measured where distances within a class are unknown."""
    monkeypatch.setattr(comparison, "MAX_SINGLE", 1.0)
    values, baselines = mmd_of_real_examples(20)
    assert max(np.mean(values), np.mean(baselines)) < -20, "the bias is large"
    assert_caught(check_few_of_each_class)


def check_sparse_sets():
    """The set whose examples are alone in their class is the one that is named."""

    def found(samples, real):
        rng = np.random.default_rng(3)
        sets = of_classes([samples] * 12, rng, 12), of_classes([real] * 12, rng, 12)
        rows = [np.arange(len(one)) for one in sets]
        draw = comparison.ComparisonRows(rows[0], rows[1], rows[1])
        return comparison.ComparisonDraws(*sets, draw, [draw], "").sparse_sets

    assert found(4, 4) == () and found(1, 4) == ("samples",) and found(4, 1) == ("real",)
    assert found(1, 1) == ("samples", "real")


def test_the_sparse_set_is_named():
    check_sparse_sets()


def test_a_limit_that_nothing_reaches_is_caught(monkeypatch):
    monkeypatch.setattr(comparison, "MAX_SINGLE", 1.0)
    assert_caught(check_sparse_sets)


def test_a_codec_is_not_measured_where_classes_have_one_example():
    rng = np.random.default_rng(16)
    few, enough = of_classes([2] * 10, rng, 10), of_classes([8] * 10, rng, 10)
    assert codec_reference_function(few, few, "codec") is None
    assert codec_reference_function(enough, enough, "codec") is not None
    assert codec_reference_function(few.without_labels(), few, "codec") is not None, "without classes nothing is fixed"


def test_samples_that_are_left_out_are_counted():
    rng = np.random.default_rng(14)
    train, held = of_classes([100, 100, 12], rng), of_classes([60, 60, 6], rng)
    found = choose_comparison_draws(of_classes([20, 20, 20], rng), train, held, False, 10)
    assert found.description.startswith("52 of 60 samples (the others' classes have too few real examples) against 126")
    assert np.bincount(found.generated.labels[found.value.generated]).tolist() == [20, 20, 12]
    few = choose_comparison_draws(of_classes([20, 20, 20], rng), train, held, True, 10)
    assert few.description.startswith("23 of 30 samples (the others' classes have too few real examples) against 63")
    all_of_them = choose_comparison_draws(of_classes([20, 20, 10], rng), train, held, False, 10)
    assert all_of_them.description.startswith("50 samples against 126 held-out examples")


def test_few_training_examples_leave_halves_of_held_out_ones():
    """Else hardly any real example would be left to stand beside the samples."""
    rng = np.random.default_rng(15)
    found = choose_comparison_draws(unlabelled(60, rng), unlabelled(3, rng), unlabelled(120, rng), False, 10)
    assert found.value is None and {len(d.other) for d in found.baseline} == {30}


@pytest.mark.slow
@pytest.mark.parametrize(("learned", "held"), [(False, 120), (True, 120), (False, 20)])
def test_a_shift_is_seen(learned, held):
    rng = np.random.default_rng(3)
    found = choose_comparison_draws(samples(120, rng, shift=1.0), real(200, rng), real(held, rng), learned, 40)
    mmd, frechet = measure_distances(found, default_metrics(), 20, "real", "examples")[:2]
    assert "above chance" in mmd.meaning and "times the real" in frechet.meaning
    assert mmd.interval is not None and mmd.interval[0] < mmd.value < mmd.interval[1]
    assert mmd.interval[0] > mmd.references[0].high


def test_copies_of_the_data_are_too_close():
    rng = np.random.default_rng(4)
    train, held = real(100, rng), real(20, rng)
    found = choose_comparison_draws(FeatureSet(train.rows.copy(), train.labels), train, held, False, 40)
    values = found.values(mmd), found.baseline_values(mmd)
    assert np.mean(values[0]) < np.quantile(values[1], 0.2)


@pytest.mark.parametrize(
    ("learned", "held", "made"), [(False, 120, 60), (True, 120, 61), (False, 9, 300), (True, 0, 9)]
)
def test_rows_of_a_draw(learned, held, made):
    rng = np.random.default_rng(5)
    other = real(held, rng) if held else None
    found = choose_comparison_draws(samples(made, rng), real(90, rng), other, learned, 7)
    assert {len(d.generated) == len(d.other) for d in found.baseline} == {True}
    for d in found.baseline:
        assert not set(d.other) & set(d.reference), "no example stands on both sides"
        for rows in d:
            assert len(set(rows)) == len(rows)
        count = [
            np.bincount(s.labels[r], minlength=3) for s, r in ((found.generated, d.generated), (found.real, d.other))
        ]
        assert (count[0] == count[1]).all(), "samples and the baseline have the same classes"
    if found.value is not None:
        assert (found.value.reference == 90 + np.arange(held)).all()
        assert {len(d.reference) for d in found.baseline} == {held}


def test_the_value_is_the_metric_of_all_rows():
    rng = np.random.default_rng(6)
    made, train, held = real(60, rng), real(400, rng), real(150, rng)
    found = choose_comparison_draws(made, train, held, False, 10)
    assert sorted(found.value.generated) == list(range(60))
    figure = measure_distances(found, default_metrics(), 10, "real", "examples")[0]
    groups = made.labels[found.value.generated], held.labels
    wanted = squared_mmd(made.rows[found.value.generated], held.rows, median_distance(held.rows), groups)
    assert figure.value == pytest.approx(1000 * wanted)


def test_shares_against_balls_counted_with_scipy():
    rng = np.random.default_rng(7)
    made, train, held = samples(60, rng, 0.7), real(400, rng), real(150, rng)
    found = choose_comparison_draws(made, train, held, False, 10)
    figures = {f.key: f.value for f in measure_distances(found, default_metrics(), 10, "real", "examples")}
    between = cdist(made.rows, held.rows)
    reach = [np.sort(cdist(s.rows, s.rows), axis=1)[:, 5] for s in (made, held)]
    assert figures["precision"] == pytest.approx((between <= reach[1]).any(1).mean())
    assert figures["recall"] == pytest.approx((between <= reach[0][:, None]).any(0).mean())
    assert figures["coverage"] == pytest.approx((between <= reach[1]).any(0).mean())


def test_many_rows_are_thinned(monkeypatch):
    monkeypatch.setattr(comparison, "MAX_ROWS", 50)
    rng = np.random.default_rng(8)
    for learned in (False, True):
        found = choose_comparison_draws(samples(200, rng), real(400, rng), real(300, rng), learned, 5)
        assert max(max(map(len, d)) for d in [*found.baseline, *found.value_draws]) <= 50


def test_few_are_refused():
    rng = np.random.default_rng(9)
    with pytest.raises(BadInput, match="5 samples and 40 real examples"):
        choose_comparison_draws(samples(5, rng), real(40, rng), None, False, 10)


def test_verdicts():
    baseline = ReferenceValue("real", -1.9, -2.3, -1.5)
    assert "no difference" in explain_distance(MMD.results[0], -2.0, baseline, "sounds")
    assert "look for copies" in explain_distance(MMD.results[0], -3.0, baseline, "sounds")
    assert "by 5 times" in explain_distance(MMD.results[0], 0.1, baseline, "sounds"), (
        "finite though chance is below zero"
    )
    assert "2.0 times the real sounds' own" in explain_distance(
        Frechet.results[0], 4.0, ReferenceValue("real", 2.0, 1.0, 3.0), "sounds"
    )


def mmd(a, b):
    return squared_mmd(a.rows, b.rows, 2.0, (a.labels, b.labels))


def coded(one, known):
    """What MMD's line says of real examples after a codec, as eval measures it."""
    found = choose_comparison_draws(known, known, None, False, 10)
    return measure_distances(
        found, default_metrics(), 10, "real", "examples", codec_reference_function(one, known, "codec")
    )[0].references[1]


def check_codec():
    """A codec that changes nothing is at chance, not at the distance of a set to itself; one that shifts is not."""
    rng = np.random.default_rng(10)
    values = [coded(one, one) for one in (real(200, rng) for _ in range(4))]
    assert all(v.low < 0 < v.high for v in values) and abs(np.mean([v.value for v in values])) < 2
    known = real(200, rng)
    assert mmd(known, known) < -0.003, "a set against itself is nearer than chance"
    assert coded(FeatureSet(known.rows + 1.0, known.labels), known).low > max(v.high for v in values)


@pytest.mark.slow
def test_what_the_codec_does_is_measured_on_other_halves():
    check_codec()


@pytest.mark.slow
def test_halves_of_each_class_counted_as_chance_are_caught(monkeypatch):
    """Planted: MMD does not mind that the numbers of each class are fixed."""
    true = mmds._others
    monkeypatch.setattr(mmds, "_others", lambda a, h, groups=None: true(a, h))
    assert_caught(check_codec)


@pytest.mark.slow
def test_a_codec_measured_on_the_same_halves_is_caught(monkeypatch):
    """Planted: the coded examples are those that they are compared with."""
    true = distances.random_halves
    monkeypatch.setattr(distances, "random_halves", lambda *given: (true(*given)[0],) * 2)
    assert_caught(check_codec)
