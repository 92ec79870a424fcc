"""Studies: jobs for each seed, tables as Markdown and JSON, intervals, and the command's exit code."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy import stats

from descant.benchmarks.jobs import Done, Job
from descant.benchmarks.raw import NAME, read_jobs
from descant.benchmarks.statistics import between, caution, give_or_take
from descant.benchmarks.studies import (
    Study,
    Table,
    errors_of,
    interval,
    markdown,
    print_table,
    run_study,
    write_tables,
)
from descant.cli import main
from descant.registry import suites


def _jobs(seeds: Sequence[int]) -> list[Job]:
    return [Job(f"seed {s}", f"{__name__}:root", {"x": float(4 - s)}) for s in seeds]


def _tables(done: list[Done], out: Path) -> list[Table]:
    rows = tuple((d.job.title, f"{d.value}") for d in done)
    failed = tuple(d.error for d in done if d.error)
    return [Table("roots", ("seed", "root|of"), rows, [d.value for d in done], not failed, failed)]


def root(x: float) -> float:
    return math.sqrt(x)


ROOTS = Study("roots", _jobs, _tables, seeds=2)


@pytest.fixture(autouse=True)
def _from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_a_study_leaves_its_table_as_markdown_and_as_json(tmp_path: Path) -> None:
    (table,) = run_study(ROOTS, tmp_path)
    assert table.rows == (("seed 0", "2.0"), ("seed 1", f"{math.sqrt(3)}"))
    assert (tmp_path / "roots.md").read_text() == markdown(table) + "\n"
    (kept,) = json.loads((tmp_path / "roots.json").read_text())
    assert kept["data"] == [2.0, math.sqrt(3)]
    assert kept["met"]
    assert [done.value for done in read_jobs(tmp_path / NAME)[1]] == kept["data"]


def test_markdown_is_a_table_with_its_failures_below(tmp_path: Path) -> None:
    (table,) = run_study(ROOTS, tmp_path, seeds=6)
    text = markdown(table)
    assert text.splitlines()[2:4] == ["| seed | root\\|of |", "| --- | --- |"]
    assert text.endswith("- failed: ValueError: expected a nonnegative input, got -1.0") or "failed: " in text


def test_the_exit_code_says_whether_bars_were_met(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{__name__}:ROOTS"
    assert main(["bench", name, "--out", str(tmp_path)]) == 0
    assert "roots" in capsys.readouterr().out
    assert main(["bench", name, "--out", str(tmp_path), "--seeds", "6", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["failed"]


def test_intervals_are_told_with_what_they_are_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def done(seeds: int) -> list[Done]:
        return [Done(Job("", "", {"seed": seed % seeds}), 1.0, 0.0) for seed in range(2 * seeds)]

    study = Study(
        "s", _jobs, lambda done, out: [Table("first", ("a",), (), None), Table("last", ("a",), (), None)]
    )
    first, last = write_tables(study, done(3), tmp_path)
    assert (first.note, last.note) == ("", caution(3))
    assert last.note.startswith("Only 3 seeds: fewer than 5 are a smoke test.")
    assert (tmp_path / "s.md").read_text().endswith(f"\n\n{caution(3)}\n")
    assert json.loads((tmp_path / "s.json").read_text())[1]["note"] == caution(3)
    print_table(last)
    assert "Only 3 seeds" in capsys.readouterr().out
    assert write_tables(study, done(1), tmp_path)[1].note.startswith("One seed: no interval")
    assert "smoke" not in write_tables(study, done(10), tmp_path)[1].note


def test_bounds_that_one_value_gives_are_none() -> None:
    assert between(*interval([1.0, 2.0])[1:], ".1f") == "-4.9 to 7.9"
    assert between(*interval([1.0])[1:], ".1f") == "-"
    regrets = [Done(job, 0.01, 1.0) for job in suites.get("regret").jobs(range(1))]
    (table,) = suites.get("regret").tables(regrets, Path())
    assert {row[4] for row in table.rows} == {"-"}


def test_the_interval_is_the_one_of_t() -> None:
    values = [1.0, 2.0, 4.0]
    mean, low, high = interval(values)
    expected = stats.t.interval(0.95, 2, loc=mean, scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(7 / 3)
    assert math.isnan(interval([1.0])[1])
    assert math.isnan(interval([])[0])


def test_help_names_every_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    told = re.search(r"Suites: (.*?)\.\s", capsys.readouterr().out, re.DOTALL)
    assert told
    assert set(re.split(r",\s+", told[1])) == set(suites.names())


def test_a_traceback_stands_below_what_failed() -> None:
    job = Job("seed 1", "m:f", {})
    fine, plain = Done(job, 1, 0.1), Done(job, None, 0.1, "OSError: x")
    broken = Done(job, None, 0.1, "ValueError: y", "Traceback\n  File z\nValueError: y\n")
    failed = errors_of([fine, plain, broken])
    assert failed == ("seed 1: OSError: x", "seed 1: ValueError: y\nTraceback\n  File z\nValueError: y")
    text = markdown(Table("t", ("a",), (("1",),), [], False, failed))
    assert text.endswith(
        "- failed: seed 1: OSError: x\n- failed: seed 1: ValueError: y\n\n"
        "      Traceback\n        File z\n      ValueError: y"
    )


def test_a_mean_of_one_seed_has_nothing_after_it() -> None:
    assert give_or_take(*interval([0.25]), 3) == "0.250"
    assert give_or_take(*interval([-1e-9, -1e-9]), 2) == "0.00 ± 0.00"
    assert give_or_take(1.0, 0.75, 1.25, 2) == "1.00 ± 0.25"
