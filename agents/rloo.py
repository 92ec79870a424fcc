"""RLOO: REINFORCE with the mean return of the other episodes from the same start as baseline.

    A_i = R_i - 1/(G-1) sum over j != i of R_j,    g = 1/N sum_i A_i sum_t grad log pi(a_t | s_t)

Sources: Kool, van Hoof and Welling 2019 (Buy 4 REINFORCE samples, get a baseline for free!); Ahmadian et al. 2024
(Back to basics). The baseline does not depend on the episode it is taken from, so the gradient is unbiased.
Differences: an entropy bonus, the KL to a prior in the loss or the reward, Adam, gradients clipped by norm.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from descant.tasks import Bools, Floats

from .groups import GroupAgent, GroupConfig


@dataclasses.dataclass(frozen=True)
class Config(GroupConfig):
    """What can be chosen of RLOO."""


def leave_one_out(returns: Floats, group_size: int) -> Floats:
    """Each return less the mean of the others of its group: float[N] from float[N], groups one after another."""
    groups = returns.reshape(-1, group_size)
    others = (groups.sum(axis=1, keepdims=True) - groups) / (group_size - 1)
    return (groups - others).ravel()


class RLOO(GroupAgent):
    """One gradient step on groups of episodes, each measured from the others of its group."""

    name: ClassVar[str] = "rloo"
    Config: ClassVar[type[Any]] = Config

    def credit(self, returns: Floats) -> tuple[Floats, Bools]:
        """Returns less the mean of the others; every episode is learned from."""
        return leave_one_out(returns, self.config.group_size), np.ones(len(returns), bool)

    def step_loss(self, log_probs: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
        """-A log pi(a|s), float[B]."""
        return -advantages * log_probs
