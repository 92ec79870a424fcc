"""Trackers: every mirror holds the numbers of metrics.jsonl, exactly."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import descant.runs.mirrors as mirrors
import descant.runs.tracking as tracking
from descant.errors import DescantError
from descant.runs import (
    JsonlTracker,
    MetricsFile,
    MultiTracker,
    RunFolder,
    TensorBoardTracker,
    Tracker,
    WandbTracker,
    make_tracker,
    read_metrics,
)

from .wandb_files import wandb_records, wandb_rows


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a run that was logged everywhere, stopped and resumed; and the process that did it."""
    folder = tmp_path_factory.mktemp("session")
    script = Path(__file__).with_name("log_session.py")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    home = {"HOME": str(folder), "TMPDIR": str(folder)}  # no key there
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "run")],
        capture_output=True, text=True, timeout=120, env=kept | home, cwd=folder,
    )  # fmt: skip
    return folder / "run", done


def test_logging_is_quiet_and_leaves_no_process(session: tuple[Path, Any]) -> None:
    run, done = session
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, cwd = (folder / "cmdline").read_bytes(), os.readlink(folder / "cwd")
        except OSError:
            continue  # gone, or not ours
        assert not (b"wandb-core" in command and cwd == str(run.parent)), command


def test_a_resumed_run_has_each_record_once(session: tuple[Path, Any]) -> None:
    steps = [
        record["step"] for record in read_metrics(session[0] / "metrics.jsonl") if "train/loss" in record
    ]
    assert steps == [*range(0, 902, 2), *range(902, 1010)]


def test_wandb_holds_the_same_numbers(session: tuple[Path, Any]) -> None:
    """The union of both sessions' files, by W&B's `_step`: the number of the record."""
    files = sorted(
        (session[0] / "wandb").glob("offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns
    )
    assert len(files) == 2
    first, second = ([dict(row) for row in wandb_rows(file)] for file in files)
    assert [row["_step"] for row in first] == list(range(len(first)))
    records = read_metrics(session[0] / "metrics.jsonl")
    kept = len(records) - len(second)
    assert records[kept]["step"] == 902
    assert [row["_step"] for row in second] == list(range(kept, len(records)))
    for record, row in zip(records, first[:kept] + second, strict=True):
        del record["time"]
        shown = {name: value for name, value in row.items() if not name.startswith("_")}
        assert {name: None if value != value else value for name, value in shown.items()} == record


def test_wandb_draws_over_our_step_and_keeps_one_id(session: tuple[Path, Any]) -> None:
    known, told = (session[0] / "wandb_id").read_text().strip(), set()
    for file in (session[0] / "wandb").glob("offline-run-*/*.wandb"):
        records = list(wandb_records(file))
        metrics = [record.metric for record in records if record.HasField("metric")]
        assert ("*", "step") in {(metric.glob_name, metric.step_metric) for metric in metrics}
        (run,) = [record.run for record in records if record.HasField("run")]
        assert (run.run_id, run.project, run.display_name) == (known, "descant", "run")
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert (config["agent"], config["seed"]) == ("dqn", 3)
        told.add((run.run_group, run.job_type))
    assert told == {
        ("suite", "train"),
        ("", "dqn"),
    }  # what the first session said; the agent, where nothing is said


def test_tensorboard_holds_the_same_numbers(session: tuple[Path, Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(session[0] / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    series: dict[str, list[tuple[int, float]]] = {}
    for record in read_metrics(session[0] / "metrics.jsonl"):
        for name in record.keys() - {"step", "time"}:
            number = math.nan if record[name] is None else record[name]
            series.setdefault(name, []).append((record["step"], np.float32(number)))
    assert set(events.Tags()["scalars"]) == set(series)
    for name, points in series.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        np.testing.assert_array_equal(found, points)


def test_jsonl_is_the_default_and_always_there(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    with make_tracker(run) as tracker:
        assert [type(one) for one in tracker.trackers] == [JsonlTracker]
        tracker.log(1, {"loss": 0.5})
    with make_tracker(run, ["tensorboard", "tensorboard"], resume_step=1) as tracker:
        assert [type(one) for one in tracker.trackers] == [JsonlTracker, TensorBoardTracker]
        tracker.log(2, {"loss": 0.25})
    assert [record["loss"] for record in read_metrics(run.metrics_path)] == [0.5, 0.25]
    assert not (run.path / "wandb_id").exists()


def test_an_unknown_backend_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    with pytest.raises(DescantError, match=r"unknown tracker 'tensorbord'. Did you mean 'tensorboard'\?"):
        make_tracker(run, ["jsonl", "tensorbord"])
    assert [file.name for file in run.path.iterdir()] == ["config.json"]


class Recorder(Tracker):
    """Remembers what it is told; its close may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[Any] = []
        self.error = error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append((step, dict(values)))

    def sync(self) -> None:
        self.calls.append("sync")

    def close(self) -> None:
        self.calls.append("close")
        if self.error:
            raise self.error


def test_all_hear_everything_and_all_are_closed() -> None:
    trackers = [Recorder(), Recorder(KeyError("b")), Recorder()]
    tracker = MultiTracker(trackers)
    tracker.log(1, {"a": 2.0})
    tracker.sync()
    with pytest.raises(KeyError):
        tracker.close()
    assert [one.calls for one in trackers] == [[(1, {"a": 2.0}), "sync", "close"]] * 3


def test_a_mirror_that_can_not_begin_closes_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise DescantError("no")

    monkeypatch.setattr(tracking, "WandbTracker", refuse)
    monkeypatch.setattr(MetricsFile, "close", lambda file: closed.append(True))
    with pytest.raises(DescantError, match="no"):
        make_tracker(RunFolder.create(tmp_path / "run", {}), ["wandb"])
    assert closed == [True]


NETRC = "machine api.wandb.ai login user password " + "0" * 40

OTHER_NETRC = NETRC.replace("api.wandb.ai", "wandb.example.org")


@pytest.mark.parametrize(
    ("environment", "netrc", "asked", "mode"),
    [
        ({}, "", None, "offline"),
        ({"WANDB_MODE": "online"}, "", None, "offline"),  # no key: never a prompt, never a network call
        ({"WANDB_API_KEY": "0" * 40}, "", None, "online"),
        ({"WANDB_API_KEY": "0" * 40}, "", "offline", "offline"),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_MODE": "offline"}, "", None, "offline"),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_MODE": "offline"}, "", "online", "online"),
        ({"WANDB_MODE": "disabled"}, "", None, "disabled"),
        ({}, NETRC, None, "online"),
        ({}, NETRC, "online", "online"),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, NETRC, None, "offline"),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, OTHER_NETRC, None, "online"),
        ({}, "machine broken broken", None, "offline"),
    ],
)  # fmt: skip
def test_wandb_is_offline_where_there_is_no_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    netrc: str,
    asked: str | None,
    mode: str,
) -> None:
    without_key(monkeypatch, tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".netrc").write_text(netrc)
    (tmp_path / ".netrc").chmod(0o600)
    assert mirrors._mode(asked) == mode


def test_online_without_a_key_is_refused_not_prompted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_key(monkeypatch, tmp_path)
    with pytest.raises(DescantError, match="set WANDB_API_KEY, run `wandb login`"):
        WandbTracker(tmp_path, mode="online")


def without_key(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
