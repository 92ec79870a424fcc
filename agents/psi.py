"""Psi-learning (Rawlik, Toussaint and Vijayakumar 2012; for sequences Jaques et al. 2017).

    Psi(s, a) <- log p(a|s) + r / c + gamma log sum_a' exp Psi'(s', a')      pi = softmax Psi

The sum is over allowed actions. With gamma 1 its fixed point is log pi* up to a constant in each state, where
pi* is the policy that maximises E[sum r] / c - KL(pi || p); log sum_a exp Psi at the start is log Z.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from .soft_q import SoftConfig, SoftQ


@dataclasses.dataclass(frozen=True)
class Config(SoftConfig):
    """What can be chosen of psi-learning."""

    initialize: bool = True
    """Begin with the prior's weights where its network is like this one, else from scratch."""


def psi_target(
    log_prior: Tensor, rewards: Tensor, discounts: Tensor, terminated: Tensor, following: Tensor, c: float
) -> Tensor:
    """log p(a|s) + r / c + discount * logsumexp Psi'(s', .): float[B].

    log_prior, rewards, discounts float[B], terminated bool[B]; following float[B, A], about -1e9 where masked.
    """
    onward = torch.where(terminated, 0.0, discounts * torch.logsumexp(following, dim=-1))
    return log_prior + rewards / c + onward


class Psi(SoftQ):
    """Learns log pi* itself: its values are logits."""

    name: ClassVar[str] = "psi"
    Config: ClassVar[type[Any]] = Config

    def policy_logits(self, values: Tensor, log_prior: Tensor) -> Tensor:
        """The values."""
        return values

    def targets(
        self, columns: dict[str, Any], log_prior: Tensor, following: Tensor, next_prior: Tensor
    ) -> Tensor:
        """`psi_target` of a batch."""
        ends = (columns["discounts"], columns["terminated"])
        return psi_target(log_prior, columns["rewards"], *ends, following, self.config.c)
