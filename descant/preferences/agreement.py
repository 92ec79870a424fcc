"""How far judgements can be trusted: each annotator with themselves, annotators with each other, left with right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.preferences.records import Judgement, Pair
from descant.preferences.store import Store
from descant.tasks import Floats, Ints

LABELS = ("a", "b", "tie", "both_bad")  # a skip says nothing
SHOWN = ("left", "right", "tie", "both_bad")
RESAMPLES = 1_000
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what it rests on; None where that does not suffice."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def proportion(hits: int, n: int) -> Estimate:
    """A share with Wilson's 95 % interval."""
    if n == 0:
        return Estimate(None, None, None, 0)
    p, z2 = hits / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(p, max(0.0, middle - reach), min(1.0, middle + reach), n)


def cohen(tables: Ints) -> Floats:
    """Cohen's kappa of two annotators from joint counts [..., k, k]; NaN where both always say the same one thing."""
    n = np.maximum(tables.sum(axis=(-2, -1)), 1)
    expected = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / n**2
    observed = np.trace(tables, axis1=-2, axis2=-1) / n
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.where(expected < 1, (observed - expected) / np.where(expected < 1, 1 - expected, 1), np.nan)
        )


def fleiss(counts: Ints) -> float:
    """Fleiss' kappa from how often each pair got each label, [pairs, k].

    Pairs may have different numbers of annotators. Observed is the share of agreeing pairs of judgements, over pairs
    with two judgements or more, each weighted by its judgements; with equal numbers this is Fleiss 1971. NaN where
    there are none, or all are of one label.
    """
    raters = counts.sum(axis=1)
    counts = counts[raters > 1]
    raters = raters[raters > 1]
    if not len(counts):
        return math.nan
    agreeing = (counts * (counts - 1)).sum(axis=1) / (raters - 1)
    shares = counts.sum(axis=0) / raters.sum()
    expected = float((shares**2).sum())
    return (float(agreeing.sum() / raters.sum()) - expected) / (1 - expected) if expected < 1 else math.nan


def fleiss_estimate(counts: Ints, seed: int = 0) -> Estimate:
    """Fleiss' kappa and its interval over resamples of pairs."""
    rng = np.random.default_rng(seed)
    rows = (rng.integers(0, len(counts), len(counts)) for _ in range(RESAMPLES if len(counts) else 0))
    return _estimate(fleiss(counts), np.array([fleiss(counts[r]) for r in rows]), len(counts))


def cohen_estimate(table: Ints, seed: int = 0) -> Estimate:
    """Cohen's kappa of a table [k, k] and its interval over resamples of pairs."""
    n = int(table.sum())
    if n == 0:
        return Estimate(None, None, None, 0)
    draws = np.random.default_rng(seed).multinomial(n, table.ravel() / n, RESAMPLES)
    return _estimate(float(cohen(table)), cohen(draws.reshape(-1, *table.shape)), n)


def _estimate(value: float, draws: Floats, n: int) -> Estimate:
    known = draws[~np.isnan(draws)]
    if math.isnan(value) or not len(known):
        return Estimate(None, None, None, n)
    low, high = np.percentile(known, [2.5, 97.5])
    if high - low < 1e-9:  # all agree: resamples of that know of nothing else, which is no certainty
        return Estimate(value, None, None, n)
    return Estimate(value, float(low), float(high), n)


Labels = Mapping[str, Mapping[str, str]]  # annotator, then pair: what stands, skips left out


def agreement(store: Store) -> dict[str, Any]:
    """All of it, as JSON: see `consistency`, `left_share`, `between`."""
    pairs = {pair.uuid: pair for pair in store.pairs()}
    standing = list(store.standing())
    labels = labels_of(standing)
    return {
        "annotators": sorted(labels),
        "judgements": len(standing),
        "skipped": sum(j.choice == "skip" for j in standing),
        "consistency": _each(labels, lambda of: consistency(of, pairs)),
        "left": _each(labels, lambda of: left_share(of, pairs)),
        "between": between(labels, pairs),
    }


def labels_of(standing: Sequence[Judgement]) -> dict[str, dict[str, str]]:
    """What each annotator said of each pair, skips left out; annotators who only skipped have nothing."""
    found: dict[str, dict[str, str]] = {}
    for j in standing:
        own = found.setdefault(j.annotator, {})
        if j.choice in LABELS:
            own[j.pair] = str(j.choice)
    return found


def _each(labels: Labels, measure: Any) -> dict[str, Any]:
    """A share for each annotator and for all together."""
    hits = {name: measure(of) for name, of in sorted(labels.items())}
    total = np.sum([*hits.values(), (0, 0)], axis=0)
    every = proportion(int(total[0]), int(total[1]))
    return {
        "all": every.as_json(),
        "by_annotator": {name: proportion(*h).as_json() for name, h in hits.items()},
    }


def consistency(labels: Mapping[str, str], pairs: Mapping[str, Pair]) -> tuple[int, int]:
    """How many of the repeated pairs an annotator answered alike, and how many there are."""
    both = [
        (labels[uuid], labels[str(pair.repeats)])
        for uuid, pair in pairs.items()
        if pair.repeats in labels and uuid in labels
    ]
    return sum(x == y for x, y in both), len(both)


def left_share(labels: Mapping[str, str], pairs: Mapping[str, Pair]) -> tuple[int, int]:
    """How many of the preferred clips stood on the left, and how many clips were preferred."""
    decided = [(label, pairs[uuid].left) for uuid, label in labels.items() if label in ("a", "b")]
    return sum(label == left for label, left in decided), len(decided)


def between(labels: Labels, pairs: Mapping[str, Pair]) -> dict[str, Any]:
    """Fleiss' kappa of all annotators and Cohen's of each two, over pairs that are no repetitions."""
    names = sorted(labels)
    first = [uuid for uuid, pair in pairs.items() if pair.repeats is None]
    given = np.array([[_side(labels[name].get(uuid), pairs[uuid].left) for name in names] for uuid in first])
    given = given.reshape(len(first), len(names))
    counts = (given[:, :, None] == np.arange(len(SHOWN))).sum(axis=1)
    twos = [
        {"annotators": [names[i], names[j]], **cohen_estimate(_joint(given[:, [i, j]])).as_json()}
        for i, j in itertools.combinations(range(len(names)), 2)
    ]
    return {"fleiss": fleiss_estimate(counts[counts.sum(axis=1) > 1]).as_json(), "cohen": twos}


def _side(label: str | None, left: str) -> int:
    """What was answered as it was seen, left or right, so that chance knows nothing of a and b; -1 for nothing."""
    if label is None:
        return -1
    return SHOWN.index(label if label not in ("a", "b") else "left" if label == left else "right")


def _joint(given: Ints) -> Ints:
    """How often two columns of labels went together, int[4, 4]; -1 is none."""
    rows = given[(given >= 0).all(axis=1)]
    table = np.zeros((len(SHOWN), len(SHOWN)), np.int64)
    np.add.at(table, (rows[:, 0], rows[:, 1]), 1)
    return table
