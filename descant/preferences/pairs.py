"""Which pairs to ask about: at random, or by what an ensemble of reward models says of the clips.

A strategy is a pure function of scores float[m, c] (m models or draws of one, c clips, in logits) and pairs int[k, 2],
and gives float[k]: the higher, the rather to be asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from descant.errors import DescantError, did_you_mean
from descant.preferences.records import Clip, Pair
from descant.tasks import Floats, Ints

MOST_CANDIDATES = 50_000
GAP = 10  # pairs between one and its repetition, where there are so many
REPEATS = (0.05, 0.10)  # the share of repeated pairs that is advised
REPEAT = "repeat"


def preferences(scores: Floats, pairs: Ints) -> Floats:
    """Probability that the first clip of each pair is preferred, by each model: float[m, k]."""
    gaps = scores[:, pairs[:, 0]] - scores[:, pairs[:, 1]]
    return np.asarray(0.5 * (1.0 + np.tanh(gaps / 2.0)))


def entropy(p: Floats) -> Floats:
    """Entropy of coins of probability p, in nats, of the same shape."""
    rest = 1.0 - p
    logs = np.log(np.maximum(p, 1e-300)), np.log(np.maximum(rest, 1e-300))
    return np.asarray(-(p * logs[0] + rest * logs[1]))


def uncertainty(scores: Floats, pairs: Ints) -> Floats:
    """Entropy of the ensemble's mean preference, float[k] (B-Pref, Lee et al. 2021)."""
    return entropy(preferences(scores, pairs).mean(axis=0))


def disagreement(scores: Floats, pairs: Ints) -> Floats:
    """Deviation of the preference over the ensemble, float[k] (Christiano et al. 2017)."""
    return np.asarray(preferences(scores, pairs).std(axis=0))


def information(scores: Floats, pairs: Ints) -> Floats:
    """What the answer is expected to tell of which model is the annotator's, in nats, float[k].

    The mutual information of answer and model (BALD, Houlsby et al. 2011): the models are draws of what is believed of
    one annotator. Unlike `uncertainty` it asks nothing whose answer is a toss-up to every model.
    """
    p = preferences(scores, pairs)
    return np.asarray(np.maximum(entropy(p.mean(axis=0)) - entropy(p).mean(axis=0), 0.0))


STRATEGIES: dict[str, Callable[[Floats, Ints], Floats] | None] = {
    "random": None,
    "uncertainty": uncertainty,
    "disagreement": disagreement,
    "information": information,
}
"""By name; None asks for no scores."""


def candidates(
    clips: Sequence[Clip],
    rng: np.random.Generator,
    between: bool = False,
    asked: frozenset[frozenset[str]] = frozenset(),
) -> Ints:
    """Pairs of clips that can be compared, int[k, 2], in random order; at most 50,000 of them.

    Both were written to the same (environment, arguments) and differ; they are not among those `asked`, by content;
    `between` takes clips of different sources alone.
    """
    groups: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        groups.setdefault(repr(sorted_deep(clip.prompt_parts)), []).append(index)
    found = [_within(np.array(group), rng) for group in groups.values() if len(group) > 1]
    every = np.concatenate([np.zeros((0, 2), np.int64), *found])
    kept = [
        row
        for row, (a, b) in enumerate(every.tolist())
        if clips[a].content != clips[b].content
        and not (between and clips[a].source == clips[b].source)
        and frozenset((clips[a].content, clips[b].content)) not in asked
    ]
    return np.asarray(every[rng.permutation(np.array(kept, np.int64))[:MOST_CANDIDATES]])


def sorted_deep(value: object) -> object:
    """JSON data with keys in order, so that equal data have equal texts."""
    if isinstance(value, dict):
        return [(key, sorted_deep(value[key])) for key in sorted(value)]
    return [sorted_deep(item) for item in value] if isinstance(value, list | tuple) else value


def _within(group: Ints, rng: np.random.Generator) -> Ints:
    """Pairs of a group, all or as many at random as are wanted at most."""
    if len(group) * (len(group) - 1) // 2 <= 2 * MOST_CANDIDATES:
        first, second = np.triu_indices(len(group), 1)
    else:
        drawn = np.sort(rng.integers(0, len(group), (4 * MOST_CANDIDATES, 2)), axis=1)
        first, second = np.unique(drawn[drawn[:, 0] < drawn[:, 1]], axis=0).T
    return np.stack([group[first], group[second]], axis=1)


def choose(pairs: Ints, n: int, values: Floats | None = None) -> Ints:
    """The rows of `n` pairs, int[n]: those of the highest values, or else as many of each clip as can be."""
    if values is not None:
        return np.argsort(-values, kind="stable")[:n]
    used = np.zeros(int(pairs.max(initial=-1)) + 1, np.int64)
    chosen: list[int] = []
    waiting = list(range(len(pairs)))
    cap = 1
    while waiting and len(chosen) < n:
        later = []
        for row in waiting:
            if len(chosen) < n and used[pairs[row]].max() < cap:
                used[pairs[row]] += 1
                chosen.append(row)
            else:
                later.append(row)
        waiting, cap = later, cap + 1
    return np.array(chosen, np.int64)


def make_pairs(
    clips: Sequence[Clip],
    n: int,
    strategy: str = "random",
    *,
    scores: Floats | None = None,
    model_hash: str | None = None,
    repeat: float = 0.08,
    between: bool = False,
    asked: frozenset[frozenset[str]] = frozenset(),
    rng: np.random.Generator,
) -> list[Pair]:
    """`n` new pairs by a strategy, each clip as often on the left as on the right, and `repeat` of them once more.

    `scores` float[m, c] for the strategies that take them. DescantError where there are too few clips.
    """
    if strategy not in STRATEGIES:
        raise DescantError(f"{strategy!r} is no strategy.{did_you_mean(strategy, STRATEGIES)}")
    value = STRATEGIES[strategy]
    if value is not None and scores is None:
        raise DescantError(
            f"The strategy {strategy} needs the scores of reward models: pass --scores, or take random."
        )
    if scores is not None and (
        scores.ndim != 2 or scores.shape[1] != len(clips) or not np.isfinite(scores).all()
    ):
        raise DescantError(
            f"Scores must be finite numbers, [models, {len(clips)} clips], not {scores.shape}."
        )
    rows = candidates(clips, rng, between, asked)
    if len(rows) < n:
        others = "" if not between else " of different sources (--between any takes all)"
        raise DescantError(
            f"There are {len(rows)} new pairs{others} to the same problem, not {n}: ask for fewer, or add clips."
        )
    chosen = rows[choose(rows, n, None if value is None or scores is None else value(scores, rows))]
    now = time.time()
    chosen = rng.permuted(chosen, axis=1)
    lefts = rng.permutation(np.arange(n) % 2)
    made = [
        Pair(clips[a].hash, clips[b].hash, "ab"[left], strategy, model_hash=model_hash, created=now)
        for (a, b), left in zip(chosen.tolist(), lefts.tolist(), strict=True)
    ]
    return with_repeats(made, repeat, rng)


def with_repeats(pairs: Sequence[Pair], share: float, rng: np.random.Generator) -> list[Pair]:
    """The pairs, and a share of them once more with their sides swapped, ten places or more behind if they can be."""
    count = round(share * len(pairs))
    order: list[tuple[float, Pair]] = [(float(place), pair) for place, pair in enumerate(pairs)]
    for place in rng.choice(len(pairs), count, replace=False).tolist():
        first = pairs[place]
        begin = min(place + GAP, len(pairs))
        swapped = Pair(
            first.a, first.b, "b" if first.left == "a" else "a", REPEAT,
            repeats=first.uuid, model_hash=first.model_hash, created=first.created,
        )  # fmt: skip
        order.append((begin + rng.random() * (len(pairs) - begin) - 0.5, swapped))
    return [pair for _, pair in sorted(order, key=lambda entry: entry[0])]
