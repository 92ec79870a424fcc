"""The runner's parts, without training."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import descant.benchmarks.runner as runner
from descant.benchmarks.runner import Trained, is_done, last_step, train_all
from descant.benchmarks.specs import RunSpec, Suite, runs_of
from descant.errors import DescantError
from descant.registry import suites
from descant.runs.folders import RunFolder

from .tiny_suite import BROKEN, TINY


def test_a_folder_that_was_left_empty_is_begun_again(tmp_path: Path) -> None:
    spec = runs_of(TINY)[0]
    spec.folder(tmp_path).mkdir(parents=True)
    assert not is_done(spec, tmp_path)
    runner._begin(spec, tmp_path)
    config = json.loads((spec.folder(tmp_path) / "config.json").read_text())["config"]
    assert config["config"]["hidden"] == [16]
    assert config["config"]["normalize_advantage"] is False
    assert (config["config"]["seed"], config["total_timesteps"]) == (0, 20_000)


def test_a_run_that_another_process_is_writing_is_waited_for(tmp_path: Path) -> None:
    """As after `kill -9`, which leaves the workers at their work."""
    first, second, third = (replace(spec, seed=seed) for seed, spec in enumerate(runs_of(TINY)[:1] * 3))
    for spec in (first, second):
        runner._begin(spec, tmp_path)
    waiting = [first, second, third]
    with RunFolder.open(first.folder(tmp_path)).lock():
        assert runner._next(waiting, tmp_path, 1) is None  # the other process has the only place
        assert runner._next(waiting, tmp_path, 2) == second
        assert waiting == [first, third]
    assert runner._next(waiting, tmp_path, 0) is None
    assert runner._next(waiting, tmp_path, 1) == first
    assert runner._next(waiting, tmp_path, 1) == third
    assert runner._next([], tmp_path, 1) is None


def test_what_another_process_has_finished_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = runs_of(TINY)[0]
    finished = iter([False, True])  # not yet when the list is made
    monkeypatch.setattr(runner, "is_done", lambda spec, out: next(finished))
    monkeypatch.setattr(runner, "_start", lambda spec, out: pytest.fail("it was started"))
    assert train_all([spec], tmp_path) == [Trained(spec, spec.folder(tmp_path))]


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
    def broken(spec: RunSpec, out: Path) -> subprocess.Popen[bytes]:
        with (out / "logs" / f"{spec.folder(out).name}.txt").open("wb") as log:
            return subprocess.Popen([sys.executable, "-c", "raise KeyError('x')"], stderr=log)

    monkeypatch.setattr(runner, "_start", broken)
    (found,) = train_all(runs_of(TINY)[:1], tmp_path)
    assert found.error is not None
    assert found.error.startswith("Traceback")
    assert found.error.endswith("KeyError: 'x'\n")


def test_the_last_step_is_read_from_the_end(tmp_path: Path) -> None:
    assert last_step(tmp_path) == 0
    file = tmp_path / "metrics.jsonl"
    for content, step in (
        ("", 0),
        ('{"step": 5}\n', 5),
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
