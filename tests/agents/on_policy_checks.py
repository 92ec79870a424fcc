"""What is asked of `ppo` and of `actor-critic` alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from descant.envs.counterpoint import Counterpoint
from descant.on_policy import OnPolicy
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Recall

SMALL: dict[str, Any] = {"hidden": (32,), "critic_hidden": (32,), "learning_rate": 0.01, "n_steps": 8}


def made_on(kind: Any, task: Any, n: int = 32, mode: str = "NextStep", env: Any = None, **config: Any) -> Any:
    env = (
        TaskVectorEnv(task, n, autoreset_mode=mode, max_episode_steps=config.pop("limit", None))
        if env is None
        else env
    )
    return kind(env, kind.Config(**(SMALL | config)))


def weights_of(agent: OnPolicy) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(weight).clone() for name, weight in agent.parts().weights.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def records_of(agent: Any, steps: int) -> list[dict[str, float]]:
    records: list[dict[str, float]] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            records.append(record)

    agent.learn(steps, tracker=Tracker())
    return records


def recall(agent: OnPolicy, task: Recall) -> float:
    """Share of first symbols that the greedy agent names at the end."""
    env = TaskVectorEnv(task, 60)
    seen, _ = env.reset(seed=9)
    state, starts = None, np.ones(60, bool)
    for _ in range(task.steps):
        action, state = agent.predict(seen, state, starts, deterministic=True)
        seen, reward, *_ = env.step(action)
        starts[:] = False
    return float(reward.mean())


class Strict(Counterpoint):
    """Does not take a masked action, unless the episode has ended."""

    def step(self, state: Any, action: Any, rng: Any) -> Any:
        mask = self.action_mask(state)
        allowed = mask[np.arange(len(action)), action] | ~mask.any(axis=1)
        assert allowed.all(), "masked"
        return super().step(state, action, rng)


def cartpole(n: int = 16, limit: int = 200) -> Any:
    return gymnasium.make_vec("CartPole-v1", num_envs=n, max_episode_steps=limit)


def options_told(page: str) -> list[str]:
    """The first column of the table of options of a page in docs/."""
    document = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    table = document.split("| Option | Meaning |")[1].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
