"""Lookups: equal observations, equal indices, for every kind of space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from descant.errors import DescantError
from descant.lookups import Lookup

BOX = spaces.Box(np.array([0.0, -np.inf], np.float32), np.array([4.0, np.inf], np.float32), dtype=np.float32)


def test_indices_are_in_order_of_appearance() -> None:
    lookup = Lookup(spaces.Discrete(9))
    assert lookup.add(np.array([5, 2, 5, 7])).tolist() == [0, 1, 0, 2]
    assert lookup.find(np.array([7, 8])).tolist() == [2, -1]
    assert len(lookup) == 3


@pytest.mark.parametrize(
    ("space", "rows"),
    [
        (spaces.MultiDiscrete([300, 4]), np.array([[0, 1], [1, 0], [256, 1], [0, 1]])),
        (spaces.MultiBinary(3), np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])),
        (BOX, np.array([[0.5, 3.0], [0.5, 3.5], [-0.0, 3.0], [0.5, 3.0]])),
        (
            spaces.Dict({"a": spaces.Discrete(2), "b": spaces.MultiDiscrete([3])}),
            {"a": np.array([0, 1, 1, 0]), "b": np.array([[1], [1], [2], [1]])},
        ),
    ],
)
def test_equal_rows_have_equal_indices_whatever_their_dtype(space: Any, rows: Any) -> None:
    lookup = Lookup(space)
    assert lookup.add(rows).tolist() == [0, 1, 2, 0]
    narrow = {k: v.astype(np.int16) for k, v in rows.items()} if isinstance(rows, dict) else rows.tolist()
    assert lookup.find(narrow).tolist() == [0, 1, 2, 0]
    other = Lookup(space)
    other.from_array(lookup.to_array())
    assert other.find(rows).tolist() == [0, 1, 2, 0]


def test_zero_has_one_sign() -> None:
    assert Lookup(BOX).add(np.array([[0.0, 0.0], [-0.0, 0.0]])).tolist() == [0, 0]


def test_bins_join_neighbours() -> None:
    lookup = Lookup(BOX, bins=4)
    found = lookup.add(np.array([[0.1, 0.1], [0.9, 0.5], [1.1, 0.1], [0.1, -0.1], [9.0, 5.0], [3.5, 1e9]]))
    assert found.tolist() == [0, 0, 1, 2, 3, 3]
    with pytest.raises(DescantError, match="bins"):
        Lookup(BOX, bins=-1)


def test_an_empty_lookup_is_kept() -> None:
    lookup = Lookup(spaces.Discrete(2))
    other = Lookup(spaces.Discrete(2))
    other.from_array(lookup.to_array())
    assert len(other) == 0
