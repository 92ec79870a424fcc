"""Replay of transitions: ring buffers, n-step rewards, uniform and prioritised sampling."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from descant.errors import DescantError
from descant.rollouts import Rollout
from descant.tasks import Bools, Floats, Ints

SHARE = 0.8  # of the memory that a buffer may take: networks and the environment need some too
SMALLEST = 1e-6  # added to errors, so that nothing is never sampled again


@dataclass(frozen=True)
class Batch:
    """Transitions drawn for one update. After `n` steps (fewer at an end) the episode stood at `next_observations`."""

    observations: Any  # [B, ...], a dict of arrays for Dict spaces
    masks: Bools  # [B, A] of the observations
    actions: Ints  # [B]
    rewards: Floats  # [B], n steps of them, discounted
    discounts: Floats  # [B], of the value of what comes next: gamma to the number of steps
    next_observations: Any  # [B, ...]
    next_masks: Bools  # [B, A]
    terminated: Bools  # [B], nothing comes next
    indices: Ints  # [B], for `update_priorities`
    weights: Floats  # [B], importance weights, at most 1


class SumTree:
    """Numbers whose sum is split in a binary tree: setting and drawing k of them costs k log(capacity)."""

    def __init__(self, capacity: int) -> None:
        self.leaves = 1 << max(capacity - 1, 0).bit_length()
        self.nodes = np.zeros(2 * self.leaves)  # the root is node 1, children of i are 2i and 2i + 1

    @property
    def total(self) -> float:
        """The sum of all."""
        return float(self.nodes[1])

    def get(self, indices: Ints) -> Floats:
        """Numbers at indices int[k]: float[k]."""
        return self.nodes[self.leaves + indices]

    def set(self, indices: Ints, values: Floats | float) -> None:
        """Put numbers (not negative) at indices int[k]; sums are made anew, so that errors don't pile up."""
        nodes = self.leaves + indices
        self.nodes[nodes] = values
        while nodes[0] > 1:
            nodes = np.unique(nodes // 2)
            self.nodes[nodes] = self.nodes[2 * nodes] + self.nodes[2 * nodes + 1]

    def find(self, masses: Floats) -> Ints:
        """The index whose stretch of the running sum holds each mass in [0, total): int[k]."""
        nodes, masses = np.ones(len(masses), np.int64), masses.copy()
        for _ in range(self.leaves.bit_length() - 1):
            left = self.nodes[2 * nodes]
            # Rounding may leave a mass at the very end of a node: never go where there is nothing.
            right = (masses >= left) & (self.nodes[2 * nodes + 1] > 0)
            masses = np.where(right, masses - left, masses)
            nodes = 2 * nodes + right
        return nodes - self.leaves


class ReplayBuffer:
    """The last `capacity` transitions of a vector environment of `num_envs` rows.

    A transition runs over `n_steps` steps, or to the end of its episode if that comes before. Where the episode was
    truncated, it went on unseen: `terminated` is False and `next_observations` is what was seen last. With `alpha`,
    transitions are drawn in proportion to priority^alpha (Schaul et al. 2016), new ones first.
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        actions: int,
        capacity: int,
        num_envs: int,
        gamma: float = 0.99,
        n_steps: int = 1,
        alpha: float | None = None,
        memory: int | None = None,
    ) -> None:
        if capacity < 1 or n_steps < 1:
            raise DescantError("A replay buffer needs buffer_size and n_steps of 1 or more.")
        self.space, self.capacity, self.gamma, self.n_steps, self.alpha = (
            space,
            capacity,
            gamma,
            n_steps,
            alpha,
        )
        seen = leaves(space, "observations")
        before = seen | {"masks": ((actions,), np.dtype(bool)), "actions": ((), np.dtype(np.int64))}
        summed = {name: ((), np.dtype(np.float64)) for name in ("rewards", "discounts")}
        after = leaves(space, "next_observations") | {"next_masks": before["masks"]}
        columns = before | summed | after | {"terminated": ((), np.dtype(bool))}
        refuse_too_large(columns, capacity, alpha is not None, available() if memory is None else memory)
        self._columns = _zeros(columns, capacity)
        waiting = before | summed | {"active": ((), np.dtype(bool))}
        self._waiting = _zeros(waiting, n_steps, num_envs)
        self._tree = None if alpha is None else SumTree(capacity)
        self._largest = 1.0  # priority, before it is raised to alpha
        self._time = self._next = self.size = 0

    def __len__(self) -> int:
        return self.size

    def add_rollout(self, rollout: Rollout, cut_masks: Bools | None = None) -> None:
        """Add the steps of a rollout, the next ones after the last added. Steps that are not valid never enter.

        `cut_masks` bool[K, A] are the masks of `rollout.cut_observations`, where the environment resets at once; all
        actions count as allowed there if None is given.
        """
        steps = len(rollout.actions)
        seen = columns_of(rollout.observations, "observations")
        last = columns_of(rollout.last_observation, "observations")
        everything = np.ones(self._waiting["masks"].shape[1:], bool)
        for t in range(steps):
            now = {name: value[t] for name, value in seen.items()}
            later = {n: (seen[n][t + 1] if t + 1 < steps else last[n]) for n in seen}
            masks = everything if rollout.masks is None else rollout.masks[t]
            next_masks = (
                rollout.masks[t + 1] if rollout.masks is not None and t + 1 < steps else rollout.last_masks
            )
            following = {f"next_{n}": value for n, value in later.items()}
            following["next_masks"] = everything if next_masks is None else next_masks
            if len(rollout.cut) and rollout.resets_at_once:
                following = _with_cut(following, rollout, t, cut_masks)
            now |= {"masks": masks, "actions": rollout.actions[t]}
            ends = (rollout.terminated[t], rollout.truncated[t])
            self.add(now, rollout.rewards[t], *ends, rollout.valid[t], following)

    def add(
        self,
        now: Mapping[str, Any],
        rewards: Floats,
        terminated: Bools,
        truncated: Bools,
        valid: Bools,
        following: Mapping[str, Any],
    ) -> None:
        """Add one step of every row; `now` and `following` are columns by name, [N, ...] each.

        Steps wait until `n_steps` rewards have come or their episode has ended. All steps of a row wait in a slot by
        the time they came, so that the oldest is the same slot in every row.
        """
        slot, waiting = self._time % self.n_steps, self._waiting
        self._time += 1
        for name, value in now.items():
            waiting[name][slot] = value
        waiting["rewards"][slot], waiting["discounts"][slot], waiting["active"][slot] = 0.0, 1.0, valid
        active = waiting["active"] & valid
        waiting["rewards"] += np.where(active, waiting["discounts"] * rewards, 0.0)
        waiting["discounts"] *= np.where(active, self.gamma, 1.0)
        ready = active & (terminated | truncated)
        oldest = (slot + 1) % self.n_steps
        ready[oldest] = active[oldest]
        age = (np.arange(self.n_steps) + oldest) % self.n_steps
        place, row = np.nonzero(ready[age])
        chosen = (age[place], row)
        names = (*now, "rewards", "discounts")
        whole = {name: waiting[name][chosen] for name in names}
        whole |= {name: np.asarray(value)[row] for name, value in following.items()}
        self._store(whole | {"terminated": terminated[row]}, len(row))
        waiting["active"][:] = active & ~ready

    def _store(self, columns: Mapping[str, Any], count: int) -> None:
        """Put `count` whole transitions in place of the oldest."""
        if not count:
            return
        kept = min(count, self.capacity)  # of more than fit, the last
        places = (self._next + np.arange(count - kept, count)) % self.capacity
        for name, value in columns.items():
            self._columns[name][places] = value[count - kept :]
        if self._tree is not None:
            self._tree.set(places, self._largest ** (self.alpha or 0.0))
        self._next = (self._next + count) % self.capacity
        self.size = min(self.size + count, self.capacity)

    def forget_unfinished(self) -> None:
        """Drop steps that wait for rewards: the environment began anew and these will not come."""
        self._waiting["active"][:] = False

    def sample(self, rng: np.random.Generator, batch_size: int, beta: float = 1.0) -> Batch:
        """Draw transitions, with replacement. `beta` is how far importance weights make up for priorities."""
        if not self.size:
            raise DescantError("The replay buffer is empty: collect some steps first.")
        weights = np.ones(batch_size)
        if self._tree is None:
            indices = rng.integers(self.size, size=batch_size)
        else:
            # One draw from each of `batch_size` equal stretches, as in the paper's appendix B.2.1.
            share = (np.arange(batch_size) + rng.random(batch_size)) / batch_size
            indices = self._tree.find(share * self._tree.total)
            weights = (self.size * self._tree.get(indices) / self._tree.total) ** -beta
            weights /= weights.max()
        return self.take(indices, weights)

    def batches(
        self, rng: np.random.Generator, batch_size: int, count: int, beta: float = 1.0
    ) -> Iterator[Batch]:
        """`count` times `sample`; where no batch changes what the next may be, taken all at once, which costs less."""
        if self._tree is not None or not self.size:
            for _ in range(count):
                yield self.sample(rng, batch_size, beta)
            return
        whole = self.take(rng.integers(self.size, size=count * batch_size))
        for begin in range(0, count * batch_size, batch_size):
            yield _part(whole, slice(begin, begin + batch_size))

    def take(self, indices: Any, weights: Floats | None = None) -> Batch:
        """The transitions at these places: an array of them, or a slice, of which nothing is copied."""
        whole = isinstance(indices, slice)
        # numpy's `take` needs a tenth of the time of brackets.
        rows = {
            n: column[indices] if whole else column.take(indices, axis=0)
            for n, column in self._columns.items()
        }
        names = ("masks", "actions", "rewards", "discounts", "next_masks", "terminated")
        return Batch(
            observations=_observation_of(self.space, rows, "observations"),
            next_observations=_observation_of(self.space, rows, "next_observations"),
            indices=indices,
            weights=np.ones(len(indices)) if weights is None else weights,
            **{name: rows[name] for name in names},
        )

    def everything(self) -> Batch:
        """All transitions, not copied."""
        return self.take(slice(self.size), np.ones(self.size))

    def update_priorities(self, indices: Ints, errors: Floats) -> None:
        """Set priorities to the size of the errors float[B]; nothing to do where sampling is uniform."""
        if self._tree is None:
            return
        priorities = np.abs(errors) + SMALLEST
        self._largest = max(self._largest, float(priorities.max()))
        self._tree.set(indices, priorities ** (self.alpha or 0.0))

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that later batches depend on, as arrays by name and JSON, for a checkpoint."""
        arrays = {f"column.{name}": column[: self.size] for name, column in self._columns.items()}
        arrays |= {f"waiting.{name}": column for name, column in self._waiting.items()}
        if self._tree is not None:
            arrays["priorities"] = self._tree.get(np.arange(self.size))
        plain = {"time": self._time, "next": self._next, "size": self.size, "largest": self._largest}
        return arrays, plain

    def restore(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
        """Go on from what `parts` gave, in a buffer made with the same arguments."""
        self._time, self._next, self.size = (int(plain[k]) for k in ("time", "next", "size"))
        self._largest = float(plain["largest"])
        for name, column in self._columns.items():
            column[: self.size] = arrays[f"column.{name}"]
        for name, column in self._waiting.items():
            column[:] = arrays[f"waiting.{name}"]
        if self._tree is not None and self.size:
            self._tree.set(np.arange(self.size), arrays["priorities"])


def _part(whole: Any, part: slice) -> Any:
    """A stretch of a batch, or of observations."""
    if isinstance(whole, Batch):
        return Batch(*(_part(column, part) for column in vars(whole).values()))
    if isinstance(whole, dict):
        return {key: _part(value, part) for key, value in whole.items()}
    return whole[part]


Shapes = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def leaves(space: spaces.Space[Any], name: str) -> Shapes:
    """Shape and dtype of each array that an observation is made of, by name."""
    if isinstance(space, spaces.Dict):
        parts = [leaves(part, f"{name}/{key}") for key, part in space.spaces.items()]
        return {key: value for part in parts for key, value in part.items()}
    if space.shape is None or space.dtype is None:
        raise DescantError(
            f"No replay of {type(space).__name__} observations: use Box, Discrete or a Dict of them."
        )
    return {name: (space.shape, space.dtype)}


def columns_of(observation: Any, name: str) -> dict[str, Any]:
    """The arrays of observations, by the names that `leaves` gives."""
    if isinstance(observation, Mapping):
        parts = [columns_of(part, f"{name}/{key}") for key, part in observation.items()]
        return {key: value for part in parts for key, value in part.items()}
    return {name: np.asarray(observation)}


def _observation_of(space: spaces.Space[Any], columns: Mapping[str, Any], name: str) -> Any:
    """The reverse of `columns_of`."""
    if isinstance(space, spaces.Dict):
        return {key: _observation_of(part, columns, f"{name}/{key}") for key, part in space.spaces.items()}
    return columns[name]


def _with_cut(following: dict[str, Any], rollout: Rollout, t: int, cut_masks: Bools | None) -> dict[str, Any]:
    """What follows a step, with the true last observation where an environment that resets at once was cut."""
    changed = {name: value.copy() for name, value in following.items()}
    for k in np.flatnonzero(rollout.cut[:, 0] == t):
        row = rollout.cut[k, 1]
        for name, value in columns_of(rollout.cut_observations[k], "next_observations").items():
            changed[name][row] = value
        changed["next_masks"][row] = True if cut_masks is None else cut_masks[k]
    return changed


def _zeros(columns: Shapes, *leading: int) -> dict[str, Any]:
    return {name: np.zeros((*leading, *shape), dtype) for name, (shape, dtype) in columns.items()}


def available() -> int:
    """Bytes of memory that this process may have: what the machine has free, or the container's limit."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        found = min(found, int(lines.get("MemAvailable", f"{found // 1024} kB").split()[0]) * 1024)
    if limit.exists() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        found = min(found, int(text))
    return found


def refuse_too_large(columns: Shapes, capacity: int, prioritized: bool, memory: int) -> None:
    """DescantError where so many transitions of these columns would take more than a share of the memory."""
    row = sum(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for shape, dtype in columns.values())
    row += 32 if prioritized else 0  # two nodes a leaf, and up to twice as many leaves as transitions
    fits = int(memory * SHARE) // row
    if capacity > fits:
        raise DescantError(
            f"A replay buffer of {capacity:,} transitions takes {capacity * row / 2**30:,.1f} GiB, of which there are "
            f"{memory / 2**30:,.1f}: set buffer_size to {fits:,} or less."
        )
