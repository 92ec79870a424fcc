"""The picture of `bench rl-tuner`: reward against KL to the prior, for each agent over c."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .pictures import write_figure
from .rl_tuner_tables import Model
from .studies import interval

STEM = "rl-tuner"
# Told apart by marker and line too, so that no colour is needed.
STYLES = {
    "ppo": ("o", "-", "#08457e"),
    "psi": ("s", "--", "#b34700"),
    "g": ("^", ":", "#3f7d20"),
    "kl-q": ("D", "-.", "#7a3b8f"),
}


def draw(
    points: Mapping[str, Mapping[float, Model]], prior: Model, others: Sequence[Model], out: Path
) -> tuple[Path, ...]:
    """Write out/rl-tuner.svg and .png; nothing where no run of the frontier is there. `others` are single points."""
    if not any(m.seeds for own in points.values() for m in own.values()):
        return ()
    return write_figure(lambda: _figure(points, prior, others), out, STEM)


def _figure(points: Mapping[str, Mapping[float, Model]], prior: Model, others: Sequence[Model]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axis = figure.subplots()
    for agent, own in points.items():
        seen = [m for m in own.values() if m.seeds]
        if seen:
            _line(axis, agent, seen)
    _prices(axis, points)
    for m in others:
        if m.seeds:
            axis.plot(*_at(m), "*", color="#8b0000", markersize=13, zorder=5)
            _say(axis, m.name, _at(m), "#8b0000", (-9, 5), "right")
    if prior.seeds:
        level = interval(prior.values("reward"))[0]
        axis.axhline(level, color="#666666", linestyle=(0, (1, 3)), linewidth=1.3)
        axis.annotate(
            "Note RNN", (0.02, level), xycoords=axis.get_yaxis_transform(), color="#444444", va="bottom"
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("exact KL(policy || prior), nats a note")
    axis.set_ylabel("reward a composition")
    axis.set_title("Melodies: reward against distance from the prior, by price c of a nat", fontsize=12)
    axis.grid(alpha=0.2)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper left")
    return figure


def _at(m: Model) -> tuple[float, float]:
    """Mean KL and reward."""
    kl, reward = (interval(m.values(name))[0] for name in ("kl", "reward"))
    return kl, reward


def _line(axis: Any, agent: str, own: Sequence[Model]) -> None:
    """Means with their intervals, joined in order of c."""
    marker, line, colour = STYLES[agent]
    ends = [[interval(m.values(name)) for m in own] for name in ("kl", "reward")]
    (x, y), (across, up) = zip(*((_means(e), _halves(e)) for e in ends), strict=True)
    axis.errorbar(
        x, y, xerr=across, yerr=up, fmt=marker, linestyle=line, color=colour, label=agent, linewidth=1.4,
        elinewidth=1, markersize=7, markerfacecolor="white", zorder=3,
    )  # fmt: skip


def _prices(axis: Any, points: Mapping[str, Mapping[float, Model]]) -> None:
    """Each c once, below the points of all agents that paid it."""
    for c in {c: None for own in points.values() for c in own}:
        paid = [_at(own[c]) for own in points.values() if c in own and own[c].seeds]
        if paid:
            middle = (min(paid)[0] * max(paid)[0]) ** 0.5  # of a logarithmic axis
            _say(axis, f"c = {c:g}", (middle, min(reward for _, reward in paid)), "#333333", (0, -20))


def _means(values: Sequence[tuple[float, float, float]]) -> list[float]:
    return [mean for mean, _, _ in values]


def _halves(values: Sequence[tuple[float, float, float]]) -> list[float]:
    return [mean - low for mean, low, _ in values]


def _say(
    axis: Any, text: str, at: tuple[float, float], colour: str, shift: tuple[int, int], side: str = "center"
) -> None:
    """Text beside a point, readable on top of lines."""
    from matplotlib.patheffects import withStroke

    said = axis.annotate(text, at, xytext=shift, textcoords="offset points", color=colour, ha=side, zorder=6)
    said.set_path_effects([withStroke(linewidth=3, foreground="white")])
