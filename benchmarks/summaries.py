"""What a suite's results come to: the tables that the screen, the HTML and the Markdown report share."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from descant.tasks import Floats

from .results import without_error
from .statistics import (
    Estimate,
    bootstrap,
    caution,
    estimate,
    holm,
    paired_test,
    probability_of_improvement,
)
from .studies import Table


def finished(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of an entry that were evaluated."""
    return [run for run in entry["runs"] if run["problems"]]


def scores_of(entry: dict[str, Any]) -> Floats:
    """Scores of an entry, float[runs, problems]; runs that failed are left out, and counted elsewhere."""
    return np.array([[p["score"] for p in run["problems"]] for run in finished(entry)], float)


def seeds_of(results: dict[str, Any]) -> int:
    """The fewest seeds of an agent that trains, those left out of which none finished; 0 where there is no other."""
    counts = [len(finished(e)) for e in results["entries"] if e["total_timesteps"]]
    return min((count for count in counts if count), default=0)


def summary_rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """A row an agent: score with its interval over seeds, what breaks no rule, what it cost."""
    return [_summary_row(entry) for entry in results["entries"]]


def _summary_row(entry: dict[str, Any]) -> dict[str, str]:
    runs, trained = finished(entry), [r for r in finished(entry) if "steps" in r]
    scores = scores_of(entry)
    failed = len(entry["runs"]) - len(runs)
    seeds = f"{len(runs)}" + (f" + {failed} failed" if failed else "")
    seconds = [r["seconds"] for r in trained]
    rates = [r["steps"] / r["seconds"] for r in trained if r["seconds"]]
    warnings = [sum(f["severity"] == "warning" for f in p["findings"]) for r in runs for p in r["problems"]]
    lines = [without_error(run) for run in runs]
    return {
        "agent": entry["agent"],
        "score": estimate(scores).text() if runs else "failed",
        "without error": f"{_span(lines)} of {len(runs[0]['problems'])}" if runs else "",
        "warnings": f"{np.mean(warnings):.1f} a line" if runs else "",
        "trained on": f"{np.mean([r['steps'] for r in trained]):,.0f} steps" if trained else "",
        "in": f"{np.mean(seconds):.0f} s" if trained else "",
        "steps a second": f"{np.mean(rates):,.0f}" if rates else "",
        "seeds": seeds if entry["total_timesteps"] else "",
    }


def _span(counts: list[int]) -> str:
    return " to ".join(f"{count}" for count in sorted({min(counts), max(counts)}))


def summary_table(results: dict[str, Any]) -> Table:
    """The rows of `summary_rows`."""
    rows = summary_rows(results)
    return Table("Summary", tuple(rows[0]), tuple(tuple(row.values()) for row in rows), rows)


def aggregates_table(results: dict[str, Any]) -> Table:
    """Mean, median, IQM and optimality gap of each agent over seeds and problems, with 95 % intervals."""
    names = ("mean", "median", "IQM", "optimality gap")
    rows = tuple(
        (entry["agent"], *(estimate(scores_of(entry), name).text() for name in names))
        for entry in results["entries"]
        if finished(entry)
    )
    return Table("Aggregates, with 95 % intervals over seeds", ("agent", *names), rows, None)


def problems_table(results: dict[str, Any]) -> Table:
    """Mean score of each problem (rows) and agent (columns); the errors of all seeds in brackets."""
    entries = [entry for entry in results["entries"] if finished(entry)]
    rows = []
    for i, problem in enumerate(finished(entries[0])[0]["problems"] if entries else ()):
        cells = [problem["problem"]]
        for entry in entries:
            own = [run["problems"][i] for run in finished(entry)]
            errors = sum(int(p["errors"]) for p in own)
            counted = f" ({errors} error{'s' * (errors > 1)})" if errors else ""
            cells.append(f"{np.mean([p['score'] for p in own]):.4f}{counted}")
        rows.append(tuple(cells))
    return Table("Scores by problem", ("problem", *(e["agent"] for e in entries)), tuple(rows), None)


def pairs_table(results: dict[str, Any]) -> Table | None:
    """Each pair of agents with several seeds: difference, probability of improvement, p by Holm; None without one."""
    found: dict[str, tuple[str, ...]] = {}
    p: dict[str, float] = {}
    several = [entry for entry in results["entries"] if len(finished(entry)) > 1]
    for one, other in combinations(several, 2):
        a, b = _common(one, other)
        if len(a) < 2:
            continue
        name = f"{one['agent']} - {other['agent']}"
        low, high = bootstrap(probability_of_improvement, a, b)
        better = Estimate(float(probability_of_improvement(a, b)), float(low), float(high), len(a))
        found[name] = (estimate(a - b).text(), better.text(2))
        p[name] = paired_test(a.mean(1), b.mean(1))
    rows = tuple((name, *found[name], f"{adjusted:.3f}") for name, adjusted in holm(p).items())
    columns = ("pair", "difference of scores", "P(improvement)", "p, Holm")
    return Table("Differences between agents", columns, rows, None) if rows else None


def _common(one: dict[str, Any], other: dict[str, Any]) -> tuple[Floats, Floats]:
    """Scores of the seeds that both have, in the same order."""
    runs = [{run["seed"]: [p["score"] for p in run["problems"]] for run in finished(e)} for e in (one, other)]
    seeds = [seed for seed in runs[0] if seed in runs[1]]
    return np.array([runs[0][s] for s in seeds], float), np.array([runs[1][s] for s in seeds], float)


def failures(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Agent, seed and what was said of each run that failed."""
    return [
        {"agent": entry["agent"], "seed": run["seed"], "error": run["error"]}
        for entry in results["entries"]
        for run in entry["runs"]
        if run["error"]
    ]


def limits(results: dict[str, Any]) -> list[str]:
    """What the numbers do not show, as sentences."""
    found = []
    if seeds := seeds_of(results):
        found.append(caution(seeds))
    if 1 < seeds < 6:
        found.append(
            f"With {seeds} seeds no paired test can reach 5 %: the smallest p is {2 / 2**seeds:.3g} before correction."
        )
    budgets = {e["total_timesteps"] for e in results["entries"] if e["total_timesteps"]}
    if len(budgets) > 1:
        found.append(
            "The agents' budgets differ (steps and seconds are in the summary): this compares what was given, not "
            "algorithms."
        )
    if failed := failures(results):
        found.append(f"{len(failed)} run{'s' * (len(failed) > 1)} failed: scores are of the others.")
    if any(entry["agent"] == "random" for entry in results["entries"]):
        found.append("The lines of random are one draw; a score of 0 is what they are worth on average.")
    found.append("Seconds and steps a second are of this machine, with whatever ran beside the benchmark.")
    found.append("The agents' settings were not tuned with equal effort.")
    found.append("A score counts broken rules. Whether a line is good music is for your ears.")
    return found
