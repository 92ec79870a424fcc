"""Exact planning against brute force, and the numbers of Fux's problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import descant.planning
from descant.envs.counterpoint import Counterpoint
from descant.errors import DescantError
from descant.music.cantus_firmi import Line
from descant.music.counterpoint import CANTUS_PITCHES, GAMUT, POSITIONS
from descant.music.pitches import parse_line
from descant.planning import (
    Plan,
    count_episodes,
    enumerate_task,
    follow,
    optimum,
    uniform,
)
from descant.tasks import Bools, Floats, Ints, Task, take_rows

from ..playing import RNG, play, task_of
from ..tiny_tasks import Dice, Echo, Heap

Allowed = Callable[[Any], Bools]


@dataclass
class Brute:
    """All episodes of a task of one start and one length, tried one by one."""

    actions: Ints  # [episodes, steps]
    returns: Floats
    chances: Floats  # under the uniform policy over the allowed actions


def brute_force(task: Counterpoint, allowed: Allowed) -> Brute:
    """Every line, note by note; no two are ever merged."""
    state, actions = task.starts(), np.zeros((1, 0), np.int64)
    returns, chances = np.zeros(1), np.ones(1)
    for _ in range(int(task.problems.lengths[0])):
        mask = allowed(state)
        line, action = np.nonzero(mask)
        state, reward, _ = task.step(take_rows(state, line), action, RNG)
        actions = np.concatenate([actions[line], action[:, None]], axis=1)
        returns, chances = returns[line] + reward, (chances / np.maximum(mask.sum(axis=1), 1))[line]
    return Brute(actions, returns, chances)


def best_lines(plan: Plan, row: int = 0, depth: int = 0) -> Iterator[tuple[int, ...]]:
    """Every line along optimal edges."""
    layer = plan.graph.layers[depth]
    for edge in np.flatnonzero((layer.source == row) & plan.best(depth)):
        rest = [()] if layer.target[edge] < 0 else best_lines(plan, int(layer.target[edge]), depth + 1)
        yield from ((int(layer.action[edge]), *line) for line in rest)


def compare(task: Counterpoint, allowed: Allowed) -> None:
    brute = brute_force(task, allowed)
    graph = enumerate_task(task, allowed=allowed)
    plan = optimum(graph)
    assert count_episodes(graph) == [len(brute.returns)]
    if not len(brute.returns):
        assert plan.values[0][0] == -np.inf
        with pytest.raises(DescantError, match="No episode can be finished"):
            follow(plan, 0)
        return
    best = brute.returns.max()
    assert plan.values[0][0] == pytest.approx(best, abs=1e-9)
    expected = {tuple(line) for line in brute.actions[brute.returns >= best - 1e-9].tolist()}
    assert set(best_lines(plan)) == expected
    assert plan.count_best() == len(expected)
    for action, value in zip(graph.layers[0].action, plan.edge_values[0], strict=True):
        onward = brute.returns[brute.actions[:, 0] == action]
        assert value == pytest.approx(onward.max() if len(onward) else -np.inf, abs=1e-9)
    chance = uniform(graph).values[0][0]
    if brute.chances.sum() == pytest.approx(1):
        assert chance == pytest.approx((brute.chances * brute.returns).sum(), abs=1e-9)
    else:
        assert chance == -np.inf, "chance runs into dead ends"
    assert tuple(follow(plan, 0)) in expected
    assert tuple(follow(plan, 0, np.random.default_rng(1))) in expected


def cantus(notes: int) -> st.SearchStrategy[Line]:
    finals = [p for p in CANTUS_PITCHES if p.letter != "B"]
    body = st.lists(st.sampled_from(CANTUS_PITCHES), min_size=notes - 1, max_size=notes - 1)
    return st.builds(lambda line, final: (*line, final), body, st.sampled_from(finals))


@settings(max_examples=4, deadline=None)
@given(cantus(3), st.sampled_from(POSITIONS))
def test_the_whole_gamut_against_three_notes(line: Line, position: str) -> None:
    compare(task_of(line, position), lambda state: np.ones((len(state.bar), len(GAMUT)), bool))


@settings(max_examples=10, deadline=None)
@given(
    cantus(4), st.sampled_from(POSITIONS), st.sets(st.sampled_from(range(len(GAMUT))), min_size=4, max_size=9)
)
def test_some_pitches_against_four_notes(line: Line, position: str, pitches: set[int]) -> None:
    some = np.isin(np.arange(len(GAMUT)), list(pitches))
    compare(task_of(line, position), lambda state: np.repeat(some[None], len(state.bar), axis=0))


@settings(max_examples=20, deadline=None)
@given(cantus(4), st.sampled_from(POSITIONS), st.sampled_from(["lawful", "strict"]))
def test_lawful_and_strict_lines_against_four_notes(line: Line, position: str, name: str) -> None:
    task = task_of(line, position)
    compare(task, getattr(task, name))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", ["lawful", "strict"])
def test_lawful_and_strict_lines_against_a_proper_cantus(position: str, name: str) -> None:
    task = task_of(parse_line("D4 F4 G4 E4 F4 E4 D4"), position)
    compare(task, getattr(task, name))
    assert count_episodes(enumerate_task(task, allowed=getattr(task, name)))[0] > 20


FUXS = {
    ("dorian", "above"): 4_610,
    ("dorian", "below"): 3_354,
    ("phrygian", "above"): 5_146,
    ("phrygian", "below"): 2_028,
    ("lydian", "above"): 20_270,
    ("lydian", "below"): 6_119,
    ("mixolydian", "above"): 150_175,
    ("mixolydian", "below"): 94_051,
    ("aeolian", "above"): 17_080,
    ("aeolian", "below"): 18_032,
    ("ionian", "above"): 42_420,
    ("ionian", "below"): 21_497,
}


@pytest.mark.parametrize(("mode", "position"), FUXS)
def test_how_many_strict_counterpoints_fuxs_cantus_firmi_have(mode: str, position: str) -> None:
    task = task_of(mode, position)
    assert count_episodes(enumerate_task(task, allowed=task.strict)) == [FUXS[mode, position]]


@pytest.mark.parametrize(("mode", "position"), FUXS)
def test_the_best_counterpoint_is_lawful_whatever_the_mask(mode: str, position: str) -> None:
    free = optimum(enumerate_task(task_of(mode, position)))
    lawful = optimum(enumerate_task(task_of(mode, position, mask="rules")))
    assert free.values[0][0] == pytest.approx(lawful.values[0][0], abs=1e-12)
    assert -0.01 < free.values[0][0] <= 0
    assert free.count_best() == lawful.count_best()
    episode, rewards = play(task_of(mode, position), follow(free, 0))
    assert sum(rewards) == pytest.approx(free.values[0][0], abs=1e-9)
    assert episode.states[-1].errors == 0


def walk(
    task: Task[Any], state: Any, total: float = 0.0
) -> Iterator[tuple[float | None, tuple[int, ...], float]]:
    """Return (None at a dead end), actions and chance of every episode from a state of one row."""
    allowed = np.flatnonzero(task.action_mask(state)[0])
    if not len(allowed):
        yield None, (), 1.0
    for action in allowed:
        after, reward, ended = task.step(state, np.array([action]), RNG)
        onward = [(total + reward[0], (), 1.0)] if ended[0] else walk(task, after, total + reward[0])
        yield from ((value, (int(action), *rest), chance / len(allowed)) for value, rest, chance in onward)


@pytest.mark.parametrize("task", [Heap((1, 2, 3, 4, 5, 6, 7, 8)), Heap((9,)), Echo(), Echo(steps=1)])
def test_episodes_of_different_lengths_dead_ends_and_several_starts(task: Task[Any]) -> None:
    graph = enumerate_task(task)
    best, chance, counts = optimum(graph), uniform(graph), count_episodes(graph)
    ways: list[int] = []
    for row in range(len(counts)):
        every = list(walk(task, take_rows(task.starts(), [row])))
        finished = [(value, line) for value, line, _ in every if value is not None]
        assert counts[row] == len(finished)
        top = max((value for value, _ in finished), default=-np.inf)
        assert best.values[0][row] == pytest.approx(top)
        assert best.count_best(row) == sum(value >= top - 1e-9 for value, _ in finished)
        dead = len(finished) < len(every)
        mean = -np.inf if dead else sum(value * share for value, _, share in every if value is not None)
        assert chance.values[0][row] == pytest.approx(mean)
        if finished:
            ways.append(row)
            assert (top, tuple(follow(best, row))) in [(pytest.approx(v), line) for v, line in finished]
    assert ways


def test_states_of_equal_key_are_one() -> None:
    graph = enumerate_task(Echo(symbols=4, steps=3))
    assert [len(layer) for layer in graph.layers] == [4, 4, 4]
    assert graph.edges == 3 * 4 * 4
    heaps = enumerate_task(Heap((8,)))
    assert [len(layer) for layer in heaps.layers[:3]] == [1, 3, 6]


def test_draws_among_equals_reach_all_of_them() -> None:
    plan = optimum(enumerate_task(task_of("dorian", "above")))
    rng = np.random.default_rng(0)
    assert {tuple(follow(plan, 0, rng)) for _ in range(200)} == set(best_lines(plan))
    assert plan.count_best() == len(set(best_lines(plan)))


def test_several_problems_at_once_are_as_good_as_each_alone() -> None:
    both = enumerate_task(Counterpoint(cantus="D4 F4 G4 E4 D4"))
    alone = [enumerate_task(task_of(parse_line("D4 F4 G4 E4 D4"), position)) for position in POSITIONS]
    assert optimum(both).values[0].tolist() == [optimum(graph).values[0][0] for graph in alone]
    assert count_episodes(both) == [count_episodes(graph)[0] for graph in alone]


def test_planning_may_start_anywhere() -> None:
    task = task_of("dorian", "above")
    plan = optimum(enumerate_task(task))
    line = follow(plan, 0)
    episode, rewards = play(task, line[:4])
    onward = optimum(enumerate_task(task, starts=episode.states[-1]))
    assert onward.values[0][0] + sum(rewards) == pytest.approx(plan.values[0][0], abs=1e-9)


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(parse_line("D4 F4 G4 E4 D4"), "below")
    whole = enumerate_task(task)
    monkeypatch.setattr(descant.planning, "CHUNK", 97)
    parts = enumerate_task(task)
    for a, b in zip(whole.layers, parts.layers, strict=True):
        for name in ("source", "action", "target", "reward"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_task_that_is_not_enumerable_is_refused() -> None:
    dice = Dice()
    for ask in (lambda: enumerate_task(dice), dice.starts, lambda: dice.key(dice.reset(RNG, 1))):
        with pytest.raises(DescantError, match="test/Dice-v0 is not enumerable"):
            ask()


def test_too_many_edges_are_refused_and_as_many_as_allowed_are_not() -> None:
    task = Echo(symbols=4, steps=3)
    assert enumerate_task(task, max_edges=48).edges == 48
    with pytest.raises(DescantError, match="too many states to plan exactly: fix what is drawn at reset"):
        enumerate_task(task, max_edges=47)


class Count(Counterpoint):
    """Counts the edges that are followed."""

    edges = 0

    def step(self, state: Any, action: Ints, rng: np.random.Generator) -> Any:
        self.edges += len(action)
        return super().step(state, action, rng)


def test_far_too_many_edges_are_refused_after_a_few_starts() -> None:
    """The default pool has 1.7 billion."""
    task = Count()
    with pytest.raises(DescantError, match="too many states to plan exactly: fix what is drawn at reset"):
        enumerate_task(task)
    assert 2_000_000 < task.edges < 15_000_000


class Funnel(Echo):
    """Whatever the start, the second step begins in one and the same state."""

    def step(self, state: Any, action: Ints, rng: np.random.Generator) -> Any:
        after, reward, ended = super().step(state, action, rng)
        after.seen[:] = 0
        return after, reward, ended


def test_starts_that_lead_to_the_same_states_are_not_guessed_to_be_too_large() -> None:
    task = Funnel(symbols=64, steps=60)
    edges = 64 * 64 + 59 * 64
    assert enumerate_task(task, max_edges=edges).edges == edges
    with pytest.raises(DescantError, match="too many states"):
        enumerate_task(task, max_edges=edges - 1)
