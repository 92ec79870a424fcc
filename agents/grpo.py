"""GRPO: advantages normalised within a group of episodes from one start, a clipped ratio, several epochs.

    A_i = (R_i - mean R) / (std R + 1e-8),    L = -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A),
    rho = pi(a|s) / pi_old(a|s)

Sources: Shao et al. 2024 (DeepSeekMath), Guo et al. 2025 (DeepSeek-R1). `scale="none"` and `length="none"`: Dr. GRPO
(Liu et al. 2025), whose expected first step is (G-1)/G times the gradient of the expected return. `clip_high` above
`clip_low`, `length="token"` and `drop_equal`: DAPO (Yu et al. 2025). Differences: the KL to a prior is exact in each
state, where the papers sample k3; DAPO fills up for dropped groups, here they are only counted (`groups_dropped`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant.errors import DescantError
from descant.tasks import Bools, Floats

from .groups import GroupAgent, GroupConfig


@dataclasses.dataclass(frozen=True)
class Config(GroupConfig):
    """What can be chosen of GRPO."""

    epochs: int = 4
    """Passes over the episodes of an update."""
    minibatches: int = 1
    """Gradient steps in a pass; 1 with a recurrent policy."""
    clip_low: float = 0.2
    """How far below 1 the ratio still counts."""
    clip_high: float = 0.2
    """How far above 1 the ratio still counts."""
    scale: Literal["std", "none"] = "std"
    """Divide advantages by the deviation of their group, or not (Dr. GRPO)."""
    length: Literal["episode", "token", "none"] = "episode"
    """Mean over each episode's steps, over all steps (DAPO), or their sum (Dr. GRPO)."""
    drop_equal: bool = False
    """Leave out groups whose returns are all equal (DAPO)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1 or self.minibatches < 1 or (self.recurrent and self.minibatches > 1):
            raise DescantError(
                "epochs and minibatches must be 1 or more; with recurrent, set minibatches to 1."
            )
        if not 0 < self.clip_low <= 1 or self.clip_high <= 0:
            raise DescantError("clip_low must lie between 0 and 1, and clip_high be positive.")
        if self.scale not in ("std", "none") or self.length not in ("episode", "token", "none"):
            raise DescantError("scale must be std or none, and length episode, token or none.")


def group_advantages(returns: Floats, group_size: int, scale: str = "std") -> Floats:
    """Returns less their group's mean, by its deviation with scale "std": float[N], groups one after another."""
    groups = returns.reshape(-1, group_size)
    centred = groups - groups.mean(axis=1, keepdims=True)
    if scale == "std":
        centred = centred / (groups.std(axis=1, keepdims=True) + 1e-8)
    return centred.ravel()


def clipped_loss(log_probs: Tensor, old: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) of each step, float[B], from float[B] each."""
    ratio = (log_probs - old).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def length_weights(valid: Bools, length: str) -> Floats:
    """What each step weighs, float[T, N], for valid steps bool[T, N] of N episodes."""
    episodes = valid.any(axis=0).sum()
    if length == "none":
        return valid / episodes
    if length == "token":
        return valid / valid.sum()
    return valid / np.maximum(valid.sum(axis=0), 1) / episodes


class GRPO(GroupAgent):
    """Epochs of clipped steps on groups of episodes, each measured from the mean of its group."""

    name: ClassVar[str] = "grpo"
    Config: ClassVar[type[Any]] = Config

    def credit(self, returns: Floats) -> tuple[Floats, Bools]:
        """Advantages within each group; with `drop_equal`, groups without spread are left out."""
        size = self.config.group_size
        spread = np.ptp(returns.reshape(-1, size), axis=1) > 1e-9
        kept = np.repeat(spread, size) if self.config.drop_equal else np.ones(len(returns), bool)
        return group_advantages(returns, size, self.config.scale), kept

    def step_weights(self, valid: Bools) -> Floats:
        """By `length`."""
        return length_weights(valid, self.config.length)

    def step_loss(self, log_probs: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
        """The clipped loss."""
        return clipped_loss(log_probs, old, advantages, self.config.clip_low, self.config.clip_high)
