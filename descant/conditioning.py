"""Tasks that are for somebody: each episode has a code z of whose taste the reward asks for, and the agent sees it.

One policy then serves all whom a reward model knows, and anybody whose code can be read (Poddar et al. 2024). A reward
that asks so has `conditions`, and reads the codes of rows in `state.code`. `descant.shells.make_task` puts the task of
such a reward into `Conditioned`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from descant.errors import DescantError, did_you_mean
from descant.tasks import Bools, Floats, Ints, Task, size

CODE, SEEN = "code", "observation"  # parts of what is observed


@dataclass(frozen=True)
class Conditions:
    """Whom episodes may be for: names, and the code z of each, float64[k, d]."""

    annotators: tuple[str, ...]
    codes: Floats

    def of(self, names: Sequence[str]) -> Floats:
        """Codes by name, float64[len(names), d]; DescantError for a name that is none of them."""
        for name in names:
            if name not in self.annotators:
                raise DescantError(f"No episode is for {name!r} here.{did_you_mean(name, self.annotators)}")
        return self.codes[[self.annotators.index(name) for name in names]]


def conditions_of(reward: Any) -> Conditions | None:
    """Whom a reward may ask for; None where it asks the same of every episode."""
    found: Conditions | None = getattr(reward, "conditions", None)
    return found


def code_of(state: Any) -> Floats:
    """Codes of the rows of a state, float64[n, d]; DescantError where the state is for nobody."""
    code: Floats | None = getattr(state, CODE, None)
    if code is None:
        raise DescantError(
            "The reward asks for the taste of whom an episode is for, and this one is for nobody: make the "
            "environment by gymnasium.make, or the task by descant.shells.make_task."
        )
    return code


def with_code(state: Any, code: Floats) -> Any:
    """The same state for somebody: codes float64[n, d]."""
    kind: Any = type(state)
    if hasattr(state, CODE):
        return dataclasses.replace(state, **{CODE: code})
    fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(kind)}
    return _coded(kind)(**fields, **{CODE: code})


@functools.cache
def _coded(kind: Any) -> Any:
    """A state's class with a field more, which is carried wherever rows are taken, joined or saved."""
    return dataclasses.make_dataclass(
        f"Coded{kind.__name__}", [(CODE, Floats)], bases=(kind,), frozen=True, eq=False, kw_only=True
    )


def beneath(space: spaces.Space[Any]) -> spaces.Space[Any] | None:
    """What is seen besides the code, in the space of a `Conditioned` task; None for any other space."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {}
    return parts[SEEN] if set(parts) == {CODE, SEEN} else None


class Conditioned(Task[Any]):
    """A task whose episodes are each for an annotator: drawn evenly at reset, their code z seen at every step.

    To learn on: a policy that has learned is used by `Given` on the task itself.

    Observations are `{"code": float32[d], "observation": the task's}`. The reset option `annotator` (a name, or one for
    each row) says who it is for, `code` (float[d] or float[n, d]) says what code it has. Anything else is the task's.

    Raises:
        DescantError: the task's observations have parts already, so that its networks would not see another.
    """

    def __init__(self, task: Task[Any], conditions: Conditions) -> None:
        if isinstance(task.observation_space, spaces.Dict):
            raise DescantError(
                f"{task.name} can't be for several annotators at once: name one of them as annotator of its reward."
            )
        self.task, self.conditions = task, conditions
        self.name, self.max_steps, self.render_modes = task.name, task.max_steps, task.render_modes  # type: ignore[misc]
        dimensions = conditions.codes.shape[1]
        code = spaces.Box(-np.inf, np.inf, (dimensions,), np.float32)
        self.observation_space = spaces.Dict({CODE: code, SEEN: task.observation_space})
        self.action_space = task.action_space

    def __getattr__(self, name: str) -> Any:
        """What else the task has: its reward, its key, its steps."""
        if name.startswith("__") or name == "task":  # not there yet while it is copied
            raise AttributeError(name)
        return getattr(self.task, name)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> Any:
        """`n` fresh episodes, each for one annotator."""
        rest = dict(options or {})
        whose, code = rest.pop("annotator", None), rest.pop(CODE, None)
        state = self.task.reset(rng, n, rest or None)
        if whose is not None and code is not None:
            raise DescantError("An episode is for an annotator or for a code: give one of the two options.")
        if whose is not None:
            code = self.conditions.of([whose] if isinstance(whose, str) else list(whose))
        return with_code(state, self._drawn(rng, n) if code is None else self._checked(code, n))

    def follow(self, ended: Any, rng: np.random.Generator) -> Any:
        """Fresh episodes in place of those that ended, each for somebody drawn anew."""
        return with_code(self.task.follow(ended, rng), self._drawn(rng, size(ended)))

    def step(self, state: Any, action: Ints, rng: np.random.Generator) -> tuple[Any, Floats, Bools]:
        """As the task's; whom an episode is for stays as it is."""
        after, reward, ended = self.task.step(state, action, rng)
        return with_code(after, code_of(state)), reward, ended

    def observe(self, state: Any) -> dict[str, Any]:
        """The code float32[n, d], and what the task shows."""
        return {CODE: code_of(state).astype(np.float32), SEEN: self.task.observe(state)}

    def action_mask(self, state: Any) -> Bools:
        """The task's."""
        return self.task.action_mask(state)

    def metrics(self, state: Any) -> dict[str, Floats]:
        """The task's."""
        return self.task.metrics(state)

    def _drawn(self, rng: np.random.Generator, n: int) -> Floats:
        return self.conditions.codes[rng.integers(0, len(self.conditions.codes), n)]

    def _checked(self, code: Any, n: int) -> Floats:
        """Codes of all rows, float64[n, d]."""
        found, dimensions = np.asarray(code, np.float64), self.conditions.codes.shape[1]
        if (
            found.shape not in ((dimensions,), (1, dimensions), (n, dimensions))
            or not np.isfinite(found).all()
        ):
            raise DescantError(
                f"A code is {dimensions} finite numbers, the same for all or for each of {n} rows, not {found.shape}."
            )
        return np.broadcast_to(found, (n, dimensions)).copy()


class Blind:
    """A prior that does not see whom an episode is for: a policy without conditions, on observations that have them."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def __getattr__(self, name: str) -> Any:
        """All else is the policy's; its `policy_step`, where it has one, sees no code either."""
        found = _of(self, name)
        if name == "policy_step":
            return lambda observation, *rest: found(observation[SEEN], *rest)
        return found

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action: float[n, A]."""
        found: Floats = self.policy.log_probs(observation[SEEN], state, action_masks)
        return found


class Given:
    """A policy that sees codes, given one: a policy of the environment without conditions.

    code: float[d]. DescantError for a policy that sees none.
    """

    def __init__(self, policy: Any, code: Floats) -> None:
        space = beneath(policy.observation_space)
        if space is None:
            raise DescantError(
                "This policy does not see whom it is for: it has one taste, that it was tuned for."
            )
        self.policy, self.code, self.observation_space = policy, np.asarray(code, np.float32), space

    def __getattr__(self, name: str) -> Any:
        """All else is the policy's."""
        found = _of(self, name)
        if name in ("log_probs", "policy_step", "predict"):
            return lambda observation, *rest, **named: found(self._with(observation), *rest, **named)
        return found

    def _with(self, observation: Any) -> dict[str, Any]:
        return {CODE: np.tile(self.code, (len(observation), 1)), SEEN: observation}


def _of(wrapper: Any, name: str) -> Any:
    """An attribute of the policy that is wrapped."""
    if name.startswith("__") or name == "policy":  # not there yet while the wrapper is copied
        raise AttributeError(name)
    return getattr(wrapper.policy, name)
