"""Train what a suite asks for: one process a run, two at a time; what is done is skipped, what was cut resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.errors import DescantError
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
    waiting = [spec for spec in specs if not is_done(spec, out)]
    failed: dict[RunSpec, str] = {}
    running: dict[RunSpec, subprocess.Popen[bytes]] = {}
    with Board([(label(s), s.entry.total_timesteps) for s in specs]) as board:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    spec = waiting.pop(0)
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


def label(spec: RunSpec) -> str:
    """What the progress board calls a run."""
    return f"{spec.entry.agent} seed {spec.seed}"


def is_done(spec: RunSpec, out: Path) -> bool:
    """Whether the run has reached its end. DescantError where its folder holds something else."""
    if not spec.folder(out).exists():
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


def _start(spec: RunSpec, out: Path) -> subprocess.Popen[bytes]:
    folder = spec.folder(out)
    if (folder / "config.json").exists():
        arguments = ["--resume", str(folder)]
    else:
        config = [f"--config.{k.replace('_', '-')}={v}" for k, v in spec.entry.config.items()]
        options = [f"{k}={json.dumps(v)}" for k, v in spec.env_options.items()]
        steps = f"--total-timesteps={spec.entry.total_timesteps}"
        arguments = [spec.env, "--agent", spec.entry.agent, "--out", str(folder), steps, *config]
        arguments += [f"--config.seed={spec.seed}", *(["--set", *options] if options else [])]
    log = _log(spec, out)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "descant", "train", *arguments, "--no-progress"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            )
    except OSError as error:
        raise DescantError(f"{out} can't be written ({error.strerror}): choose another --out.") from error


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
