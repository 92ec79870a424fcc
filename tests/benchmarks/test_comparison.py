"""`descant report compare`, and the tables of several seeds, on results made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.benchmarks.results import FORMAT
from descant.benchmarks.statistics import interval
from descant.benchmarks.summaries import (
    aggregates_table,
    limits,
    pairs_table,
    problems_table,
    seeds_of,
    summary_rows,
)
from descant.cli import main

CLOSE = [0.81, 0.79, 0.82, 0.78, 0.80]


def run_of(score: float, seed: int | None, error: str | None = None) -> dict[str, Any]:
    names = () if error else ("first", "second")
    problems = [{"problem": n, "score": score + d, "errors": float(score < 0.5), "findings": []}
                for n, d in zip(names, (-0.01, 0.01), strict=False)]  # fmt: skip
    trained = {} if seed is None or error else {"steps": 1000, "seconds": 4.0}
    return {"seed": seed, "problems": problems, "error": error, **trained}


def results_of(agents: dict[str, Any], suite: str = "made") -> dict[str, Any]:
    """Scores by agent, a list a seed; one number for an agent that learns nothing; None for a run that failed."""
    entries = []
    for agent, scores in agents.items():
        seeds = [None] if isinstance(scores, float) else range(len(scores))
        runs = [
            run_of(score or 0.0, seed, "ValueError: no" if score is None else None)
            for seed, score in zip(seeds, np.atleast_1d(scores), strict=True)
        ]
        steps = 0 if isinstance(scores, float) else 1000
        entries.append({"agent": agent, "note": "", "config": {}, "total_timesteps": steps, "runs": runs})
    return {"format": FORMAT, "suite": suite, "env": "descant/Counterpoint-v0", "entries": entries}


def left(folder: Path, agents: dict[str, Any], suite: str = "made") -> str:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results_of(agents, suite)))
    return str(folder)


def compared(
    folder: Path, before: dict[str, Any], after: dict[str, Any], capsys: Any, *options: str
) -> tuple[int, dict[str, str]]:
    code = main(
        ["report", "compare", left(folder / "a", before), left(folder / "b", after), "--json", *options]
    )
    found = json.loads(capsys.readouterr().out)
    assert found["met"] == (code == 0)
    return code, {agent["agent"]: agent["verdict"] for agent in found["agents"]}


@pytest.mark.parametrize(
    ("before", "after", "options", "verdict"),
    [
        (CLOSE, CLOSE, (), "same"),
        (CLOSE, [s - 0.2 for s in CLOSE], (), "WORSE"),
        (CLOSE, [s + 0.2 for s in CLOSE], (), "better"),
        (CLOSE, [s - 0.005 for s in CLOSE], (), "within noise"),
        (CLOSE[:3], [0.1, 0.1, 0.11], (), "too few seeds to tell"),
        (CLOSE[:1], [0.1], (), "too few seeds to tell"),
        (CLOSE[:1], [0.1], ("--tolerance", "0.05"), "WORSE: by more than 0.05"),
        (CLOSE[:1], [0.80], ("--tolerance", "0.05"), "within 0.05"),
        (CLOSE, [*CLOSE[:4], None], (), "WORSE: 1 failed, 0 before"),
        ([*CLOSE[:4], None], CLOSE, (), "same"),
        ([None], [None], (), "failed in both"),
        (1.0, 0.999, (), "WORSE"),
        (0.999, 1.0, (), "better"),
        (1.0, 1.0 - 1e-9, (), "same"),
    ],
)
def test_what_got_worse_beyond_noise(
    before: Any, after: Any, options: tuple[str, ...], verdict: str, tmp_path: Path, capsys: Any
) -> None:
    code, found = compared(tmp_path, {"agent": before}, {"agent": after}, capsys, *options)
    assert found == {"agent": verdict}
    assert code == verdict.startswith("WORSE")


def test_holm_counts_the_agents(tmp_path: Path, capsys: Any) -> None:
    """p of the smallest kind, 2 / 252, is under 5 % times six agents, not times seven."""
    worse = [s - 0.2 for s in CLOSE]
    for count, code in ((6, 1), (7, 0)):
        folder = tmp_path / str(count)
        folder.mkdir()
        others = {str(i): CLOSE for i in range(count - 1)}
        got, found = compared(folder, {"x": CLOSE, **others}, {"x": worse, **others}, capsys)
        assert got == code
        assert found["x"] == ("WORSE" if code else "too few seeds to tell")


def test_chance_is_not_judged_and_what_one_lacks_is_named(tmp_path: Path, capsys: Any) -> None:
    before, after = {"random": 0.1, "gone": 0.5}, {"random": -0.1, "new": 0.5}
    assert compared(tmp_path, before, after, capsys) == (
        0,
        {"random": "chance", "gone": "only in A", "new": "only in B"},
    )


def test_the_table_is_printed(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folders = [left(tmp_path / "a", {"x": CLOSE}), left(tmp_path / "b", {"x": [0.1] * 5})]
    assert main(["report", "compare", *folders]) == 1
    said = capsys.readouterr().out
    assert "WORSE" in said
    assert "-0.7000 (" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "a"], "Give two results folders"),
        (["compare", "a", "nowhere"], "can't be read"),
        (["compare", "a", "old"], "is of another version of descant"),
        (["compare", "a", "other"], "compare two folders of one suite"),
        (["compare", "a", "else"], "tested on different problems"),
        (["compare", "a", "a", "--tolerance", "-1"], "--tolerance must be 0 or more"),
        (["a", "a"], "Give one results folder, or: descant report compare A B"),
        (["a", "--json"], "--json is for a study's raw data and for descant report compare"),
    ],
)
def test_folders_that_can_not_be_compared_are_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, suite in (("a", "made"), ("old", "made"), ("other", "other"), ("else", "made")):
        left(tmp_path / name, {"x": CLOSE}, suite)
    old = json.loads((tmp_path / "old/results.json").read_text()) | {"format": FORMAT - 1}
    (tmp_path / "old/results.json").write_text(json.dumps(old))
    text = (tmp_path / "else/results.json").read_text()
    (tmp_path / "else/results.json").write_text(text.replace("second", "third"))
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


# The tables of several seeds.

MADE = results_of({"random": 0.0, "x": CLOSE, "y": [0.4, 0.45, 0.9, None, 0.5], "z": [None]})


def test_the_summary_has_intervals_and_counts_failures() -> None:
    rows = {row["agent"]: row for row in summary_rows(MADE)}
    middle, low, high = interval(CLOSE)
    assert rows["x"]["score"] == f"{middle:.4f} ({low:.4f} to {high:.4f})"
    assert rows["y"]["seeds"] == "4 + 1 failed"
    assert rows["y"]["without error"] == "0 to 2 of 2"
    assert rows["x"]["steps a second"] == "250"
    assert rows["z"]["score"] == "failed"
    assert rows["random"]["score"] == "0.0000"
    assert rows["random"]["seeds"] == ""


def test_aggregates_and_problems_leave_out_what_failed() -> None:
    assert [row[0] for row in aggregates_table(MADE).rows] == ["random", "x", "y"]
    first, second = problems_table(MADE).rows
    assert first == ("first", "-0.0100 (1 error)", "0.7900", "0.5525 (2 errors)")
    assert second[2] == "0.8100"


def test_pairs_are_of_the_seeds_that_both_have() -> None:
    table = pairs_table(MADE)
    assert table is not None
    ((pair, difference, better, p),) = table.rows
    assert pair == "x - y"
    assert difference.startswith(
        f"{np.mean(np.subtract([0.81, 0.79, 0.82, 0.80], [0.4, 0.45, 0.9, 0.5])):.4f} ("
    )
    assert better.startswith("0.75 (")
    assert float(p) == pytest.approx(4 / 16)
    assert pairs_table(results_of({"x": CLOSE, "y": 1.0})) is None


def test_what_the_numbers_do_not_show_follows_from_them() -> None:
    assert seeds_of(MADE) == 4
    text = " ".join(limits(MADE))
    assert "Only 4 seeds" in text
    assert "2 runs failed" in text
    assert "smallest p is 0.125" in text
    assert "budgets differ" not in text
    assert "random are one draw" in text
    assert "no interval" in limits(results_of({"x": [0.5]}))[0]
