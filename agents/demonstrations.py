"""Demonstrations: whole episodes side by side, one a row, as a `Rollout` of which the rewards are not asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from descant.errors import DescantError
from descant.rollouts import Rollout
from descant.tasks import Bools, Ints
from descant.text.examples import Examples


def demonstrations(observations: Any, actions: Ints, valid: Bools, masks: Bools | None = None) -> Rollout:
    """Episodes [T, N, ...], each from the first row on for as long as `valid` bool[T, N] says."""
    nothing = np.zeros(valid.shape, bool)
    starts = nothing.copy()
    starts[0] = True
    zeros = np.zeros(valid.shape)
    return Rollout(observations, actions, zeros, nothing, nothing, starts, valid, masks, None)


def plain(rollout: Rollout) -> Rollout:
    """A rollout of whole episodes less what demonstrations don't need."""
    return demonstrations(rollout.observations, rollout.actions, rollout.valid, rollout.masks)


def take_episodes(rollout: Rollout | Examples, rows: Any, steps: int | None = None) -> Rollout:
    """The chosen rows (int[k]), and of them the first `steps`, or as many as the longest of them has."""
    if isinstance(rollout, Examples):
        return rollout.take(rows)
    valid = rollout.valid[:, rows]
    length = int(valid.sum(axis=0).max()) if steps is None else steps
    masks = None if rollout.masks is None else rollout.masks[:length, rows]
    return demonstrations(
        _each(rollout.observations, lambda part: part[:length, rows]),
        rollout.actions[:length, rows],
        valid[:length],
        masks,
    )


def join(parts: Sequence[Rollout]) -> Rollout:
    """The rows of several, in order; shorter ones are filled up with what is not valid."""
    length = max(len(part.actions) for part in parts)

    def joined(arrays: list[Any]) -> Any:
        if isinstance(arrays[0], dict):
            return {key: joined([a[key] for a in arrays]) for key in arrays[0]}
        filled = [np.pad(a, [(0, length - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in arrays]
        return np.concatenate(filled, axis=1)

    masks = None if parts[0].masks is None else joined([part.masks for part in parts])
    observations, actions, valid = (
        joined([getattr(part, name) for part in parts]) for name in ("observations", "actions", "valid")
    )
    return demonstrations(observations, actions, valid, masks)


def to_arrays(rollout: Rollout) -> dict[str, Any]:
    """Arrays by name, as a file or a checkpoint holds them."""
    arrays = {"actions": rollout.actions, "valid": rollout.valid.astype(np.uint8)}
    if isinstance(rollout.observations, dict):
        arrays |= {f"observations.{key}": value for key, value in rollout.observations.items()}
    else:
        arrays["observations"] = rollout.observations
    if rollout.masks is not None:
        arrays["masks"] = rollout.masks.astype(np.uint8)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def from_arrays(arrays: dict[str, Any]) -> Rollout:
    """What `to_arrays` gave."""
    observations = arrays.get("observations")
    if observations is None:
        named = {k: v for k, v in arrays.items() if k.startswith("observations.")}
        observations = {k.removeprefix("observations."): v for k, v in named.items()}
    masks = arrays["masks"].astype(bool) if "masks" in arrays else None
    return demonstrations(
        observations, arrays["actions"].astype(np.int64), arrays["valid"].astype(bool), masks
    )


def save_demonstrations(path: str | Path, rollout: Rollout) -> None:
    """Write episodes as a safetensors file: actions int64[T, N], valid uint8[T, N], observations [T, N, ...]
    (`observations.KEY` each for a Dict), and masks uint8[T, N, A] where there are any."""
    from safetensors.numpy import save_file

    save_file(to_arrays(plain(rollout)), path)


def load_demonstrations(path: str | Path, observation_space: Any, action_space: Any) -> Rollout:
    """Read what `save_demonstrations` wrote; DescantError where it is no such file or does not fit the spaces."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        rollout = from_arrays(load_file(path))
    except (OSError, SafetensorError, KeyError) as error:
        raise DescantError(
            f"{path} holds no demonstrations ({error}): write it with save_demonstrations."
        ) from error
    valid, actions = rollout.valid, rollout.actions
    shapes = _shapes(rollout.observations)
    wrong = not valid.any() or actions.shape != valid.shape
    wrong |= shapes != _shapes(observation_space) or any(
        s[:2] != valid.shape for s in _full(rollout.observations)
    )
    wrong |= rollout.masks is not None and rollout.masks.shape != (*valid.shape, action_space.n)
    wrong = wrong or bool(((actions < 0) | (actions >= action_space.n))[valid].any())
    wrong = wrong or bool((valid[1:] & ~valid[:-1]).any())
    if wrong:
        raise DescantError(
            f"The demonstrations in {path} do not fit the environment: it has observations {observation_space} and "
            f"{action_space}."
        )
    return rollout


def _each(observations: Any, change: Any) -> Any:
    if isinstance(observations, dict):
        return {key: _each(value, change) for key, value in observations.items()}
    return change(observations)


def _full(observations: Any) -> list[tuple[int, ...]]:
    parts = observations.values() if isinstance(observations, dict) else [observations]
    return [part.shape for part in parts]


def _shapes(observations: Any) -> Any:
    """Shapes of one observation, from a space or from arrays [T, N, ...]."""
    if isinstance(observations, spaces.Dict):
        return {key: _shapes(space) for key, space in observations.spaces.items()}
    if isinstance(observations, dict):
        return {key: _shapes(value) for key, value in observations.items()}
    return observations.shape if isinstance(observations, spaces.Space) else observations.shape[2:]
