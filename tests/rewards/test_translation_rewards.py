"""Rewards of translations: the steps of an episode sum to the score of the whole, as written slowly here."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

import descant
from descant.envs.gridworld import GridWorld
from descant.envs.translation import Translation
from descant.errors import DescantError
from descant.rewards.shaped import Shaped
from descant.tasks import replay
from descant.text.vocabularies import EOS

from ..translating import RNG, episode_of, near_references, run

logging.getLogger("sacrebleu").setLevel(logging.ERROR)
ROWS = np.arange(40)
seeds = st.integers(0, 2**32 - 1)


def played(reward: Any, seed: int = 0, **options: Any) -> tuple[Any, list[list[int]], list[Any], Any, Any]:
    """Task, actions, states, rewards [T, n] and terms of translations near their references."""
    task = Translation(size=40, reward=reward, **options)
    actions = near_references(task, ROWS, seed)
    return task, actions, *run(task, ROWS, actions)


def words(task: Any, ids: list[int]) -> str:
    return " ".join(task.pairs.codecs[1].tokens(ids))


def bleu_of(task: Any, ids: list[int], row: int, **options: Any) -> float:
    metric = BLEU(tokenize="none", **{"effective_order": True} | options)
    references = [words(task, task.pairs.codecs[1].encode(text)) for text in task.pairs.answers[row]]
    return float(metric.sentence_score(words(task, ids), references).score) / 100


def chrf_of(task: Any, ids: list[int], row: int) -> float:
    score = CHRF().sentence_score(task.pairs.codecs[1].decode(ids), list(task.pairs.answers[row])).score
    return float(score) / 100


SCORES = {"bleu": bleu_of, "chrf": chrf_of}


@settings(max_examples=10, deadline=None)
@given(seeds, st.sampled_from(["bleu", "chrf"]), st.sampled_from([1, 3]))
def test_steps_sum_to_the_score_of_the_whole(seed: int, name: str, references: int) -> None:
    """At gamma 1, in every mode; "terminal" pays at EOS alone."""
    for mode in ("terminal", "delta", "shaped"):
        task, actions, _, rewards, terms = played({"name": name, "mode": mode}, seed, references=references)
        wanted = [SCORES[name](task, each[:-1], row) for row, each in enumerate(actions)]
        np.testing.assert_allclose(rewards.sum(axis=0), wanted, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(sum(terms.values()), rewards)
        ends = np.array([len(each) - 1 for each in actions])
        if mode == "terminal":
            np.testing.assert_allclose(rewards[ends, ROWS], wanted, rtol=0, atol=1e-9)
            assert np.count_nonzero(rewards) <= len(ROWS)
        else:
            np.testing.assert_allclose(rewards[ends, ROWS], 0, atol=1e-9)  # EOS itself adds nothing
            assert np.count_nonzero(rewards) > 4 * len(ROWS)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_delta_is_what_each_token_adds(name: str) -> None:
    task, actions, _, rewards, _ = played({"name": name, "mode": "delta"}, 1)
    for row in (0, 7, 31):
        ids = actions[row][:-1]
        scores = [SCORES[name](task, ids[:t], row) for t in range(len(ids) + 1)]
        np.testing.assert_allclose(rewards[: len(ids), row], np.diff(scores), rtol=0, atol=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_shaping_leaves_discounted_returns_as_they_were(gamma: float) -> None:
    """Phi is 0 at the beginning and at the end, so that every return from the beginning is the same."""
    task, actions, _, rewards, _ = played({"name": "bleu", "mode": "shaped", "gamma": gamma}, 2)
    discounts = gamma ** np.arange(len(rewards))
    for row, each in enumerate(actions):
        wanted = bleu_of(task, each[:-1], row) * gamma ** (len(each) - 1)
        assert (discounts * rewards[:, row]).sum() == pytest.approx(wanted, abs=1e-9)
        scores = [bleu_of(task, each[:t], row) for t in range(len(each))]
        t = len(each) // 2
        if t < len(each) - 1:
            assert rewards[t, row] == pytest.approx(gamma * scores[t + 1] - scores[t], abs=1e-9)
        last = rewards[len(each) - 1, row]
        assert last == pytest.approx(scores[-1] - scores[-1], abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"smoothing": "floor", "value": 0.3},
        {"smoothing": "add-k"},
        {"smoothing": "none", "effective_order": False},
        {"order": 2},
    ],
)
def test_options_of_bleu_are_sacrebleus(options: dict[str, Any]) -> None:
    task, actions, _, rewards, _ = played({"name": "bleu", **options}, 3)
    names = {"smoothing": "smooth_method", "value": "smooth_value", "order": "max_ngram_order"}
    theirs = {names.get(name, name): value for name, value in options.items()}
    wanted = [bleu_of(task, each[:-1], row, **theirs) for row, each in enumerate(actions)]
    np.testing.assert_allclose(rewards.sum(axis=0), wanted, rtol=0, atol=1e-9)


def test_an_episode_that_is_cut_is_worth_what_its_mode_says() -> None:
    for mode, paid in (("terminal", False), ("delta", True), ("shaped", True)):
        task = Translation(size=40, force_eos=False, reward={"name": "bleu", "mode": mode})
        ids = task.pairs.codecs[1].encode(task.pairs.text.target[0])[:-1]
        states, rewards, _ = run(task, ROWS[:1], [ids])
        assert not states[-1].ended.any()
        assert rewards.sum() == pytest.approx(bleu_of(task, ids, 0) if paid else 0, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_length_is_the_difference_as_a_share(seed: int) -> None:
    task, actions, states, rewards, terms = played("length", seed, references=2)
    for row, each in enumerate(actions):
        lengths = sorted(len(task.pairs.codecs[1].encode(text)) for text in task.pairs.answers[row])
        near = min(lengths, key=lambda n: (abs(n - len(each) + 1), n))
        cost = abs(len(each) - 1 - near) / near
        assert rewards[:, row].sum() == pytest.approx(-cost)
        findings = task.reward.explain(episode_of(states, each, row))
        assert sum(finding.cost for finding in findings) == pytest.approx(cost)
    np.testing.assert_array_equal(terms["length"], rewards)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(4, 6), min_size=1, max_size=20), st.sampled_from([1, 2, 4]))
def test_repetition_counts_n_grams_that_came_before(ids: list[int], order: int) -> None:
    task = Translation(size=40, reward={"name": "repetition", "order": order})
    states, rewards, _ = run(task, ROWS[:2], [[*ids, EOS], [4, EOS]])
    grams = [tuple(ids[t - order : t]) for t in range(order, len(ids) + 1)]
    assert -rewards[:, 0].sum() == len(grams) - len(set(grams))
    assert not rewards[:, 1].any()
    findings = task.reward.explain(episode_of(states, [*ids, EOS], 0))  # type: ignore[attr-defined]
    assert sum(finding.cost for finding in findings) == len(grams) - len(set(grams))


def test_weighted_sums_have_named_terms() -> None:
    parts = [{"name": "bleu", "weight": 2.0}, {"name": "repetition", "order": 1, "weight": 0.5}, "length"]
    task, actions, states, rewards, terms = played({"name": "sum", "rewards": parts}, 4)
    assert set(terms) == {"bleu/bleu", "repetition/repetition", "length/length"}
    np.testing.assert_allclose(sum(terms.values()), rewards, atol=1e-12)
    assert terms["bleu/bleu"].sum(axis=0)[5] == pytest.approx(2 * bleu_of(task, actions[5][:-1], 5), abs=1e-9)
    assert all(f.cost > 0 for f in task.reward.explain(episode_of(states, actions[5], 5)))


# The generic reward `shaped`.


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.5, -0.4)])
@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_any_potential_adds_minus_itself_at_the_beginning(gamma: float, scale: float, shift: float) -> None:
    """The discounted sum of the shaping telescopes to -Phi(first state), whatever is written."""

    def potential(state: Any) -> Any:
        return np.sin(state.position + 0.3 * state.target.sum(axis=1))

    shaped = {"name": "shaped", "reward": "bleu", "potential": potential, "gamma": gamma, "scale": scale}
    task, actions, states, rewards, terms = played({**shaped, "shift": shift}, 5)
    plain = played("bleu", 5)[3]
    discounts = gamma ** np.arange(len(rewards))[:, None]
    added = (discounts * (rewards - plain)).sum(axis=0)
    np.testing.assert_allclose(added, -(scale * potential(states[0]) + shift), atol=1e-9)
    np.testing.assert_allclose(terms["shaping"] + terms["bleu"], rewards, atol=1e-12)
    assert task.reward.explain(episode_of(states, actions[0], 0)) == descant.make_reward("bleu").explain(
        episode_of(states, actions[0], 0)
    )
    onward = scale * potential(states[2]) + shift
    now = scale * potential(states[1]) + shift
    running = ~states[2].ended
    np.testing.assert_allclose(terms["shaping"][1][running], (gamma * onward - now)[running], atol=1e-12)


def test_a_potential_by_name_is_as_shaping_of_its_own() -> None:
    options = {
        "name": "shaped",
        "reward": "bleu",
        "potential": {"name": "bleu", "smoothing": "exp"},
        "gamma": 0.9,
    }
    one, two = played(options, 6)[3], played({"name": "bleu", "mode": "shaped", "gamma": 0.9}, 6)[3]
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_other_tasks_can_be_shaped() -> None:
    """A task whose state does not say which episodes have ended is told by the user."""
    plain = GridWorld()
    start = plain.reset(RNG, 1)
    field = dataclasses.fields(start)[0].name

    def potential(state: Any) -> Any:
        return np.asarray(getattr(state, field), float).reshape(len(getattr(state, field)), -1).sum(axis=1)

    def never(state: Any) -> Any:
        return np.zeros(len(getattr(state, field)), bool)

    reward = Shaped(lambda state, action, after: np.zeros(len(action)), potential, ended=never)
    episode = replay(plain, start, [1, 1])
    found = reward(episode.states[0], np.array([1]), episode.states[1])
    np.testing.assert_allclose(found, potential(episode.states[1]) - potential(episode.states[0]))
    if not hasattr(start, "ended"):
        with pytest.raises(DescantError, match="pass ended="):
            Shaped("bleu", potential).potential(start)


# Explanations.


def test_what_lowers_the_score_is_found_and_what_is_missing_at_the_end() -> None:
    task = Translation(size=40)
    right = task.pairs.codecs[1].encode(task.pairs.text.target[0])
    stranger = next(i for i in range(4, 200) if i not in right)
    wrong = [*right[:2], stranger, *right[3:], stranger, EOS]
    states, _, _ = run(task, ROWS[:1], [wrong])
    findings = task.reward.explain(episode_of(states, wrong, 0))
    assert (findings[0].rule, findings[0].severity, findings[0].position) == ("bleu", "warning", 3)
    word = task.pairs.codecs[1].tokens([stranger])[0]
    assert findings[0].message.startswith(f"{word!r} is not in the reference, or not so often")
    scores = [bleu_of(task, wrong[:t], 0) for t in range(len(wrong))]
    falls = {t: a - b for t, (a, b) in enumerate(itertools.pairwise(scores), start=1) if b < a - 1e-9}
    assert falls
    found = {finding.position: finding.cost for finding in findings if finding.position < len(wrong)}
    assert found == pytest.approx({3: 0.0, len(right) + 1: 0.0} | falls)
    last = findings[-1]
    assert last.position == len(wrong)
    assert last.cost == pytest.approx(1 - bleu_of(task, wrong[:-1], 0))
    n = len(right)
    assert f"{n - 1} of {n + 1} words" in last.message
    assert f"{n + 1} words to its {n}" in last.message
    perfect = [*right, EOS]
    states, _, _ = run(task, ROWS[:1], [perfect])
    assert not [f for f in task.reward.explain(episode_of(states, perfect, 0)) if f.position == len(perfect)]
    assert task.reward.explain(episode_of(states, [], 0)) == []


def test_chrf_shows_both_texts() -> None:
    task = Translation(size=40, reward="chrf")
    ids = [4, 5, EOS]
    states, _, _ = run(task, ROWS[:1], [ids])
    last = task.reward.explain(episode_of(states, ids, 0))[-1]
    assert task.pairs.text.target[0] in last.message
    assert task.pairs.codecs[1].decode(ids) in last.message


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "bleu", "mode": "end"},
        {"name": "bleu", "gamma": 1.1},
        {"name": "bleu", "order": 5},
        {"name": "bleu", "smoothing": "x"},
        {"name": "chrf", "beta": 0.0},
        {"name": "repetition", "order": 0},
        {"name": "shaped", "reward": "bleu", "potential": "length"},
        {"name": "shaped", "reward": "bleu", "potential": "bleu", "scale": float("nan")},
        {"name": "shaped", "reward": "bleu", "potential": "bleu", "gamma": -1},
    ],
)
def test_bad_options_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(DescantError):
        descant.make_reward(spec)
