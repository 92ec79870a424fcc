"""Value iteration (Bellman 1957) on the model of an enumerable task.

    V(s) <- max_a sum_s' P(s'|s,a) (r + gamma V(s'))       for all states at once, until nothing moves

With gamma below 1 each sweep shrinks the error by gamma, so a last change of tolerance (1 - gamma) / gamma leaves V
within the tolerance of the optimum. With gamma 1 it is exact where every episode ends within so many steps, and
converges where going on for ever never pays.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from descant.errors import DescantError
from descant.models import MAX_STATES, Model, tabulate
from descant.tasks import Floats, Task

from .planners import Planner, Solution, acting


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen of value iteration."""

    gamma: float = 1.0
    """Discount of what comes after a step; 1 is the plain return."""
    tolerance: float = 1e-10
    """How far values may be from the optimum."""
    max_iterations: int = 100_000
    """Sweeps after which it gives up."""
    max_states: int = MAX_STATES
    """A task with more states is refused."""
    seed: int = 0
    """Of draws among equally good actions."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise DescantError(f"gamma must lie between 0 and 1, not {self.gamma}.")
        if not self.tolerance > 0 or self.max_iterations < 1 or self.max_states < 1:
            raise DescantError("tolerance, max_iterations and max_states must be above 0.")


def solve(model: Model, gamma: float, tolerance: float, max_iterations: int = 100_000) -> tuple[Floats, int]:
    """Optimal values of the states, float[S], and the number of sweeps; DescantError where they don't settle."""
    enough = tolerance * (1 - gamma) / gamma if 0 < gamma < 1 else tolerance
    values = np.zeros(len(model))
    for sweep in range(1, max_iterations + 1):
        before, values = values, model.best(model.backup(values, gamma))
        if np.abs(values - before).max() <= enough:
            return values, sweep
    raise DescantError(
        f"Values still change after {max_iterations} sweeps: going on for ever may pay here, so take gamma below 1, "
        "or a larger tolerance or max_iterations."
    )


class ValueIteration(Planner):
    """Acts greedily on the optimal values; uniform over equals, `deterministic` takes the first."""

    name: ClassVar[str] = "value-iteration"
    Config: ClassVar[type[Any]] = Config

    def plan(self, task: Task[Any]) -> Solution:
        """Tabulate the task and solve it."""
        config = self.config
        model = tabulate(task, config.max_states)
        values, _ = solve(model, config.gamma, config.tolerance, config.max_iterations)
        return acting(model, model.backup(values, config.gamma), values)
