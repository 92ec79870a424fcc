"""MRT: its risk by definition and by enumeration, repeated episodes, references, and that it goes on exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.agents.mrt import MRT, firsts, renormalised
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.makers import load_agent, make_agent
from descant.shells import TaskVectorEnv
from descant.text.vocabularies import PAD

from ..tiny_tasks import Dice, Echo
from .enumeration import (
    EXACT,
    batch_of,
    every_episode,
    exact_agent,
    gradient_of,
    gradient_of_return,
    log_chance,
    log_policy_of,
    taken,
)
from .on_policy_checks import options_told, records_of, same, weights_of

GRU = {"recurrent": True, "trunk": "gru", "hidden": (8, 16)}


def agent_on(task: Any, n: int, **config: Any) -> Any:
    return exact_agent(make_agent("mrt", TaskVectorEnv(task, n), group_size=n, num_envs=n, **EXACT, **config))  # type: ignore[arg-type]


def step_on(agent: Any, every: Any, rows: Any) -> torch.Tensor:
    log_policy = log_policy_of(agent, every).detach().numpy()
    return taken(agent, lambda: agent.update(batch_of(every, rows), log_policy[:, np.asarray(rows)]))


def test_over_all_episodes_with_alpha_1_it_is_the_gradient_of_the_return() -> None:
    task = Tokens(3, 2, seed=1)
    every = every_episode(task)
    agent = agent_on(task, 9, alpha=1.0)
    found = step_on(agent, every, np.arange(9))
    torch.testing.assert_close(found, gradient_of_return(agent, every), atol=1e-7, rtol=1e-6)
    assert found.abs().max() > 0.05


@pytest.mark.parametrize("alpha", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("rows", [[0, 3, 7, 8], [5, 1, 5, 2], [4, 4, 4, 4]])
def test_a_step_goes_down_the_risk_of_the_set(alpha: float, rows: list[int]) -> None:
    """The risk by its definition over the different episodes, differentiated by autograd."""
    task = Tokens(3, 2, seed=1)
    every = every_episode(task)
    agent = agent_on(task, 4, alpha=alpha)
    alone = sorted(set(rows))
    shares = torch.softmax(alpha * log_chance(agent, every)[alone], dim=0)
    returns = torch.as_tensor(every.rewards.sum(axis=0))[alone]
    exact = gradient_of((shares * returns).sum() / alpha, agent)
    torch.testing.assert_close(step_on(agent, every, rows), exact, atol=1e-7, rtol=1e-6)


def test_a_loss_is_a_mean_over_groups() -> None:
    task = Tokens(3, 2, seed=1)
    every = every_episode(task)
    agent = exact_agent(
        make_agent("mrt", TaskVectorEnv(task, 6), group_size=3, num_envs=6, alpha=1.0, **EXACT)
    )  # type: ignore[arg-type]
    one, two = [0, 1, 1], [2, 5, 8]
    both = step_on(agent, every, one + two)
    apart = agent_on(task, 3, alpha=1.0)
    apart.networks["policy"].load_state_dict(agent.networks["policy"].state_dict())
    mean = (step_on(apart, every, one) + step_on(apart, every, two)) / 2
    torch.testing.assert_close(both, mean, atol=1e-7, rtol=1e-6)


def test_what_comes_twice_counts_once() -> None:
    actions = np.array([[1, 1, 1, 2], [1, 1, 2, 1], [0, 5, 0, 0]])
    valid = np.array([[True] * 4, [True] * 4, [False] * 4])
    assert firsts(actions, valid, 4).tolist() == [True, False, True, True]
    assert firsts(actions, valid, 2).tolist() == [True, False, True, True]
    assert firsts(actions[:, [0, 1, 3, 0]], valid, 2).tolist() == [True, False, True, True]
    shares = renormalised(np.log([0.1, 0.1, 0.4, 0.2]), 0.5, 4, np.array([True, False, True, True]))
    np.testing.assert_allclose(shares, np.array([1, 0, 2, 2**0.5]) / (3 + 2**0.5))


def test_the_reference_is_one_of_the_subset() -> None:
    env = gymnasium.make_vec("descant/Translation-v0", num_envs=8, size=40, max_words=8)
    agent: Any = make_agent("mrt", env, **GRU, group_size=4, reference=True)
    rollout = agent.collector.episodes(agent.recording_actor([]), seed=1, options={"group_size": 4})
    targets = agent.known.of({key: part[0] for key, part in rollout.observations.items()})
    for row in (0, 4):
        words = targets[row][targets[row] != PAD]
        np.testing.assert_array_equal(rollout.actions[: len(words), row], words)
        assert rollout.valid[:, row].sum() == len(words)
    assert (rollout.actions[0, [1, 2, 3, 5, 6, 7]] != targets[[1, 2, 3, 5, 6, 7], 0]).any()
    records = records_of(agent, 300)
    assert records[-1]["return"] >= 0.25
    with pytest.raises(DescantError, match="reference learns from references"):
        make_agent("mrt", TaskVectorEnv(Echo(), 8), reference=True)


@pytest.mark.parametrize("more", [{}, {"reference": True, "xent_coef": 0.2}])
def test_it_goes_on_exactly(more: dict[str, Any], tmp_path: Path) -> None:
    def env() -> Any:
        return gymnasium.make_vec("descant/Translation-v0", num_envs=8, size=40, max_words=8)

    options = {**GRU, "group_size": 4, "seed": 3, **more}
    whole = make_agent("mrt", env(), **options).learn(600)
    half = make_agent("mrt", env(), **options)
    half.learn(600, callback=lambda agent: agent.num_timesteps < 250)
    half.save(tmp_path / "half")
    resumed = load_agent(tmp_path / "half", env()).learn(600)
    assert same(weights_of(whole), weights_of(resumed))  # type: ignore[arg-type]


def test_it_learns_the_identity() -> None:
    agent = make_agent(
        "mrt", TaskVectorEnv(Echo(), 32), hidden=(16,), learning_rate=0.02, group_size=8, ent_coef=0.01
    )
    agent.learn(6000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


def test_groups_without_spread_are_counted_and_teach_nothing() -> None:
    agent: Any = make_agent("mrt", TaskVectorEnv(Tokens(3, 2, seed=1), 8), group_size=4, **EXACT)
    every = every_episode(agent.env.task)
    every = dataclasses.replace(every, rewards=np.ones_like(every.rewards))
    exact_agent(agent)
    rows = np.array([0, 1, 2, 3, 4, 4, 5, 6])
    log_policy = log_policy_of(agent, every).detach().numpy()[:, rows]
    record: dict[str, float] = {}
    step = taken(agent, lambda: record.update(agent.update(batch_of(every, rows), log_policy)))
    assert step.abs().max() < 1e-12
    assert (record["groups_equal"], record["episodes_kept"]) == (1.0, 7 / 8)


def test_bad_options_are_refused() -> None:
    for alpha in (0.0, -1.0, float("nan")):
        with pytest.raises(DescantError, match="alpha must be positive"):
            make_agent("mrt", TaskVectorEnv(Dice(), 8), alpha=alpha)


def test_the_table_of_options_is_whole() -> None:
    assert options_told("mrt.md") == [field.name for field in dataclasses.fields(MRT.Config)]
