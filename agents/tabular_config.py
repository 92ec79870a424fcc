"""The options that q-learning and sarsa share."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from descant.errors import DescantError


@dataclasses.dataclass(frozen=True)
class TabularConfig:
    """What can be chosen of an agent with a table."""

    num_envs: int = 16
    """Rows of the environment, where the agent makes it from an id."""
    gamma: float = 0.99
    """Discount of what comes after a step."""
    learning_rate: float = 0.2
    """Share of the way to its target that a value goes, 0 to 1."""
    lr_schedule: Literal["constant", "linear", "visits"] = "constant"
    """linear falls to zero at the end; visits divides by the pair's number of visits to the power lr_power."""
    lr_power: float = 0.7
    """Above 0.5 and up to 1, values converge to their fixed point."""
    exploration: Literal["epsilon-greedy", "boltzmann"] = "epsilon-greedy"
    """Any allowed action with probability epsilon and else the best; or softmax of value / temperature."""
    epsilon: float = 1.0
    """Share of random actions at the beginning."""
    epsilon_final: float = 0.05
    """The same after exploration_fraction of the training; in between it goes in a line."""
    temperature: float = 1.0
    """Temperature of boltzmann at the beginning, in units of value."""
    temperature_final: float = 0.05
    """The same after exploration_fraction of the training."""
    exploration_fraction: float = 0.5
    """Share of the training in which epsilon or temperature changes."""
    initial_value: float = 0.0
    """Value of what was never tried; a high one explores."""
    bins: int = 8
    """Parts that each column of a continuous observation is cut into."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        if self.lr_schedule not in ("constant", "linear", "visits"):
            raise DescantError(f"lr_schedule must be constant, linear or visits, not {self.lr_schedule!r}.")
        if self.exploration not in ("epsilon-greedy", "boltzmann"):
            raise DescantError(f"exploration must be epsilon-greedy or boltzmann, not {self.exploration!r}.")
        for name in (
            "gamma",
            "learning_rate",
            "lr_power",
            "epsilon",
            "epsilon_final",
            "exploration_fraction",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise DescantError(f"{name} must lie between 0 and 1, not {getattr(self, name)}.")
        if not (self.temperature > 0 and self.temperature_final > 0 and np.isfinite(self.initial_value)):
            raise DescantError("temperature and temperature_final must be above 0, initial_value finite.")
        if self.num_envs < 1 or self.bins < 1 or self.learning_rate == 0:
            raise DescantError("num_envs and bins must be at least 1, learning_rate above 0.")
