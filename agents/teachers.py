"""Policies that are learned from or kept near, asked along whole rollouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from descant.neural import NeuralAgent, pick
from descant.policies.encoders import flatten_time
from descant.rollouts import Rollout
from descant.tasks import Floats


def log_probs_along(policy: Any, rollout: Rollout) -> Floats:
    """Log-probabilities that a policy gives to all actions of each valid step, float[T, N, A]; 0 elsewhere.

    A recurrent policy is taken through the episodes step by step.
    """
    if isinstance(policy, NeuralAgent) and policy.networks["policy"].recurrent:
        return _recurrent_log_probs(policy, rollout)
    steps = torch.as_tensor(np.flatnonzero(rollout.valid))
    masks = None if rollout.masks is None else flatten_time(rollout.masks)[steps.numpy()]
    found = policy.log_probs(pick(flatten_time(rollout.observations), steps), action_masks=masks)
    out = np.zeros((rollout.valid.size, found.shape[1]))
    out[steps.numpy()] = found
    return out.reshape(*rollout.valid.shape, -1)


def _recurrent_log_probs(policy: NeuralAgent, rollout: Rollout) -> Floats:
    state: Any = None
    out = []
    for t, valid in enumerate(rollout.valid):
        masks = None if rollout.masks is None else rollout.masks[t]
        seen = pick(rollout.observations, torch.tensor(t))
        log_probs, state = policy.policy_step(seen, masks, rollout.starts[t], state)
        out.append(np.where(valid[:, None], log_probs.numpy().astype(np.float64), 0.0))
    return np.stack(out)
