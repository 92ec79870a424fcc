"""A picture of the dashboard that docs/dashboards.md describes, drawn from what a suite left offline for W&B.

`python -m descant.benchmarks.wandb_picture results/quick docs/dashboards.png`
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.files import write_atomically
from descant.runs.wandb_files import offline_runs, wandb_records, wandb_rows

COLUMNS = ("problem", "score", "errors", "counterpoint")
WIDTHS = (0.1, 0.17, 0.08, 0.06, 0.5)
ROWS = 2  # of each run


@dataclass(frozen=True)
class Session:
    """What is shown of one offline run."""

    group: str
    job_type: str
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    samples: list[dict[str, Any]]


def read_session(folder: Path) -> Session:
    """An offline run, read back from W&B's own files."""
    (file,) = folder.glob("*.wandb")
    records = list(wandb_records(file))
    run = next(record.run for record in records if record.HasField("run"))
    updates = [item for record in records if record.HasField("summary") for item in record.summary.update]
    summary = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in updates}
    tables = [json.loads(path.read_text()) for path in sorted(folder.glob("files/media/table/*.json"))]
    samples = [dict(zip(table["columns"], row, strict=True)) for table in tables for row in table["data"]]
    return Session(run.run_group, run.job_type, list(wandb_rows(file)), summary, samples)


def picture(sessions: Sequence[Session]) -> bytes:
    """Return and entropy over steps, test scores, and the table of samples, colours by job type: PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    panels = figure.subplot_mosaic([["return", "entropy", "score"], ["samples"] * 3], height_ratios=(1.2, 1))
    kinds = list(dict.fromkeys(session.job_type for session in sessions))
    colours = {kind: f"C{i}" for i, kind in enumerate(kinds)}
    for name in ("return", "entropy"):
        _draw_curves(panels[name], name, sessions, colours)
    means = {k: np.mean([s.summary["test/score"] for s in sessions if s.job_type == k]) for k in kinds}
    panels["score"].barh(kinds, list(means.values()), color=list(colours.values()))
    panels["score"].set(title="test/score, mean over the group", xlim=(0, 1.02))
    panels["score"].invert_yaxis()
    _draw_samples(panels["samples"], sessions)
    figure.suptitle(f"group {sessions[0].group}: {len(sessions)} runs")
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=110)
    return buffer.getvalue()


def _draw_curves(axes: Any, name: str, sessions: Sequence[Session], colours: dict[str, str]) -> None:
    """One number of every run over steps, as W&B draws it."""
    for session in sessions:
        points = [(row["step"], row[name]) for row in session.rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), color=colours[session.job_type], linewidth=1)
            axes.plot([], [], color=colours[session.job_type], label=session.job_type)
    axes.set(title=name, xlabel="step")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), frameon=False)


def _draw_samples(axes: Any, sessions: Sequence[Session]) -> None:
    """The first rows of the tables of samples."""
    axes.axis("off")
    axes.set_title("samples, the first of each run (sound, engraving and piano roll are columns too)")
    rows = [
        (s.job_type, *(_cell(r.get(name)) for name in COLUMNS)) for s in sessions for r in s.samples[:ROWS]
    ]
    if rows:
        heads = ["job type", *COLUMNS]
        drawn = axes.table(rows, colLabels=heads, loc="center", cellLoc="left", colWidths=WIDTHS)
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(8)
        drawn.scale(1, 1.4)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str]) -> None:
    """Draw the offline runs below a results folder to a PNG file."""
    folder, out = map(Path, arguments)
    sessions = [read_session(session) for session in offline_runs(folder)]
    if not sessions:
        raise DescantError(f"{folder} has no offline run: descant bench SUITE --out {folder} --wandb-sync")
    write_atomically(out, picture(sessions))


if __name__ == "__main__":
    main(sys.argv[1:])
