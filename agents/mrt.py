"""MRT: minimum risk training (Shen et al. 2016), the expected risk over a sampled subset, renormalised.

    Q(y) = p(y)^alpha / sum over y' in S of p(y')^alpha,    loss = - 1/alpha sum over y in S of Q(y) R(y)

S are the different episodes among those drawn from one start, each once; with `reference`, the reference is one of
them. Differences from the paper are listed in docs/mrt.md.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from descant.agent import Environment
from descant.errors import DescantError
from descant.references import References
from descant.rollouts import Act, Rollout
from descant.tasks import Bools, Floats, Ints
from descant.text.vocabularies import PAD

from .groups import GroupAgent, GroupConfig


@dataclasses.dataclass(frozen=True)
class Config(GroupConfig):
    """What can be chosen of MRT."""

    alpha: float = 0.005
    """Sharpness: 0 would count all episodes of a subset alike, 1 by their probability."""
    reference: bool = False
    """Make the reference one of each subset, as in the paper, where the environment has references."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha < np.inf:
            raise DescantError(f"alpha must be positive, not {self.alpha}.")


def firsts(actions: Ints, valid: Bools, group_size: int) -> Bools:
    """Whether an episode is the first of its kind in its group, bool[N], from actions int[T, N]."""
    rows = np.where(valid, actions, -1).T
    found = np.zeros(len(rows), bool)
    for start in range(0, len(rows), group_size):
        _, first = np.unique(rows[start : start + group_size], axis=0, return_index=True)
        found[start + first] = True
    return found


def renormalised(log_probs: Floats, alpha: float, group_size: int, kept: Bools) -> Floats:
    """Q of each episode, float[N], 0 where it is not kept; from log-probabilities float[N] of whole episodes."""
    scores = np.where(kept, alpha * log_probs, -np.inf).reshape(-1, group_size)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = (weights / weights.sum(axis=1, keepdims=True)).ravel()
    return shares


def risk_weights(shares: Floats, returns: Floats, group_size: int) -> Floats:
    """Minus the loss's derivative by each episode's log-probability, Q (R - mean of R under Q), float[N]."""
    own, earned = shares.reshape(-1, group_size), returns.reshape(-1, group_size)
    mean = (own * earned).sum(axis=1, keepdims=True)
    weights: Floats = (own * (earned - mean)).ravel()
    return weights


class MRT(GroupAgent):
    """One gradient step down the risk of subsets of what can be written."""

    name: ClassVar[str] = "mrt"
    Config: ClassVar[type[Any]] = Config

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        wanted = config.reference and env is not None
        self.known = References(env, "reference") if wanted else None

    def recording_actor(self, seen: list[Tensor]) -> Act:
        """As of every agent with groups; with `reference`, each group's first row writes the reference."""
        free = super().recording_actor(seen)
        if self.known is None:
            return free
        known, t, targets = self.known, -1, np.zeros((0, 0), np.int32)

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal t, targets
            t += 1
            if t == 0:
                targets = known.of(observation)
            actions = free(observation, masks, starts)
            words = targets[:: self.config.group_size, t]
            first = actions[:: self.config.group_size]
            actions[:: self.config.group_size] = np.where(words == PAD, first, words)
            return actions

        return act

    def credits(self, returns: Floats, rollout: Rollout, taken: Floats) -> tuple[Floats, Bools]:
        """Minus the derivative of the risk by each episode's log-probability; repeated ones are left out."""
        c, valid = self.config, rollout.valid
        kept = firsts(rollout.actions, valid, c.group_size)
        chances = np.where(valid, taken, 0.0).sum(axis=0)
        written = kept & ~(chances <= UNWRITABLE)  # what is no number is found with the gradient
        shares = renormalised(chances, c.alpha, c.group_size, written)
        # The loss is a mean over groups, the steps' weights are over episodes.
        scale = written.sum() / (len(returns) / c.group_size)
        return scale * risk_weights(shares, returns, c.group_size), written

    def credit(self, returns: Floats) -> tuple[Floats, Bools]:
        """Not by returns alone."""
        raise NotImplementedError

    def step_loss(self, log_probs: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
        """-A log pi(a|s), float[B]."""
        return -advantages * log_probs


UNWRITABLE = -1e8  # a reference with an unknown word, which the mask forbids
