"""Policy iteration (Howard 1960) on the model of an enumerable task.

    evaluate   V = r_pi + gamma P_pi V            a linear system, solved exactly
    improve    pi(s) <- argmax_a sum_s' P(s'|s,a) (r + gamma V(s'))

until no action is better than the one chosen. It begins with the policy that takes every allowed action equally
often, which ends every episode that can end; so no policy on the way runs for ever, even with gamma 1, as long as steps
cost something.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, ClassVar

import numpy as np

from descant.errors import DescantError
from descant.models import MAX_STATES, Model, tabulate
from descant.tasks import Floats, Ints, Task

from .planners import Planner, Solution, acting


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen of policy iteration."""

    gamma: float = 1.0
    """Discount of what comes after a step; 1 is the plain return."""
    tolerance: float = 1e-10
    """An action must be better by more than this to be taken instead."""
    max_iterations: int = 1000
    """Improvements after which it gives up."""
    max_states: int = MAX_STATES
    """A task with more states is refused."""
    seed: int = 0
    """Of draws among equally good actions."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise DescantError(f"gamma must lie between 0 and 1, not {self.gamma}.")
        if not self.tolerance > 0 or self.max_iterations < 1 or self.max_states < 1:
            raise DescantError("tolerance, max_iterations and max_states must be above 0.")


def evaluate(model: Model, weights: Floats, gamma: float) -> Floats:
    """Values of the policy that takes each pair with probability `weights` float[E]: float[S], exactly.

    Raises DescantError where the policy never ends and gamma is 1.
    """
    from scipy.sparse import coo_matrix, identity
    from scipy.sparse.linalg import MatrixRankWarning, spsolve

    n = len(model)
    chance = weights[:, None] * model.probability
    on = model.target >= 0
    source = np.broadcast_to(model.source[:, None], model.target.shape)
    matrix = coo_matrix((chance[on], (source[on], model.target[on])), (n, n))
    reward = np.bincount(model.source, weights=(chance * model.reward).sum(axis=1), minlength=n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MatrixRankWarning)  # told below
        # In order of discovery, a task that runs in layers gives a triangular matrix: no other order fills in less.
        values: Floats = np.atleast_1d(
            spsolve((identity(n) - gamma * matrix).tocsc(), reward, permc_spec="NATURAL")
        )
    if not np.isfinite(values).all():
        raise DescantError("A policy never ends here, so it has no value with gamma 1: take gamma below 1.")
    return values


def improve(model: Model, pair_values: Floats, chosen: Ints, tolerance: float) -> Ints:
    """The pair of each state that is best, int[S]; the one `chosen` where none is better by `tolerance`."""
    table = model.table(pair_values)
    action = table.argmax(axis=1)
    first = model.first
    # Pairs of a state are in order of action: its pair for an action comes after those of smaller allowed ones.
    before = np.cumsum(model.mask, axis=1) - 1
    best = first + before[np.arange(len(model)), action]
    better = pair_values[best] > pair_values[chosen] + tolerance
    return np.where(better, best, chosen)


def solve(model: Model, gamma: float, tolerance: float, max_iterations: int = 1000) -> tuple[Floats, int]:
    """Optimal values of the states, float[S], and the number of improvements."""
    shares = 1.0 / model.mask.sum(axis=1)
    values = evaluate(model, shares[model.source], gamma)
    chosen = improve(model, model.backup(values, gamma), model.first, 0.0)
    for iteration in range(1, max_iterations + 1):
        weights = np.zeros(len(model.source))
        weights[chosen] = 1.0
        values = evaluate(model, weights, gamma)
        before, chosen = chosen, improve(model, model.backup(values, gamma), chosen, tolerance)
        if (chosen == before).all():
            return values, iteration
    raise DescantError(
        f"The policy still changes after {max_iterations} improvements: take a larger tolerance."
    )


class PolicyIteration(Planner):
    """Acts greedily on the values of the last policy; uniform over equals, `deterministic` takes the first."""

    name: ClassVar[str] = "policy-iteration"
    Config: ClassVar[type[Any]] = Config

    def plan(self, task: Task[Any]) -> Solution:
        """Tabulate the task and solve it."""
        config = self.config
        model = tabulate(task, config.max_states)
        values, _ = solve(model, config.gamma, config.tolerance, config.max_iterations)
        return acting(model, model.backup(values, config.gamma), values)
