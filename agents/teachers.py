"""Policies that are learned from or kept near: agents, and the exact optimum, planned problem by problem."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces

from descant.errors import DescantError
from descant.neural import NeuralAgent, pick
from descant.planning import enumerate_task, optimum
from descant.rollouts import Rollout
from descant.tables import Table, make_table
from descant.tasks import Bools, Floats, Ints, size, take_rows

MAX_PROBLEMS = 4096  # as many plans as fit into memory: one of a cantus firmus takes half a megabyte


class Teacher(Protocol):
    """Says of every step of whole episodes how likely it would take each action."""

    def start(self) -> None:
        """Forget the episodes so far."""
        ...

    def probabilities(self, observation: Any, masks: Bools | None, starts: Bools) -> Floats:
        """float[N, A] for the next step of N rows; `starts` bool[N] says where an episode begins."""
        ...


def make_teacher(spec: str, env: Any, device: str | None = None) -> Teacher:
    """The teacher "exact", or the agent of a run or checkpoint, which must fit the environment."""
    if spec == "exact":
        return ExactTeacher(env)
    from descant.priors import make_prior

    return AgentTeacher(make_prior(spec, env, device))


class AgentTeacher:
    """An agent, or a prior, as a teacher."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        self.state: Any = None

    def start(self) -> None:
        """Forget the recurrent state."""
        self.state = None

    def probabilities(self, observation: Any, masks: Bools | None, starts: Bools) -> Floats:
        """What the agent's policy says."""
        if isinstance(self.agent, NeuralAgent):
            log_probs, self.state = self.agent.policy_step(observation, masks, starts, self.state)
            return np.exp(log_probs.numpy().astype(np.float64))
        return np.exp(self.agent.log_probs(observation, action_masks=masks))


class ExactTeacher:
    """The optimum of an enumerable task, all best actions alike, from any state that allowed actions reach.

    Each start is planned for when it first comes up. A state is found by its problem, its step and its observation.
    """

    def __init__(self, env: Any) -> None:
        bare = env.unwrapped
        task = getattr(bare, "task", None) or getattr(
            getattr(bare, "envs", [bare])[0].unwrapped, "task", None
        )
        if task is None or not task.enumerable:
            raise DescantError(
                "The teacher 'exact' plans on an enumerable task of descant: name a checkpoint instead."
            )
        self.task, self.actions = task, int(task.action_space.n)
        self.starts = task.starts()
        if size(self.starts) > MAX_PROBLEMS:
            raise DescantError(
                f"{task.name} has {size(self.starts)} starts here, too many to plan for each (at most {MAX_PROBLEMS}): "
                "make the environment with fewer, such as pool=32."
            )
        begun = _bytes(task.observe(self.starts), task.observation_space)
        self.problem_of = {row.tobytes(): i for i, row in enumerate(begun)}
        self.tables: dict[int, list[Table]] = {}
        self.start()

    def start(self) -> None:
        """Forget the episodes so far."""
        self.problem: Ints | None = None
        self.depth: Ints | None = None

    def probabilities(self, observation: Any, masks: Bools | None, starts: Bools) -> Floats:
        """Even over the best actions, float[N, A]; even over all in a row whose episode has ended."""
        seen = _bytes(observation, self.task.observation_space)
        if self.problem is None or self.depth is None:
            self.problem, self.depth = np.full(len(seen), -1), np.zeros(len(seen), np.int64)
        begun = np.flatnonzero(starts)
        self.problem[begun] = [self.problem_of.get(seen[row].tobytes(), -1) for row in begun]
        self.depth[begun] = 0
        best = np.ones((len(seen), self.actions), bool)
        for problem, depth in set(zip(self.problem.tolist(), self.depth.tolist(), strict=True)):
            rows = np.flatnonzero((self.problem == problem) & (self.depth == depth))
            best[rows] = self._best(problem, depth, seen[rows])
        self.depth = self.depth + 1
        if masks is not None:  # where there is no way on, nothing that is not allowed either
            best = np.where((best & masks).any(axis=1, keepdims=True), best & masks, best)
        share: Floats = best / best.sum(axis=1, keepdims=True)
        return share

    def _best(self, problem: int, depth: int, seen: Any) -> Bools:
        """The best actions in the states that look like this, uint8[n, B]: bool[n, A]."""
        if problem < 0:
            return np.ones((len(seen), self.actions), bool)
        if problem not in self.tables:
            self.tables[problem] = self._plan(problem)
        if depth >= len(self.tables[problem]):
            return np.ones((len(seen), self.actions), bool)
        return self.tables[problem][depth].best(seen, self.actions)

    def _plan(self, problem: int) -> list[Table]:
        """A table of each step."""
        plan = optimum(enumerate_task(self.task, take_rows(self.starts, [problem])))
        tables = []
        for depth, layer in enumerate(plan.graph.layers):
            best = np.zeros((len(layer), self.actions), bool)
            edges = plan.best(depth)
            best[layer.source[edges], layer.action[edges]] = True
            best[~best.any(axis=1)] = True  # no way on: nothing is better than anything
            tables.append(
                make_table(_bytes(self.task.observe(layer.states), self.task.observation_space), best)
            )
        return tables


def _bytes(observation: Any, space: Any) -> Any:
    """Observations of n rows as uint8[n, B]."""
    if isinstance(space, spaces.Dict):
        parts = [_bytes(observation[key], part) for key, part in space.spaces.items()]
        return np.concatenate(parts, axis=1)
    array = np.ascontiguousarray(np.asarray(observation, space.dtype))
    return array.reshape(len(array), -1).view(np.uint8)


def labels_along(teacher: Teacher, rollout: Rollout) -> Floats:
    """The teacher's probabilities along whole episodes, float[T, N, A]; 0 where a step is not valid."""
    teacher.start()
    found = []
    for t, valid in enumerate(rollout.valid):
        masks = None if rollout.masks is None else rollout.masks[t]
        seen = pick(rollout.observations, torch.tensor(t))
        found.append(np.where(valid[:, None], teacher.probabilities(seen, masks, rollout.starts[t]), 0.0))
    return np.stack(found)
