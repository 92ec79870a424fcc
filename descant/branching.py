"""Playing on from the states of episodes: what each of several actions is worth when a policy goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from descant.neural import pick
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.rollouts import Rollout
from descant.tasks import Bools, Floats, Ints, Task, join_rows, put_rows, take_rows

TOGETHER = 1024  # rows that are played at once


class Player(Protocol):
    """An agent, as far as playing on needs one."""

    networks: dict[str, Network]

    def policy_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Any]:
        """Log-probabilities float[N, A], and the network's state after."""
        ...

    def choose(self, log_probs: Tensor) -> Ints:
        """Actions int[N]."""
        ...


@dataclass(frozen=True)
class Trail:
    """Whole episodes of a task, and what it takes to play on from within them.

    states: the task's before each step; memories: the network's after each step, None where it needs none; limit: the
    steps after which episodes are cut.
    """

    task: Task[Any]
    rollout: Rollout
    states: list[Any]
    memories: list[Any]
    limit: float


def branch_returns(
    player: Player,
    trail: Trail,
    where: tuple[Ints, Ints],
    tried: Ints,
    allowed: Bools,
    rng: np.random.Generator,
) -> tuple[Floats, int]:
    """Sum of the rewards from P points on, after each of K actions, float[P, K]; and the steps played for it.

    `where` are steps and rows int[P] of the points, `tried` int[P, K] the actions. The one that the episode took there
    is worth what came after it; one that is not `allowed`, bool[P, K], is not tried, and worth 0. Chance of the task
    comes from `rng`.
    """
    played = tried == trail.rollout.actions[where][:, None]
    values = np.where(played, trail.rollout.returns()[where][:, None], 0.0)
    point, which = np.nonzero(~played & allowed)
    order = np.argsort(where[0][point], kind="stable")  # those that are as far together
    steps = 0
    for begin in range(0, len(order), TOGETHER):
        some = order[begin : begin + TOGETHER]
        place = (where[0][point[some]], where[1][point[some]])
        worth, count = play_on(player, trail, place, tried[point[some], which[some]], rng)
        values[point[some], which[some]] = worth
        steps += count
    return values, steps


def play_on(
    player: Player, trail: Trail, where: tuple[Ints, Ints], first: Ints, rng: np.random.Generator
) -> tuple[Floats, int]:
    """Take the first action int[R] at each place, steps that do not fall and rows int[R], then go on to the end.

    The sum of the rewards, float[R], and the steps that were played.
    """
    task, count = trail.task, where[0].copy()
    state = states_at(trail.states, where)
    memory = memory_at(player.networks["policy"], trail, where)
    total, live, action, steps = np.zeros(len(first)), np.arange(len(first)), first, 0
    starts = np.zeros(len(first), bool)
    while True:
        after, reward, terminated = task.step(take_rows(state, live), action[live], rng)
        put_rows(state, live, after)
        total[live] += reward
        count[live] += 1
        steps += len(live)
        live = live[~terminated & (count[live] < trail.limit)]
        if not len(live):
            return total, steps
        # Rows that have ended are shown as they are: a network that keeps what was read finds that they are over.
        log_probs, memory = player.policy_step(task.observe(state), task.action_mask(state), starts, memory)
        action = player.choose(log_probs)


def states_at(states: list[Any], where: tuple[Ints, Ints]) -> Any:
    """Copies of the states of rows int[R] before steps int[R], which must not fall."""
    step, row = where
    return join_rows([take_rows(states[t], row[step == t]) for t in np.unique(step)])


def memory_at(network: Network, trail: Trail, where: tuple[Ints, Ints]) -> Any:
    """The network's state of rows int[R] after steps int[R], which must not fall; None where it has none."""
    step, row = where
    if network.cached:
        last = trail.rollout.valid.sum(axis=0) - 1
        shown = to_tensor(pick(trail.rollout.observations, (last, np.arange(len(last)))))
        lengths = torch.as_tensor(pick(trail.rollout.observations, where)["position"])
        with torch.inference_mode():
            return network.branched(shown, torch.as_tensor(row), lengths)  # type: ignore[operator]
    if not network.recurrent:
        return None
    parts = [[kept[:, row[step == t]] for kept in trail.memories[t]] for t in np.unique(step)]
    return tuple(torch.cat(kept, dim=1) for kept in zip(*parts, strict=True))
