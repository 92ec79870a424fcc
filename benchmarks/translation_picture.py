"""The picture of `bench translation`: what is gained against what is forgotten, and errors against position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .pictures import write_figure
from .translation_measure import PLACES
from .translation_tables import Row, error_rates
from .translation_worlds import MIXED

SHOWN = ("cross-entropy", "scheduled sampling", "mixer", "rloo", MIXED)  # whose errors are drawn
MARKS = "osD^vPX<>*hp"
COLOURS = ("#08457e", "#b34700", "#3f7d20", "#8b0000", "#5b3a8c", "#555555")


def draw(worlds: Mapping[str, Sequence[Row]], out: Path) -> tuple[Path, ...]:
    """Write out/translation-WORLD.svg and .png of each world where a prior and something tuned is measured."""
    return tuple(
        file
        for name, rows in worlds.items()
        if any(row.tuned and row.gains("chrf") for row in rows)
        for file in write_figure(lambda rows=rows: _figure(rows), out, f"translation-{name}", font=10)  # type: ignore[misc]
    )


def _figure(rows: Sequence[Row]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    gained, errors = figure.subplots(1, 2)
    model = rows[0].model
    own = [row for row in rows if row.model == model]
    names = list(dict.fromkeys(row.name for row in own if row.tuned))
    for row in own:
        if row.tuned and (gains := row.gains("bleu_tokens")):
            k = names.index(row.name)
            colour = COLOURS[k % len(COLOURS)]
            face = "white" if row.kept else colour
            lost = float(np.mean(row.gains("perplexity", share=True)))
            label, mark = row.title.split(": ")[1], MARKS[k % len(MARKS)]
            gained.plot(lost, float(np.mean(gains)), mark, color=colour, mfc=face, label=label)
    gained.axhline(0, color="#999999", linewidth=0.8)
    gained.set_xscale("symlog", linthresh=10)
    gained.set_xlabel("held-out perplexity above the prior's, %")
    gained.set_ylabel("BLEU gained on the test split")
    gained.legend(frameon=False, fontsize=7)
    _errors(errors, own)
    for axis in (gained, errors):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _errors(axis: Any, rows: Sequence[Row]) -> None:
    shown = [row for row in rows if row.name in SHOWN and not row.kept and row.values]
    for k, row in enumerate(shown):
        found = error_rates(row)
        assert found is not None
        for values, line, path in zip(
            found, (":", "-"), ("reference's words before", "own words before"), strict=True
        ):
            axis.plot(PLACES, values, line + "o", color=COLOURS[k], markersize=4, label=f"{row.name}, {path}")
    axis.set_xlabel("position, first of a group of tokens")
    axis.set_ylabel("wrong tokens, %")
    axis.set_xticks(PLACES)
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=7)
