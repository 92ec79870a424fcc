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
from descant.benchmarks.studies import Study, Table, errors_of, interval, markdown, run_study
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
