"""Pairs: strategies against what they are by definition, balance, repetitions, what is not asked again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from descant.errors import DescantError
from descant.preferences.pairs import (
    candidates,
    choose,
    disagreement,
    entropy,
    information,
    make_pairs,
    preferences,
    uncertainty,
    with_repeats,
)
from descant.preferences.records import Pair

from .records import melody

PAIRS = np.array([[0, 1], [1, 2], [0, 2]])
# Two models: they agree that 0 beats 1, are both unsure of 1 and 2, and contradict each other on 0 and 2.
SCORES = np.log(np.array([[9.0, 1.0, 1.0], [9.0, 1.0, 1.0]])) + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
TORN = np.array([[5.0, 0.0, 0.0], [-5.0, 0.0, 0.0]])
CLIPS = [melody(n, "one" if n % 2 else "two") for n in range(12)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_preferences_are_those_of_bradley_and_terry() -> None:
    p = preferences(SCORES, PAIRS)
    np.testing.assert_allclose(p, [[0.9, 0.5, 0.9], [0.9, 0.5, 0.9]])
    assert np.isfinite(preferences(np.array([[1e9, -1e9]]), np.array([[0, 1]]))).all()


def test_another_seed_asks_about_other_pairs() -> None:
    first, again, second = (
        [frozenset((p.a, p.b)) for p in make_pairs(CLIPS, 5, repeat=0, rng=np.random.default_rng(seed))]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert set(first) != set(second)


def test_entropy_is_that_of_a_coin() -> None:
    np.testing.assert_allclose(entropy(np.array([0.0, 0.5, 1.0])), [0.0, np.log(2), 0.0], atol=1e-12)


def test_strategies_ask_for_what_they_are_called_after() -> None:
    p = 0.9 * np.log(0.9) + 0.1 * np.log(0.1)
    np.testing.assert_allclose(uncertainty(SCORES, PAIRS), [-p, np.log(2), -p])
    np.testing.assert_allclose(disagreement(SCORES, PAIRS), 0.0, atol=1e-12)
    np.testing.assert_allclose(information(SCORES, PAIRS), 0.0, atol=1e-12)
    # To one model a sure win, to the other a sure loss: all but a whole bit is learned from the answer.
    sure = 1 / (1 + np.exp(-5.0))
    np.testing.assert_allclose(uncertainty(TORN, PAIRS), np.log(2))
    np.testing.assert_allclose(disagreement(TORN, PAIRS), [sure - 0.5, 0.0, sure - 0.5])
    inside = -(sure * np.log(sure) + (1 - sure) * np.log(1 - sure))
    np.testing.assert_allclose(
        information(TORN, PAIRS), [np.log(2) - inside, 0.0, np.log(2) - inside], atol=1e-12
    )


def test_the_highest_values_are_chosen() -> None:
    assert choose(PAIRS, 2, np.array([0.1, 0.3, 0.2])).tolist() == [1, 2]


def test_candidates_can_be_compared() -> None:
    clips = [*CLIPS[:4], melody(5, key="D"), melody(0, "three")]
    found = {frozenset(pair) for pair in candidates(clips, rng()).tolist()}
    # The one in D stands alone; the last is the first once more, from another source.
    assert found == {
        frozenset(p) for p in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (1, 5), (2, 5), (3, 5)]
    }
    between = {frozenset(pair) for pair in candidates(CLIPS[:4], rng(), between=True).tolist()}
    assert between == {frozenset(p) for p in [(0, 1), (0, 3), (1, 2), (2, 3)]}


def test_pairs_are_balanced_and_not_asked_again() -> None:
    made = make_pairs(CLIPS, 24, repeat=0.0, rng=rng())
    assert Counter(pair.left for pair in made) == {"a": 12, "b": 12}
    used = Counter(hash for pair in made for hash in pair.sides)
    assert set(used.values()) <= {3, 4, 5}
    order = [clip.hash for clip in CLIPS]
    firsts = Counter(order.index(pair.a) < order.index(pair.b) for pair in made)
    assert len(firsts) == 2  # a is not always the one that came first
    assert min(firsts.values()) > 3
    content = {clip.hash: clip.content for clip in CLIPS}
    asked = frozenset(frozenset((content[p.a], content[p.b])) for p in made)
    assert len(asked) == 24
    more = make_pairs(CLIPS, 66 - 24, repeat=0.0, asked=asked, rng=rng())
    assert not asked & {frozenset((content[p.a], content[p.b])) for p in more}
    with pytest.raises(DescantError, match="There are 42 new pairs to the same problem, not 43"):
        make_pairs(CLIPS, 43, asked=asked, rng=rng())


def test_the_same_seed_makes_the_same_pairs() -> None:
    def sides() -> list[tuple[str, str]]:
        return [pair.sides for pair in make_pairs(CLIPS, 20, rng=rng())]

    assert sides() == sides()


def test_scores_choose_pairs() -> None:
    scores = np.stack([np.arange(12.0), -np.arange(12.0)])  # 0 and 11 are furthest apart, each way
    made = make_pairs(CLIPS, 1, "disagreement", scores=scores, model_hash="m", rng=rng())
    assert {made[0].a, made[0].b} == {CLIPS[0].hash, CLIPS[11].hash}
    assert (made[0].strategy, made[0].model_hash) == ("disagreement", "m")


def test_repeated_pairs_come_later_with_their_sides_swapped() -> None:
    first = make_pairs(CLIPS, 60, repeat=0.0, rng=rng())
    order = with_repeats(first, 0.1, rng())
    assert [pair for pair in order if pair.repeats is None] == first
    again = [pair for pair in order if pair.repeats is not None]
    assert len(again) == 6
    places = {pair.uuid: place for place, pair in enumerate(order)}
    by_uuid: dict[str, Pair] = {pair.uuid: pair for pair in order}
    for pair in again:
        assert pair.repeats is not None
        assert pair.sides == by_uuid[pair.repeats].sides[::-1]
        assert places[pair.uuid] - places[pair.repeats] >= 10 or by_uuid[pair.repeats] in first[50:]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"strategy": "randm"}, "Did you mean 'random'"),
        ({"strategy": "information"}, "pass --scores"),
        ({"strategy": "uncertainty", "scores": np.zeros((2, 5))}, "finite numbers"),
        ({"strategy": "uncertainty", "scores": np.full((2, 12), np.nan)}, "finite numbers"),
        ({"between": True, "n": 40}, "of different sources"),
    ],
)
def test_what_can_not_be_asked_is_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(DescantError, match=complaint):
        make_pairs(CLIPS, **{"n": 3, "rng": rng()} | options)  # type: ignore[arg-type]
