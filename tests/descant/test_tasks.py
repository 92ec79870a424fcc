"""States by rows, replays, and what a task says by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from descant.errors import DescantError
from descant.tasks import Episode, join_rows, put_rows, replay, row_fields, shared, size, take_rows

from ..tiny_tasks import Echo, Recall


@dataclass(frozen=True)
class Pair:
    number: Any
    table: Any
    problems: Any = shared()


TABLE = object()


def pair(*numbers: int) -> Pair:
    return Pair(np.array(numbers), np.array([[n, -n] for n in numbers]), TABLE)


def test_only_fields_that_are_not_shared_have_rows() -> None:
    assert row_fields(pair(1)) == ("number", "table")
    assert size(pair(1, 2, 3)) == 3
    assert "problems" not in repr(pair(1))


@pytest.mark.parametrize("rows", [[2, 0, 2], slice(1, 3), np.array([True, False, True])])
def test_rows_are_taken_from_every_field(rows: Any) -> None:
    state = pair(5, 6, 7)
    taken = take_rows(state, rows)
    assert taken.number.tolist() == np.array([5, 6, 7])[rows].tolist()
    np.testing.assert_array_equal(taken.table[:, 1], -taken.number)
    assert taken.problems is TABLE
    assert state.number.tolist() == [5, 6, 7]


def test_rows_are_put_in_place() -> None:
    state = pair(5, 6, 7)
    put_rows(state, np.array([2, 0]), pair(1, 2))
    assert state.number.tolist() == [2, 6, 1]
    assert state.table.tolist() == [[2, -2], [6, -6], [1, -1]]


def test_rows_are_joined_in_order() -> None:
    joined = join_rows([pair(1, 2), pair(3)])
    assert joined.number.tolist() == [1, 2, 3]
    assert joined.table.shape == (3, 2)
    assert joined.problems is TABLE


def test_a_replay_is_the_episode_that_the_actions_make() -> None:
    task = Echo(symbols=3)
    episode = replay(task, take_rows(task.starts(), [1]), [0, 2])
    assert isinstance(episode, Episode)
    assert episode.actions == (0, 2)
    assert [int(state.seen[0]) for state in episode.states] == [1, 2, 0]


def test_what_a_task_does_not_say_it_refuses_or_leaves_empty() -> None:
    task = Recall()
    state = task.reset(np.random.default_rng(0), 2)
    assert task.metrics(state) == {}
    for ask in (lambda: task.key(state), task.starts):
        with pytest.raises(DescantError, match="test/Recall-v0 is not enumerable"):
            ask()
    with pytest.raises(DescantError, match="test/Recall-v0 has no render mode 'ansi'"):
        task.render(Episode((state,), ()), "ansi")
