"""Two result folders of one suite side by side: what got worse, beyond what seeds explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from descant.errors import DescantError

from .results import read_results
from .statistics import Estimate, bootstrap, holm, mean, unpaired_test
from .studies import Table
from .summaries import finished, scores_of

LEVEL = 0.05
ROUNDING = 1e-6  # two evaluations of one policy on two machines
CHANCE = "random"  # its lines are one draw: nothing there can get better or worse
COLUMNS = ("agent", "score A", "score B", "B - A", "p, Holm", "steps/s A", "steps/s B", "verdict")


def compare(first: Path, second: Path, tolerance: float | None = None) -> Table:
    """A row an agent that both have; `met` is False where one got worse.

    Worse is a lower mean score with p < 0.05 (permutations of runs, Holm's correction), more failed runs, or a lower
    score of an agent that learns nothing. Where there are too few seeds for that p, a fall by more than `tolerance`.
    DescantError for folders that can't be read or are of different suites.
    """
    a, b = read_results(first), read_results(second)
    _same_suite(a, b, first, second)
    entries = {e["agent"]: (e, o) for e in a["entries"] for o in b["entries"] if e["agent"] == o["agent"]}
    p = {name: _p(*pair) for name, pair in entries.items() if _testable(*pair)}
    adjusted = holm(p)
    rows, data = [], []
    for name, (one, other) in entries.items():
        verdict = _verdict(one, other, adjusted.get(name), len(p), tolerance)
        rows.append(_row(name, one, other, adjusted.get(name), verdict))
        data.append(dict(zip(COLUMNS, rows[-1], strict=True)))
    for results, where in ((a, "A"), (b, "B")):
        for entry in results["entries"]:
            if entry["agent"] not in entries:
                rows.append((entry["agent"], *[""] * (len(COLUMNS) - 2), f"only in {where}"))
                data.append({"agent": entry["agent"], "verdict": f"only in {where}"})
    met = not any(row[-1].startswith("WORSE") for row in rows)
    return Table(f"{a['suite']}: A = {first}, B = {second}", COLUMNS, tuple(rows), data, met)


def _same_suite(a: dict[str, Any], b: dict[str, Any], first: Path, second: Path) -> None:
    if (a["suite"], a["env"]) != (b["suite"], b["env"]):
        raise DescantError(
            f"{first} is of suite {a['suite']} on {a['env']}, {second} of {b['suite']} on {b['env']}: compare two "
            "folders of one suite."
        )
    problems = [
        {p["problem"] for e in r["entries"] for run in finished(e) for p in run["problems"]} for r in (a, b)
    ]
    if problems[0] and problems[1] and problems[0] != problems[1]:
        raise DescantError(
            f"{first} and {second} were tested on different problems: run the suite again in one of them."
        )


def _testable(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both have several seeds of an agent that learns."""
    return bool(one["total_timesteps"]) and min(len(finished(one)), len(finished(other))) > 1


def _p(one: dict[str, Any], other: dict[str, Any]) -> float:
    return unpaired_test(scores_of(one).mean(1), scores_of(other).mean(1))


def _score(entry: dict[str, Any]) -> float:
    return float(mean(scores_of(entry))) if finished(entry) else float("nan")


def _failed(entry: dict[str, Any]) -> int:
    return len(entry["runs"]) - len(finished(entry))


def _verdict(
    one: dict[str, Any], other: dict[str, Any], p: float | None, tests: int, tolerance: float | None
) -> str:
    """What became of an agent; begins with WORSE where it got worse."""
    change = _score(other) - _score(one)
    if _failed(other) > _failed(one):
        return f"WORSE: {_failed(other)} failed, {_failed(one)} before"
    if change != change:
        return "failed in both" if not finished(one) and not finished(other) else "failed before"
    if one["agent"] == CHANCE:
        return "chance"
    if not one["total_timesteps"]:
        return "WORSE" if change < -ROUNDING else "better" if change > ROUNDING else "same"
    if abs(change) <= ROUNDING:
        return "same"
    if p is not None and p < LEVEL:
        return "WORSE" if change < 0 else "better"
    if p is not None and tests * _least(one, other) < LEVEL:
        return "within noise"
    if tolerance is None:
        return "too few seeds to tell"
    return f"WORSE: by more than {tolerance:g}" if change < -tolerance else f"within {tolerance:g}"


def _least(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The smallest p that so many runs on either side can have."""
    n, m = len(finished(one)), len(finished(other))
    return unpaired_test(range(n), range(n, n + m))


def _row(
    name: str, one: dict[str, Any], other: dict[str, Any], p: float | None, verdict: str
) -> tuple[str, ...]:
    change = Estimate(_score(other) - _score(one), float("nan"), float("nan"), 0)
    if p is not None:
        low, high = bootstrap(lambda x, y: mean(y) - mean(x), scores_of(one), scores_of(other))
        change = Estimate(change.value, float(low), float(high), len(finished(one)))
    shown = [f"{_score(e):.4f}" if finished(e) else "failed" for e in (one, other)]
    return (
        name,
        *shown,
        change.text() if change.value == change.value else "",
        "" if p is None else f"{p:.3f}",
        *(_rate(e) for e in (one, other)),
        verdict,
    )


def _rate(entry: dict[str, Any]) -> str:
    """Steps a second, which machines and what else they do decide: shown, not judged."""
    trained = [run for run in finished(entry) if run.get("seconds")]
    seconds = sum(run["seconds"] for run in trained)
    return f"{sum(run['steps'] for run in trained) / seconds:,.0f}" if seconds else ""
