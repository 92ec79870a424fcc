"""What a suite found: evaluated, written beside the runs, read back for the report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.commands.compose import write_outcome
from descant.commands.evaluate import fux_outcomes, outcome_json
from descant.errors import DescantError
from descant.evaluation import Outcome
from descant.files import write_atomically
from descant.makers import load_agent, make_agent
from descant.registry import tasks
from descant.runs.metrics import read_metrics
from descant.shells import TaskVectorEnv

from .board import Board
from .raw import NAME, write_lines
from .runner import Trained, seconds_of
from .specs import Entry, Suite, names_of

PACKAGES = ("descant", "gymnasium", "numpy", "torch", "stable-baselines3", "sb3-contrib", "verovio")
FORMAT = 2


def evaluate_suite(suite: Suite, trained: Sequence[Trained], out: Path) -> dict[str, Any]:
    """Evaluate every entry on the suite's test problems; write scores/ and results.json; the results."""
    entries = []
    with Board([("evaluating", len(suite.entries))]) as board:
        for i, (name, entry) in enumerate(zip(names_of(suite), suite.entries, strict=True)):
            entries.append(evaluate_entry(suite, name, entry, trained, out))
            board.update(0, i + 1)
    return write_results(suite, entries, out)


def write_results(suite: Suite, entries: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
    """Write results.json: a suite's evaluated entries, and how they came about; what it holds."""
    results = {
        "format": FORMAT,
        "suite": suite.name,
        "env": suite.env,
        "entries": entries,
        **_circumstances(),
    }
    text = json.dumps(results, indent=1) + "\n"
    write_atomically(out / "results.json", text.encode())
    written: dict[str, Any] = json.loads(text)  # what `descant report` will read
    return written


def read_results(out: Path) -> dict[str, Any]:
    """The results.json of a folder; DescantError where there is none that can be read."""
    path = out / "results.json"
    try:
        results: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DescantError(
            f"{path} can't be read ({reason}): give a folder that descant bench SUITE --out has written."
        ) from error
    if not isinstance(results, dict) or results.get("format") != FORMAT or "entries" not in results:
        raise DescantError(f"{path} is of another version of descant: run the benchmark again.")
    return results


def mean_score(run: dict[str, Any]) -> float:
    """Mean score of a run's problems; NaN for one that failed."""
    return float(np.mean([p["score"] for p in run["problems"]])) if run["problems"] else float("nan")


def without_error(run: dict[str, Any]) -> int:
    """How many of a run's lines break no hard rule."""
    return sum(p["errors"] == 0 for p in run["problems"])


def evaluate_entry(
    suite: Suite, name: str, entry: Entry, trained: Sequence[Trained], out: Path
) -> dict[str, Any]:
    """What became of one entry: its runs with an outcome for each test problem; scores are left as files."""
    own = [t for t in trained if t.spec.entry == entry]
    runs = [_evaluate(suite, name, t, out) for t in own] if entry.total_timesteps else []
    return {
        "agent": name,
        "note": entry.note,
        "config": entry.config,
        "total_timesteps": entry.total_timesteps,
        "runs": runs or [_outcomes_json(suite, name, _untrained(suite, entry), out, None)],
    }


def _evaluate(suite: Suite, name: str, trained: Trained, out: Path) -> dict[str, Any]:
    if trained.error is not None:
        return {"seed": trained.spec.seed, "problems": [], "error": trained.error}
    agent = load_agent(trained.folder)
    found = _outcomes_json(suite, name, agent, out, trained.spec.seed)
    folder = str(trained.folder.relative_to(out))
    return found | {"folder": folder, "seconds": seconds_of(trained.folder), "steps": agent.num_timesteps}


def _untrained(suite: Suite, entry: Entry) -> Agent:
    task = tasks.get(suite.env)(**suite.test_options)
    return make_agent(entry.agent, TaskVectorEnv(task), **entry.config)


def _outcomes_json(suite: Suite, name: str, agent: Agent, out: Path, seed: int | None) -> dict[str, Any]:
    """Outcomes of the test problems as JSON; their scores are left as files."""
    outcomes = fux_outcomes(agent, suite.test_options)
    task = tasks.get(suite.env)(**suite.test_options)
    folder = out / "scores" / (name.replace("/", "-").replace(" ", "-") + (f"-{seed}" if seed else ""))
    problems = []
    for problem, outcome in outcomes.items():
        files = _write(task, outcome, folder, problem)
        problems.append(
            {"problem": problem, **outcome_json(outcome), "files": [str(f.relative_to(out)) for f in files]}
        )
    return {"seed": seed, "problems": problems, "error": None}


def _write(task: Any, outcome: Outcome, folder: Path, name: str) -> list[Path]:
    return write_outcome(task, outcome, folder, name.replace(" ", "-"))


def _circumstances() -> dict[str, Any]:
    """When, where, with what: what a reader needs to judge or repeat the numbers."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["descant", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} cores, {_processor()}, {_memory()}{platform.system()}",
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **versions},
    }


def _processor() -> str:
    """The name of the processor where Linux tells it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB, "
    except (ValueError, OSError, AttributeError):
        return ""


def _commit() -> str:
    """The commit of the checkout that descant runs from, with a mark where files differ; empty without one."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, timeout=20, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + (" and changes" if changes else "")


def write_raw(results: dict[str, Any], out: Path) -> Path:
    """Every number as a line of JSON in raw.jsonl.gz: circumstances, then evaluations, then what training logged."""
    lines = [{"kind": "suite"} | {k: v for k, v in results.items() if k != "entries"}]
    for entry in results["entries"]:
        for run in entry["runs"]:
            who = {"agent": entry["agent"], "seed": run["seed"]}
            rest = {k: v for k, v in run.items() if k not in ("problems", "seed")}
            lines.append({"kind": "run", **who, "config": entry["config"], **rest})
            lines += [{"kind": "problem", **who, **problem} for problem in run["problems"]]
            if run.get("folder"):
                metrics = read_metrics(out / run["folder"] / "metrics.jsonl")
                lines += [{"kind": "training", **who, **record} for record in metrics]
    return write_lines(out / NAME, lines)
