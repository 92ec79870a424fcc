"""Ratings against closed forms and against drawn comparisons of known strengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from descant.preferences.leaderboard import (
    VIRTUAL,
    Meetings,
    bradley_terry,
    chosen_judgements,
    connected,
    leaderboard,
    meetings,
    rated,
)
from descant.preferences.store import Store

from .records import judged, melody, pair_of


def meet(names: tuple[str, ...], rows: list[tuple[int, int, float]]) -> Meetings:
    """Meetings from rows of a, b and a's share; each its own unit."""
    a, b, share = np.array(rows).T
    return Meetings(names, np.arange(len(rows)), a.astype(int), b.astype(int), share)


def test_two_sources_have_the_log_odds() -> None:
    wins = np.array([[0, 30.0], [10.0, 0]])
    ratings = bradley_terry(wins, wins + wins.T > 0, np.zeros(2, int))
    assert ratings[0] - ratings[1] == pytest.approx(np.log((30 + VIRTUAL) / (10 + VIRTUAL)))
    assert ratings.sum() == pytest.approx(0.0)


def test_one_who_never_lost_has_a_finite_rating() -> None:
    wins = np.array([[0, 2000.0], [0, 0]])
    ratings = bradley_terry(wins, wins + wins.T > 0, np.zeros(2, int))
    assert ratings[0] - ratings[1] == pytest.approx(np.log(2000.5 / 0.5))


def test_known_strengths_are_found_within_their_intervals() -> None:
    rng = np.random.default_rng(0)
    true = np.array([1.0, 0.3, -0.3, -1.0])
    a, b = np.array([rng.choice(4, 2, replace=False) for _ in range(4000)]).T
    share = (rng.random(4000) < 1 / (1 + np.exp(true[b] - true[a]))).astype(float)
    rows = rated(Meetings(("A", "B", "C", "D"), np.arange(4000), a, b, share))
    assert [row.source for row in rows] == ["A", "B", "C", "D"]
    for row, rating in zip(rows, true, strict=True):
        assert row.rating == pytest.approx(rating, abs=0.12)
        assert row.low < rating < row.high
        assert 0.05 < row.high - row.low < 0.3
    assert sum(row.wins for row in rows) == sum(row.losses for row in rows) == 4000


@pytest.mark.parametrize(("wins", "losses"), [(18, 2), (60, 40), (22, 0)])
def test_the_interval_of_two_sources_is_jeffreys(wins: int, losses: int) -> None:
    from scipy.special import logit
    from scipy.stats import beta

    first, second = rated(meet(("A", "B"), [(0, 1, 1.0)] * wins + [(1, 0, 1.0)] * losses))
    low, high = logit(beta.ppf([0.025, 0.975], wins + 0.5, losses + 0.5)) / 2
    assert first.low == pytest.approx(low, abs=0.1)
    assert first.high == pytest.approx(high, rel=0.25)  # far out where none was lost
    assert first.low < first.rating < first.high
    assert (second.low, second.high) == pytest.approx((-first.high, -first.low))


def test_judgements_of_one_pair_are_one_unit() -> None:
    rows = [(0, 1, 1.0)] * 30 + [(0, 1, 0.0)] * 20
    apart = rated(meet(("A", "B"), rows))
    met = meet(("A", "B"), rows)
    together = rated(Meetings(met.names, np.arange(50) // 10, met.a, met.b, met.share))
    assert together[0].rating == apart[0].rating
    assert together[0].high - together[0].low > 1.5 * (apart[0].high - apart[0].low)


def test_sources_that_never_met_are_told_apart() -> None:
    rows = rated(meet(("A", "B", "C", "D"), [(0, 2, 1.0), (1, 3, 0.5)]))
    assert [(row.source, row.group) for row in rows] == [("A", 0), ("C", 0), ("B", 1), ("D", 1)]
    assert rows[0].rating > 0
    assert rows[2].rating == pytest.approx(0.0)
    chain = np.zeros((5, 5), bool)
    chain[[0, 2, 4, 3], [2, 4, 0, 3]] = True
    assert connected(chain | chain.T).tolist() == [0, 1, 0, 2, 0]


def test_a_repetition_is_of_the_unit_of_its_first(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.db") as store:
        clips = [melody(0, "one"), melody(1, "two")]
        for clip in clips:
            store.add_clip(clip)
        pairs = [pair_of(*clips), pair_of(*clips)]
        pairs.append(pair_of(*clips, "b", repeats=pairs[0].uuid))
        for pair in pairs:
            store.add_pair(pair)
            store.judge(judged(pair, "x"))
            store.judge(judged(pair, "y", "b"))
        assert meetings(store).unit.tolist() == [0, 0, 1, 1, 0, 0]


def test_choices_are_counted_for_sources(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.db") as store:
        clips = [melody(0, "one"), melody(1, "two"), melody(2, "two")]
        for clip in clips:
            store.add_clip(clip)
        pairs = [pair_of(clips[0], clips[1], "b"), pair_of(clips[2], clips[0]), pair_of(clips[1], clips[2])]
        for pair in pairs:
            store.add_pair(pair)
        assert leaderboard(store) == []
        for who, choices in {"x": "aa", "y": ["b", "tie"], "z": ["both_bad", "skip"]}.items():
            for pair, choice in zip(pairs, choices, strict=False):
                store.judge(judged(pair, who, choice))
        store.judge(judged(pairs[2], "x", "a"))  # of one source: left out
        rows = {row.source: row for row in leaderboard(store)}
    one, two = rows["one"], rows["two"]
    assert (one.wins, one.losses, one.ties) == (1, 2, 2)
    assert (two.wins, two.losses, two.ties) == (2, 1, 2)
    assert two.rating == pytest.approx(np.log((3 + 0.5) / (2 + 0.5)) / 2)
    assert two.as_json()["elo"] == pytest.approx(1500 + 400 * two.rating / np.log(10))


def test_pairs_that_a_model_chose_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.db") as store:
        clips = [melody(0, "one"), melody(1, "two"), melody(2, "one")]
        for clip in clips:
            store.add_clip(clip)
        drawn = pair_of(*clips[:2])
        chosen = [pair_of(*clips[:2], model_hash="abc"), pair_of(clips[0], clips[2], model_hash="abc")]
        for pair in (drawn, *chosen):
            store.add_pair(pair)
        for pair in chosen:
            store.judge(judged(pair, choice="b"))
        assert leaderboard(store) == []
        store.judge(judged(drawn, choice="a"))
        assert [(row.source, row.wins, row.losses) for row in leaderboard(store)] == [
            ("one", 1, 0),
            ("two", 0, 1),
        ]
        assert [(row.wins, row.losses) for row in leaderboard(store, chosen=True)] == [(1, 1), (1, 1)]
        assert chosen_judgements(store) == 1
