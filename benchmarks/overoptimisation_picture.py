"""The picture of `bench over-optimisation`: gold and proxy over sqrt(KL), a row a share of mistakes, a column a way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .overoptimisation_fits import FORMS, fit_form, value_of
from .pictures import write_figure

LOOKS = {
    "single": ("#8b0000", "o"),
    "mean": ("#3f7d20", "^"),
    "minimum": ("#b37400", "v"),
    "mean - variance": ("#08457e", "s"),
}
BEST_FORM, RL_FORM = FORMS


def draw(curves: Mapping[tuple[float, str, str], Any], out: Path) -> tuple[Path, ...]:
    """Write out/over-optimisation.svg and .png; `curves` float[worlds, points, 3] by flipped, proxy and way."""
    return write_figure(lambda: _figure(curves), out, "over-optimisation", font=10)


def _figure(curves: Mapping[tuple[float, str, str], Any]) -> Any:
    from matplotlib.figure import Figure

    shares = sorted({key[0] for key in curves})
    ways = list(dict.fromkeys(key[2] for key in curves))
    figure = Figure(figsize=(3.7 * len(ways) + 0.6, 3.2 * len(shares) + 0.8), layout="constrained")
    axes = figure.subplots(len(shares), len(ways), squeeze=False, sharey="row", sharex=True)
    for row, share in zip(axes, shares, strict=True):
        row[0].set_ylabel(f"{share:.0%} of the answers flipped\nreward, deviations of the prior")
        for axis, way in zip(row, ways, strict=True):
            own = {key[1]: points for key, points in curves.items() if key[0] == share and key[2] == way}
            _panel(axis, way, own)
    for axis, way in zip(axes[0], ways, strict=True):
        axis.set_title(way)
    for axis in axes[-1]:
        axis.set_xlabel("d = sqrt(KL to the prior), nats")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _panel(axis: Any, way: str, own: Mapping[str, Any]) -> None:
    """Gold with its fitted form and interval, and the proxy, dashed, of each proxy."""
    import numpy as np

    from .studies import interval

    if not own:
        axis.text(
            0.5, 0.5, "not trained", ha="center", va="center", transform=axis.transAxes, color="#666666"
        )
    form = BEST_FORM if way == "best of n" else RL_FORM
    for name, points in own.items():
        colour, marker = LOOKS[name]
        kl, gold, proxy = points.mean(axis=0).T
        d = np.sqrt(kl)
        low, high = np.array([interval(values.tolist())[1:] for values in points[..., 1].T]).T
        axis.fill_between(d, low, high, color=colour, alpha=0.1, linewidth=0)
        axis.plot(d, gold, marker, color=colour, markersize=4)
        fine = np.linspace(d.min(), d.max(), 100)
        axis.plot(fine, value_of(form, fit_form(form, kl, gold), fine**2), color=colour, linewidth=1.5)
        axis.plot(d, proxy, "--", color=colour, linewidth=1, alpha=0.8)
    axis.grid(alpha=0.2)
    axis.spines[["top", "right"]].set_visible(False)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    found = [Line2D([], [], color=c, marker=m, label=name) for name, (c, m) in LOOKS.items()]
    return [
        *found,
        Line2D([], [], color="#444444", label="gold (fitted form)"),
        Line2D([], [], color="#444444", linestyle="--", linewidth=1, label="proxy"),
    ]
