"""`exact`: optimal against brute force, even-handed among equals, clear where it can't plan."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from descant import load_agent, make_agent
from descant.agents.exact import Exact
from descant.errors import DescantError
from descant.evaluation import play
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv
from descant.tasks import Task, size, take_rows

from ..playing import task_of
from ..tiny_tasks import Dice, Echo, Heap

ID = "descant/Counterpoint-v0"
SMALL = {"cantus": "D4 E4 D4", "position": "above", "max_notes": 3}
RNG = np.random.default_rng(0)


def exact(task: Task[Any], n: int = 1, **config: Any) -> Exact:
    made = make_agent("exact", TaskVectorEnv(task, n), **config)
    assert isinstance(made, Exact)
    return made


def best_by_brute_force(task: Task[Any], state: Any) -> tuple[float, list[int]]:
    """The best return from a state of one row, and the actions that begin a best episode."""
    values: dict[int, float] = {}
    for action in np.flatnonzero(task.action_mask(state)[0]).tolist():
        after, reward, ended = task.step(state, np.array([action]), RNG)
        onward = 0.0 if ended[0] else best_by_brute_force(task, after)[0]
        values[action] = float(reward[0]) + onward
    best = max(values.values(), default=-np.inf)
    return best, [action for action, value in values.items() if value > best - 1e-9]


@pytest.mark.parametrize(
    "task",
    [Echo(symbols=3, steps=3), Heap((5, 6, 7)), task_of("D4 E4 D4", "above", max_notes=3)],
    ids=["echo", "heap", "counterpoint"],
)
def test_it_acts_best_in_every_state_that_it_may_reach(task: Task[Any]) -> None:
    agent = exact(task)
    starts = task.starts()
    for row in range(size(starts)):
        start = take_rows(starts, slice(row, row + 1))
        states = [start]
        while states:
            state = states.pop()
            _, best = best_by_brute_force(task, state)
            chances = np.exp(agent.log_probs(task.observe(state))[0])
            wanted = np.zeros(len(chances))
            wanted[best] = 1 / len(best)
            np.testing.assert_allclose(chances, wanted)
            assert agent.predict(task.observe(state)[0], deterministic=True)[0] == best[0]
            action = np.array([int(RNG.choice(np.flatnonzero(task.action_mask(state)[0])))])
            after, _, ended = task.step(state, action, RNG)
            if not ended[0] and task.action_mask(after).any():
                states.append(after)


def test_its_episodes_are_worth_the_optimum_of_all_episodes() -> None:
    task = task_of("D4 F4 E4 D4", "above", max_notes=4)
    mask = np.flatnonzero(task.action_mask(task.starts())[0])
    best = -np.inf
    lines = np.array(list(itertools.product(mask.tolist(), repeat=4)))
    state = take_rows(task.starts(), np.zeros(len(lines), np.int64))
    total = np.zeros(len(lines))
    for step in range(4):
        state, reward, _ = task.step(state, lines[:, step], RNG)
        total += reward
    best = total.max()
    for deterministic in (True, False):
        _, returns = play(exact(task), task, task.starts(), deterministic)
        assert returns[0] == pytest.approx(best)


class Ties(Echo):
    """Every action but the last is right."""

    name = "test/Ties-v0"

    def step(self, state: Any, action: Any, rng: Any) -> Any:
        after, _, ended = super().step(state, action, rng)
        return after, (action < self.symbols - 1).astype(float), ended


def test_among_equals_it_draws_evenly_and_takes_the_first_when_deterministic() -> None:
    agent = exact(Ties(symbols=5, steps=2), seed=1)
    seen = np.zeros(20_000, np.int64)
    np.testing.assert_allclose(np.exp(agent.log_probs(seen[:1])), [[0.25] * 4 + [0]])
    shares = np.bincount(agent.predict(seen)[0], minlength=5) / len(seen)
    np.testing.assert_allclose(shares, [0.25] * 4 + [0], atol=0.02)
    assert set(agent.predict(seen, deterministic=True)[0].tolist()) == {0}


def test_too_many_states_are_refused_with_what_to_do() -> None:
    for env, most in ((ID, 200_000), (TaskVectorEnv(ID, 1, cantus="dorian"), 1000)):
        agent = make_agent("exact", env, max_edges=most)
        with pytest.raises(
            DescantError, match=r"too many states .* fix what is drawn at reset \(one cantus, one"
        ):
            agent.learn(0)


def test_an_environment_without_a_task_is_refused() -> None:
    with pytest.raises(DescantError, match="plans on a descant task; this environment has none"):
        make_agent("exact", "CartPole-v1")


def test_a_task_that_can_not_be_enumerated_is_refused() -> None:
    with pytest.raises(DescantError, match="not enumerable"):
        exact(Dice()).learn(0)


def test_a_state_beyond_the_mask_is_refused() -> None:
    task = task_of("dorian", "above", mask="rules")
    agent = exact(task)
    wrong, _, _ = task.step(task.starts(), np.array([0]), RNG)
    with pytest.raises(DescantError, match="reached only by masked actions"):
        agent.predict(task.observe(wrong))


class Blind(Heap):
    """Shows nothing but what was taken last."""

    name = "test/Blind-v0"

    def observe(self, state: Any) -> Any:
        return np.stack([np.zeros_like(state.taken), state.taken], axis=1)


def test_observations_that_hide_the_state_are_refused() -> None:
    with pytest.raises(DescantError, match="test/Blind-v0: states that look alike want other actions"):
        exact(Blind()).learn(0)


def test_the_dtype_of_an_observation_does_not_matter() -> None:
    env = gymnasium.make_vec(ID, num_envs=2, **SMALL)
    agent = make_agent("exact", env)
    seen, _ = env.reset(seed=0)
    assert seen.dtype == np.int16
    as_list = [seen[0].tolist(), seen[1].tolist()]
    np.testing.assert_array_equal(agent.predict(as_list)[0], agent.predict(seen)[0])


def test_rows_that_have_ended_are_asked_too() -> None:
    task = Heap((3, 7))
    agent = exact(task, n=6)
    rollout = Collector(agent.env).episodes(  # type: ignore[arg-type]
        lambda seen, masks, starts: agent.predict(seen, None, starts, True, masks)[0], seed=2
    )
    best = {n: best_by_brute_force(task, take_rows(task.starts(), [i]))[0] for i, n in enumerate((3, 7))}
    returns = (rollout.rewards * rollout.valid).sum(axis=0)
    np.testing.assert_allclose(returns, [best[int(n)] for n in rollout.observations[0][:, 0]])


def test_it_plans_again_from_its_checkpoint(tmp_path: Path) -> None:
    env = gymnasium.make_vec(ID, num_envs=2, mask="rules", **SMALL)
    agent = make_agent("exact", env, seed=4)
    agent.save(tmp_path / "last")
    seen, _ = env.reset(seed=0)
    for loaded in (load_agent(tmp_path / "last"), load_agent(tmp_path / "last", env)):
        np.testing.assert_array_equal(loaded.log_probs(seen), agent.log_probs(seen))
        assert loaded.task.mask == "rules"
        assert loaded.config == agent.config


def test_a_cantus_given_as_a_list_is_kept_in_the_checkpoint(tmp_path: Path) -> None:
    options: dict[str, Any] = SMALL | {"cantus": ["D4", "E4", "D4"]}
    agent = make_agent("exact", gymnasium.make_vec(ID, num_envs=1, **options))
    agent.save(tmp_path / "last")
    loaded = load_agent(tmp_path / "last")
    np.testing.assert_array_equal(loaded.plan.values[0], agent.plan.values[0])


def test_without_an_environment_on_record_it_says_what_it_needs(tmp_path: Path) -> None:
    exact(Echo()).save(tmp_path / "last")
    with pytest.raises(DescantError, match="'exact' plans on a task: pass an environment of descant"):
        load_agent(tmp_path / "last").predict(np.zeros(1, np.int64))
    assert load_agent(tmp_path / "last", TaskVectorEnv(Echo(), 1)).predict(np.array([2]))[0] == 2


def test_learning_takes_no_steps() -> None:
    agent = exact(Echo())
    assert agent.learn(1000) is agent
    assert agent.num_timesteps == 0
