"""Value and policy iteration against each other, against backward induction, and by hand."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import descant
from descant.agents import policy_iteration, value_iteration
from descant.envs.counterpoint import Counterpoint
from descant.envs.gridworld import GridWorld
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.evaluation import play
from descant.models import tabulate
from descant.planning import enumerate_task, optimum
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Dice, Echo, Heap

BOTH = ("value-iteration", "policy-iteration")
SOLVERS = (value_iteration.solve, policy_iteration.solve)


@pytest.mark.parametrize("mask", ["rules", "range"])
def test_both_agree_with_backward_induction_on_counterpoint(mask: Any) -> None:
    task = Counterpoint(cantus="dorian", position="above", mask=mask)
    model, plan = tabulate(task), optimum(enumerate_task(task))
    for solve in SOLVERS:
        values, _ = solve(model, 1.0, 1e-12)
        assert values == pytest.approx(np.concatenate(plan.values), abs=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 0.95, 0.5, 0.0])
@pytest.mark.parametrize(
    "task",
    [GridWorld(slip=0.0), GridWorld(slip=0.3, step_cost=0.05), Tokens(seed=3), Heap((3,))],
    ids=["dry", "wet", "tokens", "heap"],
)
def test_both_agree_with_each_other(task: Any, gamma: float) -> None:
    model = tabulate(task)
    (first, _), (second, _) = (solve(model, gamma, 1e-12) for solve in SOLVERS)
    assert first == pytest.approx(second, abs=1e-9)
    assert model.best(model.backup(first, gamma)) == pytest.approx(first, abs=1e-9)


@pytest.mark.parametrize("solve", SOLVERS)
def test_values_by_hand(solve: Any) -> None:
    model = tabulate(GridWorld("S..G", slip=0, step_cost=0.1))
    values, _ = solve(model, 0.5, 1e-12)
    assert dict(zip(model.states.cell.tolist(), values, strict=True)) == pytest.approx(
        {0: -0.1 - 0.05 + 0.9 / 4, 1: -0.1 + 0.45, 2: 0.9}
    )
    slippery = tabulate(GridWorld("SG", slip=0.5, step_cost=1, goal_reward=0))  # two throws on the average
    assert solve(slippery, 1.0, 1e-12)[0] == pytest.approx([-2.0])


@pytest.mark.parametrize("name", BOTH)
def test_agents_act_optimally(name: str) -> None:
    env = gymnasium.make_vec("descant/Counterpoint-v0", cantus="dorian", position="above", mask="rules")
    agent = descant.make_agent(name, env).learn(1)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    _, returns = play(agent, task, task.starts())
    best = optimum(enumerate_task(task)).values[0]
    assert returns == pytest.approx(best, abs=1e-9)
    assert agent.start_value() == pytest.approx(best[0], abs=1e-9)  # type: ignore[attr-defined]
    _, drawn = play(agent, task, task.starts(), deterministic=False)
    assert drawn == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", BOTH)
def test_the_mean_return_in_a_slippery_world_is_the_value(name: str) -> None:
    env = gymnasium.make_vec("descant/GridWorld-v0", num_envs=1, slip=0.2)
    agent = descant.make_agent(name, env).learn(1)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    _, returns = play(agent, task, task.reset(np.random.default_rng(0), 2000))
    error = 4 * returns.std() / np.sqrt(len(returns))
    assert returns.mean() == pytest.approx(agent.start_value(), abs=error)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", BOTH)
def test_the_identity_is_solved_and_single_environments_do(name: str) -> None:
    agent = descant.make_agent(name, TaskVectorEnv(Echo(), num_envs=2))
    actions, _ = agent.predict(np.arange(4), deterministic=True)
    assert actions.tolist() == [0, 1, 2, 3]
    single = descant.make_agent(name, gymnasium.make("descant/GridWorld-v0"))
    assert single.predict(10, deterministic=True)[0] in range(4)


@pytest.mark.parametrize("name", BOTH)
def test_masked_actions_are_never_taken(name: str) -> None:
    agent = descant.make_agent(name, TaskVectorEnv(Heap((3,))))
    model = tabulate(Heap((3,)))
    log_probs = agent.log_probs(Heap((3,)).observe(model.states))
    assert np.isneginf(log_probs[~model.mask]).all()
    assert np.exp(log_probs).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("name", BOTH)
def test_saved_and_loaded_acts_alike(name: str, tmp_path: Path) -> None:
    env = gymnasium.make_vec("descant/GridWorld-v0", num_envs=1, slip=0.2)
    agent = descant.make_agent(name, env, gamma=0.9)
    agent.save(tmp_path / "empty")
    agent.learn(10)
    agent.save(tmp_path / "full")
    seen = tabulate(GridWorld(slip=0.2)).states.cell
    for folder in ("empty", "full"):
        loaded = descant.load_agent(tmp_path / folder)
        assert (loaded.log_probs(seen) == agent.log_probs(seen)).all()
    assert loaded.num_timesteps == 10
    by_hand = descant.make_agent(name, TaskVectorEnv(Echo()))
    by_hand.save(tmp_path / "hand")
    with pytest.raises(DescantError, match="pass an environment"):
        descant.load_agent(tmp_path / "hand").predict(np.arange(4))


@pytest.mark.parametrize("name", BOTH)
def test_what_can_not_be_planned_is_refused(name: str) -> None:
    with pytest.raises(DescantError, match="has none"):
        descant.make_agent(name, "CartPole-v1")
    with pytest.raises(DescantError, match="not enumerable"):
        descant.make_agent(name, TaskVectorEnv(Dice())).learn(1)
    with pytest.raises(DescantError, match="too many"):
        descant.make_agent(name, "descant/GridWorld-v0", max_states=3).learn(1)
    with pytest.raises(DescantError, match="did not plan for this state"):
        descant.make_agent(name, "descant/GridWorld-v0").predict(4)
    for options in ({"gamma": 2.0}, {"tolerance": 0.0}, {"max_iterations": 0}):
        with pytest.raises(DescantError, match=next(iter(options))):
            descant.make_agent(name, "descant/GridWorld-v0", **options)


@pytest.mark.parametrize("name", BOTH)
def test_rows_that_await_their_reset_do_no_harm(name: str) -> None:
    env = gymnasium.make_vec("descant/GridWorld-v0", num_envs=8, slip=0.2, max_episode_steps=30)
    agent = descant.make_agent(name, env)

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        return agent.predict(observation, None, starts, False, masks)[0]

    rollout = Collector(env).episodes(act, seed=0)
    assert rollout.finished_returns().mean() > 0


def test_what_never_settles_is_said() -> None:
    paid = tabulate(GridWorld("S.G", slip=0, step_cost=-1.0))
    with pytest.raises(DescantError, match="gamma below 1"):
        value_iteration.solve(paid, 1.0, 1e-9, 50)
    with pytest.raises(DescantError, match="gamma below 1"):
        policy_iteration.solve(paid, 1.0, 1e-9)
    with pytest.raises(DescantError, match="still changes"):
        policy_iteration.solve(tabulate(GridWorld()), 0.9, 1e-9, 1)


def test_the_page_tells_all_options() -> None:
    page = (Path(__file__).parents[2] / "docs/planners.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    for config in (value_iteration.Config, policy_iteration.Config):
        assert told == [field.name for field in dataclasses.fields(config)]
