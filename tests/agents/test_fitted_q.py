"""Fitted Q iteration: near the optimum from random steps, from its data alone, masks, resume."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import descant
from descant.agents import value_iteration
from descant.agents.fitted_q import Config, fit_loss
from descant.envs.gridworld import GridWorld
from descant.errors import DescantError
from descant.models import tabulate
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Dice, Echo

MAP = "S.G\n.#X"
SMALL: dict[str, Any] = {"hidden": (32,), "rounds": 3, "updates": 10, "train_freq": 16}


def test_the_loss_by_hand() -> None:
    assert float(fit_loss(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0]))) == 1.25


def test_values_come_near_the_optimum() -> None:
    task = GridWorld(MAP, slip=0.2)
    env = TaskVectorEnv(task, num_envs=16, max_episode_steps=20)
    agent = descant.make_agent(
        "fitted-q", env, gamma=0.9, hidden=(32,), rounds=20, updates=50, learning_rate=3e-3
    ).learn(6000)
    model = tabulate(task)
    values, _ = value_iteration.solve(model, 0.9, 1e-12)
    truth = model.table(model.backup(values, 0.9))
    with torch.inference_mode():
        found = agent.networks["policy"](torch.as_tensor(model.states.cell))["q"].numpy()  # type: ignore[attr-defined]
    assert found == pytest.approx(truth, abs=0.1)
    assert (agent.predict(model.states.cell, deterministic=True)[0] == truth.argmax(axis=1)).all()


def test_the_identity_is_solved() -> None:
    agent = descant.make_agent("fitted-q", TaskVectorEnv(Echo(), num_envs=8), **SMALL | {"updates": 100})
    agent.learn(1000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


def test_it_improves_on_cartpole() -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=16)
    agent = descant.make_agent("fitted-q", env, hidden=(64,), rounds=15, updates=60).learn(5000)

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        return agent.predict(observation, None, starts, True, masks)[0]

    returns = Collector(env).episodes(act, seed=0).finished_returns()
    assert returns.mean() > 35  # chance is 22


def test_learning_begins_when_the_data_is_whole() -> None:
    agent: Any = descant.make_agent("fitted-q", TaskVectorEnv(Echo(), num_envs=8), **SMALL)
    updates: list[int] = []

    def note(agent: Any) -> bool:
        updates.append(agent.updates)
        return True

    agent.learn(500, callback=note)
    assert updates[:-1] == [0] * (len(updates) - 1)
    assert updates[-1] == 30


def test_masked_actions_are_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    env = TaskVectorEnv(Dice(), num_envs=8)
    step, taken = env.step, []

    def checked(actions: Any) -> Any:
        taken.append(env.action_masks()[np.arange(8), actions].all())
        return step(actions)

    monkeypatch.setattr(env, "step", checked)
    agent = descant.make_agent("fitted-q", env, **SMALL).learn(1000)
    assert len(taken) > 100
    assert all(taken)
    for deterministic in (True, False):
        seen, mask = env.observe(), env.action_masks()
        actions, _ = agent.predict(seen, deterministic=deterministic, action_masks=mask)
        assert mask[np.arange(8), actions].all()


def test_interrupted_equals_uninterrupted(tmp_path: Path) -> None:
    def env() -> Any:
        return gymnasium.make_vec("descant/GridWorld-v0", num_envs=8, max_episode_steps=9)

    def weights(agent: Any) -> dict[str, Any]:
        return {name: np.asarray(value) for name, value in agent.parts().weights.items()}

    whole = weights(descant.make_agent("fitted-q", env(), **SMALL).learn(1000))
    cut = descant.make_agent("fitted-q", env(), **SMALL)
    cut.learn(1000, callback=lambda agent: agent.num_timesteps < 400)  # type: ignore[attr-defined]
    assert cut.num_timesteps < 1000
    cut.save(tmp_path)
    resumed = weights(descant.load_agent(tmp_path, env()).learn(1000))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert (value == resumed[name]).all(), name
    other = weights(descant.make_agent("fitted-q", env(), seed=1, **SMALL).learn(1000))
    assert any((value != other[name]).any() for name, value in whole.items() if name.startswith("policy."))


class Broken(Echo):
    """Pays what is no number."""

    def step(self, state: Any, action: Any, rng: Any) -> Any:
        after, reward, ended = super().step(state, action, rng)
        return after, reward * np.nan, ended


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        (Broken(), {}, "not finite"),
        (Echo(), {"buffer_size": 100}, "raise buffer_size"),
        (Echo(), {"rounds": 0}, "rounds"),
        (Echo(), {"gamma": 2.0}, "gamma"),
        (Echo(), {"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_input_is_refused(task: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DescantError, match=words):
        descant.make_agent("fitted-q", TaskVectorEnv(task, num_envs=4), **SMALL | options).learn(500)


def test_the_page_tells_all_options() -> None:
    page = (Path(__file__).parents[2] / "docs/fitted-q.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert told == [field.name for field in dataclasses.fields(Config)]
