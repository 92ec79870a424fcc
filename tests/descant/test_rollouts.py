"""The collector: what happened, once, whichever way the environment resets."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from descant.errors import DescantError
from descant.rollouts import Collector, Rollout
from descant.shells import TaskEnv, TaskVectorEnv
from descant.tasks import Task

from ..tiny_tasks import Dice, Echo, Heap

MODES = ["NextStep", "SameStep"]
COUNTERPOINT = "descant/Counterpoint-v0"


class Player:
    """Acts at random, in each row by its own dice, and remembers what it was shown."""

    def __init__(self, n: int, actions: int) -> None:
        self.rngs = [np.random.default_rng(row) for row in range(n)]
        self.actions = actions
        self.masks: list[Any] = []
        self.starts: list[Any] = []

    def __call__(self, observation: Any, masks: Any, starts: Any) -> Any:
        self.masks.append(masks)
        self.starts.append(starts)
        allowed = np.ones((len(self.rngs), self.actions), bool) if masks is None else masks.copy()
        allowed[~allowed.any(axis=1)] = True  # an episode that has ended may allow nothing
        return np.array(
            [rng.choice(np.flatnonzero(row)) for rng, row in zip(self.rngs, allowed, strict=True)]
        )


def collect(
    task: Any, mode: str, n: int = 6, limit: int | None = None, seed: int = 0
) -> tuple[Rollout, Player]:
    env = TaskVectorEnv(task, n, autoreset_mode=mode, max_episode_steps=limit)
    player = Player(n, int(env.single_action_space.n))
    return Collector(env).episodes(player, seed=seed), player


TASKS: list[Any] = [Echo(), Echo(steps=1), Heap((7, 9)), Dice(), COUNTERPOINT]


@pytest.mark.parametrize("limit", [None, 1, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(getattr(task, "name", task)))
def test_there_is_one_whole_episode_in_each_row(task: Any, mode: str, limit: int | None) -> None:
    rollout, player = collect(task, mode, limit=limit)
    lengths = rollout.valid.sum(axis=0)
    ends = rollout.terminated | rollout.truncated
    for row, length in enumerate(lengths):
        assert rollout.valid[:length, row].all()
        assert ends[:length, row].tolist() == [False] * (length - 1) + [True]
        assert rollout.starts[:length, row].tolist() == [True] + [False] * (length - 1)
    assert (lengths == len(rollout.valid)).any(), "no step after the last episode's end"
    assert rollout.steps == lengths.sum()
    assert lengths.max() <= (limit or 100)
    np.testing.assert_array_equal(np.array(player.starts), rollout.starts)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("task", [Echo(), Echo(steps=1), COUNTERPOINT])
def test_both_modes_give_the_same_episodes(task: Any, limit: int | None) -> None:
    (one, _), (two, _) = (collect(task, mode, limit=limit) for mode in MODES)
    np.testing.assert_array_equal(one.valid, two.valid)
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "masks"):
        np.testing.assert_array_equal(
            getattr(one, name)[one.valid], getattr(two, name)[two.valid], err_msg=name
        )
    np.testing.assert_array_equal(one.cut, two.cut)
    for a, b in zip(one.cut_observations, two.cut_observations, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", [Echo(steps=1), Heap((7, 9)), Dice()])
def test_running_on_marks_the_reset_rows_alone(task: Task[Any], mode: str) -> None:
    """In a NEXT_STEP environment the step after each end did not happen; in a SAME_STEP one all did."""
    env = TaskVectorEnv(task, 8, autoreset_mode=mode)
    collector = Collector(env)
    collector.reset(seed=0)
    parts = [collector.steps(n, Player(8, int(env.single_action_space.n))) for n in (7, 1, 12)]
    valid, starts, rewards = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("valid", "starts", "rewards")
    )
    ends = np.concatenate([part.terminated for part in parts])
    after_end = np.concatenate([np.zeros((1, 8), bool), ends[:-1]])
    assert ends.any()
    if mode == "SameStep":
        assert valid.all()
        np.testing.assert_array_equal(starts[1:], after_end[1:])
    else:
        np.testing.assert_array_equal(valid, ~after_end)
        np.testing.assert_array_equal(starts[1:], ~valid[:-1])
        assert not rewards[~valid].any()
    assert starts[0].all()
    assert [len(part.actions) for part in parts] == [7, 1, 12]


@pytest.mark.parametrize("mode", MODES)
def test_a_rollout_goes_on_where_the_last_one_stopped(mode: str) -> None:
    def made() -> Collector:
        collector = Collector(TaskVectorEnv(COUNTERPOINT, 4, autoreset_mode=mode))
        collector.reset(seed=2)
        return collector

    player, other = Player(4, 52), Player(4, 52)
    whole = made().steps(30, player)
    collector = made()
    first, second = collector.steps(13, other), collector.steps(17, other)
    for name in ("observations", "actions", "rewards", "terminated", "starts", "valid", "masks"):
        parts = np.concatenate([getattr(first, name), getattr(second, name)])
        np.testing.assert_array_equal(getattr(whole, name), parts, err_msg=name)
    np.testing.assert_array_equal(first.last_observation, second.observations[0])


def test_a_collector_resets_by_itself_at_first() -> None:
    rollout = Collector(TaskVectorEnv(Echo(), 3)).steps(2, Player(3, 4))
    assert rollout.observations.shape == (2, 3)


def slow_returns(rollout: Rollout, gamma: float) -> Any:
    out = np.zeros_like(rollout.rewards)
    steps, rows = out.shape
    for row in range(rows):
        for t in range(steps):
            total, weight = 0.0, 1.0
            for later in range(t, steps):
                if not rollout.valid[later, row]:
                    break
                total += weight * rollout.rewards[later, row]
                weight *= gamma
                if rollout.terminated[later, row] or rollout.truncated[later, row]:
                    break
            out[t, row] = total
    return out


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [None, 2])
def test_returns_are_sums_of_rewards_to_go(gamma: float, mode: str, limit: int | None) -> None:
    for task in (Dice(), Echo(steps=1), Heap((7, 9))):
        whole, _ = collect(task, mode, limit=limit)
        collector = Collector(TaskVectorEnv(task, 5, autoreset_mode=mode, max_episode_steps=limit))
        run_on = collector.steps(15, Player(5, int(task.action_space.n)))
        for rollout in (whole, run_on):
            np.testing.assert_allclose(rollout.returns(gamma), slow_returns(rollout, gamma))


@pytest.mark.parametrize("mode", MODES)
def test_truncated_episodes_keep_what_was_seen_last(mode: str) -> None:
    rollout, _ = collect(Dice(), mode, n=30, limit=3)
    cut = rollout.truncated & ~rollout.terminated & rollout.valid
    assert 0 < cut.sum() < 30
    np.testing.assert_array_equal(rollout.cut, np.argwhere(cut))
    for (step, _), seen in zip(rollout.cut, rollout.cut_observations, strict=True):
        assert step == 2
        assert seen["rolls"].tolist() == [3, 1]
        assert seen["shown"] != 6
    uncut, _ = collect(Dice(), mode, n=30, limit=None)
    assert (uncut.cut.shape, uncut.cut_observations) == ((0, 2), [])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", [Dice(), COUNTERPOINT])
def test_metrics_are_of_the_episodes_that_ended(task: Any, mode: str) -> None:
    rollout, _ = collect(task, mode, n=10)
    lengths = rollout.valid.sum(axis=0)
    for values in rollout.metrics.values():
        assert len(values) == 10
    if "rolls" in rollout.metrics:
        assert sorted(rollout.metrics["rolls"]) == sorted(lengths)
    else:
        errors = -np.ceil((rollout.rewards * rollout.valid).sum(axis=0))
        assert sorted(rollout.metrics["errors"]) == sorted(errors)
        assert rollout.metrics.keys() == {"legal", "errors"}


@pytest.mark.parametrize("mode", list(AutoresetMode)[:2])
def test_masks_and_metrics_from_infos_are_those_of_the_native_environment(mode: AutoresetMode) -> None:
    options = {"cantus": "dorian", "position": "above", "mask": "rules"}
    native = TaskVectorEnv(COUNTERPOINT, 4, autoreset_mode=mode, **options)
    wrapped = SyncVectorEnv([lambda: TaskEnv(COUNTERPOINT, **options)] * 4, autoreset_mode=mode)
    rollouts, players = [], []
    for env in (native, wrapped):
        collector, player = Collector(env), Player(4, 52)
        collector.reset(seed=0)
        rollouts += [collector.steps(25, player), collector.episodes(Player(4, 52), seed=1)]
        players.append(player)
    for one, two in zip(rollouts[:2], rollouts[2:], strict=True):
        for name in (
            "observations",
            "actions",
            "rewards",
            "terminated",
            "truncated",
            "starts",
            "valid",
            "masks",
        ):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        assert one.metrics.keys() == two.metrics.keys()
        for name, values in one.metrics.items():
            assert sorted(values) == sorted(two.metrics[name])
    assert all(rollout.masks.dtype == bool for rollout in rollouts)
    taken = np.take_along_axis(rollouts[0].masks, rollouts[0].actions[..., None], axis=2)[..., 0]
    assert taken.all()
    assert len(rollouts[0].metrics["legal"]) == 8


def test_terms_are_summed_over_what_happened() -> None:
    for mode in MODES:
        collector = Collector(TaskVectorEnv(COUNTERPOINT, 6, autoreset_mode=mode))
        assert collector.episodes(Player(6, 52), seed=0).terms == {}
        collector.watch_terms(True)
        rollout = collector.episodes(Player(6, 52), seed=0)
        assert sum(rollout.terms.values()) == pytest.approx((rollout.rewards * rollout.valid).sum())
        assert rollout.terms["consonance"] < 0
    Collector(gymnasium.make_vec("CartPole-v1", num_envs=2)).watch_terms(True)


def test_options_reach_the_environment() -> None:
    collector = Collector(TaskVectorEnv(COUNTERPOINT, 3, cantus="fux"))
    rollout = collector.episodes(Player(3, 52), options={"cantus": "ionian", "position": "below"})
    assert len(rollout.actions) == 12
    assert (rollout.observations[0, :, 0] == 1).all()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_cartpole_works(mode: str) -> None:
    env = gymnasium.make_vec(
        "CartPole-v1",
        num_envs=5,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)},
    )
    rollout = Collector(env).episodes(Player(5, 2), seed=0)
    lengths = rollout.valid.sum(axis=0)
    assert rollout.masks is None
    assert rollout.observations.shape == (lengths.max(), 5, 4)
    np.testing.assert_array_equal(rollout.returns()[0], lengths)
    assert (lengths > 5).all()


def test_gymnasiums_own_cartpole_works() -> None:
    rollout = Collector(gymnasium.make_vec("CartPole-v1", num_envs=5)).episodes(Player(5, 2), seed=0)
    np.testing.assert_array_equal(rollout.returns()[0], rollout.valid.sum(axis=0))


def test_an_environment_that_does_not_reset_is_refused() -> None:
    env = SyncVectorEnv([lambda: TaskEnv(Echo())], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(DescantError, match="make it with autoreset_mode NEXT_STEP or SAME_STEP"):
        Collector(env)


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_are_over_show_their_end_on(mode: str) -> None:
    """So that who acts can tell, and need not look at episodes that nobody wants."""
    shown: list[Any] = []

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        shown.append(observation["rolls"].copy())
        return player(observation, masks, starts)

    env = TaskVectorEnv(Dice(), 6, autoreset_mode=mode)
    player, whole = Player(6, int(env.single_action_space.n)), Player(6, int(env.single_action_space.n))
    rollout = Collector(env).episodes(act, seed=3)
    again = Collector(TaskVectorEnv(Dice(), 6, autoreset_mode=mode)).episodes(whole, seed=3)
    np.testing.assert_array_equal(rollout.observations["rolls"], again.observations["rolls"])
    np.testing.assert_array_equal(rollout.actions, again.actions)
    lengths = rollout.valid.sum(axis=0)
    assert lengths.min() < lengths.max() - 2
    for row, length in enumerate(lengths):
        for t in range(len(shown)):
            held = min(t, length) if mode == "NextStep" else t
            np.testing.assert_array_equal(shown[t][row], rollout.observations["rolls"][held][row])
