"""What is tried of every agent that learns from replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from descant.agent import Agent, make_config
from descant.shells import TaskVectorEnv
from descant.tasks import Task

SMALL: dict[str, Any] = {
    "hidden": (32, 32),
    "learning_starts": 32,
    "batch_size": 32,
    "train_freq": 2,
    "gradient_steps": 2,
    "buffer_size": 2000,
}


def agent_on(kind: type[Agent], task: Task[Any], n: int = 8, env: Any = None, **config: Any) -> Any:
    env = TaskVectorEnv(task, n) if env is None else env
    return kind(env, make_config(kind, SMALL | config))


def weights_of(agent: Any) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(weight).clone() for name, weight in agent.parts().weights.items()}


def assert_same(one: Any, two: Any) -> None:
    """Weights, moments, replay and place are the same, bit for bit."""
    mine, theirs = weights_of(one), weights_of(two)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert torch.equal(mine[name], theirs[name]), name
    assert one.num_timesteps == two.num_timesteps


def check_same_seed(kind: type[Agent], task: Any, total: int = 300, **config: Any) -> None:
    one, two = (agent_on(kind, task, **config).learn(total) for _ in range(2))
    assert_same(one, two)
    other = agent_on(kind, task, **config, seed=5).learn(total)
    assert not torch.equal(next(iter(weights_of(one).values())), next(iter(weights_of(other).values())))


def check_resume(kind: type[Agent], task: Any, path: Path, total: int = 400, **config: Any) -> None:
    """Stopped in the middle of episodes and resumed equals never stopped."""
    whole = agent_on(kind, task, **config).learn(total)
    calls = iter(range(10_000))
    stopped = agent_on(kind, task, **config).learn(total, callback=lambda agent: next(calls) < 12)
    assert stopped.num_timesteps < total
    stopped.save(path)
    resumed = kind.load(path, TaskVectorEnv(task, 8)).learn(total)
    assert_same(whole, resumed)
    assert whole.updates == resumed.updates > 10


def check_mask_is_kept(agent: Any, task: Any, total: int = 600) -> None:
    """Neither learning nor predicting ever takes a masked action."""
    env, step = agent.env, agent.env.step
    taken = 0

    def watched(actions: Any) -> Any:
        nonlocal taken
        rows = ~env._done
        assert env.action_masks()[rows, actions[rows]].all()
        taken += int(rows.sum())
        return step(actions)

    env.step = watched
    agent.learn(total)
    assert taken >= total
    states = task.reset(np.random.default_rng(1), 50)
    masks = task.action_mask(states)
    for deterministic in (True, False):
        actions, _ = agent.predict(task.observe(states), deterministic=deterministic, action_masks=masks)
        assert masks[np.arange(50), actions].all()
    log_probs = agent.log_probs(task.observe(states), action_masks=masks)
    assert (log_probs[~masks] < -1e8).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-5)


class Records:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[dict[str, float]] = []

    def log(self, step: int, record: Any) -> None:
        self.records.append({"step": step, **record})
