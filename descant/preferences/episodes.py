"""Clips played as episodes in an environment: what its agents would have seen while they wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.preferences.records import Clip, to_json
from descant.registry import tasks
from descant.rollouts import Rollout
from descant.shells import make_task
from descant.tasks import Task, size, take_rows


def play_episodes(clips: Sequence[Clip], env: Any) -> Rollout:
    """The clips as rows of a rollout, in order, in a vector environment of descant; shorter ones are not valid beyond.

    A clip's arguments say what it began from: options of the environment's reset, or arguments to make it with.
    DescantError where a clip is of another environment or vocabulary, or is no whole episode.
    """
    task = getattr(env.unwrapped, "task", None)
    if task is None:
        raise DescantError("Clips can be played in descant's environments only: this one is not.")
    if not clips:
        raise DescantError("There are no clips to play: compare some first.")
    spec = getattr(env, "spec", None)
    known = {} if spec is None else {k: v for k, v in spec.kwargs.items() if k not in SHELL}
    groups: dict[str, list[int]] = {}
    for row, clip in enumerate(clips):
        _refuse_others(clip, task)
        groups.setdefault(to_json([*clip.prompt_parts, len(clip.tokens)]), []).append(row)
    parts = {}
    for rows in groups.values():
        of_prompt, start = _begin(task, known, clips[rows[0]])
        parts[tuple(rows)] = _play(of_prompt, start, [clips[row] for row in rows])
    return _laid(parts, len(clips))


SHELL = {
    "task",
    "num_envs",
    "vectorization_mode",
    "vector_kwargs",
    "autoreset_mode",
    "max_episode_steps",
    "infos",
}
FEW = 8  # resets that tell whether a start is drawn
Part = tuple[Any, Any, Any]  # observations [T, k, ...], actions int[T, k], masks bool[T, k, A]


def _refuse_others(clip: Clip, task: Task[Any]) -> None:
    n = int(task.action_space.n)
    if clip.environment != task.name:
        raise DescantError(
            f"A clip of {clip.source!r} was written in {clip.environment}, not in {task.name}: take comparisons of the "
            "environment that is trained on."
        )
    if not clip.tokens or max(clip.tokens) >= n:
        raise DescantError(
            f"A clip of {clip.source!r} has tokens that are no actions of {task.name} (0 to {n - 1}): it was written "
            "with another vocabulary, or holds nothing."
        )


def _begin(task: Task[Any], known: Mapping[str, Any], clip: Clip) -> tuple[Task[Any], Any]:
    """A task, and the state in it that the clip began from, one row."""
    arguments = dict(clip.arguments)
    if all(k in known and known[k] == v for k, v in arguments.items()):
        return task, _start(task, clip, None)
    try:
        return task, _start(task, clip, arguments)
    except _Random:
        raise
    except DescantError:
        if task.name not in tasks.names():
            raise
    try:
        made = make_task(task.name, **{**known, **arguments})
    except (DescantError, TypeError) as error:
        raise DescantError(f"No {task.name} can be made for a clip of {clip.source!r}: {error}") from error
    if (made.observation_space, made.action_space) != (task.observation_space, task.action_space):
        raise DescantError(
            f"A clip of {clip.source!r} was written in a {task.name} with {to_json(arguments)}, which has other "
            "observations or another vocabulary: take comparisons of the environment that is trained on."
        )
    return made, _start(made, clip, None)


class _Random(DescantError):
    """What a clip began from is drawn, and its arguments don't say what was."""


def _start(task: Task[Any], clip: Clip, options: dict[str, Any] | None) -> Any:
    """The state after a reset, if a few resets see the same."""
    states = [task.reset(np.random.default_rng(i), 1, options) for i in range(FEW)]
    seen = [task.observe(state) for state in states]
    if not all(_equal(seen[0], other) for other in seen[1:]):
        raise _Random(
            f"A clip of {clip.source!r} does not say what it began from, which {task.name} draws: its arguments "
            "must name it."
        )
    return states[0]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(_equal(one[key], other[key]) for key in one)
    return bool(np.array_equal(one, other))


def _play(task: Task[Any], start: Any, clips: Sequence[Clip]) -> Part:
    """Clips of one prompt and length; DescantError where one is no whole episode or does what is not allowed."""
    source = clips[0].source
    actions = np.array([clip.tokens for clip in clips], np.int64).T
    state = take_rows(start, np.zeros(len(clips), np.int64))
    rng, rows = np.random.default_rng(0), np.arange(size(state))
    observations, masks, ended = [], [], np.zeros(len(clips), bool)
    for t, taken in enumerate(actions):
        mask = task.action_mask(state)
        if ended.any() or not mask[rows, taken].all():
            what = (
                "goes on after its end"
                if ended.any()
                else f"takes an action at step {t + 1} that is not allowed"
            )
            raise DescantError(
                f"A clip of {source!r} {what} in {task.name}: it was written with other rules."
            )
        observations.append(task.observe(state))
        masks.append(mask)
        state, _, ended = task.step(state, taken, rng)
    if not ended.all() and len(actions) != task.max_steps:
        raise DescantError(
            f"A clip of {source!r} is no whole episode of {task.name}: after {len(actions)} steps it has not ended."
        )
    return _stacked(observations), actions, np.stack(masks)


def _laid(parts: Mapping[tuple[int, ...], Part], n: int) -> Rollout:
    """Parts of different length beside each other, in the order of the clips."""
    steps = max(len(actions) for _, actions, _ in parts.values())
    order = np.argsort([row for rows in parts for row in rows])

    def joined(arrays: list[Any]) -> Any:
        if isinstance(arrays[0], dict):
            return {key: joined([a[key] for a in arrays]) for key in arrays[0]}
        padded = [np.pad(a, [(0, steps - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in arrays]
        return np.concatenate(padded, axis=1)[:, order]

    observations, actions, masks = (joined([part[i] for part in parts.values()]) for i in range(3))
    valid = joined([np.ones(part[1].shape, bool) for part in parts.values()])
    nothing = np.zeros((steps, n), bool)
    starts = nothing.copy()
    starts[0] = True
    return Rollout(observations, actions, np.zeros((steps, n)), nothing, nothing, starts, valid, masks, None)


def _stacked(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _stacked([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)
