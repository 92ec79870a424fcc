"""The contract of a task: pure, batched, deterministic unless it says otherwise.

A state is a frozen dataclass. Its array fields have a leading batch axis; a field marked `shared()` is common to
all rows. Nothing is hidden: what `step` returns depends on its arguments alone.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from descant.errors import DescantError

S = TypeVar("S")
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def shared() -> Any:
    """Marks a field of a state that all rows have in common, such as a table of problems."""
    return field(metadata={"shared": True}, repr=False, compare=False)


def row_fields(state: Any) -> tuple[str, ...]:
    """Names of the fields with a leading batch axis."""
    return _row_fields(state.__class__)


@functools.cache
def _row_fields(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind) if not f.metadata.get("shared"))


def take_rows(state: S, rows: Any) -> S:
    """The state of the chosen rows (indices int[k], a slice, or a mask bool[n])."""
    return dataclasses.replace(state, **{f: getattr(state, f)[rows] for f in row_fields(state)})  # type: ignore[type-var]


def put_rows(state: S, rows: Any, fresh: S) -> None:
    """Replace `rows` of a state by those of `fresh`, in place: only for a state that nobody else holds."""
    for name in row_fields(state):
        getattr(state, name)[rows] = getattr(fresh, name)


def join_rows(states: Sequence[S]) -> S:
    """The rows of several states, in order; shared fields from the first."""
    names = row_fields(states[0])
    return dataclasses.replace(  # type: ignore[type-var]
        states[0], **{f: np.concatenate([getattr(s, f) for s in states]) for f in names}
    )


def size(state: Any) -> int:
    """The number of rows of a state."""
    return len(getattr(state, row_fields(state)[0]))


@dataclass(frozen=True)
class Finding:
    """What a reward says of one place of an episode: `position` from 1, `cost` >= 0 in units of reward."""

    rule: str
    severity: Literal["error", "warning"]
    position: int
    cost: float
    message: str


@dataclass(frozen=True)
class Episode(Generic[S]):
    """One episode: states (each of one row) before and after every action, so one more than there are actions."""

    states: tuple[S, ...]
    actions: tuple[int, ...]


class Reward(Protocol):
    """A pure function over transitions, that can say of an episode why it was worth what it was worth."""

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Reward of each row: float[n]."""
        ...

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The same by name, float[n] each; they sum to the reward."""
        ...

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """Findings of a finished or unfinished episode, in order of position."""
        ...


def needs_line(reward: Any) -> bool:
    """Whether a reward looks at all that was written in an episode: its attribute `needs_line`."""
    return bool(getattr(reward, "needs_line", False))


class Task(ABC, Generic[S]):
    """A batch of independent episodes as pure functions of the state."""

    name: ClassVar[str]
    observation_space: spaces.Space[Any]
    action_space: spaces.Discrete
    enumerable: ClassVar[bool] = False
    max_steps: int | None = None  # the shells truncate after so many steps; None leaves the end to the task
    render_modes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> S:
        """`n` fresh episodes. All randomness comes from `rng`; `options` fix what would be drawn."""

    def follow(self, ended: S, rng: np.random.Generator) -> S:
        """Fresh episodes in place of those that ended: drawn anew, unless the task goes through an order."""
        return self.reset(rng, size(ended))

    @abstractmethod
    def step(self, state: S, action: Ints, rng: np.random.Generator) -> tuple[S, Floats, Bools]:
        """Next state, reward float[n], terminated bool[n]. Any action in the space has a defined outcome.

        `state` is left as it was; the arrays returned are new ones, which the caller may write in.
        """

    @abstractmethod
    def observe(self, state: S) -> Any:
        """Observations: one array (or dict of arrays) of the space's dtype with a leading axis n, freshly made."""

    @abstractmethod
    def action_mask(self, state: S) -> Bools:
        """bool[n, A]: True where the action is allowed. At least one is, in every state that has not ended."""

    def branches(self, state: S, action: Ints) -> list[tuple[Floats, S, Floats, Bools]]:
        """All outcomes of an action: (probability float[n], next state, reward float[n], terminated bool[n]) each.

        A task that draws nothing has one; a stochastic task that can be planned on says here what it may draw.
        """
        after, reward, terminated = self.step(state, action, np.random.default_rng(0))
        return [(np.ones(len(action)), after, reward, terminated)]

    def metrics(self, state: S) -> dict[str, Floats]:
        """What a person asks of finished episodes, by name: float[n] each."""
        return {}

    def key(self, state: S) -> Ints:
        """A sufficient statistic, int[n]: equal keys have equal futures. Only where the task is enumerable."""
        raise DescantError(f"{self.name} is not enumerable: exact planning is not possible on it.")

    def starts(self) -> S:
        """Every state that `reset` can draw, equally likely. Only where the task is enumerable."""
        raise DescantError(f"{self.name} is not enumerable: exact planning is not possible on it.")

    def render(self, episode: Episode[S], mode: str) -> Any:
        """The episode so far in one of `render_modes`."""
        raise DescantError(f"{self.name} has no render mode {mode!r}.")


def replay(task: Task[S], start: S, actions: Sequence[int]) -> Episode[S]:
    """The episode that `actions` make from `start` (one row), for a task that needs no randomness."""
    rng = np.random.default_rng(0)
    states = [start]
    for action in actions:
        state, _, _ = task.step(states[-1], np.array([action]), rng)
        states.append(state)
    return Episode(tuple(states), tuple(int(a) for a in actions))
