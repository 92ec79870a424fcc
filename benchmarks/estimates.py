"""How long a suite will take: every agent is tried for some seconds, and the runs are laid out on the workers."""

from __future__ import annotations

import heapq
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from descant.agent import make_config
from descant.commands.train import make_env
from descant.registry import agents

from .results import evaluate_entry
from .runner import is_done, last_step
from .specs import Entry, RunSpec, Suite, runs_of

TRIAL_SECONDS = 4.0
START = "import descant, torch, gymnasium; descant.list_agents()"


def matrix(suite: Suite, out: Path, workers: int) -> tuple[list[dict[str, Any]], float]:
    """Each run with its steps and estimated seconds left, and the seconds of the whole, tests and report included."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    try:
        start = _start_seconds()
        rates: dict[str, float] = {}
        rows: list[dict[str, Any]] = []
        for spec in runs_of(suite):
            left = 0 if is_done(spec, out) else spec.entry.total_timesteps - last_step(spec.folder(out))
            kind = repr(spec.entry)
            if left and kind not in rates:
                rates[kind] = steps_a_second(spec)
            seconds = left / rates[kind] if left else 0.0
            rows.append({"agent": spec.entry.agent, "seed": spec.seed, "folder": str(spec.folder(out)),
                         "steps": spec.entry.total_timesteps, "seconds": seconds})  # fmt: skip
        tests = len(rows) + sum(not entry.total_timesteps for entry in suite.entries)
        training = makespan([row["seconds"] for row in rows], workers)
        return rows, (start + training if training else 0.0) + tests * _test_seconds(suite)
    finally:
        torch.set_num_threads(threads)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last run ends if each, in order, begins at the first worker that is free."""
    ends = [0.0] * workers
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def steps_a_second(spec: RunSpec) -> float:
    """Environment steps a second of a run, in this process, after its first update."""
    kind = agents.get(spec.entry.agent)
    config = make_config(kind, {**spec.entry.config, "seed": spec.seed})
    env = make_env(spec.env, getattr(config, "num_envs", 1), spec.env_options)
    marks: list[tuple[float, int]] = []

    def look(agent: Any) -> bool:
        marks.append((time.perf_counter(), agent.num_timesteps))
        return marks[-1][0] - marks[0][0] < TRIAL_SECONDS

    begin = time.perf_counter()
    agent = kind(env, config).learn(spec.entry.total_timesteps, callback=look)
    env.close()
    if len(marks) < 2 or marks[-1][1] == marks[0][1]:
        return float(agent.num_timesteps / (time.perf_counter() - begin))
    return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])


def _start_seconds() -> float:
    """What a worker takes before its first step."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", START], check=True)
    return time.perf_counter() - begin


def _test_seconds(suite: Suite) -> float:
    """What testing an agent and writing its scores takes."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        evaluate_entry(suite, "random", Entry("random"), [], Path(folder))
    return time.perf_counter() - begin
