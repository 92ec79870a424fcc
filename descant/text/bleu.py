"""Sentence BLEU on token ids: batched, incremental, and equal to sacrebleu's sentence score.

A score depends on counts alone: n-grams shared by order, length, reference length. Since an n-gram that is shared has
all its beginnings shared, the orders whose count is zero are the last ones; so smoothing adds to the logarithm what
length and number of non-zero orders tell, which is looked up.

Papineni et al. 2002; smoothing as Chen and Cherry 2014 and sacrebleu (Post 2018) have it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from descant.errors import DescantError, did_you_mean
from descant.tasks import Floats, Ints
from descant.text.matches import NOTHING, References, count, make_references

Smoothing = Literal["exp", "floor", "add-k", "none"]
VALUES = {"floor": 0.1, "add-k": 1.0}
NO_LOG = -9999999999.0  # what sacrebleu takes for the logarithm of zero
CELLS = 4_000_000  # compared at once


@dataclass(frozen=True)
class Config:
    """How sentences are scored, by sacrebleu's names.

    smoothing: "exp", "floor", "add-k" or "none"; value: of floor (0.1) and add-k (1); effective_order: leave out the
    orders that a short hypothesis has no n-grams of; order: of the longest n-grams.
    """

    smoothing: Smoothing = "exp"
    value: float | None = None
    effective_order: bool = True
    order: int = 4

    def __post_init__(self) -> None:
        if self.smoothing not in get_args(Smoothing):
            raise DescantError(
                f"Unknown smoothing {self.smoothing!r}.{did_you_mean(str(self.smoothing), get_args(Smoothing))}"
            )
        if self.value is not None and not (math.isfinite(self.value) and self.value >= 0):
            raise DescantError(f"The value of smoothing must be a number of at least 0, not {self.value}.")
        if self.order < 1:
            raise DescantError(f"order must be 1 or more, not {self.order}.")

    @property
    def amount(self) -> float:
        """The value of the smoothing, by default where none is given; 0 where it has none."""
        return VALUES.get(self.smoothing, 0.0) if self.value is None else self.value

    def added(self, n: int) -> float:
        """What is added to the counts of n-grams."""
        return self.amount if self.smoothing == "add-k" and n > 1 else 0.0


def sentence_bleu(
    hypotheses: Sequence[Sequence[int]],
    references: Sequence[Sequence[Sequence[int]]],
    config: Config | None = None,
) -> Floats:
    """Scores from 0 to 100 of hypotheses, each against its own references: float64[n]. Ids are 0 or more."""
    chosen = config or Config()
    table = make_references(references, chosen.order)
    lengths = np.array([len(hypothesis) for hypothesis in hypotheses], np.int64)
    padded = np.full((len(hypotheses), max(lengths, default=0)), NOTHING, np.int64)
    for row, hypothesis in zip(padded, hypotheses, strict=True):
        row[: len(hypothesis)] = hypothesis
    return whole_scores(table, np.arange(len(lengths)), padded, lengths, chosen)


def whole_scores(
    references: References, rows: Ints, hypotheses: Ints, lengths: Ints, config: Config
) -> Floats:
    """Scores float64[n] of hypotheses int[n, T], negative after their end, against the references of `rows`."""
    at_once = max(1, CELLS // max(1, hypotheses.shape[1] * references.tokens.shape[1]))
    parts = [slice(i, i + at_once) for i in range(0, len(rows), at_once)]
    correct = [count(references, rows[part], hypotheses[part]) for part in parts]
    joined = np.concatenate(correct) if correct else np.zeros((0, references.order), np.int64)
    return scores(joined, lengths, closest(references.lengths[rows], lengths), config)


def closest(reference_lengths: Ints, lengths: Ints) -> Ints:
    """The reference length nearest to each hypothesis's, the shorter of two: int64[n] from int[n, R] and int[n]."""
    if reference_lengths.shape[1] == 1:
        return reference_lengths[:, 0]
    distance = np.abs(reference_lengths - lengths[:, None]).astype(np.int64)
    far = np.iinfo(np.int64).max
    ranked = np.where(reference_lengths < 0, far, (distance << 32) + reference_lengths)
    found: Ints = ranked.min(axis=1) & (2**32 - 1)
    return found


def scores(correct: Ints, lengths: Ints, reference_lengths: Ints, config: Config) -> Floats:
    """Scores from 0 to 100, float64[n], of counts int[n, order], lengths and reference lengths int[n]."""
    if not len(lengths):
        return np.zeros(0)
    tables = _tables(config, _room(int(lengths.max())))
    by_order = correct.T  # where it was counted, orders lie in rows
    shared = tables.log_count.take(by_order + tables.offsets)
    nonzero = (by_order > 0).sum(axis=0)
    base = tables.base.take(nonzero * tables.room + lengths)
    mean = base + shared.sum(axis=0) * tables.share.take(lengths)
    brevity = np.minimum(1.0 - reference_lengths * tables.inverse.take(lengths), 0.0)
    found: Floats = np.exp(mean + brevity)
    return found


@dataclass(frozen=True)
class Tables:
    """Logarithms by length (below `room`) and number of non-zero orders, of all that does not depend on the counts."""

    room: int
    offsets: Ints  # [order, 1], where each order begins in `log_count`
    log_count: Floats  # by order and count
    base: Floats  # by non-zero orders and length: -inf where the score is 0
    share: Floats  # by length: 1 over the orders that count
    inverse: Floats  # by length: 1 over the length


def _room(longest: int) -> int:
    """A size for tables that holds `longest`: powers of two, so that there are few."""
    return 1 << max(6, (longest + 1).bit_length())


@functools.lru_cache(maxsize=64)
def _tables(config: Config, room: int) -> Tables:
    orders = range(1, config.order + 1)
    log_count = np.zeros((config.order, room))
    for n in orders:
        with np.errstate(divide="ignore"):
            log_count[n - 1] = np.log(np.arange(room) + config.added(n))
        if not config.added(n):
            log_count[n - 1, 0] = 0.0  # zero counts are in `base`
    means = [
        [_mean(config, nonzero, length) for length in range(room)] for nonzero in range(config.order + 1)
    ]
    base = np.array([[mean for mean, _ in row] for row in means])
    share = 1.0 / np.array([orders for _, orders in means[0]], float)
    inverse = 1.0 / np.maximum(np.arange(room), 1)
    offsets = np.arange(config.order)[:, None] * room
    return Tables(room, offsets, log_count.ravel(), base.ravel(), share, inverse)


def _mean(config: Config, nonzero: int, length: int) -> tuple[float, int]:
    """Mean log-precision in percent of counts that are 1 (0 beyond the non-zero orders), and the orders in it."""
    total_log, effective, smooth, read = 0.0, config.order, 1.0, 0
    for n in range(1, config.order + 1):
        total = max(length - n + 1, 0) + config.added(n)
        if total == 0:
            break
        read = n
        effective = n if config.effective_order else effective
        precision = 100.0 / total
        if n > nonzero and not config.added(n):
            smooth *= 2.0
            precision *= {"exp": 1.0 / smooth, "floor": config.amount}.get(config.smoothing, 0.0)
        total_log += math.log(precision) if precision > 0 else NO_LOG
    total_log += NO_LOG * max(effective - read, 0)
    return (total_log / effective if nonzero else -math.inf), effective
