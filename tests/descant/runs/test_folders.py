"""Run folders: begun once, opened again, held by one process, and searched for checkpoints."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from descant.errors import DescantError
from descant.runs import RunFolder, find_checkpoint, save_checkpoint
from descant.version import __version__


def test_a_run_opens_with_what_it_was_created_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["descant", "train", "--seed", "3"])
    created = RunFolder.create(tmp_path / "deep" / "run", {"agent": "dqn", "seed": 3, "sizes": (1, 2)})
    opened = RunFolder.open(tmp_path / "deep" / "run")
    assert opened.path == created.path == tmp_path / "deep" / "run"
    assert opened.config == created.config == {"agent": "dqn", "seed": 3, "sizes": [1, 2]}
    assert opened.origin == created.origin
    assert opened.origin["command"] == ["descant", "train", "--seed", "3"]
    assert opened.origin["descant"] == __version__
    assert opened.origin["torch"] == version("torch")
    assert opened.origin["python"] == ".".join(map(str, sys.version_info[:3]))
    age = datetime.now(UTC) - datetime.fromisoformat(opened.origin["created"])
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert opened.metrics_path == opened.path / "metrics.jsonl"
    assert [file.name for file in opened.path.iterdir()] == ["config.json"]


def test_a_relative_path_means_the_same_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunFolder.create(Path("run"), {}).path == tmp_path / "run"


def test_a_run_is_not_created_over_another(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", {"seed": 1})
    with pytest.raises(DescantError, match=r"already holds a run: choose another --out, or pass --resume"):
        RunFolder.create(tmp_path / "run", {"seed": 2})
    assert RunFolder.open(tmp_path / "run").config == {"seed": 1}


def test_a_run_is_not_created_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(DescantError, match="is not empty: choose another --out") as caught:
        RunFolder.create(tmp_path, {})
    assert "--resume" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["letter"]


def test_a_killed_creation_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".config.json.tmp-1-abc").write_text("{")
    (tmp_path / ".lock").touch()
    assert RunFolder.create(tmp_path, {}).config == {}


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(DescantError, match=r"cannot begin a run .* Choose another --out"):
            RunFolder.create(path, {})


def test_a_full_disk_leaves_no_half_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            with pytest.raises(DescantError, match="No space left"):
                RunFolder.create(tmp_path / "run", {})
        assert list((tmp_path / "run").iterdir()) == []


def test_a_configuration_that_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="must be JSON"):
        RunFolder.create(tmp_path / "run", {"path": tmp_path})
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(
            DescantError, match=r"is not a run: .* has config.json, metrics.jsonl and checkpoints/"
        ):
            RunFolder.open(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "config": []}', "\ud800", "["]
)
def test_a_broken_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DescantError, match=r"config\.json is not"):
        RunFolder.open(tmp_path)


def test_a_newer_run_asks_for_an_upgrade(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", {})
    file = tmp_path / "run" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2, "descant": "9.9"}))
    with pytest.raises(DescantError, match=r"format 2, .* upgrade descant .*9\.9"):
        RunFolder.open(tmp_path / "run")


def test_checkpoints_are_found(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    assert not run.has_checkpoint()
    with pytest.raises(DescantError, match="has no checkpoint yet"):
        find_checkpoint(run.path)
    save_checkpoint(run.checkpoint_path(), {}, {}, {})
    assert run.has_checkpoint()
    assert run.has_checkpoint("last")
    assert not run.has_checkpoint("best")
    assert find_checkpoint(run.path) == run.path / "checkpoints" / "last"
    save_checkpoint(run.checkpoint_path("best"), {}, {}, {})
    assert find_checkpoint(run.path) == run.checkpoint_path("best")
    assert find_checkpoint(run.checkpoint_path("last")) == run.checkpoint_path("last")
    run.checkpoint_path("best").rename(run.path / "checkpoints" / ".best.old")  # a kill between two renames
    assert run.has_checkpoint("best")
    assert find_checkpoint(run.path) == run.checkpoint_path("best")


def test_no_checkpoint_is_found_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="neither a run nor a checkpoint"):
        find_checkpoint(tmp_path)
    with pytest.raises(DescantError, match="does not exist"):
        find_checkpoint(tmp_path / "nothing")


HOLD = "import sys; from descant.runs import RunFolder; lock = RunFolder.open(sys.argv[1]).lock()"
HOLD += "; lock.__enter__(); print('held', flush=True); sys.stdin.read()"


def test_one_process_at_a_time_writes_a_run_and_death_frees_it(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(
            DescantError, match=rf"another process \(id {other.pid}\) .* choose another --out"
        ):
            run.lock().__enter__()
        other.send_signal(signal.SIGKILL)
        other.wait()
    with run.lock(), pytest.raises(DescantError, match=f"id {os.getpid()}"):
        run.lock().__enter__()
    with run.lock():  # freed
        pass


def test_the_lock_is_freed_though_a_child_lives(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    reading, writing = os.pipe()
    with run.lock():
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent is done
            os._exit(0)
    try:
        with run.lock():
            pass
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        os.close(reading)


def test_a_run_that_is_gone_can_not_be_locked(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", {})
    (run.path / "config.json").unlink()
    run.path.rmdir()
    with pytest.raises(DescantError, match="cannot lock"):
        run.lock().__enter__()


def test_importing_runs_is_cheap() -> None:
    code = "import sys, descant; old = set(sys.modules); import descant.runs; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"torch", "wandb", "tensorboard", "rich", "safetensors", "netrc"}), loaded
