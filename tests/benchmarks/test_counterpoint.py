"""`bench counterpoint`: what is measured of an agent, agreement with Fux, and which rows clear the bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.agent import Agent
from descant.agents.random import Random
from descant.benchmarks import counterpoint
from descant.benchmarks.counterpoint import (
    ANCHORS,
    ENV,
    PLAN,
    agreement,
    anchor,
    jobs,
    measure,
    tables,
    train_one,
)
from descant.benchmarks.jobs import Done, Job
from descant.evaluation import evaluate
from descant.makers import make_agent
from descant.music.counterpoint import actions_of
from descant.music.solutions import solved_problems
from descant.registry import tasks
from descant.tasks import Bools, Floats

TWELVE = tasks.get(ENV)(cantus="fux")


class Reciter(Random):
    """Knows Fux's lines by heart, but for the notes it is told to forget: there it has the lowest one allowed."""

    notes: dict[bytes, int]

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        log_probs = super().log_probs(observation, state, action_masks)
        for row, seen in enumerate(np.asarray(observation)):
            log_probs[row, self.notes.get(seen.tobytes(), int(np.isfinite(log_probs[row]).argmax()))] = 0.0
        return log_probs


def reciter(forget: int = 0) -> Agent:
    agent = Reciter(make_agent("random", ENV).env, Random.Config())
    agent.notes, rng = {}, np.random.default_rng(0)
    for problem, line in solved_problems():
        state = TWELVE.reset(rng, 1, {"cantus": problem.cantus, "position": problem.position})
        for action in actions_of(line):
            agent.notes[TWELVE.observe(state)[0].tobytes()] = action
            state, _, _ = TWELVE.step(state, np.array([action]), rng)
    for seen in list(agent.notes)[:forget]:
        del agent.notes[seen]
    return agent


def test_who_writes_what_fux_wrote_agrees_everywhere() -> None:
    assert agreement(reciter(), TWELVE) == 1.0


def test_agreement_goes_on_from_fuxs_line_after_a_miss() -> None:
    assert agreement(reciter(forget=7), TWELVE) == pytest.approx(1 - 7 / 56)


def test_chance_agrees_by_its_share_of_the_notes_within_reach() -> None:
    shares = []
    for problem, line in solved_problems():
        start = TWELVE.reset(
            np.random.default_rng(0), 1, {"cantus": problem.cantus, "position": problem.position}
        )
        shares += [1 / TWELVE.action_mask(start).sum()] * len(line)  # the range is that of the whole line
    assert agreement(make_agent("random", ENV), TWELVE) == pytest.approx(np.mean(shares))


def test_the_anchors_are_what_they_are_known_to_be() -> None:
    exact = anchor("exact", 0)
    assert (exact["score"], exact["legal"], exact["problems"]) == (pytest.approx(1), 12, 12)
    chance = anchor("random", 0)
    assert abs(chance["score"]) < 0.2
    assert chance["legal"] == 0
    assert chance["agreement"] < 0.06 < 0.4 < exact["agreement"] < 0.7
    assert 0 < exact["warnings"] < chance["warnings"]
    assert chance["worst"] < chance["score"]


def test_warnings_are_the_findings_that_are_no_errors() -> None:
    outcomes = evaluate(make_agent("random", ENV), TWELVE)
    errors = sum(outcome.metrics["errors"] for outcome in outcomes)
    findings = sum(len(outcome.findings) for outcome in outcomes)
    assert 0 < errors < findings
    assert measure(make_agent("random", ENV), TWELVE)["warnings"] == findings - errors


def test_training_draws_generated_cantus_firmi_and_is_measured_on_fuxs_twelve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def watched(agent: Agent, task: Any) -> dict[str, float]:
        seen.extend((agent.env.unwrapped.task, task))  # type: ignore[union-attr]
        return measure(agent, task)

    monkeypatch.setattr(counterpoint, "measure", watched)
    small = {"num_envs": 16, "hidden": (16,), "critic_hidden": (16,)}
    found = train_one("reinforce", 200, small, 0, pool=40)
    trained, judged = seen
    assert len(trained.problems.problems) == 80
    assert len(judged.problems.problems) == 12
    assert not {p.cantus for p in trained.problems.problems} & {p.cantus for p in judged.problems.problems}
    assert found["seconds"] > 0
    assert found["score"] < 0.9
    again = train_one("reinforce", 200, small, 0, pool=40)
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def value(score: float = 0.999, legal: float = 12, own: float = 0.5) -> dict[str, float]:
    return {
        "score": score,
        "worst": 0.99,
        "legal": legal,
        "problems": 12,
        "warnings": 90,
        "agreement": own,
        "seconds": 80,
    }


def found_by(own: dict[str, list[dict[str, float] | None]]) -> list[Done]:
    """What jobs would have found of each agent's seeds; None where a job failed."""
    fine = {agent: [value()] * 2 for agent, _, _ in PLAN} | {agent: [value()] for agent in ANCHORS}
    found = []
    for agent, values in (fine | own).items():
        for seed, each in enumerate(values):
            job = Job(f"{agent} seed {seed}", "", {"agent": agent, "seed": seed})
            found.append(Done(job, each, 1.0, "" if each else "out of memory"))
    return found


def missed(done: list[Done], tmp_path: Path) -> list[str]:
    (table,) = tables(done, tmp_path)
    return [row[0] for row in table.rows if "MISSED" in row[-1]]


@pytest.mark.parametrize("bad", [value(0.96), value(legal=11), None], ids=["score", "error", "failed"])
def test_one_bad_seed_misses_the_bars(bad: dict[str, float] | None, tmp_path: Path) -> None:
    agent = PLAN[1][0]
    assert missed(found_by({}), tmp_path) == []
    assert missed(found_by({agent: [value(), bad]}), tmp_path) == [agent]


def test_three_agents_must_clear_the_bars(tmp_path: Path) -> None:
    names = [agent for agent, _, _ in PLAN]
    for fine, met in ((3, True), (2, False)):
        bad: dict[str, list[dict[str, float] | None]] = {name: [value(0.9)] * 2 for name in names[fine:]}
        (table,) = tables(found_by(bad), tmp_path)
        assert table.met is met


def test_a_row_has_means_the_interval_and_the_worst_seed(tmp_path: Path) -> None:
    agent, steps, _ = PLAN[0]
    values = [value(0.98, 12, 0.4), value(0.99, 11, 0.6)]
    (table,) = tables(found_by({agent: [*values, None]}), tmp_path)
    row = dict(zip(table.columns, table.rows[1], strict=True))
    half = 12.7062 * 0.005  # t quantile of one degree of freedom times the standard error
    assert row == {
        "agent": agent,
        "steps": f"{steps:,}",
        "seeds": "2 + 1 failed",
        "score": "0.9850",
        "95 % interval": f"{0.985 - half:.4f} to {0.985 + half:.4f}",
        "worst seed": "0.9800",
        "without error, of 12": "11 to 12",
        "warnings": "90.0",
        "Fux's own note": "50.0%",
        "seconds": "80",
        "bars": ">= 0.97, 12 of 12  MISSED",
    }
    assert table.failed == (f"{agent} seed 2: out of memory",)
    assert [row[0] for row in table.rows] == ["random", *(name for name, _, _ in PLAN), "exact"]
    assert {r["agent"] for r in table.data if r["cleared"]} == {name for name, _, _ in PLAN[1:]}


def test_there_is_a_job_for_every_seed_of_every_agent_and_one_an_anchor() -> None:
    made = jobs(range(3))
    assert len({job.key for job in made}) == len(made) == 3 * len(PLAN) + len(ANCHORS)
    work = {job.work.rpartition(":")[2] for job in made if job.arguments["agent"] not in ANCHORS}
    assert work == {"train_one"}
