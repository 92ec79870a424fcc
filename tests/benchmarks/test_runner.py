"""The runner's parts, without training."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import descant.benchmarks.runner as runner
from descant.benchmarks.runner import Trained, is_done, last_step, train_all
from descant.benchmarks.specs import Suite, runs_of
from descant.benchmarks.work import Done, Job
from descant.errors import DescantError
from descant.registry import suites
from descant.runs.folders import RunFolder

from .tiny_suite import BROKEN, TINY


def test_a_folder_that_was_left_empty_is_begun_again(tmp_path: Path) -> None:
    spec = runs_of(TINY)[0]
    spec.folder(tmp_path).mkdir(parents=True)
    assert not is_done(spec, tmp_path)
    runner.begin_run(spec, tmp_path)
    config = json.loads((spec.folder(tmp_path) / "config.json").read_text())["config"]
    assert config["config"]["hidden"] == [16]
    assert config["config"]["normalize_advantage"] is False
    assert (config["config"]["seed"], config["total_timesteps"]) == (0, 20_000)


def test_a_run_that_another_process_is_writing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `kill -9`, which leaves the workers at their work."""
    (spec,) = runs_of(TINY)[:1]
    runner.begin_run(spec, tmp_path)
    folder, order = spec.folder(tmp_path), []
    monkeypatch.setattr(runner, "main", lambda arguments: order.append(arguments[0]) or 0)
    with RunFolder.open(folder).lock():
        assert runner.is_taken(folder)

        def free(seconds: float) -> None:
            order.append("waited")
            monkeypatch.setattr(runner, "is_taken", lambda folder: False)

        monkeypatch.setattr("time.sleep", free)
        assert runner.train_run(str(folder)) == 0
    assert order == ["waited", "train"]
    monkeypatch.setattr(runner, "has_reached", lambda folder, steps: steps == 20_000)
    assert runner.train_run(str(folder)) == 0  # the other has finished it
    assert order == ["waited", "train"]


def test_what_a_run_prints_is_in_its_log_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (spec,) = runs_of(TINY)[:1]
    runner.begin_run(spec, tmp_path)

    def chat(arguments: Sequence[str]) -> int:
        print("said")
        os.system("echo said beneath")
        warnings.warn("a warning", stacklevel=1)
        raise KeyError("x")

    monkeypatch.setattr(runner, "main", chat)
    assert runner.train_run(str(spec.folder(tmp_path))) == 1
    assert capfd.readouterr() == ("", "")
    (log,) = (tmp_path / "logs").iterdir()
    assert log.name == f"{spec.folder(tmp_path).name}.txt"
    said = log.read_text()
    assert said.startswith("said\nsaid beneath\nTraceback")
    assert said.endswith("KeyError: 'x'\n")
    assert "warning" not in said.replace("warnings.warn", "")
    print("after")
    assert capfd.readouterr().out == "after\n"


def test_nothing_to_train_is_fine(tmp_path: Path) -> None:
    assert train_all([], tmp_path) == []


def test_a_run_that_can_not_begin_does_not_hold_up_the_others(tmp_path: Path) -> None:
    bad = runs_of(replace(TINY, entries=(BROKEN,)))[0]
    (found,) = train_all([bad], tmp_path)
    assert isinstance(found, Trained)
    assert "no_such_option" in (found.error or "")
    assert not found.folder.exists()


def test_a_run_that_breaks_is_told_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "WORK", "json:loads")
    (found,) = train_all(runs_of(TINY)[:1], tmp_path)
    assert found.error is not None
    assert found.error.startswith("Traceback")
    assert "TypeError: loads()" in found.error.splitlines()[-1]


def test_a_run_that_was_stopped_says_so(tmp_path: Path) -> None:
    done = Done(Job("x", "m:f", {}), 130, 1.0)
    assert runner._told(done, tmp_path) == "it was stopped before its end"


def test_a_run_that_leaves_with_another_exit_status_than_0_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(jobs: Sequence[Job], *_: object) -> Iterator[Done]:
        yield from (Done(job, status, 1.0) for status, job in enumerate(jobs))

    monkeypatch.setattr(runner, "execute", execute)
    assert [t.error for t in train_all(runs_of(TINY)[:2], tmp_path)] == [
        None,
        "it was stopped before its end",
    ]


def test_a_run_that_has_reached_its_end_is_not_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Job] = []

    def execute(jobs: Sequence[Job], *_: object) -> Iterator[Done]:
        begun.extend(jobs)
        yield from ()

    steps = {"num_timesteps": 19_999}
    (run,) = runs_of(TINY)[:1]
    runner.begin_run(run, tmp_path)
    monkeypatch.setattr(runner, "execute", execute)
    monkeypatch.setattr(RunFolder, "has_checkpoint", lambda self, name: True)
    monkeypatch.setattr(runner, "load_checkpoint", lambda path: SimpleNamespace(state=steps))
    train_all([run], tmp_path)
    assert len(begun) == 1
    steps["num_timesteps"] = 20_000
    assert is_done(run, tmp_path)
    train_all([run], tmp_path)
    assert len(begun) == 1


def test_the_end_of_what_a_failed_run_printed_is_told(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.txt").write_text("a" * runner.TOLD + "the end\n")
    told = runner._told(Done(Job("x", "m:f", {}), 1, 1.0), tmp_path)
    assert told.endswith("athe end\n")
    assert len(told) == runner.TOLD


def test_the_last_step_is_read_from_the_end(tmp_path: Path) -> None:
    assert last_step(tmp_path) == 0
    file = tmp_path / "metrics.jsonl"
    for content, step in (
        ("", 0),
        ('{"step": 5}\n', 5),
        ('{"step": 5}\n{"step": 9}\n', 9),
        ('{"step": 5}\n{"step": 9, "x"', 5),  # being written
        ('{"step": 5}\n[1]\nnull\n', 5),
        ("x" * 5000 + '\n{"step": 7}\n', 7),
    ):
        file.write_text(content)
        assert last_step(tmp_path) == step


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DescantError, match="choose another --out"):
        train_all(runs_of(TINY), tmp_path / "file")


def test_a_suite_is_found_by_module_and_attribute() -> None:
    assert isinstance(suites.get("descant.benchmarks.suites.quick:QUICK"), Suite)
