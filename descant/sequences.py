"""Replay for networks with memory: pieces of episodes, each with the recurrent state that stood at its beginning.

A piece is a chunk of `length` steps of one episode, so that a network runs through it without a reset in between. An
episode of at most that length is one chunk, and begins with a state of zero: exact. A longer one goes on in further
chunks from the state as it was when acting, which has aged when it is drawn ("stored state" of R2D2, Kapturowski et
al. 2019); with `burn_in`, such a chunk has that many steps more in front, run through to renew the state but not
learned from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from descant.buffers import SHARE, Shapes, available, columns_of, leaves
from descant.devices import moved
from descant.errors import DescantError
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.rollouts import Rollout
from descant.tasks import Bools, Floats, Ints

# Log-probabilities of a prior float32[K, A] for observations, masks bool[K, A] and the state of K rows.
Ask = Callable[[Any, Bools, Any], Tensor]


@dataclass
class Trace:
    """What went on within an actor during a rollout of T steps."""

    states: list[dict[str, Any]] = field(default_factory=list)  # before each step and after the last
    log_prior: list[Any] = field(default_factory=list)  # float32[N, A] of each step, where there is a prior


@dataclass(frozen=True)
class SequenceBatch:
    """B chunks, padded to T steps and what is seen after them, and M steps of them to learn from.

    `places` and `onward` say where a step, and what stood after its rewards, are found in what `through` gives.
    """

    observations: Any  # [T + 1, B, ...], tensors
    states: dict[str, Any]  # of each recurrent network at the beginning
    places: Tensor  # int64[M]
    onward: Tensor  # int64[M]
    columns: dict[
        str, Tensor
    ]  # [M, ...]: masks, next_masks, actions, rewards, discounts, terminated, weights
    log_prior: Tensor | None  # float32[M, A], about -1e9 where masked
    next_prior: Tensor | None

    def to(self, device: torch.device) -> SequenceBatch:
        """The same on a device."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return SequenceBatch(**moved(fields, device))

    def through(self, network: Network, name: str) -> dict[str, Tensor]:
        """All heads of a network along the chunks, float[(T + 1) * B, width] each, from the state kept for `name`."""
        steps = next(iter(_flat(self.observations, "").values()))
        starts = torch.zeros(steps.shape[:2], dtype=torch.bool)
        heads = network.outputs(self.observations, starts, self.states.get(name))
        return {kind: head.flatten(0, 1) for kind, head in heads.items()}


class SequenceBuffer:
    """The last chunks of a vector environment of `num_envs` rows, as many as `capacity` steps make.

    `states` are those of the networks that learn, at an episode's beginning, of as many rows; `ask` is the prior, whose
    log-probabilities are kept with each step so that no update needs to run it.
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        actions: int,
        capacity: int,
        states: Mapping[str, Any],
        length: int,
        burn_in: int = 0,
        gamma: float = 0.99,
        n_steps: int = 1,
        ask: Ask | None = None,
        memory: int | None = None,
    ) -> None:
        self.space, self.gamma, self.n_steps, self.ask = space, gamma, n_steps, ask
        self.length, self.burn_in, self.width = length, burn_in, length + burn_in
        begin = flat_state(states)
        rows, self._named = len(next(iter(begin.values()))), tuple(states)
        every = leaves(space, "observations") | {"masks": ((actions,), np.dtype(bool))}
        if ask is not None:
            every["log_prior"] = ((actions,), np.dtype(np.float32))
        every |= {"actions": ((), np.dtype(np.int64)), "rewards": ((), np.dtype(np.float64))}
        once = {f"state.{n}": (value.shape[1:], value.dtype) for n, value in begin.items()}
        sizes: Shapes = {"steps": ((), np.dtype(np.int64)), "burn": ((), np.dtype(np.int64))}
        once |= sizes | {"terminated": ((), np.dtype(bool))}
        self.chunks = self._fitting(capacity, every, once, available() if memory is None else memory)
        self._every, self._once = every, once
        self._columns = _zeros(every, self.chunks, self.width + 1) | _zeros(once, self.chunks)
        self._waiting = _zeros(every, self.width + 1, rows) | _zeros(once, rows)
        self._waiting |= {f"next_{n}": self._waiting[n].copy() for n in once if n.startswith("state.")}
        self._next = self.size = 0

    def _fitting(self, capacity: int, every: Shapes, once: Shapes, memory: int) -> int:
        """How many chunks make `capacity` steps; DescantError where they do not fit the memory."""
        chunk = _bytes(every) * (self.width + 1) + _bytes(once)
        chunks, fits = max(capacity // self.length, 1), int(memory * SHARE) // chunk
        if chunks > fits:
            raise DescantError(
                f"A replay buffer of {chunks:,} sequences takes {chunks * chunk / 2**30:,.1f} GiB, of which there are "
                f"{memory / 2**30:,.1f}: set buffer_size to {fits * self.length:,} or less."
            )
        return chunks

    def __len__(self) -> int:
        return self.size

    def add_rollout(self, rollout: Rollout, cut_masks: Bools | None, trace: Trace) -> None:
        """Add the steps of a rollout, the next ones after the last added. Steps that are not valid never enter.

        `cut_masks` bool[K, A] are the masks of `rollout.cut_observations`, where the environment resets at once; all
        actions count as allowed there if None is given.
        """
        now = columns_of(rollout.observations, "observations")
        later = columns_of(rollout.last_observation, "observations")
        now["masks"] = self._every_mask(rollout) if rollout.masks is None else rollout.masks
        later["masks"] = now["masks"][-1] if rollout.last_masks is None else rollout.last_masks
        later = {name: np.concatenate([now[name][1:], value[None]]) for name, value in later.items()}
        for k in range(len(rollout.cut) if rollout.resets_at_once else 0):
            place = tuple(rollout.cut[k])
            for name, value in columns_of(rollout.cut_observations[k], "observations").items():
                later[name][place] = value
            later["masks"][place] = True if cut_masks is None else cut_masks[k]
        now |= {"actions": rollout.actions, "rewards": rollout.rewards}
        if self.ask is not None:
            now["log_prior"] = trace.log_prior
        states = [flat_state({n: state[n] for n in self._named}) for state in trace.states]
        for t in range(len(rollout.actions)):
            self._add(rollout, t, {n: value[t] for n, value in now.items()}, states[t])
            following = {n: value[t] for n, value in later.items()}
            self._close(rollout, t, following, trace.states[t + 1])

    def _every_mask(self, rollout: Rollout) -> Bools:
        return np.ones((*rollout.actions.shape, *self._every["masks"][0]), bool)

    def _add(self, rollout: Rollout, t: int, now: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """One step of every row that took one; the state too where a chunk begins."""
        rows = np.flatnonzero(rollout.valid[t])
        waiting, place = self._waiting, self._waiting["steps"][rows]
        fresh = rows[place == 0]
        again = rows[place == self.length] if self.burn_in else rows[:0]  # where the next chunk will begin
        keep = ~rollout.starts[t]
        for name, value in state.items():
            waiting[f"state.{name}"][fresh] = value[fresh] * keep[fresh, None, None]
            waiting[f"next_state.{name}"][again] = value[again]
        for name, value in now.items():
            waiting[name][place, rows] = value[rows]
        waiting["steps"][rows] += 1

    def _close(self, rollout: Rollout, t: int, later: Mapping[str, Any], state: Any) -> None:
        """Keep the chunks that are full or whose episode ended, with what is seen after them."""
        waiting, steps = self._waiting, self._waiting["steps"]
        ended = (rollout.terminated[t] | rollout.truncated[t]) & rollout.valid[t]
        rows = np.flatnonzero(ended | (steps == self.width))
        if not len(rows):
            return
        last = steps[rows]
        for name, value in later.items():
            waiting[name][last, rows] = value[rows]
        if self.ask is not None:
            seen = observation_of(self.space, {n: value[rows] for n, value in later.items()}, "observations")
            asked = self.ask(seen, later["masks"][rows], rows_of(state, rows))
            waiting["log_prior"][last, rows] = asked.numpy()
        waiting["terminated"][rows] = rollout.terminated[t][rows] & ended[rows]
        self._store(rows, np.minimum(np.arange(self.width + 1)[:, None], last))
        self._go_on(rows[~ended[rows]])
        steps[ended] = waiting["burn"][ended] = 0

    def _store(self, rows: Ints, places: Ints) -> None:
        """Put the chunks of some rows in place of the oldest; `places` int[width + 1, K] repeats what was seen last."""
        kept = min(len(rows), self.chunks)  # of more than fit, the last
        rows, places, waiting = rows[-kept:], places[:, -kept:], self._waiting
        to = (self._next + np.arange(kept)) % self.chunks
        for name in self._every:
            self._columns[name][to] = waiting[name][places, rows].swapaxes(0, 1)
        for name in self._once:
            self._columns[name][to] = waiting[name][rows]
        self._next = int((self._next + kept) % self.chunks)
        self.size = min(self.size + kept, self.chunks)

    def _go_on(self, rows: Ints) -> None:
        """Begin the next chunk of episodes that go on, with the last `burn_in` steps once more."""
        waiting, k = self._waiting, self.burn_in
        waiting["steps"][rows] = waiting["burn"][rows] = k
        if not k:
            return
        for name in self._every:
            waiting[name][:k, rows] = waiting[name][self.length : self.width, rows]
        for name in self._once:
            if name.startswith("state."):
                waiting[name][rows] = waiting[f"next_{name}"][rows]

    def forget_unfinished(self) -> None:
        """Drop chunks under way: the environment began anew and their episodes will not go on."""
        self._waiting["steps"][:] = self._waiting["burn"][:] = 0

    def sample(self, rng: np.random.Generator, batch_size: int, beta: float = 1.0) -> SequenceBatch:
        """Draw chunks, with replacement: as many as hold about `batch_size` steps to learn from. No priorities."""
        if not self.size:
            raise DescantError("The replay buffer is empty: collect some steps first.")
        learned = self._columns["steps"][: self.size] - self._columns["burn"][: self.size]
        count = max(round(batch_size / float(learned.mean())), 1)
        return self.take(rng.integers(self.size, size=count))

    def take(self, indices: Ints) -> SequenceBatch:
        """The chunks at these places."""
        columns = self._columns
        steps, burn = columns["steps"][indices], columns["burn"][indices]
        longest, count = int(steps.max()), len(indices)
        found = {n: columns[n][indices, : longest + 1].swapaxes(0, 1) for n in self._every}
        time = np.arange(longest)[:, None]
        at, row = np.nonzero((time >= burn) & (time < steps))
        onward = np.minimum(at + self.n_steps, steps[row])
        flat = {
            "masks": found["masks"][at, row],
            "next_masks": found["masks"][onward, row],
            "actions": found["actions"][at, row],
            "rewards": self._summed(found["rewards"], steps)[at, row],
            "discounts": self.gamma ** (onward - at),
            "terminated": columns["terminated"][indices][row] & (onward == steps[row]),
            "weights": np.ones(len(at)),
        }
        prior = found.get("log_prior")
        states = {n: columns[n][indices] for n in self._once if n.startswith("state.")}
        return SequenceBatch(
            observations=to_tensor(observation_of(self.space, found, "observations")),
            states=whole_state({n.removeprefix("state."): value for n, value in states.items()}),
            places=torch.as_tensor(at * count + row),
            onward=torch.as_tensor(onward * count + row),
            columns={n: _tensor(value) for n, value in flat.items()},
            log_prior=None if prior is None else torch.as_tensor(prior[at, row]),
            next_prior=None if prior is None else torch.as_tensor(prior[onward, row]),
        )

    def _summed(self, rewards: Floats, steps: Ints) -> Floats:
        """`n_steps` rewards of each step, discounted, fewer at a chunk's end: float[T, B]."""
        padded = np.where(np.arange(len(rewards))[:, None] < steps, rewards, 0.0)
        total = padded.copy()
        for k in range(1, min(self.n_steps, len(rewards))):
            total[:-k] += self.gamma**k * padded[k:]
        return total

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that later batches depend on, as arrays by name and JSON, for a checkpoint."""
        arrays = {f"column.{name}": column[: self.size] for name, column in self._columns.items()}
        arrays |= {f"waiting.{name}": column for name, column in self._waiting.items()}
        return arrays, {"next": self._next, "size": self.size}

    def restore(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
        """Go on from what `parts` gave, in a buffer made with the same arguments."""
        self._next, self.size = int(plain["next"]), int(plain["size"])
        for name, column in self._columns.items():
            column[: self.size] = arrays[f"column.{name}"]
        for name, column in self._waiting.items():
            column[:] = arrays[f"waiting.{name}"]


# Recurrent states: (h, c) of an LSTM, float[*, N, *] each, in dicts by name that may lie in each other.


def flat_state(state: Any, name: str = "") -> dict[str, Any]:
    """Its arrays [N, *, *] by name, such as "policy.0"."""
    return {key: value.movedim(1, 0).cpu().numpy() for key, value in _flat(state, name).items()}


def whole_state(arrays: Mapping[str, Any]) -> Any:
    """The reverse of `flat_state`; tensors of its own."""
    if "" in arrays:
        return torch.tensor(arrays[""]).movedim(0, 1).contiguous()
    names = dict.fromkeys(key.split(".")[0] for key in arrays)
    parts = {n: whole_state(_under(n, arrays)) for n in names}
    if not all(name.isdigit() for name in names):
        return parts
    return tuple(parts[name] for name in sorted(parts, key=int))  # a file has them in any order


def rows_of(state: Any, rows: Ints) -> Any:
    """The state of some rows."""
    if isinstance(state, dict):
        return {key: rows_of(value, rows) for key, value in state.items()}
    if isinstance(state, tuple):
        return tuple(rows_of(value, rows) for value in state)
    return None if state is None else state[:, torch.as_tensor(rows)]


def _flat(tree: Any, name: str) -> dict[str, Tensor]:
    if isinstance(tree, Tensor):
        return {name: tree}
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(() if tree is None else tree)
    parts = [_flat(value, f"{name}.{key}" if name else f"{key}") for key, value in pairs]
    return {key: value for part in parts for key, value in part.items()}


def _under(name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    found = {key.partition(".")[2]: value for key, value in arrays.items() if key.split(".")[0] == name}
    return found


def observation_of(space: spaces.Space[Any], columns: Mapping[str, Any], name: str) -> Any:
    """The reverse of `descant.buffers.columns_of`."""
    if isinstance(space, spaces.Dict):
        return {key: observation_of(part, columns, f"{name}/{key}") for key, part in space.spaces.items()}
    return columns[name]


def _zeros(columns: Shapes, *leading: int) -> dict[str, Any]:
    return {name: np.zeros((*leading, *shape), dtype) for name, (shape, dtype) in columns.items()}


def _bytes(columns: Shapes) -> int:
    return sum(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for shape, dtype in columns.values())


def _tensor(column: Any) -> Tensor:
    """float32 where it was float64."""
    tensor = torch.as_tensor(column)
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def check_sequences(config: Any) -> None:
    """DescantError for settings of replay by sequences that can't work."""
    if config.sequence_length < 1 or not 0 <= config.burn_in <= config.sequence_length:
        raise DescantError(
            "sequence_length must be 1 or more, and burn_in lie between 0 and sequence_length."
        )
    if config.recurrent and config.buffer_size < config.sequence_length:
        raise DescantError(
            f"buffer_size must hold a sequence at least: set it to {config.sequence_length} or more, or lower "
            "sequence_length."
        )
    if not config.recurrent and config.burn_in:
        raise DescantError("burn_in is for networks with memory: set recurrent, or leave burn_in out.")
    if config.recurrent and getattr(config, "prioritized", False):
        raise DescantError("Replay of sequences has no priorities: set recurrent or prioritized, not both.")
