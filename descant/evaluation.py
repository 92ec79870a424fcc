"""Play episodes with an agent and say how good they were, between chance and the exact optimum."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.planning import enumerate_task, optimum, uniform
from descant.tasks import Episode, Finding, Floats, Task, put_rows, size, take_rows

MAX_STEPS = 10_000


@dataclass(frozen=True)
class Anchors:
    """Expected return of chance (uniform over the mask) and of the optimum, for each start state: float[n]."""

    random: Floats
    optimum: Floats

    def score(self, returns: Floats) -> Floats:
        """(return - random) / (optimum - random): 0 is chance, 1 is perfect; 1 where all actions are as good."""
        span = self.optimum - self.random
        return np.divide(returns - self.random, span, out=np.ones_like(span), where=span > 0)


@functools.lru_cache(maxsize=64)
def anchors(task: Task[Any]) -> Anchors:
    """Exact anchors of every start of an enumerable task."""
    graph = enumerate_task(task)
    return Anchors(uniform(graph).values[0], optimum(graph).values[0])


@dataclass(frozen=True)
class Outcome:
    """One finished episode: what it was worth and, where the task says so, what is to be said of it."""

    episode: Episode[Any]
    value: float  # return
    score: float | None  # None where the optimum is not known
    optimum: float | None
    random: float | None
    metrics: dict[str, float]
    findings: tuple[Finding, ...]


def play(
    agent: Agent, task: Task[Any], starts: Any, deterministic: bool = True, seed: int = 0
) -> tuple[list[Episode[Any]], Floats]:
    """Episodes from each start state (rows of `starts`) and their returns, float[n]."""
    rng = np.random.default_rng(seed)
    agent.set_random_seed(seed)
    n = size(starts)
    states, rewards = [starts], []
    actions: list[Any] = []
    state = starts
    alive, memory = np.ones(n, bool), None
    lengths = np.zeros(n, np.int64)
    while alive.any() and len(actions) < MAX_STEPS:
        first = np.full(n, not actions)
        action, memory = agent.predict(
            task.observe(state), memory, first, deterministic, action_masks=task.action_mask(state)
        )
        following, reward, ended = task.step(state, np.asarray(action, np.int64), rng)
        states.append(following)
        actions.append(action)
        rewards.append(np.where(alive, reward, 0.0))
        lengths += alive
        alive &= ~ended
        # Rows that have ended wait at their start, a state that every agent knows.
        state = take_rows(following, np.arange(n))
        put_rows(state, ~alive, take_rows(starts, ~alive))
    episodes = [_episode(states, actions, row, int(lengths[row])) for row in range(n)]
    return episodes, np.sum(rewards, axis=0)


def _episode(states: Sequence[Any], actions: Sequence[Any], row: int, length: int) -> Episode[Any]:
    rows = slice(row, row + 1)
    kept = tuple(take_rows(state, rows) for state in states[: length + 1])
    return Episode(kept, tuple(int(a[row]) for a in actions[:length]))


def evaluate(agent: Agent, task: Task[Any], deterministic: bool = True, seed: int = 0) -> list[Outcome]:
    """One episode from every start of an enumerable task, measured against its exact optimum."""
    episodes, returns = play(agent, task, task.starts(), deterministic, seed)
    scale = anchors(task)
    scores = scale.score(returns)
    explain = getattr(getattr(task, "reward", None), "explain", None)
    outcomes = []
    for row, episode in enumerate(episodes):
        metrics = {k: float(v[0]) for k, v in task.metrics(episode.states[-1]).items()}
        findings = tuple(explain(episode)) if explain else ()
        value = float(returns[row])
        ends = (float(scores[row]), float(scale.optimum[row]), float(scale.random[row]))
        outcomes.append(Outcome(episode, value, *ends, metrics, findings))
    return outcomes
