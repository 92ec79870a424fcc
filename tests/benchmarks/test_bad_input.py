"""What can't work, told early and in a line, with nothing lost: a full disk, results of another version."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import NoReturn

import pytest

from descant.benchmarks.parcels import news, pack, unpack
from descant.benchmarks.runner import train_all
from descant.benchmarks.specs import runs_of
from descant.cli import main
from descant.errors import DescantError
from descant.registry import suites

from .tiny_suite import TINY


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more can be written."""

    def refused(file: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refused)


@pytest.mark.usefixtures("full_disk")
def test_a_study_is_refused_on_a_full_disk_and_keeps_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "jobs" / ".writable"
    kept.parent.mkdir()
    kept.write_text("before")
    assert main(["bench", "regret", "--seeds", "1", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert said.count("\n") == 1
    assert [file.name for file in kept.parent.iterdir()] == [".writable"]
    assert kept.read_text() == "before"


@pytest.mark.usefixtures("full_disk")
def test_a_suite_on_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(suites._entries, "tiny", TINY)
    found = train_all(runs_of(TINY), tmp_path / "runs")
    assert ["No space left on device" in (run.error or "") for run in found] == [True, True]
    assert main(["bench", "tiny", "--out", str(tmp_path / "suite")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "No space left on device" in said[-1]
    assert not (tmp_path / "suite" / "results.json").exists()


def test_a_run_of_a_newer_version_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(suites._entries, "tiny", TINY)
    monkeypatch.setattr("descant.benchmarks.runner.execute", lambda *told: pytest.fail("it was begun"))
    file = runs_of(TINY)[0].folder(tmp_path) / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"format": 99, "descant": "9.9", "config": {}}))
    assert main(["bench", "tiny", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "is a run of format 99" in said
    assert "upgrade descant" in said
    assert json.loads(file.read_text())["format"] == 99


# Files that travel.


def test_files_come_back_as_they_were_and_a_lock_does_not_travel(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "run" / "deep").mkdir(parents=True)
    (here / "run" / "deep" / "a").write_bytes(b"a\x00")
    (here / "run" / ".lock").write_text("1")
    (here / "log.txt").write_text("log")
    (here / "other").write_text("stays")
    parcel = pack(here, ["run", "log.txt", "none"])
    assert parcel == {"run/deep/a": b"a\x00", "log.txt": b"log"}
    unpack(parcel, there)
    (there / "run" / "new").write_text("new")
    (there / "log.txt").write_text("more")
    assert news(parcel, pack(there, ["run", "log.txt"])) == {"run/new": b"new", "log.txt": b"more"}


def test_a_checkpoint_that_is_not_whole_has_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "last" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("old")
    written = []

    def write(path: Path, content: bytes) -> None:
        written.append((path.name, manifest.exists()))

    monkeypatch.setattr("descant.benchmarks.parcels.write_atomically", write)
    unpack({"last/manifest.json": b"new", "last/weights": b"w"}, tmp_path)
    assert written == [("weights", False), ("manifest.json", False)]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_files_stay_in_the_results_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="does not lie in the results folder"):
        unpack({"fine": b"", name: b""}, tmp_path)
    assert list(tmp_path.iterdir()) == []
