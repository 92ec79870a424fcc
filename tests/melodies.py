"""Melodies for tests: random ones of many kinds, and ways to score given ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from descant.music.melody_states import Actions, State
from descant.shells import make_task
from descant.tasks import Floats


def wild(rng: np.random.Generator, n: int, steps: int) -> Actions:
    """Any actions."""
    return rng.integers(0, 38, (n, steps)).astype(np.int8)


def stuck(rng: np.random.Generator, n: int, steps: int) -> Actions:
    """Rows of one note with holds and note-offs between, other notes seldom."""
    chosen = rng.choice(4, (n, steps), p=[0.1, 0.25, 0.6, 0.05])
    return np.choose(chosen, [0, 1, 20, rng.integers(2, 38, (n, steps))]).astype(np.int8)


def sung(rng: np.random.Generator, n: int, steps: int) -> Actions:
    """Walks by small and wide moves, with holds and rests."""
    moves = rng.choice([-12, -7, -5, -4, -2, -1, 1, 2, 4, 5, 7, 11, 12], (n, steps))
    notes = 2 + np.cumsum(moves, axis=1) % 36
    pause = rng.random((n, steps))
    return np.where(pause < 0.3, 1, np.where(pause < 0.4, 0, notes)).astype(np.int8)


def leaping(rng: np.random.Generator, n: int, steps: int) -> Actions:
    """Wide leaps, long waits and small steps."""
    notes = rng.choice([2, 12, 14, 19, 21, 23, 30, 37], (n, steps))
    return np.where(rng.random((n, steps)) < 0.55, 1, notes).astype(np.int8)


def patterned(rng: np.random.Generator, n: int, steps: int) -> Actions:
    """A bar that comes again and again, slips seldom."""
    bars = sung(rng, n, 8)
    repeated = np.roll(np.tile(bars, (1, -(-steps // 8)))[:, :steps], rng.integers(8), axis=1)
    return np.where(rng.random((n, steps)) < 0.03, wild(rng, n, steps), repeated).astype(np.int8)


def even(rng: np.random.Generator, n: int, steps: int) -> Actions:
    """One action alone."""
    return np.repeat(rng.integers(0, 38, (n, 1)), steps, axis=1).astype(np.int8)


KINDS = (wild, stuck, sung, leaping, patterned, even)


def melodies(seed: int, n: int, steps: int = 32) -> Actions:
    """About `n` melodies, as many of each kind."""
    rng = np.random.default_rng(seed)
    return np.concatenate([kind(rng, -(-n // len(KINDS)), steps) for kind in KINDS])


def score(
    compositions: Any, reward: Any = "rl-tuner", **options: Any
) -> tuple[dict[str, Floats], Floats, State]:
    """Terms by name and rewards of every step, float64[n, T] each, and the last state."""
    compositions = np.atleast_2d(np.asarray(compositions, np.int64))
    task = make_task("descant/Melody-v0", steps=compositions.shape[1], reward=reward, **options)
    rng = np.random.default_rng(0)
    state = task.reset(rng, len(compositions))
    rewards, terms = [], []
    for action in compositions.T:
        after, reward_now, _ = task.step(state, action, rng)
        rewards.append(reward_now)
        terms.append(task.reward.terms(state, action, after))  # type: ignore[attr-defined]
        state = after
    by_name = {name: np.stack([step[name] for step in terms], axis=1) for name in terms[0]}
    return by_name, np.stack(rewards, axis=1), state


def term(name: str, melody: Sequence[int], **options: Any) -> list[float]:
    """One term at every step of a melody, rounded."""
    return [round(float(x), 6) for x in score(melody, **options)[0][name][0]]
