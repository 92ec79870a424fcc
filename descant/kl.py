"""How far a policy is from its prior: the exact KL of each state, and the sampled estimators beside it.

Schulman's estimators ("Approximating KL divergence", 2020) of KL(pi || p) from actions of pi, with the log-ratio
l = log p(a) - log pi(a): k1 = -l (unbiased), k2 = l^2 / 2 (biased), k3 = exp(l) - 1 - l (unbiased, not negative).
"""

from __future__ import annotations

import numpy as np

from descant.tasks import Bools, Floats, Ints


def exact_kl(log_policy: Floats, log_prior: Floats) -> Floats:
    """KL(pi || p) of each row in nats, float[...], from log-probabilities float[..., A] of all actions.

    Actions that pi never takes add nothing, whatever the prior says of them.
    """
    if log_policy.ndim > 2:  # step by step, since copies of all of many words would not fit
        return np.stack([exact_kl(one, two) for one, two in zip(log_policy, log_prior, strict=True)])
    policy = np.exp(log_policy, dtype=np.float64)
    difference = np.where(policy > 0, log_policy - log_prior, 0.0)
    total: Floats = (policy * difference).sum(axis=-1)
    return total


def estimators(log_policy: Floats, log_prior: Floats) -> dict[str, Floats]:
    """k1, k2, k3 of each sampled action, float[...] each, from log-probabilities float[...] of the actions."""
    log_ratio = log_prior - log_policy
    return {"k1": -log_ratio, "k2": log_ratio**2 / 2, "k3": np.expm1(log_ratio) - log_ratio}


def meter(log_policy: Floats, log_prior: Floats, actions: Ints, valid: Bools) -> dict[str, float]:
    """What there is to log of a rollout, means over its valid steps.

    `kl` exact; `kl_k1`, `kl_k2`, `kl_k3` sampled and their standard errors `kl_k1_se` and so on; `entropy` of the
    policy and `prior_log_prob` of the actions taken, all in nats a step. log_policy and log_prior are
    float[T, N, A], actions int[T, N], valid bool[T, N].
    """
    steps = [_measured(*step) for step in zip(log_policy, log_prior, actions, valid, strict=True)]
    kl, spread, policy, prior = (np.concatenate(column) for column in zip(*steps, strict=True))
    sampled = estimators(policy, prior)
    record = {"kl": float(kl.mean()), "entropy": float(spread.mean())}
    record["prior_log_prob"] = float(prior.mean())
    for name, values in sampled.items():
        record[f"kl_{name}"] = float(values.mean())
        record[f"kl_{name}_se"] = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return record


def _measured(log_policy: Floats, log_prior: Floats, actions: Ints, valid: Bools) -> tuple[Floats, ...]:
    """Of one step's valid rows: KL, entropy, log-probabilities of the actions by policy and prior, float[k] each."""
    policy, prior, taken = log_policy[valid].astype(np.float64), log_prior[valid], actions[valid]
    probabilities, rows = np.exp(policy), np.arange(len(taken))
    spread = -(probabilities * np.where(probabilities > 0, policy, 0.0)).sum(axis=-1)
    return exact_kl(policy, prior), spread, policy[rows, taken], prior[rows, taken]
