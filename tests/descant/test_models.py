"""Models of tasks: against the graph of the exact planner, against step, and their limits."""

from __future__ import annotations

import numpy as np
import pytest

import descant.models
from descant.envs.gridworld import GridWorld
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.models import tabulate
from descant.planning import enumerate_task, optimum
from descant.tasks import take_rows

from ..tiny_tasks import Dice, Echo, Heap


def test_the_model_has_the_states_and_edges_of_the_graph() -> None:
    task = Tokens(tokens=3, steps=4, seed=1)
    model, graph = tabulate(task), enumerate_task(task)
    assert len(model) == sum(len(layer) for layer in graph.layers)
    assert len(model.source) == graph.edges
    assert model.probability.shape == (graph.edges, 1)
    assert model.mask.all()
    values = np.zeros(len(model))
    for _ in range(task.steps):
        values = model.best(model.backup(values, 1.0))
    plan = optimum(graph)
    assert values == pytest.approx(np.concatenate(plan.values), abs=1e-12)


def test_outcomes_are_those_of_step() -> None:
    task = GridWorld(slip=0.3)
    model = tabulate(task)
    cells = model.states.cell
    assert model.probability.sum(axis=1) == pytest.approx(1)
    assert model.probability.shape == (len(model) * 4, 3)
    n, rng = 20_000, np.random.default_rng(0)
    for pair in range(0, len(model.source), 7):
        start = take_rows(model.states, np.full(n, model.source[pair]))
        after, reward, ended = task.step(start, np.full(n, model.action[pair]), rng)
        mean = (model.probability[pair] * model.reward[pair]).sum()
        assert reward.mean() == pytest.approx(mean, abs=5 * reward.std() / np.sqrt(n) + 1e-9)
        ends = (model.probability[pair] * model.terminated[pair]).sum()
        assert ended.mean() == pytest.approx(ends, abs=0.02)
        going = model.target[pair][model.target[pair] >= 0]
        assert set(after.cell[~ended]) == set(cells[going])


def test_pairs_are_sorted_and_masked() -> None:
    model = tabulate(Heap((3,)))  # 3, whatever is taken: some way on is left
    assert (np.diff(model.source) >= 0).all()
    table = model.table(np.ones(len(model.source)))
    assert (np.isfinite(table) == model.mask).all()
    assert not model.mask.all()


def test_starts_are_found() -> None:
    task = Echo()
    model = tabulate(task)
    assert (task.key(take_rows(model.states, model.starts)) == task.key(task.starts())).all()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tabulate(GridWorld())
    monkeypatch.setattr(descant.models, "CHUNK", 5)
    parts = tabulate(GridWorld())
    assert (parts.target == whole.target).all()
    assert (parts.probability == whole.probability).all()


def test_what_can_not_be_tabulated_is_refused() -> None:
    with pytest.raises(DescantError, match="not enumerable"):
        tabulate(Dice())
    with pytest.raises(DescantError, match="too many"):
        tabulate(GridWorld(), max_states=5)
    with pytest.raises(DescantError, match="too many"):
        tabulate(GridWorld(), max_pairs=5)
    with pytest.raises(DescantError, match="allows no action"):
        tabulate(Heap((5,)))
