"""Exact planning on enumerable tasks that end: the graph of reachable states, solved backwards.

States are merged by the task's `key` layer by layer (all states that so many steps reach), so that the graph is as
small as the task's sufficient statistic. Everything here is exact up to floating point; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.tasks import Bools, Floats, Ints, Task, join_rows, size, take_rows

MAX_EDGES = 50_000_000
MAX_LAYERS = 10_000
SAMPLE = 8  # starts to guess the size of a graph from
SURELY = 4  # times too large, and the guess alone refuses
CHUNK = 200_000  # edges expanded at once
TIE = 1e-9  # returns closer than this are equal

Allowed = Callable[[Any], Bools]


@dataclass(frozen=True)
class Layer:
    """The states that so many steps reach, and their edges, int[e] or float[e] each, sorted by source."""

    states: Any
    source: Ints  # row of this layer's states
    action: Ints
    target: Ints  # row of the next layer's states, -1 where the episode ends
    reward: Floats

    def __len__(self) -> int:
        return size(self.states)


@dataclass(frozen=True)
class Graph:
    """All states and edges of a task that its start states reach by the actions allowed."""

    layers: tuple[Layer, ...]

    @property
    def edges(self) -> int:
        """How many edges there are in all."""
        return sum(len(layer.action) for layer in self.layers)


def enumerate_task(
    task: Task[Any], starts: Any = None, allowed: Allowed | None = None, max_edges: int = MAX_EDGES
) -> Graph:
    """The graph of an enumerable task from `starts` (default: all of them).

    `allowed` gives bool[n, A], the actions followed (default: the task's mask). Raises DescantError where the task
    is not enumerable, is stochastic or runs in cycles, or the graph would have more than `max_edges` edges.
    """
    if not task.enumerable:
        raise DescantError(f"{task.name} is not enumerable: the exact optimum can't be computed for it.")
    allowed = allowed or task.action_mask
    states, budget = (task.starts() if starts is None else starts), max_edges
    if _looks_too_large(task, states, allowed, max_edges):
        raise _too_large(task)
    layers: list[Layer] = []
    seen: set[bytes] = set()
    while states is not None and size(states):
        keys = np.sort(task.key(states)).tobytes()
        if keys in seen or len(layers) >= MAX_LAYERS:  # the same states again: it goes on like that for ever
            raise DescantError(
                f"{task.name} can go on for ever, so there is no last layer to plan back from: use the agent "
                "'value-iteration' or 'policy-iteration'."
            )
        seen.add(keys)
        layer, states = _expand(task, states, allowed, budget)
        layers.append(layer)
        budget -= len(layer.action)
    return Graph(tuple(layers))


def _looks_too_large(task: Task[Any], starts: Any, allowed: Allowed, max_edges: int) -> bool:
    """Whether a few of many starts, which share hardly a state, say that all have far too many edges together.

    So that nobody waits, and fills gigabytes, for what is refused in the end.
    """
    n = size(starts)
    if n < SAMPLE * SAMPLE:
        return False
    few = np.linspace(0, n - 1, SAMPLE).astype(np.int64)
    edges = [
        enumerate_task(task, take_rows(starts, part), allowed, max_edges).edges for part in (few[::2], few)
    ]
    return edges[1] > 1.8 * edges[0] and edges[1] * n / SAMPLE > SURELY * max_edges


def _too_large(task: Task[Any]) -> DescantError:
    return DescantError(
        f"{task.name} has too many states to plan exactly: fix what is drawn at reset (one cantus, one "
        "position), or narrow the mask."
    )


def _expand(task: Task[Any], states: Any, allowed: Allowed, budget: int) -> tuple[Layer, Any]:
    """One layer with its edges, and the distinct states they lead to (None where all episodes end)."""
    source, action = np.nonzero(allowed(states))
    if len(action) > budget:
        raise _too_large(task)
    rewards, ends, keys, nexts = [], [], [], []
    for begin in range(0, len(action), CHUNK):
        part = slice(begin, begin + CHUNK)
        outcomes = task.branches(take_rows(states, source[part]), action[part])
        if len(outcomes) > 1:
            raise DescantError(
                f"{task.name} is stochastic: to plan on what may happen, use the agent 'value-iteration' or "
                "'policy-iteration'."
            )
        _, after, reward, ended = outcomes[0]
        rewards.append(reward)
        ends.append(ended)
        keys.append(task.key(after))
        nexts.append(after)
    if not rewards:
        return Layer(states, source, action, action, np.zeros(0)), None
    reward, ended, key = np.concatenate(rewards), np.concatenate(ends), np.concatenate(keys)
    target = np.full(len(action), -1)
    if ended.all():
        return Layer(states, source, action, target, reward), None
    going = np.flatnonzero(~ended)
    _, first, index = np.unique(key[going], return_index=True, return_inverse=True)
    target[going] = index
    return Layer(states, source, action, target, reward), take_rows(join_rows(nexts), going[first])


@dataclass(frozen=True)
class Plan:
    """Values of states and edges, layer by layer: the solution of a graph under one way of acting."""

    graph: Graph
    values: tuple[Floats, ...]  # of each layer's states, -inf where no episode can be finished
    edge_values: tuple[Floats, ...]  # of each layer's edges

    def best(self, layer: int) -> Bools:
        """Which edges of a layer are optimal: every action within `TIE` of the best of its state."""
        source = self.graph.layers[layer].source
        best: Bools = self.edge_values[layer] >= self.values[layer][source] - TIE
        return best

    def count_best(self, start: int = 0) -> int:
        """How many episodes from one start state are optimal, exactly."""
        layers = [
            replace(
                layer,
                **{n: getattr(layer, n)[self.best(t)] for n in ("source", "action", "target", "reward")},
            )
            for t, layer in enumerate(self.graph.layers)
        ]
        return count_episodes(Graph(tuple(layers)))[start]


def optimum(graph: Graph) -> Plan:
    """Backward induction: the value of each state is that of its best edge."""

    def best(layer: Layer, value: Floats) -> Floats:
        result = np.full(len(layer), -np.inf)
        np.maximum.at(result, layer.source, value)
        return result

    return _backward(graph, best)


def uniform(graph: Graph) -> Plan:
    """Values under the policy that takes every allowed action equally often: what chance scores."""

    def mean(layer: Layer, value: Floats) -> Floats:
        count = np.bincount(layer.source, minlength=len(layer))
        total = np.bincount(layer.source, weights=value, minlength=len(layer))
        return np.where(count > 0, total / np.maximum(count, 1), -np.inf)

    return _backward(graph, mean)


def _backward(graph: Graph, combine: Callable[[Layer, Floats], Floats]) -> Plan:
    values: list[Floats] = []
    edge_values: list[Floats] = []
    for layer in reversed(graph.layers):
        onward = np.append(values[-1], 0.0) if values else np.zeros(1)
        edge_values.append(layer.reward + onward[layer.target])
        values.append(combine(layer, edge_values[-1]))
    return Plan(graph, tuple(reversed(values)), tuple(reversed(edge_values)))


@dataclass(frozen=True)
class SoftPlan:
    """The KL-regularised optimum of a graph, in nats: maximises E[R / c] - KL(pi || p) over whole episodes."""

    graph: Graph
    values: tuple[Floats, ...]  # of each layer's states: log sum_a exp Psi(s, a); in the first, log Z
    psi: tuple[Floats, ...]  # of each layer's edges: log p(a | s) + r / c + V(s')

    def log_policy(self, layer: int) -> Floats:
        """log pi*(a | s) = Psi(s, a) - V(s) of a layer's edges: float[e]."""
        return self.psi[layer] - self.values[layer][self.graph.layers[layer].source]


def soft_optimum(graph: Graph, log_prior: Sequence[Floats], c: float) -> SoftPlan:
    """Backward induction with log-sum-exp in place of the maximum.

    `log_prior` has log p(a | s) of each layer's edges, float[e]; c > 0 is the reward that a nat is worth. (Ziebart,
    "Modeling purposeful adaptive behavior", 2010; Jaques et al., "Sequence tutor", 2017, with gamma 1.)
    """
    if not 0 < c < np.inf:
        raise DescantError(
            f"c must be above 0 and finite, not {c}: it divides the reward. Without a prior: 'exact'."
        )
    values: list[Floats] = []
    psi: list[Floats] = []
    for layer, prior in zip(reversed(graph.layers), reversed(log_prior), strict=True):
        onward = np.append(values[-1], 0.0) if values else np.zeros(1)
        psi.append(prior + layer.reward / c + onward[layer.target])
        values.append(_log_sum(layer, psi[-1]))
    return SoftPlan(graph, tuple(reversed(values)), tuple(reversed(psi)))


def _log_sum(layer: Layer, value: Floats) -> Floats:
    """log sum exp over each state's edges: float[n] from float[e], -inf where there are none."""
    largest = np.full(len(layer), -np.inf)
    np.maximum.at(largest, layer.source, value)
    pivot = np.where(np.isfinite(largest), largest, 0.0)
    total = np.bincount(layer.source, weights=np.exp(value - pivot[layer.source]), minlength=len(layer))
    with np.errstate(divide="ignore"):
        result: Floats = pivot + np.log(total)
    return result


def count_episodes(graph: Graph) -> list[int]:
    """How many episodes there are from each start state, exactly (Python integers)."""
    onward: list[int] = []
    for layer in reversed(graph.layers):
        ways = np.array([*onward, 1], dtype=object)[layer.target]
        counts = np.zeros(len(layer), dtype=object)
        np.add.at(counts, layer.source, ways)
        onward = counts.tolist()
    return [int(count) for count in onward]


def follow(plan: Plan, start: int, rng: np.random.Generator | None = None) -> list[int]:
    """Actions of a best episode from one start state; the first of equals, or one drawn by `rng`."""
    row, actions = start, []
    for depth, layer in enumerate(plan.graph.layers):
        edges = np.flatnonzero((layer.source == row) & plan.best(depth))
        if not len(edges):
            raise DescantError("No episode can be finished from this start state under the actions allowed.")
        edge = edges[0] if rng is None else rng.choice(edges)
        actions.append(int(layer.action[edge]))
        row = int(layer.target[edge])
        if row < 0:
            break
    return actions
