"""Replay of sequences: pieces of episodes against a slow reference, the same transitions as replay of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from descant.buffers import ReplayBuffer, columns_of
from descant.errors import DescantError
from descant.rollouts import Collector, Rollout
from descant.sequences import SequenceBuffer, Trace, flat_state, rows_of, whole_state
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Dice, Echo, Heap

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
TASKS: list[tuple[Any, int | None]] = [(Dice(), 5), (Heap(), None), (Echo(steps=4), None)]
N = 5


def collected(task: Any, limit: int | None, mode: AutoresetMode, sizes: tuple[int, ...]) -> list[Rollout]:
    """Rollouts of random allowed actions, one after the other."""
    env = TaskVectorEnv(task, N, autoreset_mode=mode, max_episode_steps=limit)
    collector, rng = Collector(env), np.random.default_rng(3)
    collector.reset(seed=1)

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        allowed = masks | ~masks.any(axis=1, keepdims=True)
        return (rng.random(allowed.shape) * allowed).argmax(axis=1)

    return [collector.steps(size, act) for size in sizes]


def states_of(sizes: tuple[int, ...]) -> list[Trace]:
    """A state that names each time and row, as if an actor with memory had been there."""
    time, traces = 0, []
    for size in sizes:
        traces.append(Trace([{"policy": (named(t), -named(t))} for t in range(time, time + size + 1)]))
        time += size
    return traces


def named(time: int) -> torch.Tensor:
    return (100.0 * (time + 1) + torch.arange(N))[None, :, None].expand(1, N, 2)


def buffer_on(task: Any, length: int, burn_in: int = 0, **options: Any) -> SequenceBuffer:
    states = {"policy": (torch.zeros(1, N, 2), torch.zeros(1, N, 2))}
    sizes = (int(task.action_space.n), options.pop("capacity", 10_000), states, length, burn_in)
    return SequenceBuffer(task.observation_space, *sizes, **options)


@dataclass
class Piece:
    """A chunk as the reference cuts it."""

    seen: list[bytes] = field(default_factory=list)
    taken: list[tuple[int, float]] = field(default_factory=list)
    begin: float = 0.0
    burn: int = 0
    terminated: bool = False

    def told(self) -> tuple[Any, ...]:
        return tuple(self.seen), tuple(self.taken), self.begin, self.burn, self.terminated


def bytes_of(columns: dict[str, Any], *place: int) -> bytes:
    return b"".join(np.ascontiguousarray(columns[name][place]).tobytes() for name in sorted(columns))


def reference(rollouts: list[Rollout], length: int, burn_in: int) -> list[tuple[Any, ...]]:
    """All whole pieces, cut row by row and step by step."""
    pieces = []
    for row in range(N):
        steps: list[tuple[bytes, int, float, float]] = []  # of the episode under way
        time = 0
        for rollout in rollouts:
            now = columns_of(rollout.observations, "o")
            last = columns_of(rollout.last_observation, "o")
            cut = {(int(t), int(n)): k for k, (t, n) in enumerate(rollout.cut)}
            for t in range(len(rollout.actions)):
                time += 1
                if not rollout.valid[t, row]:
                    continue
                state = 0.0 if rollout.starts[t, row] else 100.0 * time + row
                taken = (int(rollout.actions[t, row]), float(rollout.rewards[t, row]))
                steps.append((bytes_of(now, t, row), *taken, state))
                terminated = bool(rollout.terminated[t, row])
                ended = terminated or bool(rollout.truncated[t, row])
                whole = len(steps) >= length + burn_in and (len(steps) - burn_in) % length == 0
                if not ended and not whole:
                    continue
                follows = bytes_of(now, t + 1, row) if t + 1 < len(rollout.actions) else bytes_of(last, row)
                if (t, row) in cut and rollout.resets_at_once:
                    follows = bytes_of(columns_of(rollout.cut_observations[cut[t, row]], "o"))
                # The first piece of an episode has nothing in front: it learns from what is burnt later.
                first = max((len(steps) - burn_in - 1) // length, 0) * length
                part = steps[first:]
                piece = Piece([s[0] for s in part] + [follows], [(s[1], s[2]) for s in part], part[0][3])
                piece.burn, piece.terminated = (burn_in if first else 0), terminated
                pieces.append(piece.told())
                steps = [] if ended else steps
    return sorted(pieces)


def pieces_in(buffer: SequenceBuffer) -> list[tuple[Any, ...]]:
    columns, found = buffer._columns, []
    seen = {name: value for name, value in columns.items() if name.startswith("observations")}
    for k in range(len(buffer)):
        steps = int(columns["steps"][k])
        piece = Piece([bytes_of(seen, k, t) for t in range(steps + 1)])
        piece.taken = [(int(columns["actions"][k, t]), float(columns["rewards"][k, t])) for t in range(steps)]
        piece.begin, piece.burn = float(columns["state.policy.0"][k, 0, 0]), int(columns["burn"][k])
        assert columns["state.policy.1"][k, 0, 1] == -piece.begin
        piece.terminated = bool(columns["terminated"][k])
        found.append(piece.told())
        for t in range(steps, buffer.width + 1):  # padded with what was seen last, which any encoder knows
            assert bytes_of(seen, k, t) == piece.seen[-1]
    return sorted(found)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("task", "limit"), TASKS, ids=["dice", "heap", "echo"])
@pytest.mark.parametrize(("length", "burn_in"), [(2, 0), (2, 1), (3, 3), (1, 1), (8, 0)])
def test_pieces_are_those_of_a_slow_reference(
    mode: AutoresetMode, task: Any, limit: int | None, length: int, burn_in: int
) -> None:
    sizes = (1, 4, 13, 2, 20)
    rollouts, buffer = collected(task, limit, mode, sizes), buffer_on(task, length, burn_in)
    for rollout, trace in zip(rollouts, states_of(sizes), strict=True):
        buffer.add_rollout(rollout, None, trace)
    expected = reference(rollouts, length, burn_in)
    assert len(expected) > 20
    assert pieces_in(buffer) == expected


def transitions(columns: dict[str, Any], seen: dict[str, Any], following: dict[str, Any]) -> list[Any]:
    """A sortable row for each transition; what follows an end counts for nothing."""
    rows = []
    for i in range(len(columns["actions"])):
        ended = bool(columns["terminated"][i])
        after = b"" if ended else bytes_of(following, i)
        masks = tuple(np.asarray(columns["masks"][i]).tolist())
        next_masks = () if ended else tuple(np.asarray(columns["next_masks"][i]).tolist())
        reward, discount = (round(float(columns[name][i]), 5) for name in ("rewards", "discounts"))
        discount = 0.0 if ended else discount
        rows.append(
            (bytes_of(seen, i), after, int(columns["actions"][i]), reward, discount, ended, masks, next_masks)
        )
    return sorted(rows)


def of_steps(buffer: ReplayBuffer) -> list[Any]:
    batch = buffer.take(np.arange(len(buffer)))
    columns = {n: getattr(batch, n) for n in ("actions", "rewards", "discounts", "terminated")}
    columns |= {"masks": batch.masks, "next_masks": batch.next_masks}
    seen = (columns_of(batch.observations, "o"), columns_of(batch.next_observations, "o"))
    return transitions(columns, *seen)


def of_sequences(buffer: SequenceBuffer) -> list[Any]:
    batch = buffer.take(np.arange(len(buffer)))
    flat = {
        name: value.reshape(-1, *value.shape[2:])
        for name, value in columns_of(batch.observations, "o").items()
    }
    at, onward = batch.places.numpy(), batch.onward.numpy()
    return transitions(
        batch.columns, {n: v[at] for n, v in flat.items()}, {n: v[onward] for n, v in flat.items()}
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("task", "limit"), TASKS, ids=["dice", "heap", "echo"])
@pytest.mark.parametrize(
    ("length", "burn_in", "n_steps"), [(3, 0, 1), (3, 2, 1), (16, 0, 1), (16, 0, 3), (16, 0, 9)]
)
def test_transitions_are_those_of_a_replay_of_steps(
    mode: AutoresetMode, task: Any, limit: int | None, length: int, burn_in: int, n_steps: int
) -> None:
    """n steps too, where whole episodes fit a piece. Every step is learned from exactly once."""
    sizes = (5, 16, 40)
    every = (int(task.action_space.n), 10_000, N, 0.5, n_steps)
    steps, sequences = (
        ReplayBuffer(task.observation_space, *every),
        buffer_on(task, length, burn_in, gamma=0.5, n_steps=n_steps),
    )
    for rollout, trace in zip(collected(task, limit, mode, sizes), states_of(sizes), strict=True):
        steps.add_rollout(rollout)
        sequences.add_rollout(rollout, None, trace)
    one, two = of_steps(steps), of_sequences(sequences)
    assert len(two) > 100
    left_over = N * (length + burn_in)  # of pieces that are not whole yet
    assert len(one) - left_over <= len(two) <= len(one)
    for row in two:
        one.remove(row)


def test_fewer_rewards_are_summed_at_the_end_of_a_piece() -> None:
    task, sizes = Echo(steps=6), (7,)
    buffer = buffer_on(task, 3, gamma=0.5, n_steps=2)
    (rollout,) = collected(task, None, AutoresetMode.NEXT_STEP, sizes)
    buffer.add_rollout(rollout, None, states_of(sizes)[0])
    batch = buffer.take(np.array([0]))  # the first row's first three steps
    paid = rollout.rewards[:, 0]
    expected = [paid[0] + paid[1] / 2, paid[1] + paid[2] / 2, paid[2]]
    assert batch.columns["rewards"].tolist() == pytest.approx(expected)
    assert batch.columns["discounts"].tolist() == [0.25, 0.25, 0.5]
    assert batch.onward.tolist() == [2, 3, 3]
    assert not batch.columns["terminated"].any()
    ended = buffer.take(np.array([N]))  # its last three
    assert ended.columns["terminated"].tolist() == [False, True, True]


def filled(length: int = 4, burn_in: int = 0, **options: Any) -> SequenceBuffer:
    task, sizes = Heap(), (40,)
    buffer = buffer_on(task, length, burn_in, **options)
    for rollout, trace in zip(collected(task, None, MODES[0], sizes), states_of(sizes), strict=True):
        buffer.add_rollout(rollout, None, trace)
    return buffer


def test_the_oldest_make_room() -> None:
    every, few = filled(), filled(capacity=12)
    assert len(few) == few.chunks == 3 < len(every)
    assert set(pieces_in(few)) <= set(pieces_in(every))
    last = every._columns["rewards"][len(every) - 3 : len(every)]
    assert sorted(map(bytes, few._columns["rewards"])) == sorted(map(bytes, last))


def test_a_batch_holds_about_as_many_steps_as_asked_for() -> None:
    buffer = filled(4, 2)
    sizes = [len(buffer.sample(np.random.default_rng(i), 64).places) for i in range(50)]
    assert np.mean(sizes) == pytest.approx(64, rel=0.1)
    assert len(buffer.sample(np.random.default_rng(0), 1).places) >= 1
    one, two = (buffer.sample(np.random.default_rng(5), 64) for _ in range(2))
    assert torch.equal(one.columns["actions"], two.columns["actions"])


def test_begun_anew_nothing_of_the_old_episodes_is_left() -> None:
    buffer = filled(8)
    before = len(buffer)
    assert buffer._waiting["steps"].any()
    buffer.forget_unfinished()
    sizes = (2,)
    task = Heap((30,))
    env_buffer_rollout = collected(task, None, MODES[0], sizes)[0]
    buffer.add_rollout(env_buffer_rollout, None, states_of(sizes)[0])
    assert len(buffer) == before
    assert buffer._waiting["steps"].tolist() == [2] * N
    assert (buffer._waiting["state.policy.0"] == 0).all()


def test_what_is_saved_is_all() -> None:
    one, two = filled(2, 1), buffer_on(Heap(), 2, 1)
    arrays, plain = one.parts()
    two.restore({name: value.copy() for name, value in arrays.items()}, plain)
    sizes = (9,)
    for buffer in (one, two):
        buffer.add_rollout(collected(Heap(), None, MODES[0], sizes)[0], None, states_of(sizes)[0])
    assert pieces_in(one) == pieces_in(two)
    assert one.parts()[1] == two.parts()[1]


def test_larger_than_the_memory_is_refused() -> None:
    with pytest.raises(DescantError, match=r"set buffer_size to [\d,]+ or less"):
        filled(capacity=10_000, memory=100_000)


def test_nothing_is_drawn_from_nothing() -> None:
    with pytest.raises(DescantError, match="is empty"):
        buffer_on(Echo(), 3).sample(np.random.default_rng(0), 8)


def test_states_are_taken_apart_and_put_together() -> None:
    state = {"policy": (torch.ones(1, 2, 3), torch.zeros(1, 2, 3)), "prior": {"policy": (named(1), named(2))}}
    flat = flat_state(state)
    assert list(flat) == ["policy.0", "policy.1", "prior.policy.0", "prior.policy.1"]
    again = flat_state(whole_state(dict(reversed(flat.items()))))  # a file has them in any order
    assert all((again[name] == flat[name]).all() for name in flat)
    assert flat_state({}) == {}
    second = rows_of(state, np.array([1]))
    assert second["prior"]["policy"][1].tolist() == named(2)[:, 1:2].tolist()
    assert rows_of(None, np.array([1])) is None
