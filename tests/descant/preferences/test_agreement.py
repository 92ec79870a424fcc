"""Agreement against worked examples, and against teachers whose consistency is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from descant.preferences.agreement import (
    agreement,
    cohen,
    cohen_estimate,
    fleiss,
    fleiss_estimate,
    proportion,
)
from descant.preferences.records import new_uuid
from descant.preferences.store import Store

from .records import filled, judged, pair_of

# Fleiss 1971 as Wikipedia has it: ten subjects, fourteen raters, five categories; kappa 0.210.
FLEISS = np.array([
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
])  # fmt: skip


def test_kappas_of_worked_examples() -> None:
    assert fleiss(FLEISS) == pytest.approx(0.20993, abs=1e-5)
    # Two readers of 50 proposals: both yes 20, both no 15; kappa 0.4.
    assert float(cohen(np.array([[20, 5], [10, 15]]))) == pytest.approx(0.4)
    both = cohen(np.array([[[5, 0], [0, 5]], [[0, 5], [5, 0]], [[10, 0], [0, 0]]]))
    np.testing.assert_allclose(both, [1.0, -1.0, math.nan])
    assert math.isnan(fleiss(np.array([[3, 0], [2, 0]])))
    assert math.isnan(fleiss(np.zeros((0, 4), int)))


def test_fleiss_takes_unequal_numbers_of_annotators() -> None:
    assert fleiss(np.array([[2, 0], [0, 3]])) == pytest.approx(1.0)
    assert fleiss(np.array([[2, 0], [0, 3], [1, 0]])) == pytest.approx(1.0)  # one alone agrees with nobody


def test_shares_have_wilsons_interval() -> None:
    e = proportion(8, 10)
    assert (e.value, e.n) == (0.8, 10)
    assert (e.low, e.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert proportion(0, 0).value is None


def test_intervals_of_kappa_hold_what_is_measured() -> None:
    e = fleiss_estimate(FLEISS)
    assert e.low is not None
    assert e.high is not None
    assert e.low < 0.21 < e.high
    e = cohen_estimate(np.array([[20, 5], [10, 15]]))
    assert e.low is not None
    assert e.high is not None
    # The asymptotic deviation is 0.127: the interval reaches about a quarter either way.
    assert e.low == pytest.approx(0.4 - 0.25, abs=0.05)
    assert e.high == pytest.approx(0.4 + 0.25, abs=0.05)
    assert cohen_estimate(np.zeros((4, 4), int)).value is None


def test_full_agreement_has_no_interval_of_no_width() -> None:
    for e in (fleiss_estimate(np.array([[2, 0], [0, 2], [2, 0]])), cohen_estimate(np.diag([3, 4]))):
        assert (e.value, e.low, e.high) == (pytest.approx(1.0), None, None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six pairs; the first two repeated with their sides swapped."""
    store = filled(tmp_path / "a.db", pairs=6)
    for pair in list(store.pairs())[:2]:
        clips = [store.find_clip(hash) for hash in (pair.a, pair.b)]
        assert clips[0] is not None
        assert clips[1] is not None
        store.add_pair(pair_of(clips[0], clips[1], "b" if pair.left == "a" else "a", repeats=pair.uuid))
    return store


def test_one_who_means_it_is_consistent_and_one_who_takes_the_left_is_not(store: Store) -> None:
    for pair in store.pairs():
        store.judge(judged(pair, "sure", "a"))
        store.judge(judged(pair, "lazy", pair.left))
        store.judge(judged(pair, "idle", "skip"))
    found = agreement(store)
    assert found["annotators"] == ["idle", "lazy", "sure"]
    assert (found["judgements"], found["skipped"]) == (24, 8)
    by = {name: (e["value"], e["n"]) for name, e in found["consistency"]["by_annotator"].items()}
    assert by == {"sure": (1.0, 2), "lazy": (0.0, 2), "idle": (None, 0)}
    assert found["consistency"]["all"]["value"] == 0.5
    assert found["left"]["by_annotator"]["lazy"]["value"] == 1.0
    assert found["left"]["by_annotator"]["sure"] == proportion(4, 8).as_json()


def test_annotators_are_compared_by_what_they_saw(store: Store) -> None:
    pairs = [pair for pair in store.pairs() if pair.repeats is None]
    for pair, choice in zip(pairs, ["a", "b", "tie", "both_bad", "a", "a"], strict=True):
        store.judge(judged(pair, "ann", choice))
        store.judge(judged(pair, "bob", choice))
    twice = next(pair for pair in store.pairs() if pair.repeats)
    for who in ("ann", "bob"):
        store.judge(judged(twice, who, "tie"))  # repetitions are left out
    found = agreement(store)["between"]
    assert found["fleiss"]["value"] == pytest.approx(1.0)
    assert [(row["annotators"], row["value"], row["n"]) for row in found["cohen"]] == [
        (["ann", "bob"], 1.0, 6)
    ]
    store.undo("ann", new_uuid())
    store.undo("ann", new_uuid())
    assert agreement(store)["between"]["cohen"][0]["n"] == 5


def test_always_a_is_no_agreement_beyond_chance_where_sides_change(store: Store) -> None:
    pairs = [pair for pair in store.pairs() if pair.repeats is None]
    for pair in pairs:
        store.judge(judged(pair, "ann", "a"))
        store.judge(judged(pair, "bob", "b"))
    assert agreement(store)["between"]["cohen"][0]["value"] == pytest.approx(-1.0)


def test_an_empty_store_has_no_agreement(tmp_path: Path) -> None:
    with Store.create(tmp_path / "e.db") as store:
        found = agreement(store)
    assert found["between"] == {"fleiss": {"value": None, "low": None, "high": None, "n": 0}, "cohen": []}
