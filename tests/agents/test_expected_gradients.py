"""REINFORCE's expected gradient by enumeration of Tokens-v0: what is unbiased, and by how much what is not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from descant import make_agent
from descant.envs.tokens import Tokens
from descant.shells import TaskVectorEnv

from .enumeration import EXACT, batch_of, every_episode, exact_agent, gradient_of_return, log_chance, taken

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
