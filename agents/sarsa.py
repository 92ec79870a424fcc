"""Sarsa (Rummery and Niranjan 1994): learns the values of the policy that explores.

    Q(s, a) <- Q(s, a) + alpha (r + gamma Q(s', a') - Q(s, a)),   a' the action taken in s'

`expected` takes the mean over the policy's actions in place of Q(s', a') (van Seijen et al. 2009): the same fixed point
with less noise. Differences from the paper: rows of a vector environment share the table; where an episode was
truncated, not terminated, the state it was cut in counts, with an action drawn there.
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
    """What can be chosen of sarsa."""

    expected: bool = False
    """Learn from the mean over the policy's next actions, not from the one taken."""


def sarsa_targets(
    reward: Floats, terminated: Bools, next_q: Floats, next_actions: Ints, gamma: float
) -> Floats:
    """r + gamma Q(s', a'), float[n]; next_q float[n, A], next_actions int[n]."""
    taken = next_q[np.arange(len(next_q)), next_actions]
    return reward + np.where(terminated, 0.0, gamma * taken)


def expected_targets(
    reward: Floats, terminated: Bools, next_q: Floats, next_log_probs: Floats, gamma: float
) -> Floats:
    """r + gamma sum_a' pi(a'|s') Q(s', a'), float[n]; next_q and next_log_probs float[n, A]."""
    mean = (np.exp(next_log_probs) * next_q).sum(axis=1)
    return reward + np.where(terminated, 0.0, gamma * mean)


class Sarsa(Tabular):
    """Learns how good its own policy is, exploration included, and acts the better for it."""

    name: ClassVar[str] = "sarsa"
    Config: ClassVar[type[Any]] = Config

    def targets(
        self, reward: Floats, terminated: Bools, next_q: Floats, next_masks: Bools, next_actions: Ints
    ) -> Floats:
        """On-policy: what the next action is worth, or all of them by their probability."""
        if self.config.expected:
            log_probs = self.policy(next_q, next_masks)
            return expected_targets(reward, terminated, next_q, log_probs, self.config.gamma)
        return sarsa_targets(reward, terminated, next_q, next_actions, self.config.gamma)
