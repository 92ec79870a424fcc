"""Q-learning (Watkins 1989): learns the optimal values while it explores.

    Q(s, a) <- Q(s, a) + alpha (r + gamma max_a' Q(s', a') - Q(s, a))

Differences from the thesis: rows of a vector environment share the table; a step is learned from when the next action
has been chosen, so one step later; the maximum is over the allowed actions; where an episode was truncated, not
terminated, the state it was cut in counts.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from descant.tasks import Bools, Floats, Ints

from .tabular import Tabular
from .tabular_config import TabularConfig


@dataclasses.dataclass(frozen=True)
class Config(TabularConfig):
    """What can be chosen of q-learning."""


def q_targets(reward: Floats, terminated: Bools, next_q: Floats, next_masks: Bools, gamma: float) -> Floats:
    """r + gamma max over allowed a' of Q(s', a'), float[n]; next_q float[n, A], next_masks bool[n, A]."""
    best = np.where(next_masks, next_q, -np.inf).max(axis=1)
    return reward + np.where(terminated, 0.0, gamma * best)


class QLearning(Tabular):
    """Learns the values of the best policy whatever it does itself, as long as it tries everything."""

    name: ClassVar[str] = "q-learning"
    Config: ClassVar[type[Any]] = Config

    def targets(
        self, reward: Floats, terminated: Bools, next_q: Floats, next_masks: Bools, next_actions: Ints
    ) -> Floats:
        """Off-policy: the next action counts for nothing."""
        return q_targets(reward, terminated, next_q, next_masks, self.config.gamma)
