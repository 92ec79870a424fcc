"""The KL of rollouts is worked out step by step, in double precision, whatever is kept of the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.control import policy_log_probs
from descant.kl import exact_kl, meter
from descant.makers import make_agent

from ..agents.tiny_translations import FORM, tiny


def test_single_precision_costs_only_its_own_digits() -> None:
    rng = np.random.default_rng(0)
    policy, prior = (np.log(rng.dirichlet(np.ones(50), (4, 3))) for _ in range(2))
    whole = (np.exp(policy) * (policy - prior)).sum(axis=-1)
    np.testing.assert_allclose(exact_kl(policy, prior), whole, rtol=1e-12)
    found = exact_kl(policy.astype(np.float32), prior)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    actions, valid = rng.integers(50, size=(4, 3)), rng.random((4, 3)) < 0.7
    assert meter(policy, prior, actions, valid)["kl"] == pytest.approx(whole[valid].mean(), rel=1e-12)


def test_translations_are_kept_in_single_precision(tmp_path: Path) -> None:
    agent, prior = (make_agent("rloo", tiny(tmp_path, 4), **FORM, group_size=2, seed=n) for n in (0, 1))
    agent.control.prior = prior
    rollout = agent.collector.episodes(agent.actor(), seed=1)
    found = agent.control.log_prior(rollout)
    assert found.dtype == policy_log_probs(agent.networks["policy"], rollout).dtype == np.float32
    seen: Any = {key: part[0] for key, part in rollout.observations.items()}
    alone, allowed = prior.log_probs(seen, None, rollout.masks[0]), rollout.masks[0]
    np.testing.assert_allclose(found[0][allowed], alone[allowed], rtol=1e-5)
    assert (found[0][~allowed] < -1e8).all()
