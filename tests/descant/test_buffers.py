"""The replay buffer against a slow one made of lists, and its sampling."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.buffers import ReplayBuffer, SumTree, available
from descant.errors import DescantError
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv
from tests.tiny_tasks import Dice, Echo, Heap

GAMMA = 0.9


def slow(steps: list[dict[str, Any]], n: int, gamma: float) -> list[tuple[Any, ...]]:
    """Transitions of one row's steps, worked out one by one: (seen, action, reward, discount, next, terminated)."""
    found = []
    for start, first in enumerate(steps):
        if not first["valid"]:
            continue
        reward, discount, k = 0.0, 1.0, start
        while k < len(steps):
            reward += discount * steps[k]["reward"]
            discount *= gamma
            ended = steps[k]["terminated"] or steps[k]["truncated"]
            if ended or k - start + 1 == n:
                last = steps[k]
                found.append(
                    (first["seen"], first["action"], reward, discount, last["next"], last["terminated"])
                )
                break
            k += 1
    return found


@st.composite
def streams(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Steps [T][N] of rows whose episodes end at random; the step after an end is a reset, and not valid."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, rows = draw(st.integers(1, 25)), draw(st.integers(1, 4))
    ends, clock = draw(st.sampled_from([0.0, 0.2, 0.7])), 0
    stream: list[list[dict[str, Any]]] = []
    done = [False] * rows
    for _ in range(count):
        now = []
        for row in range(rows):
            valid, clock = not done[row], clock + 2
            terminated, truncated = (valid and rng.random() < ends for _ in range(2))
            step = {"seen": clock, "next": clock + 1, "action": int(rng.integers(3)), "valid": valid}
            reward = float(rng.normal()) if valid else np.nan
            now.append(step | {"reward": reward, "terminated": terminated, "truncated": truncated})
            done[row] = terminated or truncated
        stream.append(now)
    return stream


def fill(buffer: ReplayBuffer, stream: list[list[dict[str, Any]]]) -> None:
    for steps in stream:
        column = {name: np.array([step[name] for step in steps]) for name in steps[0]}
        ends = (column["terminated"], column["truncated"])
        masks = np.ones((len(steps), 3), bool)
        now = {"observations": column["seen"], "actions": column["action"], "masks": masks}
        after = {"next_observations": column["next"], "next_masks": masks}
        buffer.add(now, column["reward"], *ends, column["valid"], after)


def contents(buffer: ReplayBuffer) -> list[tuple[Any, ...]]:
    batch = buffer.take(np.arange(len(buffer)))
    columns = (batch.observations, batch.actions, batch.rewards, batch.discounts, batch.next_observations)
    return list(zip(*(c.tolist() for c in (*columns, batch.terminated)), strict=True))


@settings(max_examples=60, deadline=None)
@given(streams(), st.integers(1, 4))
def test_transitions_are_those_of_the_slow_reference(stream: list[list[dict[str, Any]]], n: int) -> None:
    buffer = ReplayBuffer(spaces.Discrete(10_000), 3, 1000, len(stream[0]), GAMMA, n)
    fill(buffer, stream)
    expected = [t for row in range(len(stream[0])) for t in slow([s[row] for s in stream], n, GAMMA)]
    found = sorted(contents(buffer))
    assert len(found) == len(expected)
    for mine, theirs in zip(found, sorted(expected), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(streams(), st.integers(1, 3), st.integers(1, 7))
def test_a_full_buffer_holds_the_last(stream: list[list[dict[str, Any]]], n: int, capacity: int) -> None:
    ring, all_of_them = (
        ReplayBuffer(spaces.Discrete(10_000), 3, size, len(stream[0]), GAMMA, n) for size in (capacity, 1000)
    )
    fill(ring, stream)
    fill(all_of_them, stream)
    assert sorted(contents(ring)) == sorted(contents(all_of_them)[-capacity:])


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("n", [1, 3])
def test_rollouts_enter_the_same_however_they_are_cut(mode: AutoresetMode, n: int) -> None:
    """Dict observations, masks, truncation after 4 steps: one rollout of 40 steps equals 40 of one."""

    def collected(lengths: list[int]) -> ReplayBuffer:
        env = TaskVectorEnv(Dice(), 3, autoreset_mode=mode, max_episode_steps=4)
        buffer = ReplayBuffer(env.single_observation_space, 7, 500, 3, GAMMA, n)
        collector, rng = Collector(env), np.random.default_rng(0)
        collector.reset(seed=1)

        def act(seen: Any, masks: Any, starts: Any) -> Any:
            return (rng.random(masks.shape) * masks).argmax(axis=1)

        for length in lengths:
            buffer.add_rollout(collector.steps(length, act))
        return buffer

    one, many = (b.take(np.arange(len(b))) for b in (collected([40]), collected([1] * 40)))
    for name in ("rolls", "shown"):
        assert (one.observations[name] == many.observations[name]).all()
        assert (one.next_observations[name] == many.next_observations[name]).all()
    assert (one.rewards == many.rewards).all()
    assert (one.next_masks == many.next_masks).all()
    steps = one.next_observations["rolls"][:, 0] - one.observations["rolls"][:, 0]
    going = ~one.terminated
    assert (steps[going] >= 1).all()  # never the first observation of the next episode
    assert one.discounts[going] == pytest.approx(GAMMA ** steps[going])
    assert going.any()
    assert one.terminated.any()
    assert (one.masks.sum(axis=1) == one.observations["shown"] + 1).all()
    known = going if mode is AutoresetMode.NEXT_STEP else going & (one.next_observations["rolls"][:, 0] < 4)
    assert (one.next_masks.sum(axis=1) == one.next_observations["shown"] + 1)[known].all()
    assert one.masks[np.arange(len(one.actions)), one.actions].all()
    cut = going & (one.next_observations["rolls"][:, 0] == 4)
    assert cut.any()


def test_masks_of_what_was_cut_can_be_given() -> None:
    env = TaskVectorEnv(Heap((8,)), 1, autoreset_mode=AutoresetMode.SAME_STEP, max_episode_steps=2)
    collector = Collector(env)
    collector.reset(seed=0)
    turns = iter([1, 2])
    rollout = collector.steps(2, lambda *_: np.array([next(turns)]))
    buffer = ReplayBuffer(env.single_observation_space, 4, 10, 1)
    buffer.add_rollout(rollout, np.array([[False, True, False, True]]))
    batch = buffer.take(np.arange(2))
    assert batch.next_observations.tolist() == [[7, 1], [5, 2]]
    assert batch.next_masks.tolist() == [[False, False, True, True], [False, True, False, True]]
    assert batch.terminated.tolist() == [False, False]


def test_environments_of_gymnasium() -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=4)
    collector = Collector(env)
    collector.reset(seed=0)
    rollout = collector.steps(60, lambda seen, *_: (seen[:, 2] > 0).astype(np.int64))
    buffer = ReplayBuffer(env.single_observation_space, 2, 1000, 4)
    buffer.add_rollout(rollout)
    assert len(buffer) == rollout.steps
    batch = buffer.take(np.arange(len(buffer)))
    assert batch.terminated.sum() == (rollout.terminated & rollout.valid).sum()
    moved = batch.observations[:, 0] + 0.02 * batch.observations[:, 1]
    assert batch.next_observations[:, 0] == pytest.approx(moved, abs=1e-6)
    assert batch.masks.all()
    assert batch.next_masks.all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(0, 99))
def test_sum_tree_is_a_running_sum(values: list[float], seed: int) -> None:
    tree = SumTree(len(values))
    order = np.random.default_rng(seed).permutation(len(values))
    for part in np.array_split(order, 3):
        if len(part):
            tree.set(part, np.array(values)[part])
    assert tree.total == pytest.approx(sum(values))
    assert tree.get(np.arange(len(values))).tolist() == values
    if sum(values) > 0:
        masses = np.random.default_rng(seed).random(20) * tree.total
        found = tree.find(masses)
        cumulative = np.cumsum(values)
        assert (np.array(values)[found] > 0).all()
        assert (cumulative[found] >= masses - 1e-9).all()
        assert (cumulative[found] - np.array(values)[found] <= masses + 1e-9).all()


def echo_buffer(alpha: float | None, capacity: int = 64) -> ReplayBuffer:
    buffer = ReplayBuffer(spaces.Discrete(100), 3, capacity, 1, alpha=alpha)
    stream = [
        [{"seen": t, "next": t + 1, "action": t % 3, "valid": True, "reward": float(t)}] for t in range(10)
    ]
    for steps in stream:
        steps[0] |= {"terminated": False, "truncated": False}
    fill(buffer, stream)
    return buffer


def test_uniform_draws_all_alike() -> None:
    batch = echo_buffer(None).sample(np.random.default_rng(0), 20_000)
    assert np.bincount(batch.indices) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert (batch.weights == 1).all()
    assert (batch.rewards == batch.observations).all()


def test_priorities_draw_in_proportion_and_weights_make_up_for_it() -> None:
    buffer = echo_buffer(0.6)
    errors = np.arange(10.0) - 3
    assert np.bincount(buffer.sample(np.random.default_rng(0), 20_000).indices, minlength=10).min() > 1800
    buffer.update_priorities(np.arange(10), errors)
    batch = buffer.sample(np.random.default_rng(0), 50_000, beta=1.0)
    wanted = (np.abs(errors) + 1e-6) ** 0.6
    wanted /= wanted.sum()
    share = np.bincount(batch.indices, minlength=10) / 50_000
    assert share == pytest.approx(wanted, abs=1e-3)
    # With beta = 1, any mean is that of uniform draws; of those drawn at all.
    drawn = wanted > 1e-3
    mean = (batch.weights * batch.rewards).sum() / batch.weights.sum()
    assert mean == pytest.approx(np.arange(10.0)[drawn].mean(), abs=0.05)
    assert batch.weights.max() == 1
    halved = buffer.sample(np.random.default_rng(0), 50_000, beta=0.5)
    assert halved.weights == pytest.approx(batch.weights**0.5)


def test_new_ones_have_the_largest_priority() -> None:
    buffer = echo_buffer(1.0)
    buffer.update_priorities(np.array([4]), np.array([20.0]))
    fill(
        buffer,
        [
            [
                {"seen": 50, "next": 51, "action": 0, "valid": True, "reward": 0.0}
                | dict.fromkeys(("terminated", "truncated"), False)
            ]
        ],
    )
    batch = buffer.sample(np.random.default_rng(0), 10_000)
    share = np.bincount(batch.indices, minlength=11) / 10_000
    assert share[10] == pytest.approx(share[4], abs=0.01)
    assert share[10] > 0.35


@pytest.mark.parametrize("alpha", [None, 0.7])
def test_goes_on_as_it_was(alpha: float | None) -> None:
    def go_on(buffer: ReplayBuffer) -> list[Any]:
        rng, seen = np.random.default_rng(3), []
        for t in range(5):
            batch = buffer.sample(rng, 8)
            buffer.update_priorities(batch.indices, batch.rewards)
            step = {"seen": t, "next": t, "action": 1, "valid": True, "reward": 1.0, "truncated": False}
            fill(buffer, [[step | {"terminated": t == 2}]])
            seen.append((batch.indices.tolist(), batch.weights.tolist(), batch.rewards.tolist()))
        return seen

    def made() -> ReplayBuffer:
        return ReplayBuffer(spaces.Discrete(100), 3, 7, 1, GAMMA, 3, alpha)

    one, two = made(), made()
    steps = [{"seen": t, "next": t + 1, "action": 0, "valid": True, "reward": float(t)} for t in range(12)]
    fill(one, [[step | dict.fromkeys(("terminated", "truncated"), False)] for step in steps])
    arrays, plain = one.parts()
    two.restore({name: np.array(value) for name, value in arrays.items()}, plain)
    assert go_on(one) == go_on(two)
    assert contents(one) == contents(two)


def test_unfinished_steps_can_be_dropped() -> None:
    buffer = ReplayBuffer(spaces.Discrete(100), 3, 7, 1, GAMMA, 3)
    step = {
        "seen": 1,
        "next": 2,
        "action": 0,
        "valid": True,
        "reward": 1.0,
        "terminated": False,
        "truncated": False,
    }
    fill(buffer, [[step]] * 2)
    buffer.forget_unfinished()
    fill(buffer, [[step | {"terminated": True, "seen": 5}]])
    assert [t[:3] for t in contents(buffer)] == [(5, 0, 1.0)]


def test_more_than_the_memory_is_refused_with_what_fits() -> None:
    with pytest.raises(DescantError, match=r"GiB, of which there are .*: set buffer_size to [\d,]+ or less"):
        ReplayBuffer(spaces.Box(0, 1, (84, 84, 4)), 4, 10**9, 1)
    with pytest.raises(DescantError) as caught:
        ReplayBuffer(spaces.Discrete(3), 4, 1000, 1, memory=10_000)
    fits = int(str(caught.value).split("buffer_size to ")[1].split(" ")[0].replace(",", ""))
    ReplayBuffer(spaces.Discrete(3), 4, fits, 1, memory=10_000)
    with pytest.raises(DescantError):
        ReplayBuffer(spaces.Discrete(3), 4, fits + 1, 1, memory=10_000)
    assert available() > 2**20


@pytest.mark.parametrize(("capacity", "n"), [(0, 1), (10, 0)])
def test_senseless_sizes_are_refused(capacity: int, n: int) -> None:
    with pytest.raises(DescantError, match="1 or more"):
        ReplayBuffer(spaces.Discrete(3), 4, capacity, 1, n_steps=n)


def test_what_can_not_be_stored_is_refused() -> None:
    with pytest.raises(DescantError, match="No replay of Text"):
        ReplayBuffer(spaces.Text(5), 4, 10, 1)


def test_an_empty_buffer_says_so() -> None:
    with pytest.raises(DescantError, match="empty"):
        ReplayBuffer(Echo().observation_space, 4, 10, 1).sample(np.random.default_rng(0), 3)


@pytest.mark.parametrize("alpha", [None, 0.6])
def test_batches_are_samples_one_after_another(alpha: float | None) -> None:
    buffer = echo_buffer(alpha, capacity=61)
    rngs = [np.random.default_rng(3) for _ in range(2)]
    taught = np.linspace(0.1, 2.0, 7)
    copy = echo_buffer(alpha, capacity=61)
    drawn = 0
    for batch in buffer.batches(rngs[0], 7, 5, beta=0.5):
        one = copy.sample(rngs[1], 7, beta=0.5)
        for name, column in vars(batch).items():
            np.testing.assert_array_equal(column, getattr(one, name))
        buffer.update_priorities(batch.indices, taught)  # which the next draw must know
        copy.update_priorities(one.indices, taught)
        drawn += 1
    assert drawn == 5
    assert rngs[0].bit_generator.state == rngs[1].bit_generator.state
