"""How often the intervals of benchmarks/statistics.py hold the truth, by simulation: what docs/statistics.md tables.

Run it: python -m descant.benchmarks.coverage
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from descant.tasks import Floats

from .statistics import AGGREGATES, bootstrap, interval

TASKS = 12  # as Fux's six, above and below
TRUTH_RUNS = 400_000

Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def _bounded(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.beta(4.0, 1.0, shape)


SCORES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0.6, 0.1, shape),
    "skewed": lambda rng, shape: 1.0 - 0.2 * rng.exponential(1.0, shape),
    "bounded": _bounded,
}
"""Normal; one minus an exponential (a few runs fail badly: skewness -2); Beta(4, 1), crowded at the bound 1."""


@dataclass(frozen=True)
class Case:
    """A statistic of some seeds of scores of some kind; `tasks` is 1 for one number a seed.

    One task stands too for tasks that rise and fall together from seed to seed: the hardest case of whole rows.
    """

    name: str
    kind: str
    seeds: int
    tasks: int
    strata: bool = False


def cases(seeds: tuple[int, ...] = (3, 5, 10)) -> list[Case]:
    """t and the bootstrap of one number a seed, and the stratified bootstrap of each aggregate over tasks."""
    names = [("t", 1), *((name, 1) for name in AGGREGATES), *((name, TASKS) for name in AGGREGATES)]
    return [Case(name, kind, n, tasks, tasks > 1) for name, tasks in names for kind in SCORES for n in seeds]


def coverage(case: Case, trials: int = 2_000, resamples: int = 1_000, seed: int = 0) -> float:
    """The share of simulated 95 % intervals that hold the true value."""
    rng = np.random.default_rng(seed)
    scores = SCORES[case.kind](rng, (trials, case.seeds, case.tasks))
    if case.name == "t":
        bounds = np.array([interval(s[:, 0].tolist())[1:] for s in scores])
        low, high = bounds.T
    else:
        low, high = bootstrap(
            AGGREGATES[case.name], scores, strata=case.strata, resamples=resamples, seed=seed
        )
    value = truth(case)
    return float(((low <= value) & (value <= high)).mean())


def truth(case: Case) -> float:
    """The value that the statistic has over ever more runs of each task."""
    draws = SCORES[case.kind](np.random.default_rng(1), (TRUTH_RUNS, 1))
    if case.name == "median" and case.tasks > 1:  # of the tasks' means, which are all the same here
        return float(draws.mean())
    return float(AGGREGATES["mean" if case.name == "t" else case.name](draws))


def main() -> None:
    """Print the table of docs/statistics.md."""
    seeds = (3, 5, 10)
    print("| interval | scores | " + " | ".join(f"{n} seeds" for n in seeds) + " |")
    print("|---|---|" + "---|" * len(seeds))
    found = cases(seeds)
    for i in range(0, len(found), len(seeds)):
        row = found[i : i + len(seeds)]
        tasks = f"{TASKS} tasks" if row[0].tasks > 1 else "one task"
        what = f"mean, t, {tasks}" if row[0].name == "t" else f"{row[0].name}, bootstrap, {tasks}"
        cells = " | ".join(f"{100 * coverage(case):.1f} %" for case in row)
        print(f"| {what} | {row[0].kind} | {cells} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
