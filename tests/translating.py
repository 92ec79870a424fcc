"""Translations to test with: batches of what a translator might write."""

from __future__ import annotations

from typing import Any

import numpy as np

from descant.tasks import Episode, Ints, take_rows
from descant.text.vocabularies import EOS

RNG = np.random.default_rng(0)  # nothing is drawn from it


def near_references(task: Any, rows: Ints, seed: int = 0, share: float = 0.25) -> list[list[int]]:
    """References with some words replaced, dropped or said again, each with EOS at its end."""
    rng = np.random.default_rng(seed)
    found = []
    for row in rows:
        ids = task.pairs.codecs[1].encode(task.pairs.text.target[row])
        changed = [int(rng.integers(4, task.action_space.n)) if rng.random() < share else i for i in ids]
        cut = changed[: int(rng.integers(1, len(changed) + 1))] if rng.random() < share else changed
        again = cut + cut[: int(rng.integers(0, len(cut)))] if rng.random() < share else cut
        found.append([*again[: task.max_steps - 1], EOS])
    return found


def run(task: Any, rows: Ints, actions: list[list[int]]) -> tuple[list[Any], Any, Any]:
    """States before and after every step of a batch, rewards float[T, n], terms; ended rows go on with word 4."""
    state = task.reset(RNG, len(rows), {"pairs": rows})
    states, rewards, terms = [state], [], []
    for t in range(max(map(len, actions))):
        now = np.array([each[t] if t < len(each) else 4 for each in actions])
        state, reward, _ = task.step(states[-1], now, RNG)
        terms.append(task.reward.terms(states[-1], now, state))
        states.append(state)
        rewards.append(reward)
    return states, np.array(rewards), {name: np.array([step[name] for step in terms]) for name in terms[0]}


def episode_of(states: list[Any], actions: list[int], row: int) -> Episode[Any]:
    """One row's episode."""
    own = tuple(take_rows(state, [row]) for state in states[: len(actions) + 1])
    return Episode(own, tuple(actions))
