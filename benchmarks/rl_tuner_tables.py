"""The tables of `bench rl-tuner`: measures down, models across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .jobs import Done
from .rl_tuner_bars import PUBLISHED, STATISTICS, Bar, bars, missed
from .rl_tuner_settings import CONTROLLED, CS, FRONTIER, Setting
from .studies import Table, give_or_take, interval

NOTE_RNN, TUNES = "Note RNN", "tunes held out"
MEASURES = (
    ("log_p", "log p a note under the prior", 3, 1),
    ("kl", "exact KL to the prior a note", 3, 1),
    ("entropy", "entropy a note", 3, 1),
    ("pitch_class_entropy", "entropy of pitch classes, bits", 3, 1),
    ("scale_consistency", "scale consistency, %", 1, 100),
    ("pitch_range", "range, semitones", 1, 1),
    ("distinct", "distinct compositions, %", 2, 100),
    ("copied", "with 16 steps copied, %", 2, 100),
    ("longest_copied", "longest copied run, steps", 2, 1),
    ("overlap_intervals", "overlap of intervals with held-out tunes", 3, 1),
    ("overlap_durations", "overlap of durations", 3, 1),
    ("seconds", "seconds to tune", 0, 1),
)
FRONTIER_MEASURES = (
    ("reward", "reward", 1, 1),
    ("kl", "KL a note", 3, 1),
    ("log_p", "log p a note", 3, 1),
    ("entropy", "entropy a note", 3, 1),
    ("distinct", "distinct, %", 1, 100),
    ("copied", "copied, %", 2, 100),
    ("seconds", "seconds", 0, 1),
)


@dataclass(frozen=True)
class Model:
    """A column of the tables: what was measured of it on each seed, and on how many seeds it failed."""

    name: str
    seeds: Mapping[int, Mapping[str, Any]]
    failed: int = 0

    def values(self, name: str) -> list[float]:
        """One measure on all seeds; a term of the reward as "terms.NAME"; nothing where it was not measured."""
        group, _, term = name.rpartition(".")
        found = [seed[group] if group else seed for seed in self.seeds.values()]
        return [values[term] for values in found if term in values]

    def cell(self, name: str, digits: int, scale: int = 1) -> str:
        """Mean and half the 95 % interval; a dash where there is nothing."""
        values = [scale * value for value in self.values(name)]
        return give_or_take(*interval(values), digits) if values else "-"

    def mean(self, wanted: Sequence[Bar]) -> list[dict[str, float]]:
        """The mean over seeds of what the bars ask for, as of a single seed; nothing where there is no seed."""
        values = {bar.name: self.values(bar.name) for bar in wanted}
        return [{name: sum(own) / len(own) for name, own in values.items()}] if self.seeds else []

    @property
    def count(self) -> str:
        """On how many seeds it was measured, and on how many it failed."""
        return f"{len(self.seeds)}" + (f" + {self.failed} failed" if self.failed else "")


def model(name: str, done: Sequence[Done], setting: Setting | None = None) -> Model:
    """A column from the jobs of its setting, or, without one, from jobs of other work with that title."""
    own = [
        d
        for d in done
        if (d.job.arguments.get("setting") == setting if setting else d.job.title.startswith(name))
    ]
    seeds = {d.job.arguments.get("seed", 0): d.value for d in own if not d.error}
    return Model(name, seeds, sum(bool(d.error) for d in own))


def compared(models: Sequence[Model]) -> Table:
    """The paper's statistics: its own figures, then ours."""
    columns = ("", *(f"paper: {name}" for name in PUBLISHED), *(m.name for m in models))
    rows = [("seeds", *("" for _ in PUBLISHED), *(m.count for m in models))]
    for row in STATISTICS:
        printed = (f"{value:g}" for value in row.published)
        rows.append((row.label, *printed, *(m.cell(row.name, row.digits, row.scale) for m in models)))
    title = "Statistics of compositions, beside those of Jaques et al. 2017"
    return Table(title, columns, tuple(rows), {m.name: dict(m.seeds) for m in models})


def described(models: Sequence[Model]) -> Table:
    """What the paper's table leaves out."""
    rows = [(label, *(m.cell(name, *how) for m in models)) for name, label, *how in MEASURES]
    return Table("What else there is to say of them", ("", *(m.name for m in models)), tuple(rows), None)


def rewarded(models: Sequence[Model]) -> Table:
    """The reward of a composition, all weights 1, and its terms."""
    measured = [seed["terms"] for m in models for seed in m.seeds.values()]
    names = ["reward", *(f"terms.{name}" for name in (measured[0] if measured else ()))]
    rows = [(name.removeprefix("terms."), *(m.cell(name, 2) for m in models)) for name in names]
    return Table("Reward of a composition by term", ("", *(m.name for m in models)), tuple(rows), None)


def judged(best: Sequence[Model], note_rnn: Model, others: Sequence[Model] = ()) -> Table:
    """Models row by row against the bars, which are met where one of the `best` reaches all on every seed."""
    log_p, models = note_rnn.values("log_p"), [*best, *others]
    wanted = bars(sum(log_p) / len(log_p) if log_p else float("nan"))
    lacking = {m.name: missed(wanted, list(m.seeds.values())) for m in models}
    rows = []
    for bar in wanted:
        cells = (
            m.cell(bar.name, bar.digits, bar.scale) + ("  MISSED" if bar in lacking[m.name] else "")
            for m in models
        )
        rows.append((bar.label, str(bar), *cells))
    by_mean = {m.name: missed(wanted, m.mean(wanted)) for m in models}
    for label, lacked in (("reached on every seed", lacking), ("reached by the mean", by_mean)):
        counts = (f"{len(wanted) - len(lacked[m.name])} of {len(wanted)}" for m in models)
        rows.append((label, "", *counts))
    met = any(not lacking[m.name] and not m.failed for m in best)
    data = {m.name: {"missed": [bar.name for bar in lacking[m.name]], "seeds": m.count} for m in models}
    columns = ("", "bar", *(m.name for m in models))
    return Table("Against the bars, our best models first", columns, tuple(rows), data, met)


def frontier(points: Mapping[str, Mapping[float, Model]]) -> Table:
    """Reward against KL, by agent and c."""
    columns = ("agent", "c", "seeds", *(label for _, label, *_ in FRONTIER_MEASURES))
    rows = tuple(
        (agent, f"{c:g}", m.count, *(m.cell(name, *how) for name, _, *how in FRONTIER_MEASURES))
        for agent, own in points.items()
        for c, m in own.items()
    )
    data = {
        agent: {f"{c:g}": {name: m.values(name) for name, *_ in FRONTIER_MEASURES} for c, m in own.items()}
        for agent, own in points.items()
    }
    return Table("Reward against KL to the prior, over c", columns, rows, data)


def points_of(done: Sequence[Done]) -> dict[str, dict[float, Model]]:
    """The models of the frontier, by agent and c."""
    return {
        agent: {c: model(name, done, FRONTIER[name]) for c in CS for name in [f"{agent} c = {c:g}"]}
        for agent in CONTROLLED
    }


def prior_table(done: Done) -> Table:
    """What the prior is worth on tunes that it never saw, beside n-grams: it must beat them."""
    columns = ("on test tunes", "NLL, nats a step", "perplexity", "next action right")
    if done.error:
        return Table("The prior", columns, (), None, False)
    rows = []
    for name in ("model", "ngrams"):
        found = done.value[name]
        label = "LSTM" if name == "model" else f"{found['order']}-grams"
        rows.append((label, f"{found['nll']:.4f}", f"{found['perplexity']:.3f}", f"{found['accuracy']:.1%}"))
    steps, windows = done.value["num_timesteps"], done.value["windows"]
    title = f"The prior: {steps:,} steps of training on {windows['train']:,} windows"
    better = done.value["model"]["nll"] < done.value["ngrams"]["nll"]
    return Table(title, columns, tuple(rows), done.value, better)
