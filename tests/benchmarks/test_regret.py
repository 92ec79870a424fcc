"""`bench regret`: the measure itself, and what it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from descant.benchmarks.jobs import Done, Job
from descant.benchmarks.regret import (
    ENV,
    PLAN,
    C,
    jobs,
    log_policy_of,
    predicted_kl_q,
    regret,
    tables,
    train_one,
)
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
    untrained = train_one("g", 1, {"prior": "task", "c": C}, 0)
    assert train_one("g", 3_000, {"prior": "task", "c": C}, 0) < 0.1 < untrained


def done_of(values: dict[str, list[float]], error: str = "") -> list[Done]:
    """What jobs would have found: a value for each seed of each agent."""
    found = []
    for agent, own in values.items():
        for seed, value in enumerate(own):
            job = Job(f"{agent} seed {seed}", "", {"agent": agent, "seed": seed})
            found.append(Done(job, None if error else value, 1.0, error))
    return found


def test_a_bar_is_met_where_every_seed_is_under_it(tmp_path: Path) -> None:
    agents = [agent for agent, _, _, _ in PLAN]
    fine = {agent: [0.01, 0.04] for agent in agents}
    (table,) = tables(done_of(fine), tmp_path)
    assert table.met
    assert table.rows[0][:4] == ("psi", "5,000", "2", "0.0250")
    low, high = (float(end) for end in table.rows[0][4].split(" to "))
    assert (low, high) == pytest.approx((0.025 - 12.7062 * 0.015, 0.025 + 12.7062 * 0.015), abs=1e-4)
    (missed,) = tables(done_of(fine | {"ppo": [0.01, 0.06]}), tmp_path)
    assert not missed.met
    assert [row[0] for row in missed.rows if "MISSED" in row[-1]] == ["ppo"]


def test_failed_seeds_are_counted_and_shown(tmp_path: Path) -> None:
    agents = {agent: [0.01] for agent, _, _, _ in PLAN if agent != "g"}
    (table,) = tables([*done_of(agents), *done_of({"g": [0.0, 0.0]}, "out of memory")], tmp_path)
    assert not table.met
    assert table.rows[1][2] == "0 + 2 failed"
    assert table.failed == ("g seed 0: out of memory", "g seed 1: out of memory")


def test_there_is_a_job_for_every_seed_of_every_agent() -> None:
    made = jobs(range(3))
    assert len({job.key for job in made}) == len(made) == 3 * len(PLAN)
    assert {job.work for job in made} == {"descant.benchmarks.regret:train_one"}
