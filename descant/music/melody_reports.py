"""Statistics of melodies with 95 % intervals over compositions: what `descant evaluate` prints and benchmarks tabulate.

Means have normal intervals (mean +- 1.96 standard errors). Shares of melodies have Wilson's, and so has whatever
lies between 0 and 1 and is the same in all melodies. Ratios of sums (resolved leaps, overlaps) have those of the delta
method, what they are compared with held fixed; the share of distinct melodies, those of the jackknife; the chance that
two open alike, those of a U-statistic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from descant.music.keys import Key
from descant.music.melody_states import Actions
from descant.music.melody_statistics import (
    Corpus,
    alike_openings,
    measure,
    note_events,
    note_histograms,
)
from descant.tasks import Floats, Ints

Z = 1.959964  # of a normal variable, 95 % lie between -Z and Z
COPIED = ("copied", "longest_copied")
"""Statistics that need the training set."""
OVERLAPS = {"overlap_intervals": "intervals", "overlap_durations": "durations"}
"""Statistics that need tunes to compare with, by histogram."""
UNBOUNDED = frozenset(
    {"autocorrelation_1", "autocorrelation_2", "autocorrelation_3", "pitch_class_entropy", "pitch_range"}
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic and its 95 % interval; NaN where nothing defines it, or a single composition gives no bounds."""

    value: float
    low: float
    high: float


def report(
    compositions: Actions, key: Key, training: Actions | None = None, heldout: Actions | None = None
) -> dict[str, Estimate]:
    """Every statistic of complete melodies int[n, T] with its interval, by name.

    Those of `melody_statistics.summary`; with `training` int[m, S] also `copied` (share of melodies with 16 steps of a
    training tune) and `longest_copied` (steps of the longest such run, a mean); with `heldout` also
    `overlap_intervals` and `overlap_durations`.
    """
    compositions = np.asarray(compositions)
    found = measure(compositions, key)
    resolved, doubled = found.pop("leaps_resolved"), found.pop("leaps_doubled")
    named = {name: (mean if name in UNBOUNDED else share)(values) for name, values in found.items()}
    named["leaps_resolved"] = ratio(resolved, resolved + doubled)
    named["distinct"] = distinct(compositions)
    named["alike_openings"] = pairs(alike_openings(compositions))
    if training is not None:
        corpus = Corpus(np.asarray(training))
        named["copied"] = share(corpus.holds(compositions).astype(float))
        named["longest_copied"] = mean(corpus.longest(compositions).astype(float))
    return named | (overlaps(compositions, heldout) if heldout is not None else {})


def means(values: Mapping[str, Floats]) -> dict[str, Estimate]:
    """The mean of each of some numbers of compositions, float[n] each, by name."""
    return {name: mean(v) for name, v in values.items()}


def mean(values: Floats) -> Estimate:
    """The mean of the numbers float[n] that are defined."""
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    n = len(known)
    if not n:
        return Estimate(math.nan, math.nan, math.nan)
    middle = float(known.mean())
    half = Z * float(known.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(middle, middle - half, middle + half)


def share(values: Floats) -> Estimate:
    """The mean of numbers between 0 and 1, float[n], and an interval between 0 and 1."""
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if not len(known):
        return Estimate(math.nan, math.nan, math.nan)
    if np.isin(known, (0, 1)).all() or known.min() == known.max():
        return wilson(float(known.mean()), len(known))
    return _within(mean(known))


def wilson(value: float, n: int) -> Estimate:
    """A share of n, with Wilson's score interval (1927), which is no point where the share is 0 or 1."""
    below = 1 + Z * Z / n
    middle = (value + Z * Z / (2 * n)) / below
    half = Z / below * math.sqrt(value * (1 - value) / n + Z * Z / (4 * n * n))
    return Estimate(value, min(value, max(middle - half, 0.0)), max(value, min(middle + half, 1.0)))


def ratio(above: Floats, below: Floats) -> Estimate:
    """Sum of `above` over sum of `below`, float[n] each, 0 <= above <= below; NaN where that is 0."""
    total, n = float(below.sum()), len(below)
    if not total:
        return Estimate(math.nan, math.nan, math.nan)
    value = float(above.sum()) / total
    if value in (0.0, 1.0):
        return wilson(value, int((below > 0).sum()))
    return _around(value, math.sqrt(_squares(above - value * below) * _small(n)) / total)


def distinct(compositions: Actions) -> Estimate:
    """Distinct compositions over all of them."""
    rows = np.ascontiguousarray(compositions, np.int8)
    _, counts = np.unique(rows.view(f"V{rows.shape[1]}"), return_counts=True)
    n, once = len(rows), int((counts == 1).sum())
    if once == n:
        return wilson(1.0, n)
    return _around(len(counts) / n, math.sqrt(once * (1 - once / n)) / n)


def pairs(shares: Floats) -> Estimate:
    """The chance that two of n are alike, float[n] the share of the others that each is like.

    The variance is that of a U-statistic, from how often two are alike and how often three. Where no two are, or all,
    the interval is Wilson's, of as many trials as there are pairs, or disjoint ones.
    """
    value, n = float(shares.mean()), len(shares)
    if n < 3:
        return Estimate(value, math.nan, math.nan)
    if value in (0.0, 1.0):
        return wilson(value, n // 2 if value else n * (n - 1) // 2)
    three = float((shares * (shares * (n - 1) - 1)).mean()) / (n - 2)
    spread = (4 * (n - 2) * (three - value**2) + 2 * (value - value**2)) / (n * (n - 1))
    return _around(value, math.sqrt(max(spread, 0.0)))


def overlaps(compositions: Actions, others: Actions) -> dict[str, Estimate]:
    """`melody_statistics.overlap_areas` with the others held fixed; NaN where a batch has no interval or note."""
    own, their, events = note_histograms(compositions), note_histograms(others), note_events(compositions)
    return {name: _overlap(own[kind], their[kind], events[kind]) for name, kind in OVERLAPS.items()}


def _overlap(own: Ints, their: Ints, events: tuple[Ints, Ints]) -> Estimate:
    """The overlap of two histograms, from the row and the bin of each event that `own` counts.

    It is the share of events in bins where there are fewer of them than of the others', plus the others' share of the
    remaining bins: a ratio of sums over compositions, and a constant.
    """
    size = max(len(own), len(their))
    a, b = (np.pad(h, (0, size - len(h))).astype(np.float64) for h in (own, their))
    if not a.sum() or not b.sum():
        return Estimate(math.nan, math.nan, math.nan)
    a, b = a / a.sum(), b / b.sum()
    row, place = events
    n = int(row.max()) + 1
    every = np.bincount(row, minlength=n).astype(float)
    few = np.bincount(row, (a < b)[place].astype(float), minlength=n)
    spread = _squares(few - few.sum() / every.sum() * every) * _small(n)
    return _around(float(np.minimum(a, b).sum()), math.sqrt(spread) / every.sum())


def _squares(values: Floats) -> float:
    return float(values @ values)


def _small(n: int) -> float:
    """What a variance of n is multiplied with since its mean is estimated too."""
    return n / (n - 1) if n > 1 else math.nan


def _around(value: float, error: float) -> Estimate:
    return _within(Estimate(value, value - Z * error, value + Z * error))


def _within(found: Estimate) -> Estimate:
    """The same with bounds between 0 and 1."""
    low, high = (min(max(bound, 0.0), 1.0) if bound == bound else bound for bound in (found.low, found.high))
    return Estimate(found.value, low, high)
