"""The frontier of reward against KL: the exact one, and the one that policies reach.

Of all policies with that much KL(pi || p), the greatest mean reward is that of pi_c = p exp(R / c) / Z for some c, the
KL-regularised optimum: one for each start, with the same c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.planning import Graph, Layer, enumerate_task, soft_optimum
from descant.tasks import Floats, size, take_rows

Point = tuple[float, float]  # KL a line in nats, reward a line


def exact_points(prior: Agent, task: Any, starts: Any, cs: Sequence[float]) -> list[Point]:
    """KL and reward of the prior itself, then of the optimum at each c: means over the starts, nothing sampled."""
    total = np.zeros((1 + len(cs), 2))
    for k in range(size(starts)):
        graph = enumerate_task(task, take_rows(starts, [k]))
        log_prior = [_log_prior(prior, task, layer) for layer in graph.layers]
        total[0] += expected(graph, log_prior, log_prior)
        for row, c in enumerate(cs, start=1):
            plan = soft_optimum(graph, log_prior, c)
            total[row] += expected(graph, [plan.log_policy(t) for t in range(len(graph.layers))], log_prior)
    return [(float(kl), float(reward)) for kl, reward in total / size(starts)]


def expected(graph: Graph, log_policy: Sequence[Floats], log_prior: Sequence[Floats]) -> Floats:
    """KL to the prior and reward of a policy from the first start, by following its chances: float[2]."""
    here: Floats = np.ones(1)
    total: Floats = np.zeros(2)
    for layer, pi, p in zip(graph.layers, log_policy, log_prior, strict=True):
        flow = here[layer.source] * np.exp(pi)
        total += [flow @ (pi - p), flow @ layer.reward]
        going = layer.target >= 0
        here = np.bincount(layer.target[going], weights=flow[going]).astype(float)
    return total


def reward_at(points: Sequence[Point], kl: float) -> float:
    """Reward at that KL on straight lines between points in order of KL; beyond the last of them its own.

    What lies between two is reached by taking one policy or the other by lot for each line.
    """
    xs, ys = zip(*sorted(points), strict=True)
    return float(np.interp(kl, xs, ys))


def _log_prior(prior: Agent, task: Any, layer: Layer) -> Floats:
    """The prior's log-probability of a layer's edges, float[e]."""
    masks = np.zeros((len(layer), int(task.action_space.n)), bool)
    masks[layer.source, layer.action] = True
    found = prior.log_probs(task.observe(layer.states), action_masks=masks)[layer.source, layer.action]
    sums = np.bincount(layer.source, weights=np.exp(found), minlength=len(layer))  # networks count in float32
    normalised: Floats = found - np.log(sums)[layer.source]
    return normalised
