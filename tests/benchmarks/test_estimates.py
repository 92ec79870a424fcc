"""Estimates: a suite is rehearsed in small, and what recurs is multiplied."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import descant.benchmarks.estimates as estimates
from descant.benchmarks.estimates import Pace, Rehearsal, chosen, kind_of, makespan, matrix, rehearse
from descant.benchmarks.runner import begin_run
from descant.benchmarks.specs import Entry, RunSpec, Suite, runs_of
from descant.benchmarks.work import Done, Job, call
from descant.cli import main
from descant.commands.train import train
from descant.runs.folders import RunFolder

from .test_suite_files import WHOLE, written
from .tiny_suite import SMALL, TINY

TWO = replace(TINY, entries=(*TINY.entries[:2], Entry("reinforce", 200, SMALL)), seeds=(0, 1, 2))


def in_here(jobs: Sequence[Job], out: Path, workers: int) -> Iterator[Done | None]:
    """An executor without processes."""
    for job in jobs:
        yield None
        yield call(job, out)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "execute", in_here)
    monkeypatch.setattr(estimates, "TRIAL_SECONDS", 0.05)
    monkeypatch.setattr(estimates, "START", "pass")


def test_a_dry_run_prints_the_runs_and_trains_none(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rehearsed(suite: Suite, wanted: Sequence[bool], *rest: Any) -> Rehearsal:
        assert all(wanted)
        return Rehearsal({kind_of(runs_of(suite)[0]): Pace(0.5, 1.0, 100, 100.0)}, 2.0, 4.0, 3.0)

    monkeypatch.setattr(estimates, "rehearse", rehearsed)
    arguments = ["bench", written(tmp_path, WHOLE), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*arguments, "--seeds", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "rehearsing mine: some seconds an agent, then tests and a report\n"
    said = printed.out.splitlines()
    assert [line.split()[:7] for line in said[:-1]] == [
        ["reinforce", "seed", str(i), "300", "steps", "3", "s"] for i in range(3)
    ]
    # a start, once a worker 0.5 s, two rounds of 3 s, tests, the report
    assert said[-1].startswith("3 runs, about 16 s with 2 workers")
    assert main([*arguments, "--json", "--workers", "1", "--only", "reinforce"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (len(found["runs"]), found["seconds"]) == (2, 15.5)
    assert found["runs"][0]["left"] == 300
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_what_fails(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        estimates,
        "rehearse",
        lambda suite, *rest: Rehearsal({kind_of(runs_of(suite)[0]): Pace(error="it broke")}, 0, 0, 0),
    )
    arguments = ["bench", written(tmp_path, WHOLE), "--out", str(tmp_path), "--dry-run"]
    assert main(arguments) == 1
    said = capsys.readouterr().out.splitlines()
    assert "fails" in said[0]
    assert said[-1] == "failed: reinforce: it broke"
    assert main([*arguments, "--json"]) == 1


def test_runs_are_laid_out_on_workers() -> None:
    def end(seconds: Sequence[float], workers: int, once: float = 0.0) -> float:
        return makespan([("a", s) for s in seconds], {"a": once}, workers)

    assert end([], 2) == 0
    assert end([3, 1, 1, 5], 2) == 7
    assert end([3, 1, 1, 5], 1) == 10
    assert end([3, 1, 1, 5], 1, 2.0) == 12  # paid once
    assert end([3, 1, 1, 5], 2, 2.0) == 9  # once in each worker
    assert makespan([("a", 3), ("b", 1), ("b", 1)], {"b": 0.5}, 1) == 5.5


def test_a_pace_counts_what_each_run_costs() -> None:
    pace = Pace(once=9.0, fixed=1.0, begun=100, rate=50.0)
    assert pace.seconds(600) == 11.0
    assert pace.seconds(100) == pace.seconds(20) == 1.0  # no run is shorter than its first update
    value = [[4.0, [7.0, 100], [7.0, 100]], [3.0, [20.0, 100], [22.0, 200]]]
    done = Done(Job("", "", {}), value, 8.0)
    assert estimates._pace(done) == Pace(once=3.0, fixed=1.0, begun=100, rate=50.0)
    assert estimates._pace(replace(done, error="x")).error == "x"
    ended = replace(done, value=[[4.0, [7.0, 100], [7.0, 100]]] * 2)
    assert estimates._pace(ended) == Pace(once=0.0, fixed=4.0, begun=100)


def test_workers_are_kept_busy_in_a_rehearsal() -> None:
    specs = runs_of(TWO)
    names = [(s.entry.total_timesteps, s.seed) for s in chosen(specs, 4)]
    assert names == [(20_000, 0), (200, 0), (20_000, 1), (20_000, 2)]
    assert len(chosen(specs, 2)) == len(chosen(specs, 1)) == 2
    assert len(chosen(specs, 7)) == 6  # all there are
    assert chosen([], 2) == []


def test_a_trial_ends_after_its_time(tmp_path: Path) -> None:
    (spec,) = runs_of(replace(TINY, entries=(Entry("reinforce", 10_000_000, SMALL),)))
    begin_run(spec, tmp_path)
    cold, warm = estimates.try_run(0.3, str(spec.folder(tmp_path)))
    assert cold[1] == cold[2]  # a single update
    assert warm[1][1] < warm[2][1] < 10_000_000
    assert 0.3 <= warm[2][0] - warm[1][0] < warm[0]


def test_steps_before_an_agent_learns_do_not_count(tmp_path: Path) -> None:
    entry = Entry("dqn", 400, {"num_envs": 2, "hidden": (8,), "learning_starts": 200, "buffer_size": 500})
    (spec,) = runs_of(replace(TINY, entries=(entry,)))
    begin_run(spec, tmp_path)
    cold, warm = estimates.try_run(10.0, str(spec.folder(tmp_path)))
    assert cold[1][1] > 200
    assert warm[1][1] > 200
    assert warm[2][1] >= 400


def test_a_suite_is_rehearsed_to_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a run that is done already, and one that fails."""
    broken = Entry("reinforce", 90, SMALL | {"num_envs": 3.5})
    above = {"cantus": "dorian", "position": "above"}
    suite = replace(TWO, entries=(*TWO.entries, broken), seeds=(0, 1), test_options=above)
    specs, out, stage = runs_of(suite), tmp_path / "out", tmp_path / "stage"
    for spec in specs[2:4]:
        done(spec, out)
    found: list[Rehearsal] = []

    def keep(suite: Suite, wanted: Sequence[bool], out: Path, _: Path, workers: int) -> Rehearsal:
        found.append(rehearse(suite, wanted, out, stage, workers))
        return found[0]

    monkeypatch.setattr(estimates, "rehearse", keep)
    rows, seconds = matrix(suite, out, 2)
    assert [row["left"] for row in rows] == [20_000, 20_000, 0, 0, 90, 90]
    assert [bool(row["seconds"]) for row in rows] == [True, True, False, False, False, False]
    assert [bool(row["error"]) for row in rows] == [False] * 4 + [True] * 2
    assert [path.name for path in out.iterdir()] == ["runs"]  # the results are left alone
    assert set(found[0].paces) == {kind_of(specs[0]), kind_of(specs[4])}
    parts = (found[0].start, found[0].tests, found[0].report)
    assert min(parts) > 0
    assert seconds >= sum(parts) + rows[0]["seconds"]
    results = json.loads((stage / "results.json").read_text())
    assert [[run["seed"] for run in e["runs"]] for e in results["entries"]] == [
        [None],
        [0, 1],
        [0, 1],
        [0, 1],
    ]
    assert [bool(e["runs"][0]["error"]) for e in results["entries"]] == [False, False, False, True]
    assert (stage / "report.html").exists()


def done(spec: RunSpec, out: Path) -> None:
    begin_run(spec, out)
    assert train(RunFolder.open(spec.folder(out)))


def test_each_run_is_tested_but_planned_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first test of all takes longer, for the optimum that the others then know."""
    clock = iter(range(1000))
    spent = {"first": 0.0}

    def tested(suite: Suite, name: str, entry: Entry, trained: Any, out: Path) -> dict[str, Any]:
        spent["first"] += 5 if not spent["first"] else 0
        return {"runs": [{"seed": None}]}

    monkeypatch.setattr(estimates, "evaluate_entry", tested)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock) + spent["first"])
    seconds, entries = estimates._test_seconds(TWO, [], tmp_path)
    assert seconds == 5 + 1 + 3 + 3
    assert [len(entry["runs"]) for entry in entries] == [1, 3, 3]
