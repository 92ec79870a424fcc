"""How agents with action values explore: policies over the allowed actions, as log-probabilities."""

from __future__ import annotations

import numpy as np

from descant.tasks import Bools, Floats


def epsilon_greedy(q: Floats, masks: Bools, epsilon: float) -> Floats:
    """Log-probabilities float[n, A]: epsilon over all allowed actions, the rest over the best of them."""
    allowed = np.where(masks, q, -np.inf)
    best = allowed == allowed.max(axis=1, keepdims=True)
    share = epsilon * masks / masks.sum(axis=1, keepdims=True)
    share = share + (1 - epsilon) * best / best.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_probs: Floats = np.log(share)
    return log_probs


def boltzmann(q: Floats, masks: Bools, temperature: float) -> Floats:
    """Log-probabilities float[n, A] of softmax(q / temperature) over the allowed actions."""
    scores = np.where(masks, q / temperature, -np.inf)
    scores = scores - scores.max(axis=1, keepdims=True)
    log_probs: Floats = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return log_probs
