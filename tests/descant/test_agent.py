"""What every agent shares: predicting single and many, masks, seeds, checkpoints, SB3's evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

from descant import load_agent, make_agent
from descant.agent import Agent, Parts, as_batch, env_record, make_config
from descant.agents.random import Random
from descant.agents.reinforce import Reinforce
from descant.errors import DescantError
from descant.evaluation import anchors
from descant.shells import SB3VecEnv, TaskVectorEnv

from ..playing import task_of
from ..tiny_tasks import Echo

ID = "descant/Counterpoint-v0"
FIXED = {"cantus": "dorian", "position": "above"}


@dataclasses.dataclass(frozen=True)
class Config:
    """One option."""

    seed: int = 0
    tuned: tuple[int, ...] = (1, 2)


class Fixed(Agent):
    """Prefers high actions: log-probabilities proportional to their number."""

    name = "fixed"
    Config = Config

    def learn(self, total_timesteps: int, *arguments: Any, **keywords: Any) -> Fixed:
        return self

    def log_probs(self, observation: Any, state: Any = None, action_masks: Any = None) -> Any:
        logits = np.tile(np.arange(self.action_space.n, dtype=float), (len(observation), 1))
        if action_masks is not None:
            logits[~action_masks] = -np.inf
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def parts(self) -> Parts:
        return Parts({"w": np.arange(3.0)}, {"answer": 42})

    def restore(self, checkpoint: Any) -> None:
        self.restored = (checkpoint.weights["w"].tolist(), checkpoint.state["answer"])


def fixed(env: Any = None, **config: Any) -> Fixed:
    return Fixed(TaskVectorEnv(Echo(symbols=5), 2) if env is None else env, Config(**config))


def test_one_observation_gets_one_action_and_many_get_many() -> None:
    agent = fixed()
    one, state = agent.predict(np.int64(2), deterministic=True)
    assert (np.shape(one), int(one), state) == ((), 4, None)
    many, _ = agent.predict(np.array([2]), deterministic=True)
    assert many.tolist() == [4]


def test_a_mask_binds_whether_drawn_or_deterministic() -> None:
    agent = fixed()
    mask = np.array([1, 0, 1, 0, 0], bool)
    assert agent.predict(np.int64(0), deterministic=True, action_masks=mask)[0] == 2
    drawn, _ = agent.predict(np.zeros(500, np.int64), action_masks=np.tile(mask, (500, 1)))
    assert set(drawn.tolist()) == {0, 2}


def test_draws_follow_the_log_probabilities() -> None:
    agent = fixed(seed=1)
    seen = np.zeros(40_000, np.int64)
    shares = np.bincount(agent.predict(seen)[0], minlength=5) / len(seen)
    np.testing.assert_allclose(shares, np.exp(agent.log_probs(seen[:1])[0]), atol=0.01)


def test_a_seed_begins_the_draws_anew() -> None:
    agent, seen = fixed(seed=3), np.zeros(30, np.int64)
    first, second = agent.predict(seen)[0], agent.predict(seen)[0]
    assert (first != second).any()
    agent.set_random_seed(3)
    np.testing.assert_array_equal(agent.predict(seen)[0], first)


def test_actions_must_be_discrete() -> None:
    with pytest.raises(DescantError, match="'fixed' needs discrete actions, the environment has Box"):
        Fixed(gymnasium.make_vec("Pendulum-v1", num_envs=2), Config())


def test_an_agent_needs_an_environment_and_no_negative_seed() -> None:
    with pytest.raises(DescantError, match="'fixed' needs an environment"):
        Fixed(None, Config())
    with pytest.raises(DescantError, match="seed must be 0 or more, not -1"):
        fixed(seed=-1)


def test_an_unknown_option_is_named_and_lists_become_tuples() -> None:
    with pytest.raises(DescantError, match=r"'fixed' has no option 'tuend'\. Did you mean 'tuned'\?"):
        make_config(Fixed, {"tuend": 3})
    assert make_config(Fixed, {"tuned": [4]}) == Config(tuned=(4,))


def test_a_checkpoint_says_who_wrote_it_and_gives_everything_back(tmp_path: Path) -> None:
    agent = fixed(TaskVectorEnv(ID, 2, **FIXED), seed=5, tuned=(7,))
    agent.num_timesteps = 123
    agent.save(tmp_path / "last")
    loaded = Fixed.load(tmp_path / "last")
    assert loaded.restored == ([0.0, 1.0, 2.0], 42)
    assert (loaded.config, loaded.num_timesteps, loaded.env) == (agent.config, 123, None)
    assert loaded.observation_space == agent.observation_space
    assert loaded.action_space == agent.action_space
    with pytest.raises(DescantError, match=r"holds agent 'fixed', not 'random': use descant\.load_agent"):
        Random.load(tmp_path / "last")


def test_a_checkpoint_does_not_go_on_in_another_world(tmp_path: Path) -> None:
    fixed().save(tmp_path / "last")
    for symbols in (4, 6):
        other = TaskVectorEnv(Echo(symbols=symbols), 2)
        with pytest.raises(DescantError, match=r"trained on another environment with Discrete\(5\)"):
            Fixed.load(tmp_path / "last", other)
    assert Fixed.load(tmp_path / "last", TaskVectorEnv(Echo(symbols=5), 9)).env is not None


def test_the_record_of_an_environment_is_its_tasks_options() -> None:
    made = gymnasium.make_vec(
        ID, num_envs=3, autoreset_mode="SameStep", max_episode_steps=5, infos=True, mask="rules",
        cantus=["D4", "E4", "D4"], reward={"name": "fux"},
    )  # fmt: skip
    kept = {"mask": "rules", "cantus": ["D4", "E4", "D4"], "reward": {"name": "fux"}}
    assert env_record(made) == {"id": ID, "kwargs": kept}
    cartpole = env_record(gymnasium.make_vec("CartPole-v1", num_envs=2, max_episode_steps=7))
    assert cartpole == {"id": "CartPole-v1", "kwargs": {"max_episode_steps": 7}}
    assert env_record(TaskVectorEnv(Echo(), 2)) is None


def test_batches_of_dicts() -> None:
    space = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(0, 1, (2,))})
    batch, single = as_batch({"a": 1, "b": np.ones(2)}, space)
    assert single
    assert (batch["a"].shape, batch["b"].shape) == ((1,), (1, 2))
    same, single = as_batch(batch, space)
    assert not single
    np.testing.assert_array_equal(same["b"], batch["b"])


AGENTS = {"random": {}, "exact": {}, "reinforce": {"hidden": (8,), "critic_hidden": (8,)}}


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("how", ["single", "bridge"])
@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
def test_sb3s_evaluation_runs_on_our_agents(name: str, how: str) -> None:
    vector = gymnasium.make_vec(ID, num_envs=4, autoreset_mode="SameStep", **FIXED)
    agent = make_agent(name, vector, **AGENTS[name])
    env = gymnasium.make(ID, **FIXED) if how == "single" else SB3VecEnv(vector)
    returns, lengths = evaluate_policy(
        agent, env, n_eval_episodes=8, return_episode_rewards=True, deterministic=name == "exact"
    )
    assert lengths == [11] * 8
    best = anchors(task_of("dorian", "above")).optimum[0]
    assert np.max(returns) <= best + 1e-6
    if name == "exact":
        np.testing.assert_allclose(returns, best, rtol=1e-5)
    else:
        assert np.mean(returns) < best - 1


def test_a_loaded_agent_is_evaluated_by_sb3_too(tmp_path: Path) -> None:
    agent = make_agent("reinforce", gymnasium.make_vec(ID, num_envs=2, **FIXED), **AGENTS["reinforce"])
    agent.save(tmp_path / "last")
    loaded = load_agent(tmp_path / "last")
    assert isinstance(loaded, Reinforce)
    env = SB3VecEnv(gymnasium.make_vec(ID, num_envs=2, autoreset_mode="SameStep", **FIXED))
    found, _ = evaluate_policy(loaded, env, n_eval_episodes=2, deterministic=True, warn=False)
    wanted, _ = evaluate_policy(agent, env, n_eval_episodes=2, deterministic=True, warn=False)
    assert found == wanted
