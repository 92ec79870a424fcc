"""The model of an enumerable task as tables: all states that can be reached, and what each action may lead to.

States are told apart by the task's `key` and found breadth first through `Task.branches`, so the task may be
stochastic and may run in cycles (for deterministic tasks that end, `planning` needs less memory).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.tasks import Bools, Floats, Ints, Task, join_rows, size, take_rows

MAX_STATES = 1_000_000
MAX_PAIRS = 20_000_000
CHUNK = 200_000  # pairs expanded at once


@dataclass(frozen=True)
class Model:
    """S states, E allowed pairs of state and action sorted by state, up to K outcomes each.

    Outcomes that a pair does not have are of probability 0, reward 0 and target -1.
    """

    states: Any  # S rows of the task's state, in order of discovery
    mask: Bools  # [S, A]
    starts: Ints  # [B] index of each state that a reset can draw
    source: Ints  # [E]
    action: Ints  # [E]
    probability: Floats  # [E, K]
    target: Ints  # [E, K], -1 where the episode ends
    reward: Floats  # [E, K]

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def first(self) -> Ints:
        """Where each state's pairs begin: int[S]."""
        return np.searchsorted(self.source, np.arange(len(self)))

    @property
    def terminated(self) -> Bools:
        """Which outcomes end the episode: bool[E, K]."""
        ends: Bools = (self.target < 0) & (self.probability > 0)
        return ends

    def backup(self, values: Floats, gamma: float) -> Floats:
        """E[r + gamma V(s')] of each pair, float[E], from the values of the states, float[S]."""
        onward = np.append(values, 0.0)[self.target]
        expected: Floats = (self.probability * (self.reward + gamma * onward)).sum(axis=1)
        return expected

    def best(self, pair_values: Floats) -> Floats:
        """The largest of each state's pairs: float[S] from float[E]."""
        largest: Floats = np.maximum.reduceat(pair_values, self.first)
        return largest

    def table(self, pair_values: Floats) -> Floats:
        """Values of pairs as float[S, A], -inf where masked."""
        table = np.full(self.mask.shape, -np.inf)
        table[self.source, self.action] = pair_values
        return table


def tabulate(task: Task[Any], max_states: int = MAX_STATES, max_pairs: int = MAX_PAIRS) -> Model:
    """The model of an enumerable task.

    Raises DescantError where the task is not enumerable, has more than `max_states` states or `max_pairs` pairs of
    state and action, or leaves a state without an allowed action.
    """
    if not task.enumerable:
        raise DescantError(
            f"{task.name} is not enumerable: it has no model to plan on. Learn from experience."
        )
    starts = task.starts()
    keys, first, index = np.unique(task.key(starts), return_index=True, return_inverse=True)
    fresh = take_rows(starts, first)
    known, found, masks, parts, count = keys, [], [], [], 0
    own = [keys]
    while size(fresh):
        mask = task.action_mask(fresh)
        if not mask.any(axis=1).all():
            raise DescantError(f"{task.name} has a state that allows no action: its mask must allow one.")
        source, action = np.nonzero(mask)
        found.append(fresh)
        masks.append(mask)
        outcomes, nexts = _expand(task, fresh, source, action)
        parts.append((source + count, action, *outcomes))
        count += size(fresh)
        keys, fresh = _unknown(task, nexts, known)
        known = np.union1d(known, keys)
        own.append(keys)
        if len(known) > max_states or sum(len(part[0]) for part in parts) > max_pairs:
            raise DescantError(
                f"{task.name} has more than {max_states} states or {max_pairs} pairs of state and action, too many "
                "to tabulate: fix what is drawn at reset, or narrow the mask."
            )
    return _assembled(join_rows(found), np.concatenate(masks), index.ravel(), np.concatenate(own), parts)


def _expand(task: Task[Any], states: Any, source: Ints, action: Ints) -> tuple[tuple[Any, ...], list[Any]]:
    """(probability, key, reward, terminated) [e, K] each of the pairs; and the states that go on."""
    columns, nexts = [], []
    for begin in range(0, len(action), CHUNK):
        part = slice(begin, begin + CHUNK)
        outcomes = task.branches(take_rows(states, source[part]), action[part])
        probability, reward, ended = (np.stack([o[i] for o in outcomes], axis=1) for i in (0, 2, 3))
        key = np.stack([task.key(after) for _, after, _, _ in outcomes], axis=1)
        columns.append((probability, key, reward, ended))
        for chance, after, _, ends in outcomes:
            nexts.append(take_rows(after, (chance > 0) & ~ends))
    return tuple(_join([column[i] for column in columns]) for i in range(4)), nexts


def _unknown(task: Task[Any], nexts: list[Any], known: Ints) -> tuple[Ints, Any]:
    """Keys and states among `nexts` that are not known yet, each once."""
    states = join_rows(nexts)
    keys, first = np.unique(task.key(states), return_index=True)
    new = ~np.isin(keys, known, assume_unique=True)
    return keys[new], take_rows(states, first[new])


def _join(columns: list[Any]) -> Any:
    """Arrays [e, K] one below the other, widened with zeros to the largest K."""
    width = max(column.shape[1] for column in columns)
    return np.concatenate([np.pad(c, ((0, 0), (0, width - c.shape[1]))) for c in columns])


def _assembled(states: Any, mask: Bools, starts: Ints, keys: Ints, parts: list[Any]) -> Model:
    """The model, with keys replaced by indices of states."""
    source, action = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    probability, key, reward, ended = (_join([part[i] for part in parts]) for i in (2, 3, 4, 5))
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys, key, sorter=order), len(keys) - 1)
    goes_on = (probability > 0) & ~ended
    target = np.where(goes_on, order[place], -1)
    reward = np.where(probability > 0, reward, 0.0)
    return Model(states, mask, starts, source, action, probability, target, reward)
