"""`random`: uniform over the mask, which is what chance means everywhere else."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from descant import load_agent, make_agent
from descant.evaluation import play
from descant.planning import enumerate_task, uniform
from descant.shells import TaskVectorEnv
from descant.tasks import take_rows

from ..tiny_tasks import Dice, Echo, Heap

ID = "descant/Counterpoint-v0"
DRAWS = 40_000


def test_every_allowed_action_is_equally_likely() -> None:
    agent = make_agent("random", TaskVectorEnv(Dice(sides=4), 3))
    seen = {"rolls": np.zeros((2, 2), np.float32), "shown": np.array([1, 3])}
    masks = np.array([[1, 1, 0, 0, 0], [1, 0, 1, 1, 1]], bool)
    np.testing.assert_allclose(np.exp(agent.log_probs(seen, action_masks=masks)), masks / [[2], [4]])
    np.testing.assert_allclose(np.exp(agent.log_probs(seen)), np.full((2, 5), 0.2))


def test_draws_are_uniform_over_the_mask() -> None:
    agent = make_agent("random", TaskVectorEnv(Echo(symbols=5), 1), seed=3)
    mask = np.array([True, False, True, True, False])
    drawn, state = agent.predict(np.zeros(DRAWS, np.int64), action_masks=np.tile(mask, (DRAWS, 1)))
    assert state is None
    shares = np.bincount(drawn, minlength=5) / DRAWS
    np.testing.assert_allclose(shares, mask / 3, atol=4 * np.sqrt(2 / 9 / DRAWS))


def test_it_draws_where_it_is_asked_to_be_deterministic_too() -> None:
    agent = make_agent("random", TaskVectorEnv(Echo(symbols=5), 1))
    drawn, _ = agent.predict(np.zeros(1000, np.int64), deterministic=True)
    assert np.bincount(drawn).min() > 100


def test_the_mask_is_read_off_the_observation() -> None:
    env = TaskVectorEnv(ID, 500, cantus="dorian")
    agent = make_agent("random", env)
    seen, _ = env.reset(seed=0)
    drawn, _ = agent.predict(seen)
    assert env.action_masks()[np.arange(500), drawn].all()
    assert (env.action_masks().mean(axis=1) < 0.7).all()


def test_its_mean_return_is_the_anchor_of_chance() -> None:
    """Monte Carlo against the exact expectation, on a task without dead ends."""
    task = Echo(symbols=4, steps=3)
    agent = make_agent("random", TaskVectorEnv(task, 1))
    starts = take_rows(task.starts(), np.arange(4).repeat(5000))
    _, returns = play(agent, task, starts, seed=1)
    means = returns.reshape(4, 5000).mean(axis=1)
    np.testing.assert_allclose(means, uniform(enumerate_task(task)).values[0], atol=0.05)
    assert uniform(enumerate_task(task)).values[0] == pytest.approx(0.75)


def test_the_same_seed_draws_the_same() -> None:
    seen = np.zeros(50, np.int64)
    first, again, other = (
        make_agent("random", TaskVectorEnv(Echo(), 1), seed=seed).predict(seen)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    agent = make_agent("random", TaskVectorEnv(Echo(), 1), seed=2)
    agent.set_random_seed(1)
    np.testing.assert_array_equal(agent.predict(seen)[0], first)


def test_it_learns_nothing_and_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    env = gymnasium.make_vec(ID, num_envs=2, cantus="dorian")
    agent = make_agent("random", env, seed=5)
    assert agent.learn(1000) is agent
    agent.save(tmp_path / "last")
    loaded = load_agent(tmp_path / "last")
    seen, _ = env.reset(seed=0)
    np.testing.assert_array_equal(loaded.predict(seen)[0], agent.predict(seen)[0])


def test_a_single_observation_gets_a_single_action() -> None:
    agent = make_agent("random", TaskVectorEnv(Heap(), 1))
    action, _ = agent.predict(np.array([5, 0]), action_masks=np.array([0, 0, 1, 0], bool))
    assert action == 2
    assert np.shape(action) == ()
