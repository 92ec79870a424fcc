"""A run that is killed or interrupted, and resumed, equals one that was never stopped: bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import runpy
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from descant.cli import main
from descant.runs import load_checkpoint, read_metrics

PROCESSES = multiprocessing.get_context("forkserver")  # forks a process that has torch already
PROCESSES.set_forkserver_preload(["descant.commands.train", "descant.agents.reinforce", "torch._dynamo"])
DRIVER = str(Path(__file__).with_name("saving_often.py"))
STEPS = 20_000
SMALL = [
    "--set",
    "pool=16",
    "--config.num-envs",
    "8",
    "--config.hidden",
    "16",
    "--config.critic-hidden",
    "16",
]
TRAIN = ["train", *SMALL, "--total-timesteps", str(STEPS), "--no-progress"]


def start(output: Path, *arguments: str, seconds: float = 1000.0) -> BaseProcess:
    """`descant ARGUMENTS` in its own process, saving every so many seconds; its output goes to a file."""
    given = {"seconds": seconds, "arguments": list(arguments), "output": str(output)}
    process = PROCESSES.Process(target=runpy.run_path, args=(DRIVER, {"given": given}, "__main__"))
    process.start()
    return process


def wait_for_records(run: Path, more: int, process: BaseProcess) -> None:
    """Until the run has logged so many records more than it has now."""
    path = run / "metrics.jsonl"
    wanted = (path.read_bytes().count(b"\n") if path.exists() else 0) + more
    while not path.exists() or path.read_bytes().count(b"\n") < wanted:
        assert process.is_alive(), "it ended before it was stopped: train longer"
        time.sleep(0.002)


def end(process: BaseProcess, number: int) -> int | None:
    """Send a signal; the exit code."""
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    return process.exitcode


def records(run: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in record.items() if k != "time"} for record in read_metrics(run / "metrics.jsonl")
    ]


def assert_same(one: Path, other: Path) -> None:
    """Equal weights (moments of the optimiser among them), state and metrics."""
    first, second = (load_file(run / "checkpoints/last/weights.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    states = [load_checkpoint(run / "checkpoints/last").state for run in (one, other)]
    assert states[0] == states[1]
    assert records(one) == records(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main([*TRAIN, "--out", str(run)]) == 0
    return run


def test_a_run_killed_again_and_again_equals_the_whole_one(whole: Path, tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "output"
    draw = random.Random(time.time_ns())
    arguments = [*TRAIN, "--out", str(run)]
    for _ in range(6):
        process = start(output, *arguments, seconds=0.02)
        wait_for_records(run, draw.randrange(1, 15), process)
        time.sleep(draw.uniform(0, 0.02))
        assert end(process, signal.SIGKILL) == -signal.SIGKILL, output.read_text()
        arguments = ["train", "--resume", str(run), "--no-progress"]
    assert len(records(run)) < len(records(whole))
    assert main(arguments) == 0
    assert_same(run, whole)


def test_a_run_killed_before_its_first_checkpoint_begins_anew(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(tmp_path / "output", *TRAIN, "--out", str(run))
    wait_for_records(run, 10, process)
    assert end(process, signal.SIGKILL) == -signal.SIGKILL
    assert not (run / "checkpoints").exists()
    assert main(["train", "--resume", str(run), "--no-progress"]) == 0
    assert_same(run, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(
    number: int, whole: Path, tmp_path: Path
) -> None:
    run, output = tmp_path / "run", tmp_path / "output"
    process = start(output, *TRAIN, "--out", str(run))
    wait_for_records(run, 10, process)
    assert end(process, number) == 130
    said = output.read_text()
    assert "Stopping: saving first." in said
    assert f"stopped; go on with: descant train --resume {run}\n" in said
    assert "Traceback" not in said
    kept = load_checkpoint(run / "checkpoints/last").state["num_timesteps"]
    assert kept == records(run)[-1]["step"] < STEPS
    assert main(["train", "--resume", str(run), "--no-progress"]) == 0
    assert_same(run, whole)


def test_a_second_process_is_refused_and_the_first_goes_on(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    process = start(tmp_path / "output", *TRAIN, "--out", str(run))
    wait_for_records(run, 2, process)
    assert main(["train", "--resume", str(run), "--no-progress"]) == 2
    message = capsys.readouterr().err
    assert f"another process (id {process.pid}) is writing the run {run}: wait for it, stop it" in message
    process.join(60)
    assert process.exitcode == 0
    assert_same(run, whole)


def test_a_finished_run_is_left_as_it_is(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file() and path.name != ".lock"}
    assert main(["train", "--resume", str(whole), "--no-progress"]) == 0
    assert f"now: descant evaluate {whole}" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def test_a_finished_run_can_be_trained_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = ["train", *SMALL, "--no-progress", "--total-timesteps"]
    assert main([*short, "300", "--out", str(run)]) == 0
    before = records(run)
    assert main(["train", "--resume", str(run), "--total-timesteps", "600", "--no-progress"]) == 0
    after = records(run)
    assert after[: len(before)] == before
    assert before[-1]["step"] < 600 <= after[-1]["step"]
    assert json.loads((run / "config.json").read_text())["config"]["total_timesteps"] == 300
