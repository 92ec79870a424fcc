"""N-grams: against a slow one written from the formula, and by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from descant.errors import DescantError
from descant.ngrams import NGrams, best_ngrams

A = 4


def sequences(rows: int, seed: int) -> np.ndarray:
    """Rows of 9 from a chain that prefers one successor of each pair."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, A, (rows, 9))
    for t in range(2, 9):
        follow = rng.random(rows) < 0.7
        out[:, t] = np.where(follow, (out[:, t - 1] + 2 * out[:, t - 2]) % A, out[:, t])
    return out


def slow(train: np.ndarray, order: int, context: tuple[int, ...], token: int) -> float:
    """The probability, from counts in dictionaries; -1 stands in front of a row."""
    padded = [(-1,) * order + tuple(int(x) for x in row) for row in train]

    def grams(n: int) -> list[tuple[int, ...]]:
        return [row[t - n + 1 : t + 1] for row in padded for t in range(order, len(row))]

    def counts(n: int) -> Counter[tuple[int, ...]]:
        raw = Counter(grams(n))
        if n == order:
            return raw
        ends = Counter(gram[1:] for gram in set(grams(n + 1)))
        return Counter({gram: raw[gram] if gram[0] == -1 else ends[gram] for gram in raw})

    if order == 0:
        return 1 / A
    result = 1 / A
    for n in range(1, order + 1):
        found, history = counts(n), context[len(context) - n + 1 :]
        once, twice = (sum(1 for c in found.values() if c == k) for k in (1, 2))
        discount = once / (once + 2 * twice) if once and twice else 0.5
        followers = {gram: c for gram, c in found.items() if gram[:-1] == history}
        if total := sum(followers.values()):
            count = followers.get((*history, token), 0)
            result = (max(count - discount, 0) + discount * len(followers) * result) / total
    return result


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_probabilities_are_those_of_the_formula(order: int) -> None:
    train, test = sequences(30, 0), sequences(3, 1)
    found = NGrams(train, A, order).probabilities(test)
    for row, rows in zip(test, found, strict=True):
        padded = (-1,) * order + tuple(int(x) for x in row)
        for t in range(len(row)):
            context = padded[t + 1 : t + order]
            expected = [slow(train, order, context, token) for token in range(A)]
            np.testing.assert_allclose(rows[t], expected)


def test_they_sum_to_one_and_none_is_zero() -> None:
    found = NGrams(sequences(50, 0), A, 4).probabilities(sequences(20, 1))
    np.testing.assert_allclose(found.sum(axis=2), 1)
    assert (found > 0).all()


def test_the_score_is_the_mean_loss_and_the_hits() -> None:
    model, test = NGrams(sequences(50, 0), A, 3), sequences(20, 1)
    found = model.probabilities(test)
    nll = -np.log(np.take_along_axis(found, test[..., None], 2)).mean()
    assert model.score(test) == pytest.approx((nll, (found.argmax(2) == test).mean()))
    assert model.score(test)[0] < np.log(A) - 0.2


def test_the_order_is_that_which_fits_what_is_held_out() -> None:
    """The chain looks two back: three tokens are enough."""
    assert best_ngrams(sequences(3000, 0), sequences(300, 1), A, (1, 2, 3, 5)).order == 3


def test_too_high_an_order_is_refused() -> None:
    with pytest.raises(DescantError, match="64 bits"):
        NGrams(sequences(2, 0), 38, 13)
