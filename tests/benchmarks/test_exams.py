"""Examinations: costs are exact, on one's own path and on the teacher's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from descant import make_agent
from descant.benchmarks.exams import Exam, a_line, by_length, exam_on, sit, tally
from descant.commands.evaluate import fux_outcomes
from descant.evaluation import anchors
from descant.shells import TaskVectorEnv, make_task
from descant.tasks import size, take_rows

ENV = "descant/Counterpoint-v0"


@pytest.fixture(scope="module")
def exam() -> Exam:
    task = make_task(ENV, cantus="fux")
    return exam_on(task, take_rows(task.starts(), [0, 1, 2, 3, 6]))


@pytest.fixture(scope="module")
def untaught() -> Any:
    return make_agent("bc", ENV, num_envs=2, hidden=(16,), seed=3)


def test_scores_are_those_of_evaluate(exam: Exam, untaught: Any) -> None:
    told = [outcome.score for outcome in fux_outcomes(untaught, {}).values()]
    assert sit(untaught, exam).score == pytest.approx([told[i] for i in (0, 1, 2, 3, 6)])


def test_anchors_are_those_of_all_starts_at_once(exam: Exam) -> None:
    whole = anchors(exam.task)
    assert exam.anchors.random == pytest.approx(whole.random[[0, 1, 2, 3, 6]])
    assert exam.anchors.optimum == pytest.approx(whole.optimum[[0, 1, 2, 3, 6]])


def test_on_its_own_path_the_costs_of_an_agent_sum_to_its_regret(exam: Exam, untaught: Any) -> None:
    paper = sit(untaught, exam)
    span = exam.anchors.optimum - exam.anchors.random
    assert paper.cost.sum(axis=0) == pytest.approx((1 - paper.score) * span)
    assert paper.cost.min() > -1e-9
    lengths = [len(problem.cantus) for problem in exam.task.problems.problems]
    assert paper.written.sum(axis=0).tolist() == [lengths[i] for i in (0, 1, 2, 3, 6)]
    assert not paper.cost[~paper.written].any()


def test_on_the_teachers_path_the_line_is_perfect_and_only_the_agents_notes_count(
    exam: Exam, untaught: Any
) -> None:
    paper = sit(untaught, exam, np.random.default_rng(0))
    assert paper.score == pytest.approx(np.ones(5))
    assert 0.3 < paper.wrong[paper.written].mean() < 1
    assert (paper.cost[0] == sit(untaught, exam).cost[0]).all()  # the first note is in the same state


def test_the_optimum_errs_on_neither_path() -> None:
    task = make_task(ENV, cantus="dorian", position="above")
    exact, dorian = make_agent("exact", TaskVectorEnv(task)), exam_on(task)
    for guide in (None, np.random.default_rng(1)):
        assert not sit(exact, dorian, guide).wrong.any()


def test_the_guide_draws_among_all_that_is_best() -> None:
    """Two guides differ where there are two best lines, and agree where there is one."""
    task = make_task("descant/Tokens-v0")
    agent = make_agent("random", TaskVectorEnv(task))
    tokens = exam_on(task)
    one, two = (sit(agent, tokens, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.score == two.score == pytest.approx(np.ones(size(task.starts())))


def test_a_tally_counts_by_position_and_by_length(exam: Exam, untaught: Any) -> None:
    paper = sit(untaught, exam)
    found = tally([paper, paper])
    assert sum(found["lines"]) == 10
    assert sum(found["notes"]) == 2 * paper.written.sum()
    assert found["notes"][0] == 10
    assert found["notes"][13] == 2 * sum(paper.written.sum(axis=0) >= 14)
    assert sum(found["wrong"]) == 2 * paper.wrong.sum()
    assert sum(found["cost"]) == pytest.approx(2 * paper.cost.sum())
    assert a_line(found, "cost") == pytest.approx(paper.cost.sum() / 5)
    of_eleven = paper.cost.sum(axis=0)[paper.written.sum(axis=0) == 11]
    assert by_length(found, 11, 11) == pytest.approx(of_eleven.mean())
    assert sum(found["regret"]) == pytest.approx(sum(found["cost"]))
