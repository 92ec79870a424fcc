"""The picture of `bench imitation`: the share of wrong notes against position, with a teacher and without."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from descant.files import write_atomically

COLOURS = {"cloning": "#8b0000", "dagger": "#0b559f"}
PATHS = {"own": ("o-", "on its own path"), "forced": ("o:", "on the teacher's path")}
SHORTEST = 8  # notes: up to here every line goes


def draw(found: Mapping[str, Sequence[dict[str, Any]]], lines: int, out: Path) -> tuple[Path, ...]:
    """Write out/imitation.svg and .png from what `errors` found by method, with so many lines labelled."""
    import matplotlib

    matplotlib.use("Agg")

    files = []
    with matplotlib.rc_context({"svg.hashsalt": "descant", "font.size": 10}):
        figure = _figure(found, lines)
        for kind in ("svg", "png"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else {})
            write_atomically(path := out / f"imitation.{kind}", buffer.getvalue())
            files.append(path)
    return tuple(files)


def wrong_by_position(values: Sequence[dict[str, Any]], path: str) -> Any:
    """Percent of wrong notes at each of the first positions: float[SHORTEST]."""
    notes, wrong = (np.sum([v[path][name] for v in values], axis=0)[:SHORTEST] for name in ("notes", "wrong"))
    return 100 * wrong / np.maximum(notes, 1)


def _figure(found: Mapping[str, Sequence[dict[str, Any]]], lines: int) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for method, values in found.items():
        for path, (style, where) in PATHS.items():
            share = wrong_by_position(values, path)
            colour, label = COLOURS[method], f"{method}, {where}"
            axis.plot(np.arange(1, len(share) + 1), share, style, color=colour, label=label, markersize=4)
    axis.set_xlabel("position in the line")
    axis.set_ylabel("wrong notes, %")
    axis.set_title(f"{lines:,} lines labelled", loc="left", fontsize=10)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    return figure
