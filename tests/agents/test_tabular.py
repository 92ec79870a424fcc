"""Q-learning and sarsa: targets by hand, fixed points exactly and by experience, masks, truncation, resume."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import descant
from descant.agents import policy_iteration, q_learning, sarsa, value_iteration
from descant.agents.exploration import boltzmann, epsilon_greedy
from descant.agents.q_learning import q_targets
from descant.agents.sarsa import expected_targets, sarsa_targets
from descant.envs.gridworld import GridWorld
from descant.errors import DescantError
from descant.models import Model, tabulate
from descant.shells import TaskVectorEnv
from descant.tasks import Floats

from ..tiny_tasks import Dice, Echo, Heap

BOTH = ("q-learning", "sarsa")
MAP = "S.G\n.#X"
GAMMA = 0.9
MASKS = np.array([[True, True, False], [True, False, True]])
Q = np.array([[1.0, 3.0, 9.0], [2.0, 7.0, 2.0]])


class Log:
    """A tracker that keeps its records."""

    def __init__(self) -> None:
        self.records: list[dict[str, float]] = []

    def log(self, step: int, record: dict[str, float]) -> None:
        self.records.append(record)


def test_targets_by_hand() -> None:
    reward, ended = np.array([1.0, -1.0]), np.array([False, True])
    assert q_targets(reward, ended, Q, MASKS, 0.5).tolist() == [2.5, -1.0]
    assert q_targets(reward, ~ended, Q, MASKS, 0.5).tolist() == [1.0, 0.0]
    assert sarsa_targets(reward, ended, Q, np.array([0, 2]), 0.5).tolist() == [1.5, -1.0]
    log_probs = epsilon_greedy(Q, MASKS, 0.5)
    assert expected_targets(reward, ended, np.where(MASKS, Q, 0), log_probs, 0.5).tolist() == pytest.approx(
        [1 + 0.5 * (0.25 * 1 + 0.75 * 3), -1]
    )


def test_exploring_policies_by_hand() -> None:
    assert np.exp(epsilon_greedy(Q, MASKS, 0.2)) == pytest.approx(np.array([[0.1, 0.9, 0], [0.5, 0, 0.5]]))
    shares = np.exp(np.array([0.5, 1.5]))
    assert np.exp(boltzmann(Q, MASKS, 2.0))[0] == pytest.approx([*(shares / shares.sum()), 0])


def test_the_expectation_of_sarsa_is_expected_sarsa() -> None:
    log_probs = epsilon_greedy(Q, MASKS, 0.3)
    reward, ended = np.zeros(2), np.zeros(2, bool)
    mean = sum(
        np.exp(log_probs[:, a]) * sarsa_targets(reward, ended, Q, np.full(2, a), GAMMA) for a in range(3)
    )
    assert mean == pytest.approx(expected_targets(reward, ended, Q, log_probs, GAMMA), abs=1e-12)


def expected_updates(model: Model, target: Any, sweeps: int = 600) -> Floats:
    """Q float[S, A] after so many sweeps in which each pair is set to the mean of its target over all outcomes."""
    q = np.zeros(model.mask.shape)
    for _ in range(sweeps):
        mean = np.zeros(len(model.source))
        for k in range(model.probability.shape[1]):
            next_q, masks = q[model.target[:, k]], model.mask[model.target[:, k]]
            mean += model.probability[:, k] * target(
                model.reward[:, k], model.terminated[:, k], next_q, masks
            )
        q[model.source, model.action] = mean
    return q


def optimal_q(model: Model) -> Floats:
    values, _ = value_iteration.solve(model, GAMMA, 1e-12)
    return model.table(model.backup(values, GAMMA))


def epsilon_q(model: Model, epsilon: float) -> Floats:
    """Q of the epsilon-greedy policy at its own values."""
    q = expected_updates(
        model, lambda r, d, n, m: expected_targets(r, d, n, epsilon_greedy(n, m, epsilon), GAMMA)
    )
    policy = np.exp(epsilon_greedy(q, model.mask, epsilon))
    values = policy_iteration.evaluate(model, policy[model.source, model.action], GAMMA)
    assert model.table(model.backup(values, GAMMA))[model.mask] == pytest.approx(q[model.mask], abs=1e-9)
    return q


@pytest.mark.parametrize("task", [GridWorld(slip=0.2), Heap((3,))], ids=["grid", "heap"])
def test_the_fixed_point_of_q_learning_is_the_optimum(task: Any) -> None:
    model = tabulate(task)
    q = expected_updates(model, lambda r, d, n, m: q_targets(r, d, n, m, GAMMA))
    assert q[model.mask] == pytest.approx(optimal_q(model)[model.mask], abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1.0])
def test_the_fixed_point_of_sarsa_is_the_value_of_its_own_policy(epsilon: float) -> None:
    model = tabulate(GridWorld(slip=0.2))
    q = epsilon_q(model, epsilon)
    assert (q[model.mask] <= optimal_q(model)[model.mask] + 1e-9).all()
    assert q.max() < optimal_q(model).max()


@pytest.mark.parametrize("mode", list(AutoresetMode)[:2])
@pytest.mark.parametrize(
    ("name", "options"), [("q-learning", {}), ("sarsa", {}), ("sarsa", {"expected": True})]
)
def test_experience_leads_to_the_fixed_point(name: str, options: dict[str, Any], mode: Any) -> None:
    """With steps that shrink; episodes are cut after 4 steps, which changes no value."""
    task = GridWorld(MAP, slip=0.2)
    env = TaskVectorEnv(task, num_envs=16, autoreset_mode=mode, max_episode_steps=4)
    epsilon = 1.0 if name == "q-learning" else 0.3
    agent = descant.make_agent(
        name, env, gamma=GAMMA, learning_rate=1.0, lr_schedule="visits", lr_power=0.8,
        epsilon=epsilon, epsilon_final=epsilon, **options,
    )  # fmt: skip
    agent.learn(40_000)
    model = tabulate(task)
    truth = optimal_q(model) if name == "q-learning" else epsilon_q(model, epsilon)
    assert agent.values(model.states.cell) == pytest.approx(truth, abs=0.03)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options"), [("q-learning", {}), ("sarsa", {}), ("sarsa", {"expected": True})]
)
def test_masked_actions_count_in_no_target(name: str, options: dict[str, Any]) -> None:
    """All that is paid is below zero, so that the value of what was never taken, zero, would win."""
    task = Heap((3,))
    options = options | {"epsilon": 1.0, "epsilon_final": 1.0 if name == "q-learning" else 0.3}
    env = TaskVectorEnv(task, num_envs=8)
    agent = descant.make_agent(name, env, gamma=GAMMA, learning_rate=1.0, lr_schedule="visits", **options)
    agent.learn(6000)
    model = tabulate(task)
    truth = optimal_q(model) if name == "q-learning" else epsilon_q(model, 0.3)
    found = agent.values(task.observe(model.states))  # type: ignore[attr-defined]
    assert found[model.mask] == pytest.approx(truth[model.mask], abs=0.1)
    assert (found[~model.mask] == 0).all()


@pytest.mark.parametrize("exploration", ["epsilon-greedy", "boltzmann"])
@pytest.mark.parametrize("name", BOTH)
def test_the_identity_is_solved(name: str, exploration: str) -> None:
    agent = descant.make_agent(name, TaskVectorEnv(Echo(), num_envs=8), exploration=exploration).learn(4000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]
    drawn = agent.predict(np.repeat(np.arange(4), 100))[0]
    assert (drawn == np.repeat(np.arange(4), 100)).mean() > 0.85


@pytest.mark.parametrize("exploration", ["epsilon-greedy", "boltzmann"])
@pytest.mark.parametrize("name", BOTH)
def test_masked_actions_are_never_taken(name: str, exploration: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = TaskVectorEnv(Dice(), num_envs=8)
    step, taken = env.step, []

    def checked(actions: Any) -> Any:
        taken.append(env.action_masks()[np.arange(8), actions].all())
        return step(actions)

    monkeypatch.setattr(env, "step", checked)
    agent = descant.make_agent(name, env, exploration=exploration).learn(2000)
    assert len(taken) > 200
    assert all(taken)
    seen, mask = env.observe(), env.action_masks()
    assert np.isneginf(agent.log_probs(seen, action_masks=mask)[~mask]).all()
    assert mask[np.arange(8), agent.predict(seen, deterministic=True, action_masks=mask)[0]].all()


@pytest.mark.parametrize("name", BOTH)
def test_it_improves_on_cartpole(name: str) -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=16)
    log = Log()
    agent = descant.make_agent(name, env, learning_rate=0.3, epsilon_final=0.02).learn(50_000, tracker=log)  # type: ignore[arg-type]
    returns = [record["return"] for record in log.records if "return" in record]
    assert np.mean(returns[-5:]) > 2 * np.mean(returns[:5])
    assert agent.predict(env.reset(seed=0)[0][0])[0] in (0, 1)


def half(agent: Any) -> bool:
    return bool(agent.num_timesteps < 3000)


@pytest.mark.parametrize("mode", list(AutoresetMode)[:2])
@pytest.mark.parametrize("name", BOTH)
def test_interrupted_equals_uninterrupted(name: str, mode: Any, tmp_path: Path) -> None:
    def env() -> Any:
        return gymnasium.make_vec(
            "descant/GridWorld-v0", num_envs=8, autoreset_mode=mode, max_episode_steps=9
        )

    options = {"lr_schedule": "linear", "exploration": "boltzmann"}
    whole = descant.make_agent(name, env(), **options).learn(6000)
    cut = descant.make_agent(name, env(), **options).learn(6000, callback=half)
    assert cut.num_timesteps < 4000
    cut.save(tmp_path)
    resumed = descant.load_agent(tmp_path, env()).learn(6000)
    first, second = whole.parts(), resumed.parts()
    assert first.state == second.state
    assert first.weights.keys() == second.weights.keys()
    for key, value in first.weights.items():
        assert (np.asarray(value) == np.asarray(second.weights[key])).all(), key


@pytest.mark.parametrize("name", BOTH)
def test_same_seed_same_table_and_saved_acts_alike(name: str, tmp_path: Path) -> None:
    def trained(seed: int) -> Any:
        return descant.make_agent(name, TaskVectorEnv(Dice(), num_envs=4), seed=seed).learn(1000)

    first, second, other = trained(1), trained(1), trained(2)
    n = len(first.lookup)
    assert (first.q[:n] == second.q[:n]).all()
    assert first.q[:n].shape != other.q[: len(other.lookup)].shape or (first.q[:n] != other.q[:n]).any()
    first.save(tmp_path)
    loaded = descant.load_agent(tmp_path)
    seen = Dice().observe(Dice().reset(np.random.default_rng(0), 50))
    assert (loaded.log_probs(seen) == first.log_probs(seen)).all()
    with pytest.raises(DescantError, match="without an environment"):
        loaded.learn(2000)


class Broken(Echo):
    """Pays what is no number."""

    def step(self, state: Any, action: Any, rng: Any) -> Any:
        after, reward, ended = super().step(state, action, rng)
        return after, reward * np.nan, ended


@pytest.mark.parametrize("name", BOTH)
def test_rewards_that_are_no_numbers_stop_it(name: str) -> None:
    agent = descant.make_agent(name, TaskVectorEnv(Broken(), num_envs=2))
    with pytest.raises(DescantError, match="reward is not finite at step 0"):
        agent.learn(100)
    assert (agent.q == 0).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 1.5},
        {"learning_rate": 0.0},
        {"epsilon": -0.1},
        {"temperature": 0.0},
        {"lr_schedule": "steps"},
        {"exploration": "greedy"},
        {"initial_value": float("nan")},
        {"bins": 0},
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_bad_options_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(DescantError, match=next(iter(options))):
        descant.make_agent(name, "descant/GridWorld-v0", **options)


def test_the_page_tells_all_options() -> None:
    page = (Path(__file__).parents[2] / "docs/tabular.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert told == [field.name for field in dataclasses.fields(sarsa.Config)]
    assert [*(f.name for f in dataclasses.fields(q_learning.Config)), "expected"] == told
