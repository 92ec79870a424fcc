"""Tokens: the shells, the rewards against a slow sum, the optimum against all sequences."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import descant
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.planning import count_episodes, enumerate_task, optimum
from descant.priors import make_prior
from descant.tasks import replay

ID = "descant/Tokens-v0"


def slow_return(task: Any, sequence: tuple[int, ...]) -> float:
    """Total reward of a sequence, from the definition."""
    tables = task.reward
    total = 0.0
    for t, token in enumerate(sequence):
        total += tables.unary[t, token]
        total += tables.pair[sequence[t - 1], token] if t > 0 else 0.0
        total += tables.triple[sequence[t - 2], sequence[t - 1], token] if t > 1 else 0.0
    return float(total)


@pytest.mark.filterwarnings("error")
def test_both_checkers_pass() -> None:
    check_env(gymnasium.make(ID).unwrapped, skip_render_check=True)
    sb3_check_env(gymnasium.make(ID).unwrapped)


def test_sequences_have_the_returns_and_prior_of_the_definition() -> None:
    task = Tokens(tokens=3, steps=4, seed=2)
    every, total, log_prior = task.sequences()
    assert [tuple(row) for row in every.tolist()] == list(itertools.product(range(3), repeat=4))
    assert total == pytest.approx([slow_return(task, tuple(row)) for row in every], abs=1e-12)
    assert np.logaddexp.reduce(log_prior) == pytest.approx(0, abs=1e-12)
    steps = [task.log_prior[0, every[:, 0]]]
    steps += [task.log_prior[every[:, t - 1] + 1, every[:, t]] for t in range(1, 4)]
    assert log_prior == pytest.approx(sum(steps), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_the_best_of_all_sequences(seed: int) -> None:
    task = Tokens(seed=seed)
    graph = enumerate_task(task)
    assert count_episodes(graph) == [4**5]
    assert optimum(graph).values[0][0] == pytest.approx(task.sequences()[1].max(), abs=1e-12)


def test_keys_tell_states_apart_as_observations_do() -> None:
    task = Tokens(tokens=3, steps=4)
    for layer in enumerate_task(task).layers:
        seen = {tuple(row) for row in task.observe(layer.states)}
        assert len(seen) == len(layer) == len(set(task.key(layer.states)))
        assert all(task.observation_space.contains(row) for row in task.observe(layer.states))


def test_single_and_vector_agree() -> None:
    single, vector = gymnasium.make(ID, seed=3), gymnasium.make_vec(ID, num_envs=2, seed=3)
    rng = np.random.default_rng(0)
    for _ in range(3):
        seen, _ = single.reset()
        assert (vector.reset()[0] == seen).all()
        for t in range(5):
            action = rng.integers(4)
            seen, reward, ended, _, info = single.step(action)
            seens, rewards, ends, _, _ = vector.step(np.array([action, action]))
            assert (seens == seen).all()
            assert (rewards == reward).all()
            assert (ends == ended).all()
            assert ended == (t == 4)
        log_prior = vector.unwrapped.metrics()[1]["prior_log_prob"][0]  # type: ignore[attr-defined]
        assert info["metrics"] == {"prior_log_prob": log_prior}
        assert log_prior < 0


def test_an_ended_row_can_be_stepped_until_it_is_reset() -> None:
    task = Tokens(tokens=2, steps=1)
    state, _, ended = task.step(task.starts(), np.array([1]), np.random.default_rng(0))
    assert ended.all()
    state, _, ended = task.step(state, np.array([0]), np.random.default_rng(0))
    assert ended.all()
    assert task.observation_space.contains(task.observe(state)[0])


def test_terms_and_findings_sum_to_the_reward() -> None:
    task = Tokens(seed=5)
    tokens = [0, 3, 1, 1, 2]
    episode = replay(task, task.starts(), tokens)
    gains = 0.0
    for state, action, after in zip(episode.states, tokens, episode.states[1:], strict=False):
        terms = task.reward.terms(state, np.array([action]), after)
        assert sum(terms.values()) == pytest.approx(task.reward(state, np.array([action]), after))
        gains += sum(max(float(value[0]), 0.0) for value in terms.values())
    findings = task.reward.explain(episode)
    assert gains - sum(f.cost for f in findings) == pytest.approx(slow_return(task, tuple(tokens)))
    assert [f.position for f in findings] == sorted(f.position for f in findings)
    assert task.render(episode, "ansi").startswith("0 3 1 1 2  (log prior -")


def test_the_task_carries_its_prior() -> None:
    env = gymnasium.make_vec(ID, num_envs=3, tokens=3, prior_temperature=0.5)
    prior = make_prior("task", env)
    log_probs = prior.log_probs(np.array([[0, 0, 0], [1, 2, 0], [2, 3, 1]]))
    assert log_probs.dtype == np.float64
    assert np.logaddexp.reduce(log_probs, axis=1) == pytest.approx(0, abs=1e-12)
    assert (log_probs == env.unwrapped.task.log_prior[[0, 2, 3]]).all()  # type: ignore[attr-defined]
    even = Tokens(prior_temperature=1e9).log_prior
    assert even == pytest.approx(-np.log(4), abs=1e-6)


def test_tables_of_ones_own() -> None:
    task = Tokens(tokens=2, steps=3, reward={"pair": [[0, 1], [2, 0]]})
    total = dict(zip(map(tuple, task.sequences()[0].tolist()), task.sequences()[1], strict=True))
    assert total[(0, 1, 0)] == 3
    assert total[(1, 0, 1)] == 3
    assert total[(1, 1, 1)] == 0
    assert Tokens(seed=1).reward.unary.tolist() == Tokens(seed=1).reward.unary.tolist()
    assert Tokens(seed=1).reward.unary.tolist() != Tokens(seed=2).reward.unary.tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokens": 1}, "at least 2"),
        ({"steps": 0}, "at least 2, steps 1"),
        ({"seed": -1}, "seed 0"),
        ({"tokens": 1000}, "too large"),
        ({"pair_scale": -1.0}, "pair_scale"),
        ({"unary_scale": float("nan")}, "unary_scale"),
        ({"prior_temperature": 0.0}, "above 0"),
        ({"reward": {"pairs": []}}, "Unknown table 'pairs'"),
        ({"reward": {"pair": [[1.0]]}}, "The pair table"),
        ({"reward": "nothing"}, "nothing"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DescantError, match=words):
        gymnasium.make_vec(ID, **options)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(DescantError, match="Unknown reset option"):
        gymnasium.make(ID).reset(options={"cantus": 1})
    with pytest.raises(DescantError, match="too many to list"):
        Tokens(steps=40).sequences()


def test_an_agent_comes_near_the_optimum() -> None:
    env = gymnasium.make_vec(ID, num_envs=64, tokens=3, steps=3)
    agent = descant.make_agent("reinforce", env, hidden=(32,), critic_hidden=(32,), gamma=1.0)
    agent.learn(64 * 3 * 60)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    state, total = task.starts(), 0.0
    for _ in range(3):
        actions, _ = agent.predict(task.observe(state), deterministic=True)
        state, reward, _ = task.step(state, actions, np.random.default_rng(0))
        total += float(reward[0])
    _, returns, _ = task.sequences()
    assert total > np.quantile(returns, 0.9)
