"""The KL of rollouts is worked out step by step, in double precision, whatever is kept of the policy."""

from __future__ import annotations

import numpy as np
import pytest

from descant.kl import exact_kl, meter


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
