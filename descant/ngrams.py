"""N-grams with interpolated Kneser-Ney smoothing: what a network that predicts the next token has to beat.

    p_n(a | h) = max(c(h a) - D, 0) / c(h) + D N(h) / c(h) p_{n-1}(a | h'),    p_0 = 1 / A

h' is h without its oldest token and N(h) how many different tokens follow h. Below the highest order c counts the
different tokens in front (Kneser and Ney 1995), except at the beginning of a sequence, which has nothing in front. D is
n1 / (n1 + 2 n2) of each order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.tasks import Floats, Ints

ROWS = 20_000  # contexts looked up at once


@dataclass(frozen=True)
class _Order:
    """Sorted codes of n-grams and of their contexts with what is counted of them."""

    codes: Ints
    counts: Ints
    contexts: Ints
    totals: Ints
    followers: Ints
    discount: float


class NGrams:
    """Fitted to sequences int[W, T] of tokens 0 to `tokens` - 1, each beginning anew."""

    def __init__(self, sequences: NDArray[np.integer], tokens: int, order: int) -> None:
        self.base, self.order = tokens + 1, order  # 0 stands in front of every sequence
        if order < 1 or self.base**order >= 2**63:
            raise DescantError(f"An n-gram of order {order} over {tokens} tokens can't be coded in 64 bits.")
        self._orders = [self._fitted(sequences, n) for n in range(1, order + 1)]

    def _fitted(self, sequences: NDArray[np.integer], n: int) -> _Order:
        codes, counts = np.unique(self._codes(sequences, n), return_counts=True)
        if n < self.order:
            longer = np.unique(self._codes(sequences, n + 1))
            ends, different = np.unique(longer % self.base**n, return_counts=True)
            begins = codes // self.base ** (n - 1) == 0
            counts = np.where(begins, counts, different[np.searchsorted(ends, codes)])
        contexts, place = np.unique(codes // self.base, return_inverse=True)
        totals = np.bincount(place, counts).astype(np.int64)
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        discount = float(once / (once + 2 * twice)) if once and twice else 0.5
        return _Order(codes, counts, contexts, totals, np.bincount(place), discount)

    def _codes(self, sequences: NDArray[np.integer], n: int) -> Ints:
        """The last n tokens at every step as one number, int64[W * T]."""
        return self._contexts(sequences, n - 1) * self.base + np.asarray(sequences, np.int64).ravel() + 1

    def _contexts(self, sequences: NDArray[np.integer], length: int) -> Ints:
        """The `length` tokens before every step as one number, int64[W * T]."""
        tokens = np.pad(np.asarray(sequences, np.int64) + 1, ((0, 0), (length, 0)))
        steps = tokens.shape[1] - length
        codes = np.zeros((len(tokens), steps), np.int64)
        for i in range(length):
            codes = codes * self.base + tokens[:, i : i + steps]
        return codes.ravel()

    def probabilities(self, sequences: NDArray[np.integer]) -> Floats:
        """Of every token at every step, float[W, T, A], from what stands before it in its row."""
        contexts = self._contexts(sequences, self.order - 1)
        parts = [self._of(contexts[i : i + ROWS]) for i in range(0, len(contexts), ROWS)]
        found: Floats = np.concatenate(parts).reshape(*sequences.shape, self.base - 1)
        return found

    def _of(self, contexts: Ints) -> Floats:
        found = np.full((len(contexts), self.base - 1), 1 / (self.base - 1))
        for n, order in enumerate(self._orders, start=1):
            context = contexts % self.base ** (n - 1)
            totals = _looked_up(order.contexts, order.totals, context)[:, None]
            followers = _looked_up(order.contexts, order.followers, context)[:, None]
            counts = _looked_up(
                order.codes, order.counts, context[:, None] * self.base + np.arange(1, self.base)
            )
            given = np.maximum(counts - order.discount, 0) + order.discount * followers * found
            found = np.where(totals > 0, given / np.maximum(totals, 1), found)
        return found

    def rows(self, sequences: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """Nats a step that each sequence costs, float[W], and the share of its steps whose likeliest token is right."""
        losses, hits, rows = [], [], max(ROWS // sequences.shape[1], 1)
        for i in range(0, len(sequences), rows):
            part = np.asarray(sequences[i : i + rows], np.int64)
            found = self.probabilities(part)
            losses.append(-np.log(np.take_along_axis(found, part[..., None], axis=2)[..., 0]).mean(axis=1))
            hits.append((found.argmax(axis=2) == part).mean(axis=1))
        return np.concatenate(losses), np.concatenate(hits)

    def score(self, sequences: NDArray[np.integer]) -> tuple[float, float]:
        """The same of all sequences together."""
        loss, hits = self.rows(sequences)
        return float(loss.mean()), float(hits.mean())


def _looked_up(keys: Ints, values: Ints, wanted: Ints) -> Ints:
    """The value of each key wanted, 0 where it is not there."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def best_ngrams(
    train: NDArray[np.integer],
    valid: NDArray[np.integer],
    tokens: int,
    orders: tuple[int, ...] = (3, 4, 5, 6),
) -> NGrams:
    """Those of the order that fits `valid` best."""
    fitted = [NGrams(train, tokens, order) for order in orders]
    return min(fitted, key=lambda model: model.score(valid)[0])
