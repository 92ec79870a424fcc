"""REINFORCE's expected gradient by enumeration of Tokens-v0: what is unbiased, and by how much what is not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from descant import make_agent
from descant.agents.importance import ratios_of, weighted_returns
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.policies.categorical import chosen
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Echo
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

PLAIN: dict[str, Any] = EXACT | {"normalize_advantage": False, "gamma": 1.0, "critic_hidden": (8,)}


def agent_on(task: Tokens, n: int, **config: Any) -> Any:
    return exact_agent(make_agent("reinforce", TaskVectorEnv(task, n), **(PLAIN | config)))  # type: ignore[arg-type]


def expected_step(agent: Any, task: Tokens, n: int) -> torch.Tensor:
    """The expectation over all batches of n episodes; the loss is a mean over steps, this is a sum over them."""
    every = every_episode(task)
    chances = log_chance(agent, every).exp().detach().numpy()
    total = torch.zeros(())
    for rows in itertools.product(range(len(chances)), repeat=n):
        step = taken(agent, lambda rows=rows: agent.update(batch_of(every, rows), ent_coef=0.0))
        total = total + float(np.prod(chances[list(rows)])) * step * task.steps
    return total


@pytest.mark.parametrize("reward_to_go", [True, False])
@pytest.mark.parametrize("baseline", ["none", "learned"])
@pytest.mark.parametrize(("tokens", "steps", "n"), [(3, 3, 1), (2, 2, 2)])
def test_without_baseline_or_with_a_learned_one_it_is_the_gradient(
    baseline: str, reward_to_go: bool, tokens: int, steps: int, n: int
) -> None:
    """The critic's values are arbitrary."""
    task = Tokens(tokens, steps, seed=1)
    agent = agent_on(task, n, baseline=baseline, reward_to_go=reward_to_go)
    exact = gradient_of_return(agent, every_episode(task))
    torch.testing.assert_close(expected_step(agent, task, n), exact, atol=1e-6, rtol=1e-6)
    assert exact.abs().max() > 0.05


@pytest.mark.parametrize("reward_to_go", [True, False])
@pytest.mark.parametrize(("tokens", "steps", "n"), [(2, 2, 2), (2, 2, 3), (3, 2, 2), (2, 2, 1)])
def test_the_mean_of_the_batch_shortens_it_by_what_is_its_own(
    reward_to_go: bool, tokens: int, steps: int, n: int
) -> None:
    """The mean has the episode itself in it, so the expectation is (N - 1) / N of the gradient."""
    task = Tokens(tokens, steps, seed=1)
    agent = agent_on(task, n, baseline="mean", reward_to_go=reward_to_go)
    exact = gradient_of_return(agent, every_episode(task))
    torch.testing.assert_close(expected_step(agent, task, n), (n - 1) / n * exact, atol=1e-6, rtol=1e-6)


# Episodes that another policy acted.


def another_policy(agent: Any, every: Any) -> torch.Tensor:
    """Log-probabilities float64[T, N, A] of a policy unlike the agent's, by what it was shown."""
    logits = log_policy_of(agent, every).detach() + torch.sin(
        7.0 * torch.as_tensor(every.observations).sum(-1)
    )[..., None] * torch.arange(agent.action_space.n)
    return logits.log_softmax(-1)


def off_policy_step(agent: Any, task: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
    """The expectation over episodes of the other policy, and its log-probabilities."""
    every = every_episode(task)
    behaviour = another_policy(agent, every)
    chances = chosen(behaviour, torch.as_tensor(every.actions)).sum(0).exp().numpy()
    assert chances.sum() == pytest.approx(1)
    total = torch.zeros(())
    for row, chance in enumerate(chances):
        batch, log_probs = batch_of(every, [row]), behaviour[:, [row]].numpy()
        step = taken(agent, lambda b=batch, p=log_probs: agent.update(b, ent_coef=0.0, behaviour=p))
        total = total + float(chance) * step * task.steps
    return total, behaviour


@pytest.mark.parametrize("reward_to_go", [True, False])
@pytest.mark.parametrize("baseline", ["none", "learned"])
def test_per_decision_weights_make_another_policys_episodes_ones_own(
    baseline: str, reward_to_go: bool
) -> None:
    task = Tokens(3, 3, seed=1)
    agent = agent_on(task, 1, baseline=baseline, reward_to_go=reward_to_go)
    found, _ = off_policy_step(agent, task)
    exact = gradient_of_return(agent, every_episode(task))
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("baseline", ["none", "learned"])
def test_the_first_order_approximation_climbs_the_surrogate(baseline: str) -> None:
    """Its expectation is the gradient of E_b[sum_t rho_t (G_t - b_t)], and not that of the return."""
    task = Tokens(3, 3, seed=1)
    agent = agent_on(task, 1, baseline=baseline, importance="first-order")
    found, behaviour = off_policy_step(agent, task)
    every = every_episode(task)
    actions = torch.as_tensor(every.actions)
    then = chosen(behaviour, actions)
    values = torch.as_tensor(every.returns() - agent._baseline(every, every.returns()))
    ratios = (chosen(log_policy_of(agent, every), actions) - then).exp()
    surrogate = gradient_of((then.sum(0).exp() * (ratios * values).sum(0)).sum(), agent)
    torch.testing.assert_close(found, surrogate, atol=1e-6, rtol=1e-6)
    assert (found - gradient_of_return(agent, every)).abs().max() > 0.01


def test_weights_by_hand() -> None:
    rollout = every_episode(Tokens(2, 2, seed=0))
    rollout.rewards[:] = np.array([[1.0], [10.0]])
    ratios = np.tile([[2.0], [3.0]], (1, 4))
    for clip, (first, second) in {0.0: (2.0, 6.0), 4.0: (2.0, 4.0)}.items():
        returns, weights = weighted_returns(rollout, ratios, 0.5, True, "per-decision", clip)
        np.testing.assert_allclose(weights[:, 0], [first, second])
        np.testing.assert_allclose(returns[:, 0], [first + 5 * second, 10 * second])
        returns, _ = weighted_returns(rollout, ratios, 0.5, False, "per-decision", clip)
        np.testing.assert_allclose(returns[:, 0], [first + 5 * second, second + 5 * second])
    returns, weights = weighted_returns(rollout, ratios, 0.5, True, "first-order", 2.5)
    np.testing.assert_allclose((returns[:, 0], weights[:, 0]), [[2 * 6, 2.5 * 10], [2, 2.5]])
    returns, _ = weighted_returns(rollout, ratios, 0.5, False, "first-order")
    np.testing.assert_allclose(returns[:, 0], [2 * 6, 3 * 6])


def test_ratios_are_1_where_nothing_happened() -> None:
    rollout = every_episode(Tokens(2, 2, seed=0))
    rollout.valid[1, 2] = False
    now, then = np.log(np.full((2, 4, 2), 0.5)), np.log(np.tile([0.2, 0.8], (2, 4, 1)))
    ratios = ratios_of(now, then, rollout)
    np.testing.assert_allclose(ratios, [[2.5, 2.5, 0.625, 0.625], [2.5, 0.625, 1, 0.625]])


@pytest.mark.parametrize(
    "config", [{}, {"importance": "first-order"}, {"importance_clip": 2.0}, {"recurrent": True}]
)
def test_it_learns_from_episodes_more_than_once(config: dict[str, Any]) -> None:
    options = {"hidden": (16,), "critic_hidden": (16,), "learning_rate": 0.01, "ent_coef": 0.1, "updates": 3}
    agent = make_agent("reinforce", TaskVectorEnv(Echo(), 32), **(options | config))
    agent.learn(4000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("config", [{"updates": 0}, {"importance": "all"}, {"importance_clip": -1.0}])
def test_bad_options_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(DescantError, match=r"updates must be|importance must be"):
        make_agent("reinforce", TaskVectorEnv(Echo(), 2), **config)
