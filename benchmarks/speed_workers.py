"""What a second worker is worth: the same short runs by one local worker and by two, in wall-clock seconds."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

from .runner import train_all
from .specs import Entry, Suite, runs_of
from .speed_rows import Row

RUNS = 40
STEPS = 20_480
CONFIG = {"num_envs": 16, "hidden": (64,), "critic_hidden": (64,)}


def measure() -> list[Row]:
    """Two workers' seconds over one's. Takes about a minute."""
    one, two = (seconds(workers) for workers in (1, 2))
    detail = f"{two:.1f} against {one:.1f} s"
    return [Row(f"{RUNS} runs, 2 workers / 1", two / one, "x", 0.6, True, detail, (two, one))]


def seconds(workers: int) -> float:
    """How long all runs take, workers' start included."""
    entry = Entry("reinforce", STEPS, CONFIG)
    suite = Suite(
        "workers",
        "descant/Counterpoint-v0",
        (entry,),
        train_options={"pool": 16},
        seeds=tuple(range(RUNS)),
    )
    quiet = contextlib.redirect_stderr(io.StringIO())  # of the runs' progress
    with tempfile.TemporaryDirectory() as folder, quiet:
        begin = time.perf_counter()
        trained = train_all(runs_of(suite), Path(folder), workers)
        took = time.perf_counter() - begin
    assert not any(run.error for run in trained), trained
    return took
