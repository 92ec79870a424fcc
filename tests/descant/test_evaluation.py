"""Scores: 0 is the expectation of chance and 1 the optimum, both against brute force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import descant.evaluation
from descant import make_agent
from descant.evaluation import Anchors, anchors, evaluate, play
from descant.shells import TaskVectorEnv
from descant.tasks import Task, size, take_rows

from ..playing import task_of
from ..tiny_tasks import Dice, Echo, Heap, Recall

RNG = np.random.default_rng(0)


def episodes(
    task: Task[Any], state: Any, chance: float = 1.0, total: float = 0.0
) -> Iterator[tuple[float, float]]:
    """Chance under the uniform policy, and return, of every episode from a state of one row."""
    allowed = np.flatnonzero(task.action_mask(state)[0])
    for action in allowed.tolist():
        after, reward, ended = task.step(state, np.array([action]), RNG)
        so_far = (chance / len(allowed), total + float(reward[0]))
        if ended[0]:
            yield so_far
        else:
            yield from episodes(task, after, *so_far)


@pytest.mark.parametrize(
    "task",
    [
        Echo(symbols=3, steps=3),
        task_of("D4 E4 D4", "above", max_notes=3),
        task_of("D4 E4 D4", "below", mask="rules"),
    ],
    ids=["echo", "above", "below"],
)
def test_anchors_equal_brute_force(task: Task[Any]) -> None:
    found = anchors(task)
    starts = task.starts()
    for row in range(size(starts)):
        chances, returns = np.array(list(episodes(task, take_rows(starts, slice(row, row + 1))))).T
        assert chances.sum() == pytest.approx(1)
        assert found.random[row] == pytest.approx(chances @ returns)
        assert found.optimum[row] == pytest.approx(returns.max())


def test_chance_scores_0_and_the_optimum_1() -> None:
    scale = Anchors(np.array([-10.0, 0.0]), np.array([-2.0, 4.0]))
    np.testing.assert_allclose(scale.score(np.array([-10.0, 4.0])), [0, 1])
    np.testing.assert_allclose(scale.score(np.array([-6.0, -4.0])), [0.5, -1])


def test_where_nothing_can_be_better_than_chance_all_is_perfect() -> None:
    task = Echo(symbols=1)
    (outcome,) = evaluate(make_agent("random", TaskVectorEnv(task)), task)
    assert (outcome.value, outcome.optimum, outcome.random, outcome.score) == (3, 3, 3, 1)


def test_anchors_are_computed_once_for_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Echo()
    first = anchors(task)
    monkeypatch.setattr(descant.evaluation, "enumerate_task", None)
    assert anchors(task) is first


def test_the_exact_agent_scores_1_everywhere() -> None:
    task = task_of("dorian", "both")
    outcomes = evaluate(make_agent("exact", TaskVectorEnv(task)), task)
    assert len(outcomes) == 2
    np.testing.assert_allclose([outcome.score for outcome in outcomes], 1)
    assert all(outcome.metrics == {"legal": 1.0, "errors": 0.0} for outcome in outcomes)
    assert not any(finding.severity == "error" for outcome in outcomes for finding in outcome.findings)


def test_chance_scores_about_0_on_the_mean() -> None:
    task = Echo(symbols=4, steps=3)
    agent = make_agent("random", TaskVectorEnv(task))
    scores = [outcome.score for seed in range(300) for outcome in evaluate(agent, task, seed=seed)]
    assert np.mean(scores) == pytest.approx(0, abs=0.03)


def test_an_outcome_holds_what_there_is_to_say() -> None:
    task = task_of("D4 F4 E4 D4", "above")
    agent = make_agent("random", TaskVectorEnv(task))
    (outcome,) = evaluate(agent, task, seed=4)
    assert len(outcome.episode.actions) == 4
    assert len(outcome.episode.states) == 5
    assert -outcome.value == pytest.approx(sum(finding.cost for finding in outcome.findings))
    errors = sum(finding.severity == "error" for finding in outcome.findings)
    assert outcome.metrics == {"legal": 0.0, "errors": float(errors)}
    scale = anchors(task)
    assert (outcome.optimum, outcome.random) == (scale.optimum[0], scale.random[0])
    assert outcome.score == pytest.approx(
        (outcome.value - scale.random[0]) / (scale.optimum[0] - scale.random[0])
    )


def test_a_task_that_finds_no_fault_has_no_findings() -> None:
    task = Echo()
    outcomes = evaluate(make_agent("exact", TaskVectorEnv(task)), task)
    assert all(outcome.findings == () for outcome in outcomes)
    assert [outcome.metrics["last"] for outcome in outcomes] == [3.0, 0.0, 1.0, 2.0]


def test_rows_of_different_lengths_are_played_as_each_alone() -> None:
    task = Heap((3, 8, 5, 7))
    agent = make_agent("exact", TaskVectorEnv(task))
    together, returns = play(agent, task, task.starts())
    assert len({len(episode.actions) for episode in together}) > 1
    for row, episode in enumerate(together):
        start = take_rows(task.starts(), slice(row, row + 1))
        (alone,), (worth,) = play(agent, task, start)
        assert alone.actions == episode.actions
        assert worth == returns[row]
        assert len(episode.states) == len(episode.actions) + 1
        assert episode.states[-1].left[0] == 0
        assert [state.left[0] for state in episode.states] == [state.left[0] for state in alone.states]


def test_the_longest_and_the_shortest_cantus_together() -> None:
    """As in the benchmark: rows that have ended wait, and what the agent does there counts for nothing."""
    task = task_of("fux", "both")
    agent = make_agent("exact", TaskVectorEnv(task))
    together, returns = play(agent, task, task.starts())
    lengths = task.problems.lengths
    np.testing.assert_array_equal([len(episode.actions) for episode in together], lengths)
    for row in (int(lengths.argmin()), int(lengths.argmax())):
        (alone,), (worth,) = play(agent, task, take_rows(task.starts(), slice(row, row + 1)))
        assert alone.actions == together[row].actions
        assert worth == pytest.approx(returns[row])


def test_the_starts_given_are_left_as_they_were() -> None:
    task = Echo()
    starts = task.starts()
    play(make_agent("random", TaskVectorEnv(task)), task, starts)
    np.testing.assert_array_equal(starts.seen, task.starts().seen)
    np.testing.assert_array_equal(starts.left, task.starts().left)


def test_a_seed_fixes_the_draws_of_agent_and_task() -> None:
    echo, dice = Echo(), Dice()
    for task, starts in ((echo, echo.starts()), (dice, dice.reset(np.random.default_rng(1), 3))):
        agent = make_agent("random", TaskVectorEnv(task))
        found = [play(agent, task, starts, deterministic=False, seed=seed) for seed in (1, 2, 1)]
        actions = [[episode.actions for episode in one] for one, _ in found]
        assert actions[0] == actions[2] != actions[1]
        np.testing.assert_array_equal(found[0][1], found[2][1])


def test_a_recurrent_agent_is_told_where_episodes_begin_and_keeps_its_memory() -> None:
    class Memory:
        """Recalls the first symbol that it saw."""

        starts: list[list[bool]] = []

        def set_random_seed(self, seed: int) -> None:
            pass

        def predict(
            self, seen: Any, state: Any, start: Any, deterministic: bool, action_masks: Any
        ) -> tuple[Any, Any]:
            self.starts.append(start.tolist())
            state = np.where(start, seen, 0 if state is None else state)
            return state, state

    task = Recall(symbols=3, steps=3)
    _, returns = play(Memory(), task, task.reset(np.random.default_rng(0), 5))  # type: ignore[arg-type]
    np.testing.assert_array_equal(returns, 1)
    assert Memory.starts == [[True] * 5, [False] * 5, [False] * 5]


def test_an_episode_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descant.evaluation, "MAX_STEPS", 4)
    task = Echo(steps=100)
    played, returns = play(make_agent("exact", TaskVectorEnv(Echo(steps=100))), task, task.starts())
    assert [len(episode.actions) for episode in played] == [4] * 4
    np.testing.assert_array_equal(returns, 4)
