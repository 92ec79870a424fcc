"""`SB3VecEnv` beside SB3's own vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from descant.errors import DescantError
from descant.shells import SB3VecEnv, TaskEnv, TaskVectorEnv

from ..tiny_tasks import Dice, Echo

ID = "descant/Counterpoint-v0"
FIXED = {"cantus": "dorian", "position": "above"}


def bridge(task: Any = ID, n: int = 3, limit: int | None = None, **options: Any) -> SB3VecEnv:
    return SB3VecEnv(TaskVectorEnv(task, n, autoreset_mode="SameStep", max_episode_steps=limit, **options))


@pytest.mark.parametrize("limit", [None, 4, 11])
def test_it_steps_as_sb3s_own_does(limit: int | None) -> None:
    ours = bridge(limit=limit, **FIXED)
    theirs = DummyVecEnv([lambda: gymnasium.make(ID, max_episode_steps=limit, **FIXED)] * 3)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(30):
        actions = rng.integers(52, size=3)
        observation, reward, done, infos = ours.step(actions)
        their_observation, their_reward, their_done, their_infos = theirs.step(actions)
        np.testing.assert_array_equal(observation, their_observation)
        np.testing.assert_array_equal(reward, their_reward)
        np.testing.assert_array_equal(done, their_done)
        assert (reward.dtype, done.dtype) == (their_reward.dtype, their_done.dtype)
        for info, their_info in zip(infos, their_infos, strict=True):
            assert ("terminal_observation" in info) == ("terminal_observation" in their_info)
            if "terminal_observation" in info:
                np.testing.assert_array_equal(
                    info["terminal_observation"], their_info["terminal_observation"]
                )
                assert info["TimeLimit.truncated"] == their_info["TimeLimit.truncated"]
                assert info["TimeLimit.truncated"] == (limit == 4)
                ends += 1
    assert ends == 3 * (30 // (limit or 11))


def test_a_seed_is_used_once() -> None:
    env = bridge(cantus="fux")
    env.seed(3)
    first = env.reset()
    again = env.reset()
    env.seed(3)
    assert first.tolist() == env.reset().tolist() != again.tolist()


def test_reset_options_are_used_once() -> None:
    env = bridge(cantus="fux", n=20)
    env.set_options({"cantus": "ionian", "position": "above"})
    assert len(np.unique(env.reset(), axis=0)) == 1
    assert len(np.unique(env.reset(), axis=0)) > 1


def test_an_environment_that_resets_in_the_next_step_is_refused() -> None:
    with pytest.raises(
        DescantError, match=r"make it with gymnasium\.make_vec\(\.\.\., autoreset_mode='SameStep'\)"
    ):
        SB3VecEnv(TaskVectorEnv(ID, 2))


def test_masks_come_through_env_method() -> None:
    env = bridge(**FIXED, mask="rules")
    env.reset()
    env.step(np.array([30, 33, 40]))
    expected = env.env.action_masks()
    assert is_masking_supported(env)
    np.testing.assert_array_equal(get_action_masks(env), expected)
    np.testing.assert_array_equal(env.env_method("action_masks", indices=[2, 0]), expected[[2, 0]])
    np.testing.assert_array_equal(env.env_method("action_masks", indices=1), expected[[1]])


def test_attributes_and_wrappers() -> None:
    env = bridge(**FIXED)
    assert env.get_attr("num_envs") == [3, 3, 3]
    assert env.get_attr("num_envs", indices=[0]) == [3]
    env.set_attr("label", "x")
    assert env.get_attr("label") == ["x"] * 3
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    env.close()
    assert env.env.closed


def test_dict_observations_and_one_step_episodes() -> None:
    env = bridge(Dice(), n=20)
    observation = env.reset()
    assert {key: value.shape for key, value in observation.items()} == {"rolls": (20, 2), "shown": (20,)}
    for _ in range(20):
        observation, _, dones, infos = env.step(np.zeros(20, np.int64))
        for row in np.flatnonzero(dones):
            assert infos[row]["terminal_observation"]["shown"] == 6
            assert observation["rolls"][row, 0] == 0
    short = bridge(Echo(steps=1))
    short.reset()
    for _ in range(3):
        assert short.step(np.zeros(3, np.int64))[2].all()


def test_a_gymnasium_vector_environment_works_too() -> None:
    made = gymnasium.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync")
    with pytest.raises(DescantError):
        SB3VecEnv(made)
    same = gymnasium.make_vec(
        "CartPole-v1",
        num_envs=4,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    env = VecMonitor(SB3VecEnv(same))
    env.reset()
    lengths = []
    for _ in range(60):
        _, _, dones, infos = env.step(np.ones(4, np.int64))
        lengths += [infos[row]["episode"]["l"] for row in np.flatnonzero(dones)]
        assert all(infos[row]["terminal_observation"].shape == (4,) for row in np.flatnonzero(dones))
    assert len(lengths) > 10
    assert 8 <= np.mean(lengths) <= 12


def test_an_sb3_algorithm_learns_on_it() -> None:
    env = VecMonitor(bridge(Echo(symbols=3, steps=4), n=8))
    options = {"n_steps": 16, "batch_size": 128, "n_epochs": 4, "gamma": 0.0, "ent_coef": 0.05}
    model = PPO("MlpPolicy", env, learning_rate=0.005, seed=0, device="cpu", **options)
    model.learn(3000)
    seen = np.arange(3)
    assert model.predict(seen, deterministic=True)[0].tolist() == seen.tolist()


def test_one_environment_is_an_sb3_environment() -> None:
    env = DummyVecEnv([lambda: TaskEnv(ID, **FIXED)])
    env.reset()
    np.testing.assert_array_equal(get_action_masks(env)[0], env.envs[0].action_masks())
