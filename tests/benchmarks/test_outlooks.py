"""What is left of a benchmark: what has a result, or has reached its end, does not count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import descant.benchmarks.jobs as jobs
from descant.benchmarks.outlooks import MINUTES, Outlook, outlook
from descant.benchmarks.runner import begin_run
from descant.benchmarks.specs import runs_of
from descant.benchmarks.studies import run_study
from descant.cli import main
from descant.commands.train import train
from descant.runs.folders import RunFolder

from .test_killed import in_here
from .test_studies import ROOTS
from .tiny_suite import SMALL, TINY


def test_jobs_that_have_results_are_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(jobs, "execute", in_here)
    monkeypatch.setitem(MINUTES, "roots", 10.0)
    assert outlook(ROOTS, tmp_path) == Outlook("roots", 2, 2, 10.0)
    run_study(ROOTS, tmp_path, seeds=6)  # of which the last fails
    assert outlook(ROOTS, tmp_path) == Outlook("roots", 2, 0, 0.0)
    assert outlook(ROOTS, tmp_path, seeds=8) == Outlook("roots", 8, 3, 15.0)
    name = f"{test_jobs_that_have_results_are_not_left.__module__}:ROOTS"
    assert main(["bench", name, "--dry-run", "--seeds", "8", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "roots: 3 of 8 jobs left, 15 min of one core\n"
    assert main(["bench", name, "--dry-run", "--json", "--out", str(tmp_path / "new")]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "roots", "jobs": 2, "left": 2, "minutes": 10.0}
    assert not (tmp_path / "new").exists()


def test_runs_that_have_reached_their_end_are_not_left(tmp_path: Path) -> None:
    suite = replace(TINY, entries=(replace(TINY.entries[1], total_timesteps=100, config=SMALL),))
    (run,) = runs_of(suite)
    begin_run(run, tmp_path)
    assert outlook(suite, tmp_path) == Outlook("tiny", 1, 1, None)
    assert train(RunFolder.open(run.folder(tmp_path)))
    assert outlook(suite, tmp_path, seeds=3) == Outlook("tiny", 3, 2, None)
    assert outlook(suite, tmp_path, seeds=3).text() == "2 of 3 jobs left, not timed"
    assert "0.333 min" in Outlook("x", 3, 1, 1 / 3).text()
