"""Ratings of sources (models, runs, people) from judgements of their clips: Bradley-Terry, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.preferences.store import Store
from descant.tasks import Bools, Floats, Ints

RESAMPLES = 500
VIRTUAL = 0.5  # wins added each way between sources that met, so that one who never lost has a rating
LEAST = 1e-9  # of them in a draw: less would make ratings of 20 logits
ELO = 400 / np.log(10)  # points of a chess rating in one logit
NEWTON_STEPS, LONGEST_STEP = 100, 2.0


@dataclass(frozen=True)
class Standing:
    """A source: its rating in logits (mean 0 in its group), the 95 % interval, and how its comparisons went.

    `group`, from 0, are sources that met, directly or over others: ratings of different groups can't be compared.
    """

    source: str
    rating: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    group: int

    def as_json(self) -> dict[str, Any]:
        """As a JSON object, with the rating in points as chess players count them too."""
        return vars(self) | {"elo": 1500 + ELO * self.rating}


@dataclass(frozen=True)
class Meetings:
    """Judgements of clips of different sources: two rows of `names`, the bootstrap's unit, a's share of the win."""

    names: tuple[str, ...]
    unit: Ints
    a: Ints
    b: Ints
    share: Floats  # 1, 0, or 0.5 for ties and both bad

    def wins(self, weights: Floats | Ints | None = None) -> Floats:
        """Wins of rows over columns, float[n, n]; `weights` of the units, [units]."""
        n = len(self.names)
        w = np.ones(len(self.a)) if weights is None else np.asarray(weights, float)[self.unit]
        for_a = np.bincount(self.a * n + self.b, w * self.share, n * n)
        for_b = np.bincount(self.b * n + self.a, w * (1 - self.share), n * n)
        return np.asarray((for_a + for_b).reshape(n, n))

    def counts(self, share: float) -> Ints:
        """How often each source got that share, int[n]."""
        n = len(self.names)
        for_a = np.bincount(self.a[self.share == share], minlength=n)
        return for_a + np.bincount(self.b[self.share == 1 - share], minlength=n)


def leaderboard(store: Store, seed: int = 0, chosen: bool = False) -> list[Standing]:
    """The sources whose clips met those of others, best first. Ties and both bad are half a win each way.

    A pair that was judged more than once, by others or repeated, is one unit of the bootstrap: 500 draws.
    Pairs that were chosen by what reward models say of them count only if `chosen`: of a policy that raised a model's
    score, those clips are taken that the model thinks no better than another source's, and they lose.
    """
    return rated(meetings(store, chosen), seed)


def chosen_judgements(store: Store) -> int:
    """How many judgements of two sources' clips `leaderboard` leaves out, since reward models chose the pair."""
    return len(meetings(store, chosen=True).a) - len(meetings(store).a)


def meetings(store: Store, chosen: bool = False) -> Meetings:
    """What the standing judgements say of sources."""
    sources = {clip.hash: clip.source for clip in store.clips()}
    pairs = {pair.uuid: pair for pair in store.pairs() if chosen or pair.model_hash is None}
    met = [
        (pairs[j.pair].repeats or j.pair, sources[pairs[j.pair].a], sources[pairs[j.pair].b], j.choice)
        for j in store.standing()
        if j.choice != "skip" and j.pair in pairs and sources[pairs[j.pair].a] != sources[pairs[j.pair].b]
    ]
    names = tuple(sorted({name for _, *both, _ in met for name in both}))
    units = {unit: row for row, unit in enumerate(dict.fromkeys(unit for unit, *_ in met))}
    rows = [(units[unit], names.index(a), names.index(b)) for unit, a, b, _ in met]
    unit, a, b = np.array(rows, np.int64).reshape(-1, 3).T
    return Meetings(names, unit, a, b, np.array([{"a": 1.0, "b": 0.0}.get(str(c), 0.5) for *_, c in met]))


def rated(met: Meetings, seed: int = 0) -> list[Standing]:
    """The standings that meetings lead to, by group and rating."""
    if not met.names:
        return []
    total = met.wins()
    known = total + total.T > 0
    groups = connected(known)
    ratings = bradley_terry(total, known, groups)
    rng = np.random.default_rng(seed)
    draws = np.array([drawn(met, known, groups, rng) for _ in range(RESAMPLES)])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    won, lost, tied = met.counts(1.0), met.counts(0.0), met.counts(0.5)
    made = [
        Standing(
            name, float(ratings[i]), float(low[i]), float(high[i]),
            int(won[i]), int(lost[i]), int(tied[i]), int(groups[i]),
        )
        for i, name in enumerate(met.names)
    ]  # fmt: skip
    return sorted(made, key=lambda s: (s.group, -s.rating, s.source))


def drawn(met: Meetings, known: Bools, groups: Ints, rng: np.random.Generator) -> Floats:
    """Ratings of one draw of the Bayesian bootstrap (Rubin 1981), float[n]: units and wins that are added have weights.

    A resample would say of a source that never lost that it never does. With two sources this is Jeffreys' interval.
    """
    wins = met.wins(rng.exponential(size=int(met.unit.max()) + 1))
    added = np.maximum(rng.gamma(VIRTUAL, size=wins.shape), LEAST) * known
    return bradley_terry(wins + added, np.zeros_like(known), groups)


def connected(met: Bools) -> Ints:
    """The group of each node of a symmetric graph bool[n, n], numbered from 0: int[n]."""
    groups = np.full(len(met), -1)
    for node in range(len(met)):
        if groups[node] >= 0:
            continue
        reached = np.zeros(len(met), bool)
        reached[node] = True
        while (more := reached | met[reached].any(axis=0)).sum() > reached.sum():
            reached = more
        groups[reached] = groups.max() + 1
    return groups


def bradley_terry(wins: Floats, met: Bools, groups: Ints) -> Floats:
    """Ratings in logits float[n] that make wins float[n, n] likeliest (Bradley and Terry 1952), mean 0 in each group.

    Half a win each way is added between sources that met, bool[n, n].
    """
    wins = wins + VIRTUAL * met
    games = wins + wins.T
    same = (groups[:, None] == groups[None, :]).astype(float)
    ratings = np.zeros(len(wins))
    for _ in range(NEWTON_STEPS):
        p = 0.5 * (1 + np.tanh((ratings[:, None] - ratings[None, :]) / 2))
        gradient = (wins - games * p).sum(axis=1)
        weight = games * p * p.T
        hessian = np.diag(weight.sum(axis=1)) - weight + same  # `same` holds each group's mean at 0
        step = np.linalg.solve(hessian, gradient)
        largest = float(np.abs(step).max())
        ratings = ratings + step * min(1.0, LONGEST_STEP / max(largest, 1e-300))
        if largest < 1e-10:
            break
    return ratings
