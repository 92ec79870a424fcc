"""The picture of `bench imitation`: wrong notes and regret against position, on one's own path and the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .pictures import write_figure

COLOURS = {"cloning": "#8b0000", "dagger": "#0b559f"}
PATHS = {"own": ("o-", "on its own path"), "forced": ("o:", "on the teacher's path")}
SHORTEST = 8  # notes: up to here every line goes


def draw(found: Mapping[str, Sequence[dict[str, Any]]], lines: int, out: Path) -> tuple[Path, ...]:
    """Write out/imitation.svg and .png from what `errors` found by method, with so many lines labelled."""
    return write_figure(lambda: _figure(found, lines), out, "imitation", dpi=110, font=10)


def wrong_by_position(values: Sequence[dict[str, Any]], path: str) -> Any:
    """Percent of wrong notes at each of the first positions: float[SHORTEST]."""
    notes, wrong = (np.sum([v[path][name] for v in values], axis=0)[:SHORTEST] for name in ("notes", "wrong"))
    return 100 * wrong / np.maximum(notes, 1)


def regret_so_far(values: Sequence[dict[str, Any]], path: str) -> Any:
    """Mean regret of a line up to each of the first positions: float[SHORTEST]."""
    notes, cost = (np.sum([v[path][name] for v in values], axis=0)[:SHORTEST] for name in ("notes", "cost"))
    return np.cumsum(cost / np.maximum(notes, 1))


def _figure(found: Mapping[str, Sequence[dict[str, Any]]], lines: int) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    panels = {"wrong notes, %": wrong_by_position, "regret so far, in reward": regret_so_far}
    for axis, (what, measure) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for method, values in found.items():
            for path, (style, where) in PATHS.items():
                shown, label = measure(values, path), f"{method}, {where}"
                positions = np.arange(1, len(shown) + 1)
                axis.plot(positions, shown, style, color=COLOURS[method], label=label, markersize=4)
        axis.set_xlabel("position in the line")
        axis.set_ylabel(what)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{lines:,} lines labelled", x=0.02, ha="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
    return figure
