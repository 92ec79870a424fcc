"""metrics.jsonl: what is logged is there, what a crash tore is dropped, what is broken is said."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.runs import MetricsFile, read_metrics


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def write(path: Path, steps: range) -> None:
    file = MetricsFile(path)
    for step in steps:
        file.append(step, {"loss": step / 3})
    file.close()


def without_time(path: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name != "time"} for record in read_metrics(path)
    ]


def test_a_record_is_a_line_and_is_there_at_once(path: Path) -> None:
    clock = Clock(100.0)
    file = MetricsFile(path, clock)
    clock.now = 102.5
    file.append(7, {"eval/return": 0.1, "n": 3})
    assert path.read_text() == '{"step": 7, "time": 2.5, "eval/return": 0.1, "n": 3}\n'
    file.close()
    file.close()


def test_numbers_of_all_kinds_are_plain(path: Path) -> None:
    file = MetricsFile(path)
    values: dict[str, Any] = {
        "a": np.float32(0.5),
        "b": torch.tensor(2),
        "c": np.int64(3),
        "d": True,
        "e": 2**70,
    }
    written = file.append(
        np.int64(1), values | {"nan": math.nan, "inf": -math.inf, "t": torch.tensor(math.nan)}
    )  # type: ignore[arg-type]
    file.close()
    expected = {"a": 0.5, "b": 2, "c": 3, "d": 1, "e": 2**70, "nan": None, "inf": None, "t": None}
    assert written == expected
    assert without_time(path) == [{"step": 1} | expected]
    assert "NaN" not in path.read_text()


@pytest.mark.parametrize("values", [{"step": 1}, {"time": 1.0}, {"x": "a"}, {"x": None}, {"x": [1]}])
def test_what_is_no_number_or_has_a_reserved_name_is_refused(path: Path, values: dict[str, Any]) -> None:
    file = MetricsFile(path)
    with pytest.raises(DescantError, match=repr(next(iter(values)))):
        file.append(0, values)
    file.close()
    assert read_metrics(path) == []


def test_time_goes_on_after_a_restart(path: Path) -> None:
    clock = Clock(50.0)
    file = MetricsFile(path, clock)
    clock.now = 60.0
    file.append(1, {})
    clock.now = 70.0
    file.append(2, {})
    file.close()
    clock.now = 1000.0  # another boot, another clock
    file = MetricsFile(path, clock)
    clock.now = 1001.0
    file.append(3, {})
    assert [record["time"] for record in read_metrics(path)] == [10.0, 20.0, 21.0]
    file.truncate(1)
    clock.now = 1004.0
    file.append(2, {})
    file.close()
    assert [record["time"] for record in read_metrics(path)] == [10.0, 13.0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(checkpoint=st.integers(0, 9), logged=st.integers(0, 9), torn=st.integers(0, 40))
def test_interrupted_is_uninterrupted(tmp_path: Path, checkpoint: int, logged: int, torn: int) -> None:
    """Killed with records after the checkpoint, the last perhaps torn, a resumed run has the same records."""
    whole, path = tmp_path / "whole.jsonl", tmp_path / "metrics.jsonl"
    for file in (whole, path):
        file.unlink(missing_ok=True)
    write(whole, range(10))
    write(path, range(max(checkpoint, logged) + 1))
    if logged > checkpoint:
        path.write_bytes(path.read_bytes()[: -torn or None])
    resumed = MetricsFile(path)
    resumed.truncate(checkpoint)
    kept = len(read_metrics(path))
    assert resumed.count == kept <= checkpoint + 1
    for step in range(kept, 10):
        resumed.append(step, {"loss": step / 3})
    resumed.close()
    assert resumed.count == 10
    assert without_time(path) == without_time(whole)


def test_opening_mends_a_torn_tail(path: Path) -> None:
    whole = '{"step": 1, "time": 1.0}'
    for tail, steps in {
        "": [1],
        '{"step": 2, "ti': [1],
        "\0\0\0": [1],
        '{"step": 2, "time": 2}': [1, 2],
    }.items():
        path.write_text(f"{whole}\n{tail}")
        assert [record["step"] for record in read_metrics(path)] == steps
        file = MetricsFile(path)
        assert file.count == len(steps)
        file.append(3, {})
        file.close()
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [*steps, 3]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "3",
        '{"time": 1}',
        '{"step": 1.5, "time": 1}',
        '{"step": 1, "time": null}',
        "\udc80",
        "[",
    ],
)
def test_a_broken_line_elsewhere_is_named(path: Path, line: str) -> None:
    record = b'{"step": 1, "time": 1.0}\n'
    path.write_bytes(record + line.encode(errors="surrogateescape") + b"\n" + record)
    with pytest.raises(DescantError, match=r"metrics\.jsonl, line 2 is not a record"):
        read_metrics(path)
    with pytest.raises(DescantError, match="line 2"):
        MetricsFile(path)
    path.write_bytes(record + line.encode(errors="surrogateescape") + b"\n")  # not torn: its newline is there
    with pytest.raises(DescantError, match="line 2"):
        read_metrics(path)


def test_missing_metrics_are_said(path: Path) -> None:
    with pytest.raises(DescantError, match="cannot read the metrics"):
        read_metrics(path)


def test_an_unwritable_place_is_refused(path: Path) -> None:
    path.write_text("")
    with pytest.raises(DescantError, match="cannot write"):
        MetricsFile(path / "below")


def test_a_full_disk_is_said_and_truncating_keeps_the_records(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write(path, range(5))
    before = path.read_bytes()
    file = MetricsFile(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DescantError, match="No space left"):
            file.sync()
        with pytest.raises(DescantError, match="No space left"):
            file.truncate(2)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    file = MetricsFile(path)
    with monkeypatch.context() as patch, open("/dev/full", "wb", buffering=0) as no_space:
        patch.setattr(file, "_file", no_space)
        with pytest.raises(DescantError, match=r"No space left.*--resume"):
            file.append(1, {})
    assert file.count == 5


def test_a_record_that_fits_in_part_leaves_nothing(path: Path) -> None:
    write(path, range(3))
    before = path.read_bytes()
    file = MetricsFile(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(DescantError, match="No space left"):
            file.append(3, {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    file.append(3, {"loss": 1.0})
    file.close()
    assert without_time(path) == [
        *({"step": step, "loss": step / 3} for step in range(3)),
        {"step": 3, "loss": 1.0},
    ]


def test_sync_reaches_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    file = MetricsFile(path)
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    )
    file.append(1, {})
    assert synced == []
    file.sync()
    assert synced == [str(path)]
    file.close()
