"""G-learning (Fox, Pakman and Tishby 2016; for sequences Jaques et al. 2017).

    G(s, a) <- r / c + gamma log sum_a' p(a'|s') exp G'(s', a')      pi proportional to p exp G

The sum is over allowed actions. With gamma 1 its fixed point is Psi - log p: what is to come is learned apart from the
prior, which is asked again whenever the agent acts.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from .soft_q import SoftConfig, SoftQ


@dataclasses.dataclass(frozen=True)
class Config(SoftConfig):
    """What can be chosen of G-learning."""


def g_target(
    rewards: Tensor, discounts: Tensor, terminated: Tensor, following: Tensor, next_prior: Tensor, c: float
) -> Tensor:
    """r / c + discount * logsumexp of log p(.|s') + G'(s', .): float[B].

    rewards, discounts float[B], terminated bool[B]; following, next_prior float[B, A], about -1e9 where masked.
    """
    onward = torch.logsumexp(following + next_prior, dim=-1)
    return rewards / c + torch.where(terminated, 0.0, discounts * onward)


class G(SoftQ):
    """Learns what the future adds to log p."""

    name: ClassVar[str] = "g"
    Config: ClassVar[type[Any]] = Config
    adds_prior: ClassVar[bool] = False

    def policy_logits(self, values: Tensor, log_prior: Tensor) -> Tensor:
        """log p + G."""
        return values + log_prior

    def targets(
        self, columns: dict[str, Any], log_prior: Tensor, following: Tensor, next_prior: Tensor
    ) -> Tensor:
        """`g_target` of a batch."""
        ends = (columns["discounts"], columns["terminated"])
        return g_target(columns["rewards"], *ends, following, next_prior, self.config.c)
