"""Examinations of agents on enumerable tasks: what each action costs, in exact values, on one's own path or another.

A note that costs V*(s) - (r + V*(s')) > 0 is wrong, and the costs of an episode sum to its regret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.evaluation import Anchors
from descant.planning import TIE, enumerate_task, optimum, uniform
from descant.tasks import Bools, Floats, Ints, put_rows, size, take_rows

PLANNED_AT_ONCE = 4  # starts; one of counterpoint has about 800,000 edges
LONGEST = 32  # steps of an episode


@dataclass(frozen=True)
class Exam:
    """Problems with the exact value of each of their states."""

    task: Any
    starts: Any
    anchors: Anchors
    keys: Ints  # of all states, sorted
    values: Floats  # V* of each

    def value(self, state: Any) -> Floats:
        """V* of states under way: float[n]."""
        found: Floats = self.values[np.searchsorted(self.keys, self.task.key(state))]
        return found


def exam_on(task: Any, starts: Any = None) -> Exam:
    """An exam on starts of an enumerable task (default: all of them); a few are planned at once, to spare memory."""
    starts = task.starts() if starts is None else starts
    keys: list[Ints] = []
    values: list[Floats] = []
    chance, best = [], []
    for begin in range(0, size(starts), PLANNED_AT_ONCE):
        graph = enumerate_task(task, take_rows(starts, slice(begin, begin + PLANNED_AT_ONCE)))
        plan = optimum(graph)
        keys += [task.key(layer.states) for layer in graph.layers]
        values += plan.values
        chance.append(uniform(graph).values[0])
        best.append(plan.values[0])
    known, first = np.unique(np.concatenate(keys), return_index=True)
    scale = Anchors(np.concatenate(chance), np.concatenate(best))
    return Exam(task, starts, scale, known, np.concatenate(values)[first])


@dataclass(frozen=True)
class Paper:
    """Greedy notes in an exam: cost float[T, n] of each against the best one, and where there was one, bool[T, n]."""

    cost: Floats
    written: Bools
    score: Floats  # of the lines walked, float[n]

    @property
    def wrong(self) -> Bools:
        """Notes that were not among the best: bool[T, n]."""
        return self.cost > TIE


def sit(agent: Agent, exam: Exam, guide: np.random.Generator | None = None) -> Paper:
    """The agent's likeliest note in the states that its own notes lead to.

    With `guide`, in the states that a best line drawn by it leads to (teacher forcing), whatever the agent's notes.
    """
    task, starts = exam.task, exam.starts
    n, rng = size(starts), np.random.default_rng(0)  # the task draws nothing
    state, alive, memory = take_rows(starts, np.arange(n)), np.ones(n, bool), None
    costs: list[Floats] = []
    written: list[Bools] = []
    total = np.zeros(n)
    while alive.any():
        first, masks = np.full(n, not costs), task.action_mask(state)
        actions, memory = agent.predict(task.observe(state), memory, first, True, action_masks=masks)
        gain = _gains(exam, state, np.asarray(actions, np.int64))
        walked = actions if guide is None else _best_actions(exam, state, masks, guide)
        costs.append(np.where(alive, exam.value(state) - gain, 0.0))
        written.append(alive.copy())
        state, reward, ended = task.step(state, np.asarray(walked, np.int64), rng)
        total += np.where(alive, reward, 0.0)
        alive &= ~ended
        put_rows(state, ~alive, take_rows(starts, ~alive))  # they wait at their start
    return Paper(np.stack(costs), np.stack(written), exam.anchors.score(total))


def _gains(exam: Exam, state: Any, actions: Ints) -> Floats:
    """r + V*(s') of an action in each state: float[n]."""
    after, reward, ended = exam.task.step(state, actions, np.random.default_rng(0))
    onward = reward.copy()
    if not ended.all():
        onward[~ended] += exam.value(take_rows(after, ~ended))
    return onward


def _best_actions(exam: Exam, state: Any, masks: Bools, rng: np.random.Generator) -> Ints:
    """One of the best allowed actions of each state, drawn evenly: int[n]."""
    row, action = np.nonzero(masks)
    good = np.zeros(masks.shape, bool)
    good[row, action] = _gains(exam, take_rows(state, row), action) >= exam.value(state)[row] - TIE
    return np.where(good, rng.random(good.shape), -1.0).argmax(axis=1)


def tally(papers: Sequence[Paper]) -> dict[str, list[float]]:
    """Counts and sums by position, and by length of the line: lists from the first position and from length 0."""
    found: dict[str, Floats] = {}

    def add(name: str, values: Any) -> None:
        total = found.setdefault(name, np.zeros(LONGEST + 1))
        total[: len(values)] += values

    for paper in papers:
        lengths = paper.written.sum(axis=0)
        add("notes", paper.written.sum(axis=1))
        add("wrong", paper.wrong.sum(axis=1))
        add("cost", paper.cost.sum(axis=1))
        add("lines", np.bincount(lengths))
        add("regret", np.bincount(lengths, weights=paper.cost.sum(axis=0)))
    return {name: total.tolist() for name, total in found.items()}


def a_line(tallied: dict[str, list[float]], what: str) -> float:
    """The mean of a sum by position, a line."""
    return sum(tallied[what]) / sum(tallied["lines"])


def by_length(tallied: dict[str, list[float]], shortest: int, longest: int) -> float:
    """The mean regret of lines of some lengths."""
    span = slice(shortest, longest + 1)
    return sum(tallied["regret"][span]) / sum(tallied["lines"][span])
