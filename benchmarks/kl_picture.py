"""The picture of `bench kl-control`: reward against KL to the prior, with the exact frontier."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from descant.files import write_atomically

# Method: marker, grey level that also tells them apart in print, whether it is filled.
STYLES = {
    "KL": ("o", "#0b559f"),
    "ewc": ("s", "#c65102"),
    "l2-sp": ("^", "#5a8f29"),
    "none": ("X", "#8b0000"),
}
LABELS = {"KL": "KL control, by c", "ewc": "EWC", "l2-sp": "L2-SP", "none": "reward alone"}


def draw(world: str, found: dict[str, Any], out: Path) -> tuple[Path, ...]:
    """Write out/kl-control-WORLD.svg and .png; nothing where the prior or the frontier is missing."""
    import matplotlib

    matplotlib.use("Agg")

    if not found["prior"] or not found["exact"]:
        return ()
    files = []
    with matplotlib.rc_context({"svg.hashsalt": "descant", "font.size": 11}):
        figure = _figure(world, found)
        for kind in ("svg", "png"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {}
            figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
            write_atomically(path := out / f"kl-control-{world}.{kind}", buffer.getvalue())
            files.append(path)
    return tuple(files)


def _figure(world: str, found: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    axis = figure.subplots()
    exact = [p for p in found["exact"][1:] if p[0] > 0]
    axis.plot(*zip(*exact, strict=True), color="black", linewidth=1.5, zorder=1)
    start = found["exact"][0][1]
    axis.axhline(start, color="#777777", linestyle=":", linewidth=1.2)
    for method in STYLES:
        _points(axis, method, [e for e in found["methods"] if e["method"] == method and e["seeds"]])
    axis.set_xscale("log")
    axis.set_xlabel("KL(policy || prior), nats a line (log scale)")
    axis.set_ylabel("reward a line")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
    return figure


def _points(axis: Any, method: str, entries: list[dict[str, Any]]) -> None:
    """Means with their intervals, joined where the strength goes one way, each labelled by its strength."""
    marker, colour = STYLES[method]
    ends = [(e["mean"]["kl_per_line"], e["mean"]["reward"]) for e in entries]
    x, y = ([m[0] for m in column] for column in zip(*ends, strict=True))
    bars = [[[m[0] - m[1] for m in c], [m[2] - m[0] for m in c]] for c in zip(*ends, strict=True)]
    axis.errorbar(
        x,
        y,
        xerr=bars[0],
        yerr=bars[1],
        fmt=marker,
        color=colour,
        markersize=7,
        label=LABELS[method],
        zorder=3,
    )
    for entry, here, there in zip(entries, x, y, strict=True):
        axis.annotate(
            entry["strength"], (here, there), textcoords="offset points", xytext=(6, -12), fontsize=8
        )
