"""The two Gymnasium shells: Gymnasium's and SB3's checkers, autoreset, truncation, bad actions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from descant.errors import DescantError
from descant.shells import TaskEnv, TaskVectorEnv, make_task
from descant.tasks import Task

from ..tiny_tasks import Dice, Echo, Heap

ID = "descant/Counterpoint-v0"
FIXED = {"cantus": "dorian", "position": "above"}
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
TINY: list[Task[Any]] = [Echo(), Echo(steps=1), Dice(), Heap((5, 7))]


def make_sync(
    n: int, mode: AutoresetMode, limit: int | None = None, task: Any = ID, **options: Any
) -> SyncVectorEnv:
    def one() -> gymnasium.Env[Any, Any]:
        env = TaskEnv(task, **options)
        return env if limit is None else TimeLimit(env, limit)

    return SyncVectorEnv([one] * n, autoreset_mode=mode)


# One environment.


@pytest.mark.parametrize("options", [{}, FIXED, {"cantus": "fux", "mask": "rules"}])
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array", "svg"])
def test_gymnasiums_checker_passes(options: dict[str, Any], render_mode: str | None) -> None:
    env = gymnasium.make(ID, render_mode=render_mode, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


@pytest.mark.parametrize("options", [{}, FIXED])
def test_sb3s_checker_passes(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(gymnasium.make(ID, **options).unwrapped)


@pytest.mark.parametrize("task", TINY)
def test_the_checkers_pass_on_any_task(task: Task[Any]) -> None:
    check_env(TaskEnv(task), skip_render_check=True)
    sb3_check_env(TaskEnv(task), skip_render_check=True)


@pytest.mark.parametrize(
    ("mode", "kind"), [("ansi", str), ("rgb_array", np.ndarray), ("svg", str), (None, type(None))]
)
def test_render_gives_what_its_mode_says(mode: str | None, kind: type) -> None:
    env = gymnasium.make(ID, render_mode=mode, **FIXED)
    env.reset(seed=0)
    for _ in range(11):
        assert isinstance(env.render(), kind)
        env.step(30)
    assert isinstance(env.render(), kind)


def test_infos_hold_the_mask_and_at_the_end_the_metrics() -> None:
    env = gymnasium.make(ID, mask="rules", **FIXED)
    observation, info = env.reset(seed=0)
    ended, steps = False, 0
    while not ended:
        assert observation in env.observation_space
        assert info.keys() == {"action_mask"}
        assert info["action_mask"].dtype == np.int8
        np.testing.assert_array_equal(info["action_mask"].astype(bool), env.unwrapped.action_masks())
        action = env.action_space.sample(info["action_mask"])
        observation, reward, ended, truncated, info = env.step(action)
        assert (type(reward), type(ended), truncated) == (float, bool, False)
        steps += 1
    assert (steps, info["metrics"]) == (11, {"legal": 1.0, "errors": 0.0})
    assert len(env.unwrapped.episode.states) == 12


def test_the_same_seed_gives_the_same_episodes_and_another_seed_others() -> None:
    env = gymnasium.make(ID)
    first = [env.reset(seed=seed)[0].tolist() for seed in (1, 1, 2, 3)]
    assert first[0] == first[1]
    assert len({tuple(observation) for observation in first}) == 3
    assert env.reset(seed=1)[0].tolist() != env.reset()[0].tolist()


def test_reset_options_reach_the_task() -> None:
    env = gymnasium.make(ID, cantus="fux")
    for _ in range(5):
        env.reset(options={"cantus": "ionian", "position": "below"})
        assert env.unwrapped.episode.states[0].bar[0] % 17 == 0
        assert env.unwrapped.render_mode is None
        problem = env.unwrapped.task.problems.problem_of(env.unwrapped.episode.states[0])[0]
        assert env.unwrapped.task.problems.problems[problem].position == "below"


@pytest.mark.parametrize(
    "action", [-1, 52, 10**9, 1.0, True, None, "C4", np.array([3]), np.float32(2), np.uint64(2**63)]
)
def test_one_environment_refuses_what_is_no_action(action: Any) -> None:
    env = TaskEnv(ID, **FIXED)
    env.reset(seed=0)
    with pytest.raises(DescantError, match=r"Action"):
        env.step(action)
    assert env.episode.actions == ()
    env.step(np.int8(3))


def test_a_step_before_a_reset_is_refused() -> None:
    for env in (TaskEnv(ID), TaskVectorEnv(ID, 2)):
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(0 if isinstance(env, TaskEnv) else [0, 0])


def test_bad_options_are_refused() -> None:
    for shell in (TaskEnv, TaskVectorEnv):
        with pytest.raises(DescantError, match="has no render mode 'human'"):
            shell(ID, render_mode="human")
        with pytest.raises(DescantError, match=r"has no option 'cantsu'\. Did you mean 'cantus'"):
            shell(ID, cantsu="dorian")
        with pytest.raises(
            DescantError, match=r"Unknown environment 'descant/Counterpiont-v0'\. Did you mean"
        ):
            shell("descant/Counterpiont-v0")
    with pytest.raises(DescantError, match="made already takes no options: cantus"):
        make_task(Echo(), cantus="dorian")
    with pytest.raises(DescantError, match="num_envs must be at least 1"):
        TaskVectorEnv(ID, 0)
    with pytest.raises(DescantError, match="max_episode_steps must be at least 1"):
        TaskVectorEnv(ID, 2, max_episode_steps=0)
    with pytest.raises(DescantError, match="choose NEXT_STEP or SAME_STEP"):
        TaskVectorEnv(ID, 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(DescantError, match=r"use gymnasium\.make instead"):
        TaskVectorEnv(ID, 2, render_mode="ansi").render()
    assert TaskVectorEnv(ID, 2).render() is None


# Many environments.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options", [{}, FIXED, {"cantus": "fux", "mask": "rules"}, {"pool": 20, "position": "below"}]
)
def test_the_vector_shell_matches_the_single_one(mode: AutoresetMode, options: dict[str, Any]) -> None:
    native = TaskVectorEnv(ID, 1, autoreset_mode=mode, infos=True, **options)
    check_environments_match(make_sync(1, mode, **options), native, 40, info_comparison="equivalence")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", [Echo(), Echo(steps=1), Heap((5, 7))])
def test_the_shells_match_on_tiny_tasks(mode: AutoresetMode, task: Task[Any]) -> None:
    native = TaskVectorEnv(task, 1, autoreset_mode=mode, infos=True)
    single = make_sync(1, mode, task=task)
    check_environments_match(single, native, 20, info_comparison="equivalence")
    compare(single, native, steps=40)


def compare(a: Any, b: Any, steps: int, infos: bool = True) -> None:
    """Step both side by side, across the ends of episodes."""
    rng = np.random.default_rng(0)
    (seen, info), (other, other_info) = a.reset(seed=1), b.reset(seed=1)
    assert data_equivalence(seen, other)
    assert data_equivalence(info, other_info)
    for _ in range(steps):
        action = rng.integers(a.single_action_space.n, size=a.num_envs)
        one, two = a.step(action), b.step(action)
        assert data_equivalence(one[:4], two[:4])
        if infos:
            assert data_equivalence(one[4], two[4]), (one[4], two[4])


@pytest.mark.parametrize("mode", MODES)
def test_three_rows_match_three_environments_step_by_step(mode: AutoresetMode) -> None:
    native = TaskVectorEnv(ID, 3, autoreset_mode=mode, infos=True, **FIXED)
    assert native.metadata["autoreset_mode"] is mode
    compare(make_sync(3, mode, **FIXED), native, steps=30)


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_end_at_different_times_match_too(mode: AutoresetMode) -> None:
    native = TaskVectorEnv(Heap((9,)), 4, autoreset_mode=mode, infos=True)
    compare(make_sync(4, mode, task=Heap((9,))), native, steps=40)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [1, 5, 11, 12])
def test_truncation_matches_gymnasiums_time_limit(mode: AutoresetMode, limit: int) -> None:
    native = TaskVectorEnv(ID, 3, autoreset_mode=mode, infos=True, max_episode_steps=limit, **FIXED)
    compare(make_sync(3, mode, limit, **FIXED), native, steps=30, infos=False)


def episodes_of(task: Task[Any], mode: AutoresetMode, limit: int | None) -> list[Any]:
    """Episodes of one row: what was seen, done, paid, seen last, and whether it was cut."""
    env = TaskVectorEnv(task, 1, autoreset_mode=mode, max_episode_steps=limit)
    actions = iter(np.random.default_rng(3).integers(1, env.single_action_space.n, size=1000))
    observation, _ = env.reset(seed=5)
    episodes: list[Any] = []
    now: list[Any] = []
    while len(episodes) < 12:
        action = next(actions)
        following, reward, terminated, truncated, info = env.step(np.array([action]))
        now.append((observation.tolist(), int(action), reward.tolist()))
        observation = following
        if terminated[0] or truncated[0]:
            last = info["final_obs"][0] if mode is AutoresetMode.SAME_STEP else following[0]
            episodes.append((now, last.tolist(), bool(terminated[0]), bool(truncated[0])))
            now = []
            if mode is AutoresetMode.NEXT_STEP:
                observation, reward, terminated, truncated, _ = env.step(np.array([0]))  # ignored
                assert (reward[0], terminated[0], truncated[0]) == (0.0, False, False)
    return episodes


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("task", [Echo(), Echo(steps=1), Heap((5, 7)), make_task(ID, cantus="fux")])
def test_both_ways_to_reset_give_the_same_episodes(task: Task[Any], limit: int | None) -> None:
    next_step, same_step = (episodes_of(task, mode, limit) for mode in MODES)
    assert next_step == same_step
    assert max(len(episode) for episode, *_ in next_step) <= (limit or 1000)


def test_one_step_episodes_in_both_modes() -> None:
    env = TaskVectorEnv(Echo(steps=1), 2, autoreset_mode="NextStep")
    seen, _ = env.reset(seed=0)
    for step in range(9):
        seen, reward, terminated, truncated, infos = env.step(seen)
        assert infos == {}
        assert terminated.tolist() == [step % 2 == 0] * 2
        assert reward.tolist() == [float(step % 2 == 0)] * 2
        assert not truncated.any()
    env = TaskVectorEnv(Echo(steps=1), 2, autoreset_mode="SameStep")
    seen, _ = env.reset(seed=0)
    for _ in range(9):
        last = (seen + 1) % 4
        seen, reward, terminated, _, infos = env.step(seen)
        assert infos["final_obs"].tolist() == last.tolist()
        assert infos["_final_obs"].all()
        assert terminated.all()
        assert reward.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("limit", [None, 4])
def test_a_stochastic_task_resets_each_row_for_itself(limit: int | None) -> None:
    env = TaskVectorEnv(Dice(), 50, autoreset_mode="NextStep", max_episode_steps=limit)
    env.reset(seed=0)
    done, rolls = np.zeros(50, bool), np.zeros(50)
    ends = 0
    for _ in range(60):
        seen, reward, terminated, truncated, _ = env.step(np.ones(50, np.int64))
        rolls = np.where(done, 0, rolls + 1)
        np.testing.assert_array_equal(seen["rolls"][:, 0], rolls)
        np.testing.assert_array_equal(reward == 0, done)  # a step pays 2 or more
        np.testing.assert_array_equal(terminated, ~done & (seen["shown"] == 6))
        np.testing.assert_array_equal(truncated, ~done & (rolls == limit))
        done = terminated | truncated
        rows, metrics = env.metrics()
        assert rows.tolist() == np.flatnonzero(done).tolist()
        if len(rows):
            np.testing.assert_array_equal(metrics["rolls"], rolls[rows])
        ends += done.sum()
    assert ends > 100


@pytest.mark.parametrize("limit", [None, 4])
def test_a_stochastic_task_keeps_what_it_showed_last(limit: int | None) -> None:
    env = TaskVectorEnv(Dice(), 50, autoreset_mode="SameStep", max_episode_steps=limit)
    env.reset(seed=0)
    rolls = np.zeros(50)
    for _ in range(60):
        seen, _, terminated, truncated, infos = env.step(np.ones(50, np.int64))
        rolls += 1
        done = terminated | truncated
        rows, metrics = env.metrics()
        assert rows.tolist() == np.flatnonzero(done).tolist()
        for row in rows:
            last = infos["final_obs"][row]
            assert last in env.single_observation_space
            assert last["rolls"].tolist() == [rolls[row], rolls[row] % 2]
            assert (last["shown"] == 6) == terminated[row]
            assert truncated[row] == (rolls[row] == limit)
        if len(rows):
            np.testing.assert_array_equal(metrics["rolls"], rolls[rows])
        rolls[done] = 0
        np.testing.assert_array_equal(seen["rolls"][:, 0], rolls)
        assert seen in env.observation_space


@pytest.mark.parametrize("mode", MODES)
def test_masks_and_metrics_are_computed_on_demand(mode: AutoresetMode) -> None:
    asked: list[str] = []

    class Spy(Echo):
        def action_mask(self, state: Any) -> Any:
            asked.append("mask")
            return super().action_mask(state)

        def metrics(self, state: Any) -> Any:
            asked.append("metrics")
            return super().metrics(state)

    env = TaskVectorEnv(Spy(), 2, autoreset_mode=mode)
    env.reset(seed=0)
    for _ in range(5):
        env.step([0, 0])
    assert not asked
    assert env.action_masks().shape == (2, 4)
    rows, metrics = env.metrics()
    assert (rows.tolist(), metrics) == ([], {})


@pytest.mark.parametrize(
    "actions",
    [
        [0, 52],
        [0, -1],
        [0],
        [0, 1, 2],
        [[0, 1]],
        [0.0, 1.0],
        [True, False],
        np.array([0, 2**63], np.uint64),
        0,
        None,
    ],
)
def test_the_vector_shell_refuses_what_are_no_actions(actions: Any) -> None:
    env = TaskVectorEnv(ID, 2, **FIXED)
    env.reset(seed=0)
    with pytest.raises(DescantError, match=r"Actions? "):
        env.step(actions)
    following, *_ = env.step(np.array([3, 4], np.int8))
    assert following[:, 8].tolist() == [10, 10]  # notes left: what was refused did not count


def test_an_action_outside_the_space_is_named_with_its_row() -> None:
    env = TaskVectorEnv(ID, 3, **FIXED)
    env.reset(seed=0)
    with pytest.raises(DescantError, match=r"Action 77 of row 1 is outside 0\.\.51"):
        env.step([0, 77, -5])


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("mode", MODES)
def test_what_a_step_returns_is_the_callers(mode: AutoresetMode, limit: int | None) -> None:
    def run(spoil: bool) -> Iterator[Any]:
        env = TaskVectorEnv(ID, 3, autoreset_mode=mode, infos=True, max_episode_steps=limit, **FIXED)
        seen, _ = env.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(20):
            action = rng.integers(52, size=3)
            results = env.step(action)
            yield [np.array(part).tolist() for part in results[:4]]
            if spoil:
                flags = [value for name, value in results[4].items() if name.startswith("_")]
                for array in (*results[:4], action, seen, results[4]["action_mask"], *flags):
                    array[:] = 0
            rows, metrics = env.metrics()
            yield rows.tolist(), {name: value.tolist() for name, value in metrics.items()}
            seen = results[0]

    assert list(run(spoil=True)) == list(run(spoil=False))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", [make_task(ID, cantus="fux"), Dice()])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(mode: AutoresetMode, task: Task[Any]) -> None:
    def made() -> TaskVectorEnv:
        return TaskVectorEnv(task, 4, autoreset_mode=mode, max_episode_steps=6)

    one, two = made(), made()
    one.reset(seed=3)
    actions = np.random.default_rng(0).integers(task.action_space.n, size=(40, 4))
    for action in actions[:18]:
        one.step(action)
    two.set_state(*one.get_state())
    if mode is AutoresetMode.SAME_STEP:
        assert two.metrics()[1] == {}, "what ended is gone"
    for action in actions[18:]:
        assert data_equivalence(one.step(action), two.step(action))
        assert data_equivalence(one.metrics(), two.metrics())


@pytest.mark.parametrize("mode", MODES)
def test_terms_sum_to_the_reward_when_they_are_watched(mode: AutoresetMode) -> None:
    env = TaskVectorEnv(ID, 20, autoreset_mode=mode, cantus="fux")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for step in range(60):
        env.watch_terms(step >= 5)
        _, reward, *_ = env.step(rng.integers(52, size=20))
        np.testing.assert_allclose(sum(env.terms().values()), reward if step >= 5 else 0.0, atol=1e-12)
        assert len(env.terms()) == (len(set(env.task.rules.costs)) if step >= 5 else 0)
    plain = TaskVectorEnv(Echo(), 2)
    plain.watch_terms(True)
    plain.reset()
    plain.step([0, 0])
    assert plain.terms() == {}


def test_gymnasium_makes_both_shells() -> None:
    single = gymnasium.make(ID, **FIXED)
    assert isinstance(single.unwrapped, TaskEnv)
    env = gymnasium.make_vec(ID, num_envs=3, autoreset_mode="SameStep", **FIXED)
    assert isinstance(env.unwrapped, TaskVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.single_observation_space == single.observation_space
    assert env.reset(seed=0)[0] in env.observation_space
    assert gymnasium.make_vec(ID, num_envs=2).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


# Groups.


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_a_group_start_alike(mode: AutoresetMode) -> None:
    env = TaskVectorEnv(ID, 12, autoreset_mode=mode)
    seen, _ = env.reset(seed=3, options={"group_size": 4})
    alone, _ = TaskVectorEnv(ID, 3).reset(seed=3)
    np.testing.assert_array_equal(seen, np.repeat(alone, 4, axis=0))
    assert len(np.unique(alone, axis=0)) == 3
    env.step(np.arange(12) + 20)  # rows are apart from then on: none writes in another's state
    assert len(np.unique(env.observe(), axis=0)) == 12


def test_groups_go_with_the_options_of_a_task() -> None:
    env = TaskVectorEnv(ID, 4)
    options = {"group_size": 2, "cantus": "ionian"}
    with pytest.raises(DescantError, match="No problem of this environment"):
        env.reset(options=options)
    env = TaskVectorEnv(ID, 4, cantus="fux")
    seen, _ = env.reset(seed=0, options=options)
    assert (seen[0] == seen[1]).all()
    assert options == {"group_size": 2, "cantus": "ionian"}
    one, _ = env.reset(seed=0, options={"group_size": 1})
    two, _ = env.reset(seed=0)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("size", [0, 5, -1, 2.0, "2", True, 24])
def test_groups_must_fill_the_rows(size: Any) -> None:
    with pytest.raises(DescantError, match="must be a multiple of group_size"):
        TaskVectorEnv(ID, 12).reset(options={"group_size": size})
