"""The pictures of a suite's report: learning curves and performance profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from descant.runs.metrics import read_metrics
from descant.tasks import Floats

from .pictures import write_figure
from .statistics import bootstrap, efficiency, on_grid, profile
from .summaries import finished, scores_of

POINTS = 120
AXES = {"step": "environment steps", "time": "seconds"}


def write_pictures(results: dict[str, Any], out: Path) -> dict[str, str]:
    """Write curves and profiles into a results folder where there is something to draw; the SVG by name."""
    made: dict[str, Callable[[], Any]] = {}
    colours = {e["agent"]: f"C{i}" for i, e in enumerate(results["entries"])}
    curves = {e["agent"]: runs for e in results["entries"] if (runs := _records(e, out))}
    if curves:
        made["curves"] = lambda: _curves(curves, colours)
    scores = {e["agent"]: scores_of(e) for e in results["entries"] if finished(e)}
    if scores:
        made["profiles"] = lambda: _profiles(scores, colours)
    found = {}
    for name, figure in made.items():
        files = write_figure(figure, out, name)
        text = next(f for f in files if f.suffix == ".svg").read_text()
        found[name] = text[text.index("<svg") :]
    return found


def _records(entry: dict[str, Any], out: Path) -> list[dict[str, Floats]]:
    """Steps, seconds and returns of each trained run, smoothed."""
    found = []
    for run in entry["runs"]:
        if run.get("folder"):
            records = read_metrics(out / run["folder"] / "metrics.jsonl")
            kept = [r for r in records if r.get("return") is not None]
            columns = {k: np.array([r[k] for r in kept], float) for k in ("step", "time", "return")}
            if kept:
                found.append(columns | {"return": smooth(columns["return"])})
    return found


def _curves(curves: dict[str, list[dict[str, Floats]]], colours: dict[str, str]) -> Any:
    """Return while training, against steps and against seconds: a line an agent, a band where there are seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, label) in zip(axes, AXES.items(), strict=True):
        for agent, runs in curves.items():
            grid = _grid(runs, name)
            middle, low, high = efficiency([on_grid(r[name], r["return"], grid) for r in runs])
            axis.plot(grid, middle, color=colours[agent], label=agent)
            if len(runs) > 1:
                axis.fill_between(grid, low, high, color=colours[agent], alpha=0.2, linewidth=0)
        axis.set_xlabel(label)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.grid(alpha=0.3)
        axis.axhline(0, color="#888888", linewidth=0.8)
    axes[0].set_ylabel("return while training")
    axes[0].set_xscale("log")
    axes[1].legend(frameon=False)
    return figure


def _grid(runs: list[dict[str, Floats]], name: str) -> Floats:
    """Where all runs of an agent have been: from the latest first record to the earliest last one."""
    begin, end = max(r[name][0] for r in runs), min(r[name][-1] for r in runs)
    return np.geomspace(max(begin, 1e-3), max(end, 2e-3), POINTS)


def _profiles(scores: dict[str, Floats], colours: dict[str, str]) -> Any:
    """The share of lines nearer to the optimum than a distance, on a scale that tells the best apart."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axis = figure.subplots()
    distance = np.geomspace(2.0, 1e-4, POINTS)
    for agent, found in scores.items():
        axis.step(distance, profile(found, 1 - distance), color=colours[agent], label=agent, where="mid")
        if len(found) > 1:
            low, high = bootstrap(lambda s: profile(s, 1 - distance), found, resamples=500)
            axis.fill_between(distance, low, high, color=colours[agent], alpha=0.2, linewidth=0, step="mid")
    axis.set_xscale("log")
    axis.invert_xaxis()
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("distance from the optimum, 1 - score (1 is chance)")
    axis.set_ylabel("share of lines that are nearer")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def smooth(values: Any, window: int = 15) -> Any:
    """A centred moving average, shorter at the ends."""
    if len(values) < window:
        return values
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
