"""A grid of rooms with walls, goals and pits, on slippery ground: the smallest world with chance and cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from descant.errors import DescantError
from descant.tasks import Bools, Episode, Floats, Ints, Task

ROOMS = """
#########
#S..#..G#
#...#...#
#......X#
#...#...#
#########
"""
WALL, FLOOR, START, GOAL, PIT = "#.SGX"
MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left
NAMES = ("up", "right", "down", "left")


@dataclass(frozen=True)
class State:
    """Where the rows stand: row times width plus column."""

    cell: Ints


class GridWorld(Task[State]):
    """Find the way to a goal, around walls and pits, where a step may slip.

    ## Description
    A map of cells. Each step moves up, right, down or left; a wall, and the map's edge, leave one where one was. With
    probability `slip` the move goes to one of the two sides instead, either equally often. The task is stochastic and
    enumerable: agents that plan on a model (`value-iteration`, `policy-iteration`) solve it exactly.

    ## Action space
    `Discrete(4)`: up, right, down, left. All are allowed always.

    ## Observation space
    `Discrete(height * width)`: row times width plus column, of the whole map, walls counted.

    ## Reward
    Minus `step_cost` for each step; arriving at a goal adds `goal_reward`, falling into a pit `pit_reward`.

    ## Starting state
    One of the cells marked S, each equally likely.

    ## Episode end
    Terminates at a goal or in a pit. Nothing else ends it: `gymnasium.make` and `make_vec` truncate after 100 steps
    (`max_episode_steps` sets another number).

    ## Arguments
    `map`: lines of text, or a list of them: # wall, . floor, S start, G goal, X pit. `slip=0.1`, `step_cost=0.01`,
    `goal_reward=1`, `pit_reward=-1`.

    ## Example
    >>> import gymnasium, descant
    >>> env = gymnasium.make("descant/GridWorld-v0", map="S..\\n.#.\\n..G", slip=0.2, render_mode="ansi")
    >>> observation, info = env.reset(seed=0)
    """

    name = "descant/GridWorld-v0"
    enumerable = True
    render_modes: ClassVar[tuple[str, ...]] = ("ansi",)

    def __init__(
        self,
        map: str | Sequence[str] = ROOMS,
        slip: float = 0.1,
        step_cost: float = 0.01,
        goal_reward: float = 1.0,
        pit_reward: float = -1.0,
    ) -> None:
        if not 0 <= slip <= 1:
            raise DescantError(f"slip is a probability, 0 to 1, not {slip}.")
        if not np.isfinite([step_cost, goal_reward, pit_reward]).all():
            raise DescantError("step_cost, goal_reward and pit_reward must be finite numbers.")
        self.rows = _rows(map)
        cells = np.array([list(row) for row in self.rows]).ravel()
        self.height, self.width, self.slip = len(self.rows), len(self.rows[0]), slip
        self.begin = np.flatnonzero(cells == START)
        self.goal, self.pit = cells == GOAL, cells == PIT
        self._next = self._targets(cells == WALL)
        self._pays = np.where(self.goal, goal_reward, 0.0) + np.where(self.pit, pit_reward, 0.0) - step_cost
        self.observation_space = spaces.Discrete(len(cells))
        self.action_space = spaces.Discrete(4)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> State:
        """`n` rows, each on a start of its own."""
        if options:
            raise DescantError(f"Unknown reset option {next(iter(options))!r}: {self.name} has none.")
        return State(self.begin[rng.integers(len(self.begin), size=n)])

    def starts(self) -> State:
        """The cells marked S."""
        return State(self.begin.copy())

    def step(self, state: State, action: Ints, rng: np.random.Generator) -> tuple[State, Floats, Bools]:
        """Move; `rng` says which rows slip."""
        chance = rng.random(len(action))
        aside = np.where(chance < self.slip, np.where(chance < self.slip / 2, 1, 3), 0)
        return self._move(state, (action + aside) % 4)

    def branches(self, state: State, action: Ints) -> list[tuple[Floats, State, Floats, Bools]]:
        """Ahead, to the right, to the left, with their probabilities; those of probability 0 left out."""
        chances = ((1 - self.slip, 0), (self.slip / 2, 1), (self.slip / 2, 3))
        return [
            (np.full(len(action), chance), *self._move(state, (action + aside) % 4))
            for chance, aside in chances
            if chance > 0
        ]

    def observe(self, state: State) -> Ints:
        """int64[n]."""
        return state.cell.copy()

    def action_mask(self, state: State) -> Bools:
        """bool[n, 4], all True."""
        return np.ones((len(state.cell), 4), bool)

    def key(self, state: State) -> Ints:
        """The cell."""
        return state.cell.copy()

    def metrics(self, state: State) -> dict[str, Floats]:
        """goal: 1 where a goal was reached; pit: 1 where one fell into a pit."""
        return {"goal": self.goal[state.cell].astype(float), "pit": self.pit[state.cell].astype(float)}

    def render(self, episode: Episode[State], mode: str) -> str:
        """`ansi`: the map with @ where one stands, and the last move."""
        at = int(episode.states[-1].cell[0])
        marks = list("".join(self.rows))
        marks[at] = "@"
        lines = ["".join(marks[i : i + self.width]) for i in range(0, len(marks), self.width)]
        return "\n".join([*lines, f"({NAMES[episode.actions[-1]]})"] if episode.actions else lines)

    def _targets(self, wall: Bools) -> Ints:
        """The cell that each move leads to: int[cells, 4]. Goals and pits lead nowhere."""
        place = np.stack(np.unravel_index(np.arange(len(wall)), (self.height, self.width)), axis=1)
        there = place[:, None, :] + MOVES
        inside = ((there >= 0) & (there < [self.height, self.width])).all(axis=2)
        target = np.where(inside, there[..., 0] * self.width + there[..., 1], 0)
        here = np.arange(len(wall))[:, None]
        stays = ~inside | wall[target] | (self.goal | self.pit)[:, None]
        return np.where(stays, here, target)

    def _move(self, state: State, direction: Ints) -> tuple[State, Floats, Bools]:
        after = self._next[state.cell, direction]
        return State(after), self._pays[after], self.goal[after] | self.pit[after]


def _rows(map: str | Sequence[str]) -> list[str]:
    """The map's lines, checked."""
    lines = map.strip().splitlines() if isinstance(map, str) else list(map)
    rows = [line.strip() for line in lines]
    if not rows or len({len(row) for row in rows}) != 1:
        raise DescantError("The map's lines must be equally long: fill them up with # for wall.")
    odd = set("".join(rows)) - set("#.SGX")
    if odd:
        raise DescantError(f"The map has {sorted(odd)[0]!r}: use # wall, . floor, S start, G goal, X pit.")
    for mark, name in ((START, "start"), (GOAL, "goal")):
        if mark not in "".join(rows):
            raise DescantError(f"The map has no {name}: mark one with {mark}.")
    return rows
