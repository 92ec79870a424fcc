"""Every sequence of a small Tokens world: expectations by summation, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descant.envs.tokens import Tokens
from descant.rollouts import Collector, Rollout
from descant.shells import TaskVectorEnv


def random_weights(network: torch.nn.Module, seed: int = 0) -> None:
    """Float64, and far enough from nothing that every gradient counts."""
    network.double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.4)


def every_sequence(task: Tokens) -> Iterator[tuple[tuple[int, ...], Rollout]]:
    """All sequences of actions, and the rollout of one row that each makes."""
    tokens = int(task.action_space.n)
    collector = Collector(TaskVectorEnv(task, 1))
    steps = int(task.observation_space.nvec[0]) - 1  # type: ignore[attr-defined]
    for actions in itertools.product(range(tokens), repeat=steps):
        script = iter(actions)
        yield actions, collector.episodes(lambda *_, script=script: np.array([next(script)]))


def log_probs_of(network: Any, rollout: Rollout) -> Tensor:
    """Log-probabilities of all actions along a rollout of one row, float[T, A], with gradients."""
    heads, _ = network.sequence(torch.as_tensor(rollout.observations), torch.as_tensor(rollout.starts))
    found: Tensor = heads["policy"][:, 0].log_softmax(-1)
    return found


def objective(network: Any, task: Tokens, kl_coef: float = 0.0) -> Tensor:
    """E[return] - kl_coef KL(pi || task's prior) over all sequences: a scalar with gradients."""
    total = torch.zeros((), dtype=torch.float64)
    for actions, rollout in every_sequence(task):
        steps = torch.arange(len(actions))
        log_pi = log_probs_of(network, rollout)[steps, torch.as_tensor(actions)].sum()
        prior = task.prior_log_probs(rollout.observations[:, 0])[np.arange(len(actions)), list(actions)].sum()
        value = float((rollout.rewards * rollout.valid).sum()) - kl_coef * (log_pi - float(prior))
        total = total + log_pi.exp() * value
    return total


def gradient(value: Tensor, network: Any) -> list[Tensor]:
    """Gradient by every parameter that the value depends on; zeros for the others."""
    parameters = list(network.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def expected_update(agent: Any, task: Tokens, update: Any) -> list[Tensor]:
    """What `update(rollout)` goes up on average, as a sum over steps: from the gradients that it leaves."""
    network = agent.networks["policy"]
    total = [torch.zeros_like(p) for p in network.parameters()]
    for actions, rollout in every_sequence(task):
        steps = torch.arange(len(actions))
        with torch.no_grad():
            chance = log_probs_of(network, rollout)[steps, torch.as_tensor(actions)].sum().exp()
        update(rollout)
        for sum_, parameter in zip(total, network.parameters(), strict=True):
            if parameter.grad is not None:
                sum_ -= chance * len(actions) * parameter.grad  # losses are means over steps
    return total


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-6) -> None:
    """Equal within the tolerance, and not by being nothing."""
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, atol=tolerance, rtol=0)
    assert max(float(gradient.abs().max()) for gradient in expected) > 0.01


def true_values(network: Any, task: Tokens, kl_coef: float = 0.0) -> dict[tuple[int, ...], float]:
    """The value of every observation under the policy: mean return from there on, KL to the prior taken off."""
    mass: dict[tuple[int, ...], float] = {}
    total: dict[tuple[int, ...], float] = {}
    for actions, rollout in every_sequence(task):
        rows, taken = np.arange(len(actions)), list(actions)
        with torch.no_grad():
            log_pi = log_probs_of(network, rollout).numpy()[rows, taken]
        prior = task.prior_log_probs(rollout.observations[:, 0])[rows, taken]
        togo = (rollout.rewards[:, 0] - kl_coef * (log_pi - prior))[::-1].cumsum()[::-1]
        chance = float(np.exp(log_pi.sum()))
        for seen, value in zip(rollout.observations[:, 0], togo, strict=True):
            key = tuple(seen.tolist())
            mass[key] = mass.get(key, 0.0) + chance
            total[key] = total.get(key, 0.0) + chance * float(value)
    return {key: total[key] / mass[key] for key in mass}


def with_true_critic(agent: Any, task: Tokens, kl_coef: float = 0.0) -> None:
    """Let an agent see true values in place of its critic's."""
    table = true_values(agent.networks["policy"], task, kl_coef)

    def values(rollout: Rollout, before: Any) -> tuple[Any, Any, Any]:
        seen = rollout.observations
        found = [[table[tuple(row.tolist())] for row in step] for step in seen]
        return np.array(found), np.zeros(seen.shape[1]), np.zeros(len(rollout.cut))

    agent.values = values


def acted(agent: Any, rollout: Rollout) -> Any:
    """Log-probabilities float64[T, 1, A] of the agent's policy along a rollout of one row."""
    with torch.no_grad():
        return log_probs_of(agent.networks["policy"], rollout).numpy()[:, None]
