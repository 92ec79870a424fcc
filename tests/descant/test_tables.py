"""Tables of best actions give back what they were made of."""

from __future__ import annotations

import numpy as np
import pytest

from descant.tables import make_table


@pytest.mark.parametrize("alike", [False, True])
def test_a_table_of_best_actions_gives_back_what_it_was_made_of(alike: bool) -> None:
    rng = np.random.default_rng(0)
    states = np.unique(rng.integers(0, 256, (300, 5), np.uint8), axis=0)[rng.permutation(299)]
    states[:, 3:] = 0  # bytes that all states share, and zeros at the end
    states = states[:1] if alike else np.unique(states, axis=0)[::-1]
    best = rng.random((len(states), 11)) < 0.4
    table = make_table(states, best)
    np.testing.assert_array_equal(table.best(states, 11), best)
    unknown = states[:1] + np.array([[0, 0, 0, 0, 1]], np.uint8)
    assert table.best(np.concatenate([unknown, states[:1]]), 11).tolist() == [[True] * 11, best[0].tolist()]
