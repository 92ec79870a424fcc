"""Importance weights: learning from episodes that another policy acted (Precup, Sutton and Singh 2000).

    rho_t = pi(a_t|s_t) / b(a_t|s_t),    w_t = rho_1 rho_2 ... rho_t

Per decision, a reward counts with the weights of the actions up to it: the expectation under b is that under pi.

    E_b[ sum_t grad log pi_t ( sum over k >= t of gamma^(k-t) w_k r_k  -  w_t b_t ) ]

The first-order approximation weighs a step by its own action alone, rho_t (G_t - b_t): what came before and comes after
is left as b had it. Its expectation is the gradient at pi of the surrogate whose gradient at b is that of the return.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from descant.rollouts import Rollout
from descant.tasks import Floats

Importance = Literal["per-decision", "first-order"]


def ratios_of(log_policy: Floats, log_behaviour: Floats, rollout: Rollout) -> Floats:
    """rho of the actions taken, float[T, N], 1 where a step is not valid; from float[T, N, A] each."""
    taken = rollout.actions[..., None]
    now, then = (np.take_along_axis(x, taken, axis=-1)[..., 0] for x in (log_policy, log_behaviour))
    return np.where(rollout.valid, np.exp(np.where(rollout.valid, now - then, 0.0)), 1.0)


def weighted_returns(
    rollout: Rollout,
    ratios: Floats,
    gamma: float,
    reward_to_go: bool,
    importance: Importance,
    clip: float = 0.0,
) -> tuple[Floats, Floats]:
    """Weighted returns of each step and the weight of its baseline, float[T, N] each, of whole episodes.

    `clip` is the largest weight; 0 sets no bound. A bound makes the gradient biased and less noisy.
    """
    weights = np.cumprod(ratios, axis=0, dtype=np.float64) if importance == "per-decision" else ratios
    if clip:
        weights = np.minimum(weights, clip)
    if importance == "first-order":
        returns = rollout.returns(gamma)
        return weights * (returns if reward_to_go else returns[:1]), weights
    discount = gamma ** np.arange(len(ratios))[:, None]
    rewards = np.where(rollout.valid, rollout.rewards, 0.0)
    onward = dataclasses.replace(rollout, rewards=weights * rewards).returns(gamma)
    if reward_to_go:
        return onward, weights
    before = np.cumsum(discount * rewards, axis=0) - discount * rewards
    return weights * before + discount * onward, weights
