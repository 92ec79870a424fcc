"""Statistics of melodies with intervals: equal to the plain ones, and covering what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from descant.music.keys import Key
from descant.music.melody_reports import (
    COPIED,
    OVERLAPS,
    distinct,
    mean,
    means,
    overlaps,
    pairs,
    ratio,
    report,
    share,
    wilson,
)
from descant.music.melody_statistics import alike_openings, copied_share, overlap_areas, summary

from ...melodies import melodies, sung

C = Key("C", "major")


def test_values_are_those_of_the_plain_statistics() -> None:
    written, tunes = melodies(0, 300), melodies(1, 120)
    found = report(written, C, tunes, melodies(2, 120))
    plain = summary(written, C)
    assert {name: found[name].value for name in plain} == pytest.approx(plain, nan_ok=True)
    assert set(found) == set(plain) | set(COPIED) | set(OVERLAPS)
    assert found["copied"].value == copied_share(written, tunes)
    areas = overlap_areas(written, melodies(2, 120))
    for name, kind in OVERLAPS.items():
        assert found[name].value == pytest.approx(areas[kind])
    for name, estimate in found.items():
        assert estimate.low <= estimate.value <= estimate.high, name


def test_without_tunes_what_needs_them_is_left_out() -> None:
    assert not set(report(melodies(0, 60), C)) & (set(COPIED) | set(OVERLAPS))


def test_a_mean_by_hand_without_what_is_not_defined() -> None:
    found = mean(np.array([1.0, 2.0, 3.0, 6.0, math.nan]))
    half = 1.959964 * math.sqrt(14 / 3) / 2
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half))
    assert math.isnan(mean(np.array([math.nan])).value)
    one = mean(np.array([2.0]))
    assert one.value == 2
    assert math.isnan(one.low)
    assert means({"a": np.array([1.0, 3.0])})["a"].value == 2


def test_wilson_by_hand() -> None:
    """Of 10 successes in 100: 0.0552 to 0.1744 (Newcombe 1998 gives the method)."""
    found = wilson(0.1, 100)
    assert (found.low, found.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert share(np.repeat([1.0, 0.0], [10, 90])) == found


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_never_or_always_happens_has_no_point_for_an_interval(value: float) -> None:
    found = share(np.full(1000, value))
    assert found.value == value
    assert found.high - found.low == pytest.approx(0.00383, abs=1e-4)
    assert 0 <= found.low <= value <= found.high <= 1
    always = ratio(np.full(50, value), np.ones(50))
    assert always == wilson(value, 50)


def test_shares_keep_between_their_bounds() -> None:
    found = share(np.array([0.0] * 40 + [0.5]))
    assert found.low == 0
    assert found.high > found.value


def test_chances_of_pairs_are_covered() -> None:
    """Three openings at 0.5, 0.3 and 0.2: two are alike with 0.38. Of 400 samples 95 % intervals hold it 380 times."""
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        rows = np.repeat(rng.choice([14, 16, 18], (1000, 1), p=[0.5, 0.3, 0.2]), 8, axis=1)
        found.append(pairs(alike_openings(rows)))
    assert np.mean([e.value for e in found]) == pytest.approx(0.38, abs=0.003)
    assert 0.92 < np.mean([e.low <= 0.38 <= e.high for e in found]) < 0.98


def test_pairs_that_are_never_or_always_alike_have_no_point_for_an_interval() -> None:
    assert pairs(np.zeros(20)) == wilson(0.0, 190)
    assert pairs(np.ones(20)) == wilson(1.0, 10)
    assert math.isnan(pairs(np.ones(2)).low)


def test_a_ratio_of_nothing_is_no_number() -> None:
    assert math.isnan(ratio(np.zeros(3), np.zeros(3)).value)
    assert math.isnan(report(np.ones((4, 32), np.int8), C)["leaps_resolved"].value)


def test_all_distinct_and_all_equal() -> None:
    rows = melodies(3, 90)
    assert distinct(np.unique(rows, axis=0)).value == 1
    assert distinct(np.repeat(rows[:1], 20, axis=0)).value == 1 / 20


def test_intervals_cover_what_they_estimate() -> None:
    """Of 300 samples of 200, 95 % intervals should hold the truth 285 times; below 92 % is one chance in 100."""
    pool = np.concatenate([sung(np.random.default_rng(7), 4000, 32), melodies(8, 2000)])
    others = sung(np.random.default_rng(9), 500, 32)
    truth = report(pool, C) | overlaps(pool, others)
    reports = []
    for seed in range(300):
        rows = pool[np.random.default_rng(seed).integers(0, len(pool), 200)]
        reports.append(report(rows, C) | overlaps(rows, others))
    for name in truth.keys() - {"distinct", "repeated", "in_repeated_motif", "alike_openings"}:
        held = np.mean([r[name].low <= truth[name].value <= r[name].high for r in reports])
        assert held > 0.915, (name, held)
        widths = np.mean([r[name].high - r[name].low for r in reports])
        spread = np.std([r[name].value for r in reports])
        assert 3 < widths / spread < 5, (name, widths / spread)  # 2 * 1.96 standard errors
