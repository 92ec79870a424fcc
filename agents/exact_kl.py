"""The exact KL-regularised optimum: the best there is between a prior's policy and the reward.

    pi* = argmax_pi E_pi[R / c] - KL(pi || p)    over whole episodes, in nats; c > 0 is the reward that a nat is worth

By backward induction on an enumerable, deterministic task that ends (gamma 1):

    Psi(s, a) = log p(a|s) + r / c + V(s')    V(s) = log sum_a exp Psi(s, a)    pi*(a|s) = exp(Psi(s, a) - V(s))
    G(s, a) = Psi(s, a) - log p(a|s) = r / c + log sum_a' p(a'|s') exp G(s', a')

V of the start is log Z, where Z = sum over episodes of p(episode) exp(R / c), and
pi*(episode) = p(episode) exp(R / c) / Z.
(Todorov, "Linearly-solvable Markov decision problems", 2007; Ziebart 2010; Jaques et al. 2017.)
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from descant.agent import Environment
from descant.errors import DescantError
from descant.planning import MAX_EDGES, Graph, enumerate_task, soft_optimum
from descant.priors import Prior, make_prior
from descant.shells import TaskVectorEnv
from descant.tasks import Floats, Task, join_rows

from .planners import Planner, Solution


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen of the exact KL-regularised optimum."""

    prior: str = ""
    """The policy to stay near: uniform, task (the environment's own), or a run or checkpoint."""
    c: float = 1.0
    """Reward that a nat of KL to the prior is worth: small follows the reward, large the prior."""
    max_edges: int = MAX_EDGES
    """A task with a larger graph is refused."""
    seed: int = 0
    """Of the actions drawn."""

    def __post_init__(self) -> None:
        if not 0 < self.c < np.inf:
            raise DescantError(
                f"c must be above 0 and finite, not {self.c}: it divides the reward. Without a prior, use 'exact'."
            )
        if self.max_edges < 1:
            raise DescantError(f"max_edges must be at least 1, not {self.max_edges}.")


class ExactKL(Planner):
    """Draws from the optimal policy near the prior; `values` of states are in nats."""

    name: ClassVar[str] = "exact-kl"
    Config: ClassVar[type[Any]] = Config
    needs_prior: ClassVar[bool] = True

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        if not config.prior:
            raise DescantError("Agent 'exact-kl' needs a prior: pass prior, such as uniform, task or a run.")
        super().__init__(env, config, spaces)
        if self.task is not None:
            prior_of(config.prior, self.task)  # what can't work is refused before any work

    def plan(self, task: Task[Any]) -> Solution:
        """Solve the graph backwards and lay its layers one below the other."""
        graph = enumerate_task(task, max_edges=self.config.max_edges)
        prior = prior_of(self.config.prior, task)
        soft = soft_optimum(graph, log_prior_of(graph, task, prior), self.config.c)
        place = np.cumsum([0, *map(len, graph.layers)])
        log_policy = np.full((place[-1], int(self.action_space.n)), -np.inf)
        for t, layer in enumerate(graph.layers):
            log_policy[place[t] + layer.source, layer.action] = soft.log_policy(t)
        ends = np.concatenate([layer.target < 0 for layer in graph.layers])
        source = np.concatenate([layer.source + place[t] for t, layer in enumerate(graph.layers)])[ends]
        action = np.concatenate([layer.action for layer in graph.layers])[ends]
        states = join_rows([layer.states for layer in graph.layers])
        return Solution(states, log_policy, np.concatenate(soft.values), source, action)


def prior_of(spec: str, task: Task[Any]) -> Prior:
    """The prior of that name on the task; DescantError where it is none or remembers what it has seen."""
    prior = make_prior(spec, TaskVectorEnv(task))
    if getattr(getattr(prior, "config", None), "recurrent", False):
        raise DescantError(
            f"The prior {spec} is recurrent, so its probabilities depend on more than the state: exact planning needs "
            "a feed-forward one."
        )
    return prior


def log_prior_of(graph: Graph, task: Task[Any], prior: Prior) -> list[Floats]:
    """The prior's log-probability of each layer's edges, float[e] each, normalised over the actions allowed."""
    found = []
    for layer in graph.layers:
        mask = np.zeros((len(layer), int(task.action_space.n)), bool)
        mask[layer.source, layer.action] = True
        log_probs = np.where(mask, prior.log_probs(task.observe(layer.states), action_masks=mask), -np.inf)
        log_probs = log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
        found.append(log_probs[layer.source, layer.action])
    return found
