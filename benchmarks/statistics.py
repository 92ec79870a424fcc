"""Statistics of scores over seeds: aggregates, intervals, profiles, curves and tests, all seeded.

Scores are float[..., runs, tasks]: a row a seed, a column a task (a problem of a suite). Aggregates, profiles and the
stratified bootstrap are those of Agarwal et al. 2021 (Deep RL at the edge of the statistical precipice). Percentiles
are widened as in Hesterberg 2015 (What teachers should know about the bootstrap), because a plain bootstrap of
five seeds is too narrow. docs/statistics.md has the coverage that simulation finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.tasks import Floats

Statistic = Callable[..., Floats]
RESAMPLES = 2_000
EXACT = 200_000  # rearrangements up to which a permutation test counts all of them
FEW = 5  # seeds under which an interval comes with a warning
COVERAGE = {3: (95, 87, 76, 74), 5: (94, 88, 93, 94), 10: (95, 90, 96, 97)}
"""Seeds: per cent of simulated 95 % intervals of one number a seed that hold the truth: of the mean with normal and
with skewed scores, of the IQM with both. From `python -m descant.benchmarks.coverage`."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval over `seeds`; NaN for bounds where there are not two seeds to tell them from."""

    value: float
    low: float
    high: float
    seeds: int

    def text(self, digits: int = 4) -> str:
        """The value, and the interval where there is one."""
        shown = f"{self.value:.{digits}f}"
        bounded = np.isfinite([self.low, self.high]).all()
        return f"{shown} ({self.low:.{digits}f} to {self.high:.{digits}f})" if bounded else shown


# Aggregates of scores float[..., runs, tasks]: float[...].


def mean(scores: Floats) -> Floats:
    """Mean of all scores."""
    return scores.mean((-2, -1))


def median(scores: Floats) -> Floats:
    """Median over tasks of the mean over runs; of one task, the median over runs."""
    return np.median(scores.mean(-2) if scores.shape[-1] > 1 else scores[..., 0], -1)


def iqm(scores: Floats) -> Floats:
    """Interquartile mean: of all scores without the lowest and the highest quarter."""
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), -1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def optimality_gap(scores: Floats, target: float = 1.0) -> Floats:
    """How far scores fall short of the target, on average; what exceeds it counts as reaching it."""
    return np.maximum(target - scores, 0.0).mean((-2, -1))


AGGREGATES: dict[str, Statistic] = {
    "mean": mean,
    "median": median,
    "IQM": iqm,
    "optimality gap": optimality_gap,
}


# Intervals.


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of one number a seed and its t interval; NaN for bounds that one value can't give."""
    from scipy.stats import t

    n = len(values)
    middle = float(np.mean(values)) if n else float("nan")
    if n < 2:
        return middle, float("nan"), float("nan")
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * float(np.std(values, ddof=1)) / n**0.5
    return middle, middle - half, middle + half


def between(low: float, high: float, form: str) -> str:
    """Bounds in a cell of a table; a dash where one value gives none."""
    return f"{low:{form}} to {high:{form}}" if np.isfinite(low) and np.isfinite(high) else "-"


def give_or_take(mean: float, low: float, high: float, digits: int) -> str:
    """Mean and half the interval in a cell of a table; the mean alone where one value gives no interval."""
    shown = f"{round(mean, digits) + 0.0:.{digits}f}"  # no -0
    return f"{shown} ± {(high - low) / 2:.{digits}f}" if np.isfinite(low) and np.isfinite(high) else shown


def bootstrap(
    statistic: Statistic,
    *samples: Any,
    strata: bool = False,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Bounds of `statistic(*samples)`, each sample float[..., runs, tasks]; float[...] or what the statistic adds.

    Rows are drawn whole, as a seed's tasks go together where one trained agent plays them all; with `strata` each
    column by itself, for tasks that were trained apart. DescantError for fewer than two runs.
    """
    arrays = [np.asarray(s, float) for s in samples]
    fewest = min(a.shape[-2] for a in arrays)
    strata_apart = min(a.shape[-1] for a in arrays) if strata else 1
    if fewest < 2:
        raise DescantError("An interval needs two seeds at least, and five to be worth much: run more seeds.")
    rng = np.random.default_rng(seed)
    found = np.stack([statistic(*[_redrawn(a, strata, rng) for a in arrays]) for _ in range(resamples)])
    tail = 100 * widened_tail(fewest, confidence, strata_apart)
    low, high = np.percentile(found, [tail, 100 - tail], axis=0)
    return low, high


def _redrawn(array: Floats, strata: bool, rng: np.random.Generator) -> Floats:
    runs, tasks = array.shape[-2:]
    if not strata:
        return array[..., rng.integers(runs, size=runs), :]
    return np.take_along_axis(array, rng.integers(runs, size=(*array.shape[:-2], runs, tasks)), -2)


def widened_tail(runs: int, confidence: float, strata: int = 1) -> float:
    """The share to cut at either end so that a percentile interval of a mean is as wide as that of t.

    Strata pool their degrees of freedom.
    """
    from scipy.stats import norm, t

    wide = (runs / (runs - 1)) ** 0.5 * float(t.ppf(0.5 + confidence / 2, strata * (runs - 1)))
    return float(norm.cdf(-wide))


def estimate(scores: Any, name: str = "mean", strata: bool = False) -> Estimate:
    """An aggregate of scores float[runs, tasks] with a 95 % interval, and none of one run.

    What is a mean over whole runs (mean, optimality gap) has the t interval, which holds better; the rest have the
    bootstrap's.
    """
    array = np.asarray(scores, float)
    runs = len(array)
    value = float(AGGREGATES[name](array)) if array.size else float("nan")
    if runs < 2:
        return Estimate(value, float("nan"), float("nan"), runs)
    if AGGREGATES[name] in (mean, optimality_gap) and not strata:
        return Estimate(*interval(AGGREGATES[name](array[:, None]).tolist()), runs)
    low, high = bootstrap(AGGREGATES[name], array, strata=strata)
    return Estimate(value, float(low), float(high), runs)


def caution(seeds: int) -> str:
    """What must be said of an interval from so many seeds; empty where there is nothing to say."""
    if seeds < 2:
        return "One seed: no interval. The numbers say what happened once, not what to expect."
    known = max((n for n in COVERAGE if n <= seeds), default=min(COVERAGE))
    mean_normal, mean_skewed, iqm_normal, iqm_skewed = COVERAGE[known]
    few = f"Only {seeds} seeds: fewer than {FEW} are a smoke test. " if seeds < FEW else ""
    return (
        f"{few}In simulation with {known} seeds, intervals called 95 % hold the truth, for the mean, in "
        f"{mean_normal} % of cases where scores are normal and in {mean_skewed} % where they are strongly skewed; "
        f"for the IQM in {iqm_normal} % and {iqm_skewed} %."
    )


# Profiles, curves, comparisons.


def profile(scores: Any, thresholds: Any) -> Floats:
    """Performance profile: the share of scores float[..., runs, tasks] above each threshold, float[..., T]."""
    array = np.asarray(scores, float)[..., None]
    return (array > np.asarray(thresholds, float)).mean((-3, -2))


def on_grid(steps: Any, values: Any, grid: Any) -> Floats:
    """A curve at the steps of a grid: between two records linear, before the first and after the last NaN."""
    return np.interp(grid, steps, values, left=np.nan, right=np.nan)


def efficiency(curves: Any) -> tuple[Floats, Floats, Floats]:
    """Sample-efficiency curve of runs on one grid, float[runs, G]: mean and its t interval at each point, float[G]."""
    found = [interval(column.tolist()) for column in np.asarray(curves, float).T]
    middle, low, high = np.array(found, float).reshape(-1, 3).T
    return middle, low, high


def probability_of_improvement(a: Any, b: Any) -> Floats:
    """P(a run of a scores above one of b on a task), ties half, averaged over tasks; both float[runs, tasks]."""
    first, second = np.asarray(a, float)[:, None], np.asarray(b, float)[None]
    return ((first > second) + 0.5 * (first == second)).mean()


def paired_test(a: Any, b: Any, seed: int = 0) -> float:
    """Two-sided p of equal means of a and b, one number a seed each, by flipping signs of the seeds' differences."""
    difference = np.asarray(a, float) - np.asarray(b, float)
    n = len(difference)
    if 2**n <= EXACT:
        signs = 1 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (EXACT // 4, n))
        signs[0] = 1.0
    return _share_as_far(signs @ difference, difference.sum())


def unpaired_test(a: Any, b: Any, seed: int = 0) -> float:
    """Two-sided p of equal means of a and b, one number a run each, by dealing all runs out anew."""
    first, both = np.asarray(a, float), np.concatenate([np.asarray(a, float), np.asarray(b, float)])
    n = len(first)
    if comb(len(both), n) <= EXACT:
        dealt = np.array(list(combinations(range(len(both)), n)))
    else:
        rng = np.random.default_rng(seed)
        dealt = np.array([np.arange(n), *(rng.permutation(len(both))[:n] for _ in range(EXACT // 20))])
    centre = both.sum() * n / len(both)
    return _share_as_far(both[dealt].sum(1) - centre, first.sum() - centre)


def _share_as_far(found: Floats, observed: float) -> float:
    """The share that lies as far from 0 as what was observed, rounding aside."""
    slack = 1e-9 * max(float(np.abs(found).max()), 1e-300)
    return float((np.abs(found) >= abs(observed) - slack).mean())


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p of several tests adjusted by Holm's method: those under 5 % err in one case of twenty for all together."""
    ordered = sorted(p, key=lambda name: p[name])
    adjusted: dict[str, float] = {}
    highest = 0.0
    for i, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(p) - i) * p[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p}
