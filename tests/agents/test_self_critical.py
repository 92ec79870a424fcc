"""REINFORCE measured from what the likeliest actions earn (Rennie et al. 2017)."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant import make_agent
from descant.envs.tokens import Tokens
from descant.makers import load_agent
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Echo
from .enumeration import EXACT, batch_of, every_episode, exact_agent, gradient_of_return, log_chance, taken
from .on_policy_checks import Strict, records_of, same, weights_of

PLAIN: dict[str, Any] = EXACT | {"normalize_advantage": False, "gamma": 1.0, "baseline": "self-critical"}
GRU = {"recurrent": True, "trunk": "gru", "hidden": (8, 16)}


def greedy_row(agent: Any, every: Any) -> int:
    """The episode of the likeliest actions, which `_greedy` must play."""
    greedy = agent._greedy(agent.collector)
    return int(np.flatnonzero((every.actions == greedy.actions[:, :1]).all(axis=0))[0])


@pytest.mark.parametrize("reward_to_go", [True, False])
@pytest.mark.parametrize(("tokens", "steps", "n"), [(3, 3, 1), (2, 2, 2)])
def test_the_expected_step_is_the_gradient_of_the_return(
    reward_to_go: bool, tokens: int, steps: int, n: int
) -> None:
    task = Tokens(tokens, steps, seed=1)
    made = make_agent("reinforce", TaskVectorEnv(task, n), **PLAIN, reward_to_go=reward_to_go)
    agent: Any = exact_agent(made)  # type: ignore[arg-type]
    every = every_episode(task)
    greedy = batch_of(every, [greedy_row(agent, every)] * n)
    chances = log_chance(agent, every).exp().detach().numpy()
    total = torch.zeros(())
    for rows in itertools.product(range(len(chances)), repeat=n):
        step = taken(agent, lambda rows=rows: agent.update(batch_of(every, rows), 0.0, greedy=greedy))
        total = total + float(np.prod(chances[list(rows)])) * step * task.steps
    exact = gradient_of_return(agent, every)
    torch.testing.assert_close(total, exact, atol=1e-6, rtol=1e-6)
    assert exact.abs().max() > 0.05


def test_the_likeliest_episode_itself_teaches_nothing_and_others_by_the_difference() -> None:
    task = Tokens(3, 3, seed=1)
    agent: Any = exact_agent(make_agent("reinforce", TaskVectorEnv(task, 1), **PLAIN))  # type: ignore[arg-type]
    every = every_episode(task)
    best = greedy_row(agent, every)
    greedy = batch_of(every, [best])
    same_one = taken(agent, lambda: agent.update(greedy, 0.0, greedy=greedy))
    assert same_one.abs().max() < 1e-12
    other = (best + 5) % 27
    step = taken(agent, lambda: agent.update(batch_of(every, [other]), 0.0, greedy=greedy))
    difference = float(every.rewards[:, other].sum() - every.rewards[:, best].sum())
    chance = log_chance(agent, batch_of(every, [other]))[0]
    own = torch.cat(
        [g.ravel() for g in torch.autograd.grad(chance, list(agent.networks["policy"].parameters()))]
    )
    torch.testing.assert_close(step * task.steps, difference * own, atol=1e-6, rtol=1e-6)


def test_both_begin_at_the_same_sentences_and_are_counted() -> None:
    env = gymnasium.make_vec("descant/Translation-v0", num_envs=8, size=40, max_words=8)
    agent: Any = make_agent("reinforce", env, **GRU, baseline="self-critical")
    agent.env_seed = 11
    drawn = agent.collector.episodes(agent.actor(), seed=agent.env_seed)
    greedy = agent._greedy(agent.collector)
    np.testing.assert_array_equal(drawn.observations["source"][0], greedy.observations["source"][0])
    again = agent._greedy(agent.collector)
    np.testing.assert_array_equal(greedy.actions, again.actions)
    assert "critic" not in agent.networks
    records = records_of(agent, 100)
    assert agent.num_timesteps > records[0]["length"] * 8
    assert "greedy_return" in records[0]


def test_the_price_of_kl_is_in_the_baseline_too() -> None:
    env = TaskVectorEnv(Tokens(3, 2, seed=1), 4)
    agent: Any = make_agent("reinforce", env, **PLAIN, prior="uniform", kl_coef=2.0)
    exact_agent(agent)
    plain: Any = make_agent("reinforce", env, **PLAIN)
    plain.networks = agent.networks
    assert (agent._greedy(agent.collector).rewards < plain._greedy(plain.collector).rewards - 0.01).any()


def test_it_goes_on_exactly(tmp_path: Path) -> None:
    def env() -> Any:
        return gymnasium.make_vec("descant/Translation-v0", num_envs=8, size=40, max_words=8)

    options = {**GRU, "baseline": "self-critical", "updates": 2, "xent_coef": 0.1, "seed": 3}
    whole = make_agent("reinforce", env(), **options).learn(900)
    half = make_agent("reinforce", env(), **options)
    half.learn(900, callback=lambda agent: agent.num_timesteps < 400)
    half.save(tmp_path / "half")
    resumed = load_agent(tmp_path / "half", env()).learn(900)
    assert same(weights_of(whole), weights_of(resumed))  # type: ignore[arg-type]


def test_it_learns_the_identity_and_keeps_to_the_mask() -> None:
    small = {"hidden": (16,), "learning_rate": 0.02, "ent_coef": 0.1, "baseline": "self-critical"}
    agent = make_agent("reinforce", TaskVectorEnv(Echo(), 32), **small)
    agent.learn(6000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]
    make_agent("reinforce", TaskVectorEnv(Strict(), 4), **small).learn(200)


def test_its_option_is_told() -> None:
    config: Any = make_agent("reinforce", TaskVectorEnv(Echo(), 2)).config
    assert dataclasses.replace(config, baseline="self-critical").baseline == "self-critical"
