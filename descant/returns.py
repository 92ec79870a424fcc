"""Targets of rollouts: generalised advantages and n-step returns, with ends and fake steps handled."""

from __future__ import annotations

import numpy as np

from descant.rollouts import Rollout
from descant.tasks import Floats


def next_values(rollout: Rollout, values: Floats, last: Floats, cut: Floats) -> Floats:
    """Value of what follows each step, float[T, N]: 0 where it terminated.

    `values` float[T, N] are of the observations acted on, `last` float[N] of the rollout's last observation, `cut`
    float[K] of `rollout.cut_observations`: an episode that was truncated went on, only unseen.
    """
    following = np.concatenate([values[1:], last[None]])
    following = np.where(rollout.terminated, 0.0, following)
    for (t, row), value in zip(rollout.cut, cut, strict=True):
        following[t, row] = value
    return following


def gae(rollout: Rollout, values: Floats, following: Floats, gamma: float, lam: float) -> Floats:
    """Generalised advantage estimates (Schulman et al. 2016), float[T, N]; 0 where a step is not valid.

    Cut at the end of an episode, terminated or truncated; `following` is `next_values`.
    """
    ended = rollout.terminated | rollout.truncated
    advantage = np.zeros(values.shape[1])
    out = np.zeros_like(values)
    for t in reversed(range(len(out))):
        delta = rollout.rewards[t] + gamma * following[t] - values[t]
        advantage = np.where(rollout.valid[t], delta + gamma * lam * np.where(ended[t], 0.0, advantage), 0.0)
        out[t] = advantage
    return out


def n_step_returns(rollout: Rollout, following: Floats, gamma: float, n: int) -> Floats:
    """Returns of n steps and then `following` (`next_values`), float[T, N]; fewer at an end or the rollout's edge."""
    ended = rollout.terminated | rollout.truncated
    steps = len(following)
    out = rollout.rewards + gamma * following
    for _ in range(n - 1):
        later = np.concatenate([out[1:], following[-1:]])
        longer = rollout.rewards + gamma * later
        edge = np.arange(steps)[:, None] == steps - 1
        out = np.where(ended | edge, rollout.rewards + gamma * following, longer)
    return np.where(rollout.valid, out, 0.0)
