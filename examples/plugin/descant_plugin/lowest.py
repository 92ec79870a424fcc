"""An agent with nothing to learn: the lowest action allowed."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from descant.agent import Agent, Parts
from descant.tasks import Bools, Floats


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen: of agents that draw, the seed."""

    seed: int = 0


class Lowest(Agent):
    """All probability on the lowest action that is allowed."""

    name: ClassVar[str] = "lowest"
    Config: ClassVar[type[Any]] = Config
    trains: ClassVar[bool] = False

    def learn(
        self, total_timesteps: int, callback: Any = None, tracker: Any = None, progress_bar: bool = False
    ) -> Self:
        """Nothing to learn."""
        return self

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """0 for that action, -inf for the others: float[n, A]."""
        n = len(observation if not isinstance(observation, dict) else next(iter(observation.values())))
        allowed = np.ones((n, int(self.action_space.n)), bool) if action_masks is None else action_masks
        found = np.full(allowed.shape, -np.inf)
        found[np.arange(n), allowed.argmax(axis=1)] = 0.0
        return found

    def parts(self) -> Parts:
        """Nothing but its name."""
        return Parts({}, {})

    def restore(self, checkpoint: Any) -> None:
        """Nothing to take back."""
