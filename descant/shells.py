"""The two Gymnasium shells around a task, written once, and the bridge to Stable-Baselines3.

`TaskEnv` is a `gymnasium.Env`, `TaskVectorEnv` a `gymnasium.vector.VectorEnv`; `SB3VecEnv` makes any vector
environment an SB3 `VecEnv`. Environments add no stepping code of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from descant.conditioning import Conditioned, conditions_of
from descant.errors import DescantError
from descant.registry import build, tasks
from descant.tasks import Bools, Episode, Floats, Ints, Task, put_rows, row_fields, take_rows

if TYPE_CHECKING:
    from descant.sb3 import SB3VecEnv as SB3VecEnv


def make_task(task: str | Task[Any], **options: Any) -> Task[Any]:
    """A task by its environment's name; a task that is made already is returned as it is.

    One whose reward asks for the tastes of several annotators is put into `descant.conditioning.Conditioned`.
    """
    if isinstance(task, Task):
        if options:
            raise DescantError(f"A task that is made already takes no options: {', '.join(options)}.")
        return task
    made: Task[Any] = build(task, tasks.get(task), options)
    conditions = conditions_of(getattr(made, "reward", None))
    return made if conditions is None else Conditioned(made, conditions)


def first_row(batch: Any) -> Any:
    """The first row of a batch of observations: an array, or a dict of arrays."""
    if isinstance(batch, Mapping):
        return {key: first_row(value) for key, value in batch.items()}
    return batch[0]


class TaskEnv(gymnasium.Env[Any, Any]):
    """One episode of a task at a time.

    `info["action_mask"]` is int8[A], as `Discrete.sample(mask)` wants it; `action_masks()` gives bool[A] to
    sb3-contrib. When an episode has ended, `info["metrics"]` says of it what the task's `metrics` say.
    """

    metadata = {"render_modes": ["ansi", "rgb_array", "svg"], "render_fps": 2}

    def __init__(
        self,
        task: str | Task[Any],
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self.task = make_task(task, **options)
        if render_mode is not None and render_mode not in self.task.render_modes:
            raise DescantError(
                f"{self.task.name} has no render mode {render_mode!r}: "
                f"it has {', '.join(self.task.render_modes) or 'none'}."
            )
        self.metadata = {**self.metadata, "render_modes": list(self.task.render_modes)}
        self.render_mode = render_mode
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        self._states: list[Any] = []
        self._actions: list[int] = []

    @property
    def episode(self) -> Episode[Any]:
        """The episode so far."""
        return Episode(tuple(self._states), tuple(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; `options` are the task's (for counterpoint: cantus, position)."""
        super().reset(seed=seed)
        if self._states and seed is None and not options:
            self._states = [self.task.follow(self._states[-1], self.np_random)]
        else:
            self._states = [self.task.reset(self.np_random, 1, options)]
        self._actions = []
        return self._observation(), self._info(ended=False)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action of the space; one outside it raises DescantError."""
        if not self._states:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        chosen = checked_actions(np.asarray([action]), 1, self.action_space)
        state, reward, terminated = self.task.step(self._states[-1], chosen, self.np_random)
        self._states.append(state)
        self._actions.append(int(chosen[0]))
        ended, limit = bool(terminated[0]), self.task.max_steps
        truncated = limit is not None and len(self._actions) >= limit
        return self._observation(), float(reward[0]), ended, truncated, self._info(ended or truncated)

    def action_masks(self) -> Bools:
        """bool[A]: the actions allowed now."""
        mask: Bools = self.task.action_mask(self._states[-1])[0]
        return mask

    def render(self) -> Any:
        """The episode so far, in the render mode the environment was made with."""
        if self.render_mode is None:
            return None
        return self.task.render(self.episode, self.render_mode)

    def _observation(self) -> Any:
        return first_row(self.task.observe(self._states[-1]))

    def _info(self, ended: bool) -> dict[str, Any]:
        info: dict[str, Any] = {"action_mask": self.action_masks().astype(np.int8)}
        if ended:
            metrics = self.task.metrics(self._states[-1])
            info["metrics"] = {name: float(value[0]) for name, value in metrics.items()}
        return info


def group_size(size: Any, num_envs: int) -> int:
    """How many rows share a start, checked: `num_envs` must be a multiple of it."""
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1 or num_envs % size:
        raise DescantError(
            f"num_envs ({num_envs}) must be a multiple of group_size ({size!r}), which is 1 or more: change either."
        )
    return int(size)


def checked_actions(actions: Any, n: int, space: Any) -> Ints:
    """Actions as int64[n], or a DescantError that says which is outside the space."""
    array = np.asarray(actions)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise DescantError(f"Actions must be {n} integers, not {array.dtype}{list(array.shape)}.")
    array = array.astype(np.int64, copy=False)
    if np.maximum.reduce(array.view(np.uint64)) >= space.n:  # negative numbers are large ones without a sign
        row = int(np.flatnonzero((array < 0) | (array >= space.n))[0])
        raise DescantError(f"Action {array[row]} of row {row} is outside 0..{space.n - 1}.")
    return array


class TaskVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """`num_envs` episodes of a task, stepped as one batch.

    Args:
        autoreset_mode: NEXT_STEP (an ended row is reset by the following step, whose action it ignores) or
            SAME_STEP (reset at once; the last observation is in `infos["final_obs"]`).
        max_episode_steps: truncate episodes after so many steps, or after the task's own `max_steps` if that is less.
        infos: put action masks and metrics of ended episodes into `infos`, as a `SyncVectorEnv` of `TaskEnv`
            does. Off by default: `action_masks()` and `metrics()` compute them when asked.
    """

    def __init__(
        self,
        task: str | Task[Any],
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        infos: bool = False,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise DescantError(f"num_envs must be at least 1, not {num_envs}.")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise DescantError(f"max_episode_steps must be at least 1, or None, not {max_episode_steps}.")
        self.task = make_task(task, **options)
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        if self.autoreset_mode is AutoresetMode.DISABLED:
            raise DescantError("Autoreset can't be disabled here: choose NEXT_STEP or SAME_STEP.")
        if render_mode is not None and render_mode not in self.task.render_modes:
            raise DescantError(f"{self.task.name} has no render mode {render_mode!r}.")
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": list(self.task.render_modes)}
        self.render_mode = render_mode
        limits = [limit for limit in (max_episode_steps, self.task.max_steps) if limit is not None]
        self.max_episode_steps = min(limits, default=None)
        self._follows = type(self.task).follow is not Task.follow
        self.single_observation_space = self.task.observation_space
        self.single_action_space = self.task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._infos = infos
        self._state: Any = None
        self._done = np.zeros(num_envs, bool)
        self._steps = np.zeros(num_envs, np.int64)
        self._ended: Any = None
        self._terms: dict[str, Floats] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin `num_envs` episodes. `options` are the task's, and `group_size`: so many rows in a row start alike."""
        super().reset(seed=seed)
        rest = dict(options or {})
        size = group_size(rest.pop("group_size", 1), self.num_envs)
        state = self.task.reset(self.np_random, self.num_envs // size, rest or None)
        self._state = state if size == 1 else take_rows(state, np.arange(self.num_envs) // size)
        self._done = np.zeros(self.num_envs, bool)
        self._steps = np.zeros(self.num_envs, np.int64)
        return self.task.observe(self._state), self._masks_info() if self._infos else {}

    def step(self, actions: Any) -> tuple[Any, Floats, Bools, Bools, dict[str, Any]]:
        """Step all rows. Actions outside the space raise DescantError."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        chosen = checked_actions(actions, self.num_envs, self.single_action_space)
        before = self._state
        self._state, reward, terminated = self.task.step(before, chosen, self.np_random)
        if self._terms is not None:
            self._terms = self._reward_terms(before, chosen, self._state)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            rows = self._done.nonzero()[0]
            if len(rows):
                self._reset_rows(rows)
                reward[rows] = 0.0
                terminated[rows] = False
                for term in (self._terms or {}).values():
                    term[rows] = 0.0
            truncated = self._count()
            self._done = terminated | truncated if self.max_episode_steps else terminated
            infos = self._step_infos(self._done) if self._infos else {}
            return self.task.observe(self._state), reward, terminated.copy(), truncated, infos
        truncated = self._count()
        self._done = terminated | truncated
        infos = self._reset_ended() if self._done.any() else {}
        if self._infos:
            infos |= self._masks_info()
        return self.task.observe(self._state), reward, terminated, truncated, infos

    @property
    def state(self) -> Any:
        """The task's state of all rows as they stand: to read, to copy, and not to write in."""
        return self._state

    def observe(self) -> Any:
        """The observations of all rows as they stand."""
        return self.task.observe(self._state)

    def action_masks(self) -> Bools:
        """bool[n, A]: the actions allowed now."""
        return self.task.action_mask(self._state)

    def metrics(self) -> tuple[Ints, dict[str, Floats]]:
        """Rows whose episode ended in the last step, int[k], and the task's metrics of them, float[k] each."""
        rows = np.flatnonzero(self._done)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            return rows, self.task.metrics(self._ended) if len(rows) else {}
        return rows, self.task.metrics(take_rows(self._state, rows)) if len(rows) else {}

    def watch_terms(self, on: bool) -> None:
        """Whether to keep the reward's terms of each step for `terms()`; they cost more than the step itself."""
        self._terms = {} if on else None

    def terms(self) -> dict[str, Floats]:
        """The last step's reward by term, float[n] each; empty unless `watch_terms(True)` was called."""
        return self._terms or {}

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that the next steps depend on, as arrays by name and JSON, for a checkpoint."""
        from descant.runs.rngs import rng_state

        arrays = {f"state.{name}": np.asarray(getattr(self._state, name)) for name in row_fields(self._state)}
        arrays |= {"done": self._done.astype(np.uint8), "steps": self._steps}
        return arrays, {"rng": rng_state(self.np_random)}

    def set_state(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
        """Go on from what `get_state` gave, on an environment made with the same options."""
        from descant.runs.rngs import restore_rng

        self.reset(seed=0)
        rows = {name: np.array(arrays[f"state.{name}"]) for name in row_fields(self._state)}
        self._state = dataclasses.replace(self._state, **rows)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:  # else they are reset, and what ended is gone
            self._done = np.array(arrays["done"]).astype(bool)
        self._steps = np.array(arrays["steps"])
        restore_rng(self.np_random, plain["rng"])

    def render(self) -> tuple[Any, ...] | None:
        """A vector environment keeps no history, so there is nothing to draw: use `gymnasium.make`."""
        if self.render_mode is None:
            return None
        raise DescantError("A vector environment keeps no history to render: use gymnasium.make instead.")

    def _reward_terms(self, before: Any, actions: Ints, after: Any) -> dict[str, Floats]:
        reward = getattr(self.task, "reward", None)
        return {} if reward is None or not hasattr(reward, "terms") else reward.terms(before, actions, after)

    def _count(self) -> Bools:
        """Count steps and say which rows have come to the time limit (ended or not, as Gymnasium's says), bool[n]."""
        if self.max_episode_steps is None:
            return np.zeros(self.num_envs, bool)
        self._steps += 1
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._steps[self._done] = 0
        return self._steps >= self.max_episode_steps

    def _reset_rows(self, rows: Ints) -> None:
        if self._follows:
            fresh = self.task.follow(take_rows(self._state, rows), self.np_random)
        else:
            fresh = self.task.reset(self.np_random, len(rows), None)
        put_rows(self._state, rows, fresh)

    def _reset_ended(self) -> dict[str, Any]:
        """SAME_STEP: keep what ended in the infos, then begin anew in those rows."""
        rows = np.flatnonzero(self._done)
        self._ended = take_rows(self._state, rows)
        last = self.task.observe(self._ended)
        final = np.full(self.num_envs, None, dtype=object)
        for i, row in enumerate(rows):
            final[row] = first_row(_slice(last, i))
        infos: dict[str, Any] = {"final_obs": final, "_final_obs": self._done.copy()}
        if self._infos:
            infos |= {"final_info": self._step_infos(self._done, only=True), "_final_info": self._done.copy()}
        self._reset_rows(rows)
        self._steps[rows] = 0
        return infos

    def _masks_info(self, rows: Bools | None = None) -> dict[str, Any]:
        present = np.ones(self.num_envs, bool) if rows is None else rows.copy()
        mask = self.action_masks().astype(np.int8)
        mask[~present] = 0
        return {"action_mask": mask, "_action_mask": present}

    def _step_infos(self, done: Bools, only: bool = False) -> dict[str, Any]:
        """Masks, and the metrics of ended rows; with `only`, masks of ended rows alone."""
        infos = self._masks_info(done if only else None)
        if done.any():
            rows = np.flatnonzero(done)
            infos["metrics"] = {}
            for name, value in self.task.metrics(take_rows(self._state, rows)).items():
                column = np.zeros(self.num_envs, value.dtype)
                column[rows] = value
                infos["metrics"] |= {name: column, f"_{name}": done.copy()}
            infos["_metrics"] = done.copy()
        return infos


def _slice(batch: Any, row: int) -> Any:
    if isinstance(batch, Mapping):
        return {key: _slice(value, row) for key, value in batch.items()}
    return batch[row : row + 1]


def __getattr__(name: str) -> Any:
    """`SB3VecEnv` is here too, but Stable-Baselines3 (and torch) load only when it is asked for."""
    if name == "SB3VecEnv":
        from descant.sb3 import SB3VecEnv

        return SB3VecEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
