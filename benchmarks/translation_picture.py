"""The picture of `bench translation`: what is gained against what is forgotten, and errors against position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .pictures import write_figure
from .translation_measure import PLACES
from .translation_tables import Row, error_rates, groups
from .translation_worlds import MIXED, VINE

SHOWN = (
    "cross-entropy",
    "scheduled sampling",
    "mixer",
    "vine",
    VINE,
    "rloo",
    MIXED,
)  # whose errors are drawn
MARKS = "osD^vPX<>*hp"
COLOURS = ("#08457e", "#b34700", "#3f7d20", "#8b0000", "#5b3a8c", "#555555", "#b0157c")
LOOKS = tuple((MARKS[k % len(MARKS)], COLOURS[k % len(COLOURS)]) for k in range(len(MARKS) * len(COLOURS)))
FAR = 30.0  # percent of perplexity, beyond which it is drawn by its logarithm


def draw(worlds: Mapping[str, Sequence[Row]], out: Path) -> dict[str, tuple[Path, ...]]:
    """Write out/translation-WORLD.svg and .png of each world where a prior and something tuned is measured."""
    return {
        name: write_figure(lambda rows=rows: _figure(rows), out, f"translation-{name}", font=10)  # type: ignore[misc]
        for name, rows in worlds.items()
        if any(row.tuned and row.gains("chrf") for row in rows)
    }


def _figure(rows: Sequence[Row]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 5.4), layout="constrained")
    gained, wrong = figure.subplots(1, 2)
    own = [row for row in rows if row.model == rows[0].model and row.values]
    looks = {name: LOOKS[k % len(LOOKS)] for k, name in enumerate(dict.fromkeys(row.name for row in own))}
    _gained(gained, own, looks)
    _errors(wrong, own, looks)
    for axis in (gained, wrong):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*gained.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _gained(axis: Any, rows: Sequence[Row], looks: Mapping[str, tuple[str, str]]) -> None:
    """What each way gains, against what it forgets; those with KL are hollow."""
    points = [
        (row, float(np.mean(row.gains("perplexity", share=True))), float(np.mean(gains)))
        for row in rows
        if row.tuned and (gains := row.gains("bleu_tokens"))
    ]
    if max(abs(lost) for _, lost, _ in points) > FAR:
        axis.set_xscale("symlog", linthresh=10)
        axis.xaxis.set_major_formatter("{x:g}")
    for row, lost, gain in points:
        mark, colour = looks[row.name]
        face = "white" if row.kept else colour
        label = row.name + (", KL" if row.kept else "")
        axis.plot(lost, gain, mark, color=colour, mfc=face, label=label, clip_on=False)
    axis.axhline(0, color="#999999", linewidth=0.8)
    axis.axvline(0, color="#999999", linewidth=0.8)
    axis.set_xlabel("held-out perplexity above the prior's, %")
    axis.set_ylabel("BLEU gained on the test split")


def _errors(axis: Any, rows: Sequence[Row], looks: Mapping[str, tuple[str, str]]) -> None:
    """Wrong tokens by position, in percent."""
    for row in (row for row in rows if row.name in SHOWN and not row.kept):
        found = error_rates(row)
        assert found is not None
        mark, colour = looks[row.name]
        for values, line in zip(found, (":", "-"), strict=True):
            label = row.name if line == "-" else None
            axis.plot(PLACES, values, line + mark, color=colour, markersize=4, label=label)
    axis.set_xlabel("position of the token")
    axis.set_ylabel("wrong tokens, %")
    axis.set_title("after its own words (lines), after the reference's (dotted)", fontsize="medium")
    axis.set_xticks(PLACES, groups())
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize="small")
