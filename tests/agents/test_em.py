"""EM: K exact steps are the KL-regularised optimum at c = beta / K; it learns, repeats itself, keeps to the mask."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from descant.agent import make_config
from descant.agents.em import EM, best_share, reward_weights, weighted_likelihood_loss
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Dice, Echo, Recall
from .enumeration import EXACT, every_episode, exact_agent, gradient_of, log_chance, taken

SMALL: dict[str, Any] = {"hidden": (32,), "learning_rate": 0.02, "beta": 0.5}


def agent_on(task: Any, n: int = 64, env: Any = None, **config: Any) -> EM:
    return EM(TaskVectorEnv(task, n) if env is None else env, make_config(EM, SMALL | config))


def weights_of(agent: EM) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(weight).clone() for name, weight in agent.parts().weights.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# Exactness.


def log_likelihood(tables: dict[tuple[int, ...], Any], sequences: Any) -> Any:
    """Log-probability of each sequence under a policy that is a table of its prefixes, float[M]."""
    return np.array([sum(np.log(tables[tuple(s[:t])][s[t]]) for t in range(len(s))) for s in sequences])


def fitted(sequences: Any, weights: Any, tokens: int) -> dict[tuple[int, ...], Any]:
    """The tabular policy of the greatest weighted likelihood: weighted counts of what follows each prefix."""
    counts: dict[tuple[int, ...], Any] = {}
    for sequence, weight in zip(sequences.tolist(), weights, strict=True):
        for t, token in enumerate(sequence):
            counts.setdefault(tuple(sequence[:t]), np.zeros(tokens))[token] += weight
    return {prefix: count / count.sum() for prefix, count in counts.items()}


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_k_exact_steps_are_the_optimum_at_beta_over_k(beta: float) -> None:
    task = Tokens(3, 4, seed=2)
    sequences, returns, log_prior = task.sequences()
    log_policy = log_prior
    for k in range(1, 6):
        weights = np.exp(log_policy) * reward_weights(returns, beta) * len(returns)
        log_policy = log_likelihood(fitted(sequences, weights, task.tokens), sequences)
        c = beta / k
        optimum = log_prior + returns / c
        optimum -= logsumexp(optimum)
        np.testing.assert_allclose(log_policy, optimum, rtol=0, atol=1e-9)
    assert np.abs(log_policy - log_prior).max() > 1


def test_the_gradient_is_that_of_the_weighted_likelihood() -> None:
    task = Tokens(2, 3, seed=1)
    agent = exact_agent(agent_on(task, n=8, beta=0.7, epochs=1, **EXACT))
    every = every_episode(task)
    weights = reward_weights(task.sequences()[1], 0.7)
    found = taken(agent, lambda: agent.update(every))  # type: ignore[attr-defined]
    expected = gradient_of((torch.as_tensor(weights) * log_chance(agent, every)).sum(), agent)
    torch.testing.assert_close(found, expected)


def test_weights_by_hand() -> None:
    returns = np.array([1.0, 3.0, 1.0])
    expected = np.exp([0.5, 1.5, 0.5])
    np.testing.assert_allclose(reward_weights(returns, 2.0), expected / expected.sum())
    np.testing.assert_allclose(reward_weights(returns + 1e6, 2.0), expected / expected.sum())
    np.testing.assert_allclose(best_share(np.array([1.0, 3.0, 2.0, 1.0]), 0.5), [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(best_share(returns, 0.01), [0, 1, 0])
    loss = weighted_likelihood_loss(torch.tensor([-1.0, -2.0]), torch.tensor([0.25, 0.75]))
    assert loss.item() == pytest.approx(1.75)


# Learning.


@pytest.mark.parametrize("config", [{}, {"filter": 0.2, "epochs": 25}])
def test_it_learns_to_name_what_it_sees(config: dict[str, Any]) -> None:
    agent = agent_on(Echo(), n=128, **config)
    agent.learn(12_000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


def test_an_lstm_learns_what_needs_memory() -> None:
    returns: list[float] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            returns.append(record["return"])

    agent_on(Recall(symbols=2, steps=2), recurrent=True, beta=0.2).learn(8000, tracker=Tracker())  # type: ignore[arg-type]
    assert np.mean(returns[-3:]) > 0.9


def test_it_improves_on_cartpole() -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=32, max_episode_steps=200)
    returns: list[float] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            returns.append(record["return"])

    agent_on(None, env=env, beta=10.0).learn(25_000, tracker=Tracker())  # type: ignore[arg-type]
    assert np.mean(returns[:3]) < 35
    assert max(returns[-5:]) > 60


def test_the_filtered_variant_begins_from_the_base_each_round() -> None:
    one, two = agent_on(Echo(), filter=0.2), agent_on(Echo(), filter=0.2)
    one.learn(2000)
    assert one.collector is not None
    rollout = one.collector.episodes(one.actor(), seed=1)
    for agent in (one, two):
        agent.update(rollout)
    for a, b in zip(one.networks["policy"].parameters(), two.networks["policy"].parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_base_may_be_another_agents_policy(tmp_path: Path) -> None:
    agent = agent_on(Echo(), n=128).learn(12_000)
    agent.save(tmp_path / "a")
    other = agent_on(Echo(), init=str(tmp_path / "a"), seed=5)
    np.testing.assert_array_equal(other.log_probs(np.arange(4)), agent.log_probs(np.arange(4)))


# Repeating, saving, going on; the mask; bad input.


@pytest.mark.parametrize("config", [{}, {"recurrent": True}, {"filter": 0.3}])
def test_interrupted_and_resumed_is_uninterrupted(config: dict[str, Any], tmp_path: Path) -> None:
    whole = agent_on(Dice(), **config).learn(2000)
    half = agent_on(Dice(), **config)
    half.learn(2000, callback=lambda agent: agent.num_timesteps < 800)
    assert half.num_timesteps < whole.num_timesteps
    half.save(tmp_path / "half")
    resumed = EM.load(tmp_path / "half", TaskVectorEnv(Dice(), 64)).learn(2000)
    assert same(weights_of(whole), weights_of(resumed))
    assert not same(weights_of(whole), weights_of(agent_on(Dice(), seed=1, **config).learn(2000)))


def test_masked_actions_are_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    update = EM.update

    def spy(self: EM, rollout: Any) -> dict[str, float]:
        seen.append(np.take_along_axis(rollout.masks, rollout.actions[..., None], 2)[..., 0][rollout.valid])
        return update(self, rollout)

    monkeypatch.setattr(EM, "update", spy)
    agent_on(Dice()).learn(2000)
    assert np.concatenate(seen).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"beta": float("inf")}, "beta must be above 0"),
        ({"filter": 1.0}, "filter must be"),
        ({"epochs": 0}, "must be positive"),
        ({"init": "nowhere"}, "nowhere"),
    ],
)
def test_bad_options_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        agent_on(Echo(), **config)


def test_a_reward_that_is_no_number_stops_the_training() -> None:
    agent = agent_on(Echo())
    assert agent.collector is not None
    rollout = agent.collector.episodes(agent.actor(), seed=0)
    rollout.rewards[1, 3] = np.nan
    before = weights_of(agent)
    with pytest.raises(DescantError, match="The reward of step 1 in row 3 is nan"):
        agent.update(rollout)
    assert same(before, weights_of(agent))


def test_the_options_are_all_told() -> None:
    page = (Path(__file__).parents[2] / "docs/em.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \|", page.split("| Option | Meaning |")[1], re.MULTILINE)
    assert table == [field.name for field in dataclasses.fields(EM.Config)]
