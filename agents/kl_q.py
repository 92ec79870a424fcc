"""Q-learning with the log-prior in the reward (Jaques et al. 2017, "Q with log prior reward").

    Q(s, a) <- log p(a|s) + r / c + gamma max_a' Q'(s', a')      pi greedy, or softmax Q

The maximum is over allowed actions. It is the target of a policy without entropy: the fixed point holds the best single
sequence, not the best distribution, and so leaves a regret that psi and g don't.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from .dqn import check_exploration, epsilon_greedy
from .soft_q import SoftConfig, SoftQ


@dataclasses.dataclass(frozen=True)
class Config(SoftConfig):
    """What can be chosen of Q-learning with the log-prior in the reward."""

    initialize: bool = True
    """Begin with the prior's weights where its network is like this one, else from scratch."""
    exploration: Literal["epsilon-greedy", "boltzmann"] = "boltzmann"
    """How to act: by softmax of the values, or greedily with any allowed action now and then."""
    epsilon_start: float = 1.0
    """Share of random actions at the beginning."""
    epsilon_end: float = 0.05
    """The same once exploration is over."""
    exploration_fraction: float = 0.2
    """Part of the training in which the share falls, in a line."""
    temperature: float = 1.0
    """Of Boltzmann exploration, in nats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_exploration(self)


def kl_q_target(
    log_prior: Tensor, rewards: Tensor, discounts: Tensor, terminated: Tensor, following: Tensor, c: float
) -> Tensor:
    """log p(a|s) + r / c + discount * max Q'(s', .): float[B].

    log_prior, rewards, discounts float[B], terminated bool[B]; following float[B, A], about -1e9 where masked.
    """
    onward = torch.where(terminated, 0.0, discounts * following.amax(dim=-1))
    return log_prior + rewards / c + onward


class KLQ(SoftQ):
    """Learns the best sequence under r / c + log p."""

    name: ClassVar[str] = "kl-q"
    Config: ClassVar[type[Any]] = Config

    @property
    def epsilon(self) -> float:
        """Share of random actions now."""
        first, last = self.config.epsilon_start, self.config.epsilon_end
        return first + (last - first) * min((1 - self.left) / self.config.exploration_fraction, 1.0)

    def policy_logits(self, values: Tensor, log_prior: Tensor) -> Tensor:
        """The values over the temperature, or greedy with a share of chance."""
        if self.config.exploration == "epsilon-greedy":
            return epsilon_greedy(values, self.epsilon)
        return values / self.config.temperature

    def targets(
        self, columns: dict[str, Any], log_prior: Tensor, following: Tensor, next_prior: Tensor
    ) -> Tensor:
        """`kl_q_target` of a batch."""
        ends = (columns["discounts"], columns["terminated"])
        return kl_q_target(log_prior, columns["rewards"], *ends, following, self.config.c)
