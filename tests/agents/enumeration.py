"""Expected gradients by enumeration: every episode of a tiny world, its probability, and the gradient of J."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descant.envs.tokens import Tokens
from descant.neural import NeuralAgent
from descant.policies.categorical import chosen, masked_log_softmax
from descant.rollouts import Collector, Rollout
from descant.shells import TaskVectorEnv

EXACT: dict[str, Any] = {"max_grad_norm": 1e12, "hidden": (8,)}


def every_episode(task: Tokens) -> Rollout:
    """All sequences, one a row."""
    sequences, _, _ = task.sequences()
    columns = iter(sequences.T)
    return Collector(TaskVectorEnv(task, len(sequences))).episodes(lambda *_: next(columns))


def batch_of(rollout: Rollout, rows: Any) -> Rollout:
    """The rollout of some rows, as often as they are named."""
    rows = np.asarray(rows)
    names = ("observations", "actions", "rewards", "terminated", "truncated", "starts", "valid")
    picked = {name: getattr(rollout, name)[:, rows] for name in names}
    masks = None if rollout.masks is None else rollout.masks[:, rows]
    return Rollout(**picked, masks=masks, last_observation=rollout.last_observation[rows])


def parameters_of(agent: NeuralAgent) -> list[Tensor]:
    return list(agent.networks["policy"].parameters())


def exact_agent(agent: NeuralAgent, std: float = 0.5) -> NeuralAgent:
    """The agent in float64, its weights far from even, and steps that are not taken."""
    torch.manual_seed(3)
    for network in agent.networks.values():
        network.double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=std)
    agent.optimizers.clear()
    return agent


def log_policy_of(agent: NeuralAgent, rollout: Rollout) -> Tensor:
    """Log-probabilities of all actions along the rollout, float64[T, N, A], with gradients."""
    seen = torch.as_tensor(rollout.observations)
    heads, _ = agent.networks["policy"].sequence(seen, torch.as_tensor(rollout.starts))
    return masked_log_softmax(agent.logits(heads))


def log_chance(agent: NeuralAgent, rollout: Rollout) -> Tensor:
    """Log-probability of each row's episode, float64[N], with gradients."""
    return chosen(log_policy_of(agent, rollout), torch.as_tensor(rollout.actions)).sum(0)


def gradient_of(value: Tensor, agent: NeuralAgent) -> Tensor:
    """The gradient of a scalar, as one vector."""
    found = torch.autograd.grad(value, parameters_of(agent))
    return torch.cat([g.ravel() for g in found])


def gradient_of_return(agent: NeuralAgent, rollout: Rollout) -> Tensor:
    """The gradient of J, the expected return, over all episodes."""
    returns = torch.as_tensor(rollout.rewards.sum(axis=0))
    return gradient_of((log_chance(agent, rollout).exp() * returns).sum(), agent)


def taken(agent: NeuralAgent, learn: Callable[[], Any]) -> Tensor:
    """Minus the gradient that `learn` leaves: the direction in which it goes, as one vector."""
    for parameter in parameters_of(agent):
        parameter.grad = None
    learn()
    return -torch.cat([p.grad.ravel() for p in parameters_of(agent)])  # type: ignore[union-attr]
