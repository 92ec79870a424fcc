"""The picture of `bench kl-control`: reward against KL to the prior, with the exact frontier above."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .pictures import write_figure


@dataclass(frozen=True)
class Style:
    """How a method looks: told apart by marker, filling and line, so that no colour is needed."""

    label: str
    marker: str
    line: str
    colour: str
    filled: bool
    shift: tuple[int, int]  # of its name from its leftmost point
    side: str


STYLES = {
    "KL": Style("KL control\nby c", "o", "-", "#08457e", True, (-10, 6), "right"),
    "ewc": Style("EWC", "s", "--", "#b34700", False, (12, -9), "left"),
    "l2-sp": Style("L2-SP", "^", ":", "#3f7d20", False, (8, -16), "left"),
    "none": Style("reward alone", "X", "", "#8b0000", True, (10, -4), "left"),
}
TITLES = {
    "generated": "Counterpoint on cantus firmi that were not learned from",
    "dorian": "Counterpoint above one cantus firmus, Fux's dorian",
}


def draw(world: str, found: dict[str, Any], out: Path) -> tuple[Path, ...]:
    """Write out/kl-control-WORLD.svg and .png; nothing where the prior or the frontier is missing.

    `found` has the prior's measures, the `exact` points, and of each of `methods` the seeds and mean measures.
    """
    if not found["prior"] or not found["exact"]:
        return ()
    return write_figure(lambda: _figure(world, found), out, f"kl-control-{world}")


def _figure(world: str, found: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axis = figure.subplots()
    # What is held to a target lies on the same curve: it is left to the table.
    methods = [e for e in found["methods"] if e["seeds"] and not e["strength"].startswith("to ")]
    _frame(axis, methods, found["exact"])
    for method, style in STYLES.items():
        own = [e for e in methods if e["method"] == method]
        if own:
            _points(axis, style, sorted(own, key=lambda e: e["mean"]["kl_per_line"][0]))
    axis.set_title(TITLES.get(world, world), fontsize=12)
    axis.set_xlabel("KL(policy || prior), nats a line")
    axis.set_ylabel("reward a line (0 is faultless)")
    axis.grid(alpha=0.2)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _frame(axis: Any, methods: list[dict[str, Any]], exact: list[list[float]]) -> None:
    """The exact frontier, the prior's reward, and limits that hold all that was measured and its names."""
    seen = [e["mean"]["kl_per_line"][0] for e in methods] or [kl for kl, _ in exact[1:]]
    rewards = [e["mean"]["reward"][0] for e in methods] + [reward for _, reward in exact]
    room = 0.06 * (max(rewards) - min(rewards))
    axis.set_xscale("log")
    axis.set_xlim(min(seen) / 5, max(*seen, exact[-1][0]) * 4)
    axis.set_ylim(min(rewards) - room, max(rewards) + 2 * room)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.plot(*zip(*exact[1:], strict=True), color="black", linewidth=1.8, zorder=1)
    axis.axhline(exact[0][1], color="#666666", linestyle=(0, (1, 3)), linewidth=1.3)
    _say(axis, "exact frontier", tuple(exact[-1]), "black", (0, 7), "right")
    _say(axis, "the prior", (axis.get_xlim()[1], exact[0][1]), "#444444", (-4, 4), "right")


def _points(axis: Any, style: Style, entries: list[dict[str, Any]]) -> None:
    """Means with their intervals, joined in order of KL; the method's name, and for KL control each c."""
    ends = [(e["mean"]["kl_per_line"], e["mean"]["reward"]) for e in entries]
    x, y = ([m[0] for m in column] for column in zip(*ends, strict=True))
    across, up = (
        [[m[0] - m[1] for m in column], [m[2] - m[0] for m in column]] for column in zip(*ends, strict=True)
    )
    axis.errorbar(
        x, y, xerr=across, yerr=up, fmt=style.marker, linestyle=style.line or "none", linewidth=1.4,
        elinewidth=1, color=style.colour, markersize=8, zorder=3,
        markerfacecolor=style.colour if style.filled else "white",
    )  # fmt: skip
    _say(axis, style.label, (x[0], y[0]), style.colour, style.shift, style.side)
    level = 0
    for k, (entry, (kl, reward)) in enumerate(zip(entries, ends, strict=True)):
        if entry["strength"].startswith("c = "):
            level = level + 1 if k and kl[0] < 1.5 * x[k - 1] else 0  # keep clear of a near neighbour
            top = reward[0] if np.isnan(reward[2]) else reward[2]
            c = entry["strength"].removeprefix("c = ")
            _say(axis, c, (kl[0], top), style.colour, (0, 5 + 9 * level), "center", 9)


def _say(
    axis: Any,
    text: str,
    at: tuple[float, ...],
    colour: str,
    shift: tuple[int, int],
    side: str,
    points: int = 11,
) -> None:
    """Text beside a point, readable on top of lines."""
    from matplotlib.patheffects import withStroke

    said = axis.annotate(
        text, at, xytext=shift, textcoords="offset points", color=colour, ha=side, fontsize=points, zorder=4
    )
    said.set_path_effects([withStroke(linewidth=3, foreground="white")])
