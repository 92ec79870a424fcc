"""Uniform over the actions allowed: what chance scores."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from descant.agent import Agent, Callback, Parts
from descant.tasks import Bools, Floats, Ints

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen: the seed of its draws."""

    seed: int = 0
    """Everything random follows from it."""


class Random(Agent):
    """Takes every allowed action equally often; has nothing to learn."""

    name: ClassVar[str] = "random"
    Config: ClassVar[type[Any]] = Config
    trains: ClassVar[bool] = False

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Nothing to learn: returns at once."""
        return self

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """-log of the number of allowed actions: float[n, A], -inf where masked."""
        n = len(observation if not isinstance(observation, dict) else next(iter(observation.values())))
        every = np.ones((n, int(self.action_space.n)), np.bool_)
        allowed = every if action_masks is None else action_masks
        share = -np.log(allowed.sum(axis=1, keepdims=True))
        return np.where(allowed, share, -np.inf)

    def act(
        self, batch: Any, state: Any, episode_start: Any, deterministic: bool, masks: Bools | None
    ) -> tuple[Ints, Any]:
        """Draws, `deterministic` or not: the first of equals would not be chance."""
        return super().act(batch, state, episode_start, False, masks)

    def parts(self) -> Parts:
        """Nothing but its name."""
        return Parts({}, {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Nothing to take back."""
