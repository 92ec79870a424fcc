"""`bench regret`: the measure itself, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest

from descant.benchmarks.regret import ENV, C, Row, log_policy_of, measure, predicted_kl_q, regret, train_one
from descant.makers import make_agent
from descant.registry import tasks


def test_the_optimum_has_no_regret() -> None:
    agent = make_agent("exact-kl", ENV, prior="task", c=C)
    assert regret(agent, tasks.get(ENV)(), C) == pytest.approx(0, abs=1e-9)


def test_the_regret_of_chance_is_its_kl_to_the_optimum() -> None:
    task = tasks.get(ENV)()
    sequences, reward, log_prior = task.sequences()
    optimal = log_prior + reward / C - np.logaddexp.reduce(log_prior + reward / C)
    log_policy = log_policy_of(make_agent("random", ENV), task, sequences)
    assert np.exp(log_policy).sum() == pytest.approx(1)
    divergence = (np.exp(log_policy) * (log_policy - optimal)).sum()
    assert regret(make_agent("random", ENV), task, C) == pytest.approx(divergence, abs=1e-9)


def test_a_hard_maximum_must_leave_regret() -> None:
    assert predicted_kl_q(tasks.get(ENV)(), C) == pytest.approx(0.1295, abs=1e-4)


def test_learning_lessens_the_regret() -> None:
    untrained, _ = train_one(("g", 1, {"prior": "task", "c": C}, 0))
    trained, error = train_one(("g", 3_000, {"prior": "task", "c": C}, 0))
    assert not error
    assert trained < 0.1 < untrained


def test_failed_seeds_are_counted_and_shown() -> None:
    rows = measure([0, 1], workers=1, plan=[("g", 100, {"prior": "task", "c": 0.0}, 0.05)])
    assert [len(row.failed) for row in rows] == [2]
    assert "seed 1" in rows[0].failed[1]
    assert not rows[0].met


def test_a_row_is_met_where_every_seed_is_under_the_bar() -> None:
    assert Row("psi", 10, (0.01, 0.04), (), 0.05).met
    assert not Row("psi", 10, (0.01, 0.06), (), 0.05).met
    low, high = Row("psi", 10, (0.01, 0.03), (), 0.05).interval
    assert low == pytest.approx(0.02 - 12.7062 * 0.01, abs=1e-4)
    assert high == pytest.approx(0.02 + 12.7062 * 0.01, abs=1e-4)
