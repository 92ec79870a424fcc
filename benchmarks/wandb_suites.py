"""A suite for Weights & Biases: a run for each of its own, its group the suite, its job type the agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from descant.runs.folders import RunFolder
from descant.runs.metrics import read_metrics
from descant.runs.wandb_results import Finished, Sample, write_finished

NUMBERS = ("score", "return", "optimum", "errors", "warnings", "legal")


def write_suite(results: dict[str, Any], out: Path) -> int:
    """Leave every run of the suite that did not fail as an offline session; how many are new."""
    runs = [
        finished(results, entry, run, out)
        for entry in results["entries"]
        for run in entry["runs"]
        if run["problems"]
    ]
    return sum(write_finished(run) for run in runs)


def finished(results: dict[str, Any], entry: dict[str, Any], run: dict[str, Any], out: Path) -> Finished:
    """One run of a suite's results. An agent that learns nothing has a folder below wandb/ for it."""
    stem = entry["agent"].replace("/", "-").replace(" ", "-")
    folder = out / run["folder"] if run.get("folder") else out / "wandb" / stem
    trained = RunFolder.open(folder) if run.get("folder") else None
    plain = {"env": results["env"], "agent": entry["agent"], "config": entry["config"]}
    return Finished(
        folder.absolute(),
        name=folder.name,
        group=results["suite"],
        job_type=entry["agent"],
        config=trained.config if trained else plain,
        records=read_metrics(trained.metrics_path) if trained else [],
        samples=[sample(problem, out) for problem in run["problems"]],
        summary=summary(run),
        checkpoint=trained.checkpoint_path("last") if trained else None,
    )


def sample(problem: dict[str, Any], out: Path) -> Sample:
    """A row of the table of samples: numbers, the notes, what the rules say, and the files."""
    values: dict[str, Any] = {"problem": problem["problem"]}
    values |= {name: problem[name] for name in NUMBERS if name in problem}
    values |= {name: " ".join(problem[name]) for name in ("cantus", "counterpoint") if name in problem}
    values["findings"] = "; ".join(f"{f['position']} {f['rule']}" for f in problem["findings"])
    return Sample(values, tuple((out / file).absolute() for file in problem["files"]))


def summary(run: dict[str, Any]) -> dict[str, float]:
    """Final figures: means over the test problems, lines without error, steps and seconds."""
    problems = run["problems"]
    found = {
        f"test/{name}": float(np.mean([p[name] for p in problems])) for name in NUMBERS if name in problems[0]
    }
    found["test/without_error"] = sum(p["errors"] == 0 for p in problems)
    return found | {f"test/{name}": run[name] for name in ("steps", "seconds") if name in run}
