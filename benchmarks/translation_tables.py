"""Tables of `bench translation`: what was gained, the bars, where errors are, and which rewards were cheated."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .jobs import Done
from .studies import Table, give_or_take, interval
from .translation_measure import PLACES, rates
from .translation_worlds import CONTROLS

CROSS_ENTROPY = "cross-entropy"
BLEU_BAR, GAIN_BAR, P_BAR, FORGOTTEN_BAR = 36.0, 1.0, 0.05, 10.0  # of pairs of one's own; the last in percent
LEARNED_BAR = (
    10.0  # points of exact match on the grammar, which an agent must gain and a constant reward must not
)
Values = dict[int, dict[str, Any]]  # what was measured, by seed


@dataclass(frozen=True)
class Row:
    """A model of a world, learned or tuned in one way, on all seeds."""

    world: dict[str, Any]
    model: str
    name: str
    kept: bool
    tuned: bool
    values: Values
    prior: Values  # the same of what it was tuned from

    @property
    def title(self) -> str:
        """What a reader sees."""
        return f"{self.model}: {self.name}{', KL' if self.kept else ''}"

    def of(self, name: str) -> list[float]:
        """A value by its name, on all seeds."""
        return [float(value[name]) for value in self.values.values() if name in value]

    def gains(self, name: str, share: bool = False) -> list[float]:
        """How much larger than the prior's of the same seed; with `share` in percent."""
        pairs = [(v[name], self.prior[seed][name]) for seed, v in self.values.items() if seed in self.prior]
        return [100 * (new / old - 1) if share else new - old for new, old in pairs]

    @property
    def tests(self) -> dict[int, float]:
        """p of the paired bootstrap that BLEU is the prior's, by seed."""
        return {seed: value["p"] for seed, value in self.values.items() if "p" in value}


def rows_of(done: Sequence[Done]) -> list[Row]:
    """A row for each way, in the order of the jobs; what failed is not in it."""
    found: dict[tuple[str, str, str, bool], tuple[dict[str, Any], Values]] = {}
    for each in done:
        told = each.job.arguments
        key = (
            told["world"]["name"],
            told["model"],
            told.get("prior") or told["method"],
            told.get("kept", False),
        )
        own = found.setdefault(key, (told, {}))[1]
        if not each.error:
            own[told["seed"]] = each.value
    return [
        Row(
            told["world"], model, name, kept, "method" in told, values,
            found.get((world, model, CROSS_ENTROPY, False), ({}, {}))[1],
        )
        for (world, model, name, kept), (told, values) in found.items()
    ]  # fmt: skip


def mean(values: Sequence[float], digits: int = 1) -> str:
    """Mean and half its 95 % t interval; "" where there is nothing."""
    return give_or_take(*interval(values), digits) if values else ""


def _gain(name: str, digits: int, share: bool = False) -> Callable[[Row], str]:
    return lambda row: mean(row.gains(name, share), digits) if row.tuned else ""


COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row.title,
    "seeds": lambda row: str(len(row.values)),
    "BLEU": lambda row: mean(row.of("bleu_tokens")),
    "gained": _gain("bleu_tokens", 2),
    "p < 0.05": lambda row: _sure(row),
    "chrF": lambda row: mean(row.of("chrf")),
    "exact, %": lambda row: mean([100 * x for x in row.of("exact")]),
    "perplexity": lambda row: mean(row.of("perplexity"), 2),
    "forgotten, %": _gain("perplexity", 1, share=True),
    "KL a token": lambda row: mean(row.of("kl"), 3),
    "entropy": lambda row: mean(row.of("entropy"), 2),
    "length": lambda row: mean(row.of("length_ratio"), 2),
    "4-grams again, %": lambda row: mean([100 * x for x in row.of("repeated_4grams")], 2),
    "equal groups, %": lambda row: _equal(row),
    "processor s": lambda row: mean(row.of("seconds"), 0),
}


def _sure(row: Row) -> str:
    """On how many seeds BLEU is beyond chance another than the prior's."""
    tests = list(row.tests.values())
    return f"{sum(p < P_BAR for p in tests)} of {len(tests)}" if tests else ""


def _equal(row: Row) -> str:
    shares = [value["equal"] for value in row.values.values() if len(value.get("equal", ())) == 2]
    if not shares:
        return ""
    first, last = 100 * np.mean(shares, axis=0)
    return f"{first:.0f} to {last:.0f}"


def results(rows: Sequence[Row]) -> Table:
    """What each way is worth on the test split, greedy."""
    data = [_data(row) for row in rows]
    cells = tuple(tuple(cell(row) for cell in COLUMNS.values()) for row in rows)
    return Table(
        f"{rows[0].world['name']}: greedy translations of the test split", tuple(COLUMNS), cells, data
    )


def _data(row: Row) -> dict[str, Any]:
    values = {seed: {k: v for k, v in value.items() if k != "samples"} for seed, value in row.values.items()}
    told = {"model": row.model, "name": row.name, "kept": row.kept, "tuned": row.tuned}
    return {**told, "values": values, "p": row.tests}


def bars(rows: Sequence[Row]) -> Table:
    """What must be reached on every seed: of pairs BLEU and its gain, on the grammar exact match."""
    found = _grammar_bars(rows) if rows[0].world["name"] == "grammar" else _pairs_bars(rows)
    cells = tuple((name, said, bar, "met" if met else "MISSED") for name, said, bar, met in found)
    met = all(fine for *_, fine in found)
    title = f"{rows[0].world['name']}: bars, each on every seed"
    return Table(title, ("what", "measured", "bar", ""), cells, [list(each) for each in found], met)


Bar = tuple[str, str, str, bool]


def _grammar_bars(rows: Sequence[Row]) -> list[Bar]:
    found = []
    for row in rows:
        gains = [100 * gain for gain in row.gains("exact")]
        if not (row.tuned and gains) or row.kept:
            continue
        if row.name in CONTROLS:
            bar, met = f"< +{LEARNED_BAR:g}", max(gains) < LEARNED_BAR
        elif "," not in row.name:
            bar, met = f">= +{LEARNED_BAR:g}", min(gains) >= LEARNED_BAR
        else:
            continue
        found.append((f"{row.title}: exact match, points", _list(gains, "+.1f"), bar, met))
    return found


def _pairs_bars(rows: Sequence[Row]) -> list[Bar]:
    first = [row for row in rows if row.model == rows[0].model]
    found: list[Bar] = []
    for row in first:
        if not row.tuned and (scores := row.of("bleu_tokens")):
            found.append((f"{row.title}: BLEU", _list(scores), f">= {BLEU_BAR:g}", min(scores) >= BLEU_BAR))
        elif row.tuned and not row.name.endswith("alone") and (gains := row.gains("bleu_tokens")):
            fine = min(gains) >= GAIN_BAR and max(row.tests.values()) < P_BAR
            said = f"{_list(gains, '+.2f')} (p {_list(list(row.tests.values()), '.3f')})"
            found.append((f"{row.title}: BLEU gained", said, f">= +{GAIN_BAR:g}, p < {P_BAR:g}", fine))
            lost, chrf = row.gains("perplexity", share=True), row.gains("chrf")
            found.append(
                (
                    f"{row.title}: perplexity",
                    _list(lost, "+.1f") + " %",
                    f"< +{FORGOTTEN_BAR:g} %",
                    max(lost) < FORGOTTEN_BAR,
                )
            )
            found.append((f"{row.title}: chrF", _list(chrf, "+.2f"), ">= 0", min(chrf) >= 0))
    return found


def _list(values: Sequence[float], form: str = ".1f") -> str:
    return ", ".join(format(value, form) for value in values)


def exposed(rows: Sequence[Row]) -> Table:
    """Wrong tokens against position, with the reference's words before them and with the model's own."""
    columns = ("model", *(f"{group}, {path}" for group in groups() for path in ("forced", "free")))
    cells, data = [], []
    for row in rows:
        means = error_rates(row)
        if means is None:
            continue
        forced, free = means
        pairs = zip(forced, free, strict=True)
        cells.append((row.title, *(f"{x:.1f}" for pair in pairs for x in pair)))
        data.append({"title": row.title, "forced": forced, "free": free})
    title = (
        f"{rows[0].world['name']}: wrong tokens, %, by position, the reference's words before or one's own"
    )
    return Table(title, columns, tuple(cells), data)


def groups() -> list[str]:
    """Names of the groups of positions."""
    return [f"{a} to {b - 1}" for a, b in itertools.pairwise(PLACES)] + [f"{PLACES[-1]} on"]


def error_rates(row: Row) -> tuple[list[float], list[float]] | None:
    """Percent of wrong tokens by group of positions, forced and free, of all seeds together."""
    if not row.values:
        return None
    found = [
        rates(np.sum([value["errors"][path] for value in row.values.values()], axis=0).tolist())
        for path in ("forced", "free")
    ]
    return found[0], found[1]


def cheated(rows: Sequence[Row]) -> Table:
    """Sentence BLEU as each way of smoothing pays it, beside what a reader would want."""
    names = ("exp", "add-k 10", "floor 10")
    columns = (
        "model",
        *(f"BLEU, {name}" for name in names),
        "chrF",
        "exact, %",
        "length",
        "4-grams again, %",
    )
    cells = []
    for row in rows:
        if not row.values:
            continue
        paid = [mean([v["sentence_bleu"][name] for v in row.values.values()]) for name in names]
        kept = (COLUMNS[name](row) for name in columns[4:])
        cells.append((row.title, *paid, *kept))
    return Table(f"{rows[0].world['name']}: what rewards pay", columns, tuple(cells), [])
