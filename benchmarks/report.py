"""The report: one self-contained HTML file with tables, learning curves, scores, findings and sound."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.files import write_atomically
from descant.music.audio import to_wav
from descant.music.cantus_firmi import find
from descant.music.pitches import Pitch
from descant.music.scores import counterpoint_score
from descant.runs.metrics import read_metrics

from .results import mean_score, without_error

TEMPO = 240.0  # quarter notes a minute: a bar a second
SAMPLE_RATE = 11_025  # enough for the highest note's third partial, and a quarter of the size
WITHOUT_SOUND = ("random",)


def write_report(results: dict[str, Any], out: Path) -> Path:
    """Write report.html into a results folder; its path. DescantError where the folder lacks its files."""
    import jinja2

    loader = jinja2.PackageLoader("descant.benchmarks")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("report.html").render(
        results=results,
        summary=summary_rows(results),
        matrix=score_matrix(results),
        curves=learning_curves(results, out),
        problems=[_problem(results, out, i) for i in range(len(_first(results)["problems"]))],
        failed=[(e["agent"], r) for e in results["entries"] for r in e["runs"] if r["error"]],
    )
    path = out / "report.html"
    write_atomically(path, page.encode())
    return path


def summary_rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """A row a run: agent, score, lines without error, warnings a line, steps, time."""
    rows = []
    for entry in results["entries"]:
        for run in entry["runs"]:
            count = len(run["problems"])
            warnings = [sum(f["severity"] == "warning" for f in p["findings"]) for p in run["problems"]]
            seconds = run.get("seconds")
            rows.append(
                {
                    "agent": entry["agent"],
                    "score": f"{mean_score(run):.4f}" if count else "failed",
                    "without error": f"{without_error(run)} of {count}",
                    "warnings": f"{np.mean(warnings):.1f} a line" if count else "",
                    "trained on": f"{run['steps']:,} steps" if "steps" in run else "",
                    "in": f"{seconds:.0f} s" if seconds else "",
                }
            )
    return rows


def score_matrix(results: dict[str, Any]) -> dict[str, Any]:
    """Scores by problem (rows) and run (columns), with the number of errors beside each."""
    columns = [(e["agent"], r) for e in results["entries"] for r in e["runs"] if r["problems"]]
    names = [p["problem"] for p in _first(results)["problems"]]
    rows = [(name, [(r["problems"][i]["score"], int(r["problems"][i]["errors"])) for _, r in columns])
            for i, name in enumerate(names)]  # fmt: skip
    return {"agents": [agent for agent, _ in columns], "rows": rows}


def learning_curves(results: dict[str, Any], out: Path) -> str:
    """Return while training, against steps and against seconds, as one SVG; empty where nothing was trained."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    runs = [(e["agent"], r) for e in results["entries"] for r in e["runs"] if r.get("folder")]
    if not runs:
        return ""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for i, (agent, run) in enumerate(runs):
        records = [
            r for r in read_metrics(out / run["folder"] / "metrics.jsonl") if r.get("return") is not None
        ]
        steps, seconds, returns = (
            np.array([r[k] for r in records], float) for k in ("step", "time", "return")
        )
        for axis, x in zip(axes, (steps, seconds), strict=True):
            axis.plot(x, _smooth(returns), color=f"C{i}", label=agent)
    for axis, name in zip(axes, ("environment steps", "seconds"), strict=True):
        axis.set_xlabel(name)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.grid(alpha=0.3)
        axis.axhline(0, color="#888", linewidth=0.8)
    axes[0].set_ylabel("return while training")
    axes[0].set_xscale("log")
    axes[1].legend(frameon=False)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "descant"}):  # the same results give the same file
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _smooth(values: Any, window: int = 15) -> Any:
    """A centred moving average, shorter at the ends."""
    if len(values) < window:
        return values
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _first(results: dict[str, Any]) -> dict[str, Any]:
    """The first run that was evaluated (all have the same problems); one of none where every run failed."""
    for entry in results["entries"]:
        for run in entry["runs"]:
            if run["problems"]:
                found: dict[str, Any] = run
                return found
    return {"problems": []}


def _problem(results: dict[str, Any], out: Path, index: int) -> dict[str, Any]:
    """One problem with the line of each agent: score, engraving, findings, sound."""
    lines = []
    for entry in results["entries"]:
        for run in entry["runs"]:
            if run["problems"]:
                lines.append(_line(entry["agent"], run["problems"][index], out))
    return {"name": lines[0]["problem"], "lines": lines}


def _line(agent: str, found: dict[str, Any], out: Path) -> dict[str, Any]:
    svg = next(out / f for f in found["files"] if f.endswith(".svg"))
    try:
        drawing = svg.read_text()
    except OSError as error:
        raise DescantError(f"{svg} is missing ({error.strerror}): run the benchmark again.") from error
    sound = "" if agent in WITHOUT_SOUND else _sound(found)
    return {**found, "agent": agent, "svg": drawing[drawing.index("<svg") :], "sound": sound}


def _sound(found: dict[str, Any]) -> str:
    """The line with its cantus as a WAV in a data URI."""
    name, position = found["problem"].rsplit(" ", 1)
    line = [Pitch.parse(p) for p in found["counterpoint"]]
    score = counterpoint_score(find(name), line, position, tempo=TEMPO)
    return "data:audio/wav;base64," + base64.b64encode(to_wav(score, SAMPLE_RATE)).decode()
