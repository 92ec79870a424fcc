"""Tasks small enough to know everything about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from descant.tasks import Bools, Floats, Ints, Task


@dataclass(frozen=True)
class EchoState:
    seen: Ints  # the symbol shown
    left: Ints  # steps to go


class Echo(Task[EchoState]):
    """Name the symbol shown: reward 1 where the action equals it. The next symbol is the next number."""

    name = "test/Echo-v0"
    enumerable = True

    def __init__(self, symbols: int = 4, steps: int = 3) -> None:
        self.symbols, self.steps = symbols, steps
        self.observation_space = spaces.Discrete(symbols)
        self.action_space = spaces.Discrete(symbols)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> EchoState:
        return EchoState(rng.integers(self.symbols, size=n), np.full(n, self.steps))

    def step(
        self, state: EchoState, action: Ints, rng: np.random.Generator
    ) -> tuple[EchoState, Floats, Bools]:
        after = EchoState((state.seen + 1) % self.symbols, state.left - 1)
        return after, (action == state.seen).astype(float), after.left <= 0

    def observe(self, state: EchoState) -> Ints:
        return state.seen.copy()

    def action_mask(self, state: EchoState) -> Bools:
        return np.ones((len(state.seen), self.symbols), bool)

    def key(self, state: EchoState) -> Ints:
        return state.seen * 1000 + state.left

    def starts(self) -> EchoState:
        return EchoState(np.arange(self.symbols), np.full(self.symbols, self.steps))

    def metrics(self, state: EchoState) -> dict[str, Floats]:
        return {"last": state.seen.astype(float)}


@dataclass(frozen=True)
class RecallState:
    first: Ints
    time: Ints


class Recall(Task[RecallState]):
    """A symbol is shown once, then blanks: reward 1 for naming it in the last step. Needs memory."""

    name = "test/Recall-v0"

    def __init__(self, symbols: int = 3, steps: int = 3) -> None:
        self.symbols, self.steps = symbols, steps
        self.observation_space = spaces.Discrete(symbols + 1)
        self.action_space = spaces.Discrete(symbols)

    def reset(
        self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None
    ) -> RecallState:
        return RecallState(rng.integers(self.symbols, size=n), np.zeros(n, np.int64))

    def step(
        self, state: RecallState, action: Ints, rng: np.random.Generator
    ) -> tuple[RecallState, Floats, Bools]:
        after = RecallState(state.first.copy(), state.time + 1)
        ends = after.time >= self.steps
        return after, ((action == state.first) & ends).astype(float), ends

    def observe(self, state: RecallState) -> Ints:
        return np.where(state.time == 0, state.first, self.symbols)

    def action_mask(self, state: RecallState) -> Bools:
        return np.ones((len(state.first), self.symbols), bool)


@dataclass(frozen=True)
class DiceState:
    shown: Ints
    steps: Ints


class Dice(Task[DiceState]):
    """Stochastic: a die is thrown each step and pays its number plus the action; a six ends the episode.

    Only actions up to the number shown are allowed. The observation is a Dict of a Box and a Discrete.
    """

    name = "test/Dice-v0"

    def __init__(self, sides: int = 6) -> None:
        self.sides = sides
        box = spaces.Box(0.0, 1000.0, (2,), np.float32)
        self.observation_space = spaces.Dict({"rolls": box, "shown": spaces.Discrete(sides + 1)})
        self.action_space = spaces.Discrete(sides + 1)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> DiceState:
        return DiceState(rng.integers(1, self.sides, size=n, endpoint=True), np.zeros(n, np.int64))

    def step(
        self, state: DiceState, action: Ints, rng: np.random.Generator
    ) -> tuple[DiceState, Floats, Bools]:
        shown = rng.integers(1, self.sides, size=len(action), endpoint=True)
        return DiceState(shown, state.steps + 1), (shown + action).astype(float), shown == self.sides

    def observe(self, state: DiceState) -> dict[str, Any]:
        rolls = np.stack([state.steps, state.steps % 2], axis=1).astype(np.float32)
        return {"rolls": rolls, "shown": state.shown.copy()}

    def action_mask(self, state: DiceState) -> Bools:
        return np.arange(self.sides + 1)[None, :] <= state.shown[:, None]

    def metrics(self, state: DiceState) -> dict[str, Floats]:
        return {"rolls": state.steps.astype(float)}


@dataclass(frozen=True)
class HeapState:
    left: Ints
    taken: Ints  # last


class Heap(Task[HeapState]):
    """Take 1 to 3 from a heap, never as many as last time, until nothing is left; each take has its price.

    Episodes differ in length, and some heaps leave no way on.
    """

    name = "test/Heap-v0"
    enumerable = True
    prices = np.array([0.0, -1.0, -1.5, -2.75])

    def __init__(self, heaps: tuple[int, ...] = (5, 6, 7, 8)) -> None:
        self.heaps = np.array(heaps)
        self.observation_space = spaces.MultiDiscrete([max(heaps) + 1, 4])
        self.action_space = spaces.Discrete(4)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> HeapState:
        return HeapState(rng.choice(self.heaps, size=n), np.zeros(n, np.int64))

    def step(
        self, state: HeapState, action: Ints, rng: np.random.Generator
    ) -> tuple[HeapState, Floats, Bools]:
        left = np.maximum(state.left - action, 0)
        return HeapState(left, action.copy()), self.prices[action] - state.taken / 8, left == 0

    def observe(self, state: HeapState) -> Ints:
        return np.stack([state.left, state.taken], axis=1)

    def action_mask(self, state: HeapState) -> Bools:
        takes = np.arange(4)[None, :]
        return (takes > 0) & (takes <= state.left[:, None]) & (takes != state.taken[:, None])

    def key(self, state: HeapState) -> Ints:
        return state.left * 4 + state.taken

    def starts(self) -> HeapState:
        return HeapState(self.heaps.copy(), np.zeros_like(self.heaps))
