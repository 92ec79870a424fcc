"""Statistics against scipy, against what theory says, and against simulation."""

from __future__ import annotations

import math
import re
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from descant.benchmarks.coverage import TASKS, Case, cases, coverage, truth
from descant.benchmarks.statistics import (
    COVERAGE,
    Estimate,
    bootstrap,
    caution,
    efficiency,
    estimate,
    holm,
    interval,
    iqm,
    mean,
    median,
    on_grid,
    optimality_gap,
    paired_test,
    probability_of_improvement,
    profile,
    unpaired_test,
)
from descant.errors import DescantError
from descant.tasks import Floats

DOCUMENT = Path(__file__).parents[2] / "docs/statistics.md"


@pytest.fixture
def scores() -> Floats:
    return np.random.default_rng(0).beta(4, 1, (5, 12))


def test_aggregates_are_those_of_scipy_and_numpy(scores: Floats) -> None:
    assert mean(scores) == pytest.approx(scores.mean())
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    assert iqm(scores[:, :1]) == pytest.approx(stats.trim_mean(scores[:, 0], 0.25))
    assert median(scores) == pytest.approx(np.median(scores.mean(0)))
    assert median(scores[:, :1]) == pytest.approx(np.median(scores[:, 0]))
    above = np.array([[0.5, 1.25], [1.0, 0.75]])
    assert optimality_gap(above) == pytest.approx((0.5 + 0 + 0 + 0.25) / 4)
    many = np.stack([scores, scores**2])
    for statistic in (mean, iqm, median, optimality_gap):
        assert statistic(many) == pytest.approx([float(statistic(scores)), float(statistic(scores**2))])


def test_the_interval_of_means_is_that_of_t() -> None:
    values = [1.0, 2.0, 4.0]
    expected = stats.t.interval(0.9, 2, loc=7 / 3, scale=stats.sem(values))
    assert interval(values, 0.9) == pytest.approx((7 / 3, *expected))
    assert interval([3.0])[0] == 3.0
    assert all(math.isnan(bound) for bound in (*interval([3.0])[1:], *interval([])))


def test_one_seed_gives_no_interval() -> None:
    single = estimate([[0.5, 0.75]], "IQM")
    assert (single.text(), single.seeds) == ("0.6250", 1)
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    with pytest.raises(DescantError, match="needs two seeds"):
        bootstrap(mean, np.ones((1, 3)))
    with pytest.raises(DescantError, match="needs two seeds"):
        bootstrap(probability_of_improvement, np.ones((5, 3)), np.ones((1, 3)))
    assert Estimate(0.5, 0.25, 0.75, 5).text(2) == "0.50 (0.25 to 0.75)"


def test_few_seeds_come_with_a_warning() -> None:
    assert "no interval" in caution(1)
    assert caution(3).startswith("Only 3 seeds")
    assert caution(4).startswith("Only 4 seeds")
    assert caution(5).startswith("In simulation with 5 seeds")
    assert "in 94 % of cases" in caution(9)
    assert "with 10 seeds" in caution(30)


def test_the_bootstrap_repeats_itself_and_keeps_rows_whole(scores: Floats) -> None:
    assert np.array_equal(bootstrap(iqm, scores), bootstrap(iqm, scores))
    assert not np.array_equal(bootstrap(iqm, scores), bootstrap(iqm, scores, seed=1))
    opposed = np.stack([np.arange(6.0), -np.arange(6.0)], axis=1)  # the mean of every row is 0
    assert np.abs(bootstrap(mean, opposed)).max() == 0
    low, high = bootstrap(mean, opposed, strata=True)
    assert low < -0.5 < 0.5 < high


def test_the_bootstrap_of_a_normal_mean_is_as_wide_as_t() -> None:
    values = stats.norm.ppf((np.arange(20) + 0.5) / 20)
    low, high = bootstrap(mean, values[:, None], resamples=20_000)
    assert (low, high) == pytest.approx(interval(values.tolist())[1:], abs=0.03)


def test_means_over_whole_runs_have_the_interval_of_t(scores: Floats) -> None:
    found = estimate(scores)
    assert (found.value, found.low, found.high) == interval(scores.mean(1).tolist())
    gap = estimate(scores, "optimality gap")
    assert (gap.value, gap.low, gap.high) == pytest.approx(interval((1 - scores).mean(1).tolist()))
    strata = estimate(scores, strata=True)
    assert (strata.low, strata.high) == pytest.approx(bootstrap(mean, scores, strata=True))
    assert found.low < found.value < found.high


def test_a_profile_counts_scores_above_a_threshold() -> None:
    found = profile([[0.25, 0.5], [0.75, 1.0]], [0.0, 0.5, 0.9, 1.0])
    assert found.tolist() == [1.0, 0.5, 0.25, 0.0]
    low, high = bootstrap(lambda s: profile(s, [0.0, 0.5]), [[0.25, 0.5], [0.75, 1.0], [0.1, 0.9]])
    assert low.shape == high.shape == (2,)


def test_curves_meet_on_a_grid_and_no_further_than_they_go() -> None:
    one, other = on_grid([0, 10], [0.0, 1.0], [0, 5, 10]), on_grid([5, 10], [0.0, 0.0], [0, 5, 10])
    assert one.tolist() == [0.0, 0.5, 1.0]
    assert math.isnan(other[0])
    middle, low, high = efficiency([one, other])
    assert middle[1:].tolist() == [0.25, 0.5]
    assert (low[2], high[2]) == pytest.approx(interval([1.0, 0.0])[1:])
    assert math.isnan(middle[0])


def test_the_probability_of_improvement_is_that_of_mann_and_whitney(scores: Floats) -> None:
    other = np.random.default_rng(1).beta(3, 1, (7, 12)).round(1)
    ours = scores.round(1)
    expected = [stats.mannwhitneyu(ours[:, i], other[:, i]).statistic / 35 for i in range(12)]
    assert probability_of_improvement(ours, other) == pytest.approx(np.mean(expected))
    assert probability_of_improvement(ours, ours) == pytest.approx(0.5)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_permutation_tests_are_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(0.7, 1, n)

    def difference(x: Floats, y: Floats, axis: int) -> Floats:
        return np.mean(x, axis) - np.mean(y, axis)  # type: ignore[no-any-return]

    for ours, kind in ((paired_test, "samples"), (unpaired_test, "independent")):
        expected = stats.permutation_test((a, b), difference, permutation_type=kind, n_resamples=np.inf)
        assert ours(a, b) == pytest.approx(expected.pvalue)
    assert paired_test(a, a) == unpaired_test(a, a) == 1.0


def test_three_seeds_can_not_reach_five_per_cent_and_five_pairs_neither() -> None:
    assert unpaired_test([1, 2, 3], [7, 8, 9]) == pytest.approx(0.1)
    assert paired_test([1, 2, 3, 4, 5], [7, 8.5, 9, 11, 12]) == pytest.approx(2 / 32)
    assert unpaired_test([1, 2, 3, 4, 5], [7, 8.5, 9, 11, 12]) == pytest.approx(2 / 252)


def test_what_is_too_much_to_count_is_drawn() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=30), rng.normal(0.1, 1, 30)
    assert paired_test(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=0.25)
    assert unpaired_test(a, b) == pytest.approx(stats.ttest_ind(a, b).pvalue, rel=0.25)
    assert unpaired_test(a, b) == unpaired_test(a, b)
    assert 0 < unpaired_test(a, a + 9) < 1e-3


def test_holm_rejects_step_by_step() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    for p in permutations([0.2, 0.01, 0.013]):  # p <= alpha / (m - i) for all i up to it, by the definition
        adjusted = holm(dict(zip("abc", p, strict=True)))
        kept = {v for v in p if v in (0.01, 0.013)}
        assert {v for v, name in zip(p, "abc", strict=True) if adjusted[name] <= 0.05} == kept


# Coverage, by simulation.


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("name", ["t", "IQM"])
def test_intervals_of_normal_scores_hold_the_truth_as_often_as_they_say(name: str, seeds: int) -> None:
    found = coverage(Case(name, "normal", seeds, 1), trials=1_500, resamples=300)
    assert abs(found - 0.95) < 0.03


def test_the_warning_tells_the_coverage_that_simulation_finds() -> None:
    for seeds, told in COVERAGE.items():
        for (name, kind), percent in zip(
            [("t", "normal"), ("t", "skewed"), ("IQM", "normal"), ("IQM", "skewed")], told, strict=True
        ):
            found = coverage(Case(name, kind, seeds, 1), trials=1_000, resamples=1_000, seed=5)
            assert 100 * found == pytest.approx(percent, abs=3), (name, kind, seeds)


def test_strata_hold_the_truth_too() -> None:
    for seeds in (5, 10):
        found = coverage(Case("mean", "normal", seeds, TASKS, True), trials=1_000, resamples=200)
        assert abs(found - 0.95) < 0.03


def test_the_truth_is_known() -> None:
    assert truth(Case("t", "skewed", 5, 1)) == pytest.approx(0.8, abs=0.002)
    assert truth(Case("median", "skewed", 5, 1)) == pytest.approx(1 - 0.2 * math.log(2), abs=0.002)
    assert truth(Case("median", "bounded", 5, TASKS, True)) == pytest.approx(0.8, abs=0.002)
    assert truth(Case("optimality gap", "bounded", 5, 1)) == pytest.approx(0.2, abs=0.002)


def test_the_document_has_a_row_for_every_case_and_says_what_the_code_says() -> None:
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| ([^|]+) \| (normal|skewed|bounded) \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) == len(cases()) / len(COVERAGE)
    cells = {(what.split(", boot")[0], kind): row.replace(" %", "").split(" | ")
             for what, kind, row in rows if "one task" in what}  # fmt: skip
    for i, told in enumerate(COVERAGE.values()):
        rounded = [
            round(float(cells[key][i]))
            for key in (
                ("mean, t, one task", "normal"),
                ("mean, t, one task", "skewed"),
                ("IQM", "normal"),
                ("IQM", "skewed"),
            )
        ]
        assert tuple(rounded) == pytest.approx(told, abs=1)
