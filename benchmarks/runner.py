"""Train what a suite asks for: one process a run, two at a time; what is done is skipped, what was cut resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.agent import make_config
from descant.errors import DescantError
from descant.registry import agents
from descant.runs.checkpoints import load_checkpoint
from descant.runs.folders import RunFolder
from descant.runs.metrics import read_metrics

from .board import Board
from .specs import RunSpec

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0  # for workers to save after Ctrl-C


@dataclass(frozen=True)
class Trained:
    """How a run ended: `error` holds the end of its output where it failed."""

    spec: RunSpec
    folder: Path
    error: str | None = None


def train_all(specs: Sequence[RunSpec], out: Path, workers: int = 2) -> list[Trained]:
    """Train every run that is not done yet. Raises KeyboardInterrupt once the workers have saved.

    A run that fails is reported, not dropped, and does not stop the others.
    """
    _writable(out)
    waiting = [spec for spec in specs if not is_done(spec, out)]
    failed: dict[RunSpec, str] = {}
    running: dict[RunSpec, subprocess.Popen[bytes]] = {}
    with Board([(label(s), s.entry.total_timesteps) for s in specs]) as board:
        try:
            while waiting or running:
                while spec := _next(waiting, out, workers - len(running)):
                    if is_done(spec, out):  # by a process that is not ours
                        continue
                    try:
                        _begin(spec, out)
                    except DescantError as error:
                        failed[spec] = str(error)
                        continue
                    running[spec] = _start(spec, out)
                for spec, process in list(running.items()):
                    if process.poll() is not None:
                        del running[spec]
                        if process.returncode != 0:
                            failed[spec] = _log(spec, out).read_text(errors="replace")[-4000:]
                for i, spec in enumerate(specs):
                    board.update(i, last_step(spec.folder(out)))
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            _stop(running)
            raise
    return [Trained(s, s.folder(out), failed.get(s)) for s in specs]


def _next(waiting: list[RunSpec], out: Path, places: int) -> RunSpec | None:
    """Take the next run off the list, if there is a place for it.

    A run that another process is writing, left over from a benchmark that was killed, takes one of the places and
    is asked for again later.
    """
    taken = {spec: _is_taken(spec, out) for spec in waiting}
    free = [spec for spec in waiting if not taken[spec]]
    if not free or places - sum(taken.values()) < 1:
        return None
    waiting.remove(free[0])
    return free[0]


def _is_taken(spec: RunSpec, out: Path) -> bool:
    """Whether another process is writing the run."""
    if not (spec.folder(out) / "config.json").exists():
        return False
    try:
        with RunFolder.open(spec.folder(out)).lock():
            return False
    except DescantError:
        return True


def label(spec: RunSpec) -> str:
    """What the progress board calls a run."""
    return f"{spec.entry.agent} seed {spec.seed}"


def is_done(spec: RunSpec, out: Path) -> bool:
    """Whether the run has reached its end. DescantError where its checkpoint is broken."""
    if not (spec.folder(out) / "config.json").exists():
        return False
    run = RunFolder.open(spec.folder(out))
    if not run.has_checkpoint("last"):
        return False
    steps: int = load_checkpoint(run.checkpoint_path("last")).state["num_timesteps"]
    return steps >= spec.entry.total_timesteps


def last_step(folder: Path) -> int:
    """The last step a run has logged, 0 before the first; read from the end of its metrics."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - 4096, 0))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def seconds_of(folder: Path) -> float:
    """How long a run trained, sessions before a resume included."""
    records = read_metrics(folder / "metrics.jsonl")
    return float(records[-1]["time"]) if records else 0.0


def _writable(out: Path) -> None:
    """Make the folder of logs; DescantError where it can't be."""
    try:
        (out / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DescantError(f"{out} can't be written ({error.strerror}): choose another --out.") from error


def _begin(spec: RunSpec, out: Path) -> None:
    """Make the run's folder, where there is none yet. DescantError for an agent or an option there isn't."""
    folder = spec.folder(out)
    if (folder / "config.json").exists():
        return
    config = make_config(agents.get(spec.entry.agent), {**spec.entry.config, "seed": spec.seed})
    RunFolder.create(
        folder,
        {
            "env": spec.env,
            "env_options": spec.env_options,
            "agent": spec.entry.agent,
            "config": dataclasses.asdict(config),
            "total_timesteps": spec.entry.total_timesteps,
        },
    )


def _start(spec: RunSpec, out: Path) -> subprocess.Popen[bytes]:
    with _log(spec, out).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "descant", "train", "--resume", str(spec.folder(out)), "--no-progress"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )


def _log(spec: RunSpec, out: Path) -> Path:
    return out / "logs" / f"{spec.folder(out).name}.txt"


def _stop(running: dict[RunSpec, subprocess.Popen[bytes]]) -> None:
    """Ask the workers to save and leave (a terminal's Ctrl-C has asked them already), and wait for it."""
    for process in running.values():
        process.terminate()
    for process in running.values():
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
