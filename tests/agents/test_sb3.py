"""SB3's algorithms as agents: resumed exactly, saved without pickle, masks honoured, quiet."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import descant.agents.sb3
from descant import load_agent, make_agent
from descant.agent import Agent
from descant.agents.sb3 import SB3Agent, same_step
from descant.errors import DescantError
from descant.runs import RunFolder, Tracker, make_tracker, read_metrics
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Dice, Echo

ID = "descant/Counterpoint-v0"
ROWS = 8
SMALL: dict[str, dict[str, Any]] = {
    "sb3/ppo": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
    "sb3/maskable-ppo": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
    "sb3/a2c": {},
    "sb3/dqn": {
        "buffer_size": 300,
        "learning_starts": 50,
        "batch_size": 16,
        "target_update_interval": 40,
        "exploration_fraction": 0.9,
    },
}
NAMES = list(SMALL)
STEPS = 640


def env() -> Any:
    return gymnasium.make_vec(ID, num_envs=ROWS, pool=16)


def agent_on(name: str, env: Any, **config: Any) -> SB3Agent:
    made = make_agent(name, env, **({"hidden": (16,), "num_envs": ROWS} | SMALL[name] | config))
    assert isinstance(made, SB3Agent)
    return made


def parts(agent: Agent) -> dict[str, np.ndarray]:
    return {name: torch.as_tensor(part).numpy().copy() for name, part in agent.parts().weights.items()}


def assert_same(one: Agent, other: Agent) -> None:
    """Equal in all that a checkpoint holds: policy, optimiser, random states, environments, replay."""
    first, second = parts(one), parts(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []
    assert one.parts().state == other.parts().state
    assert one.num_timesteps == other.num_timesteps


class Recorder(Tracker):
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.records: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.records.append((step, dict(values)))


def stop_at(step: int, path: Path) -> Any:
    """A callback that saves and stops at the first chance from `step` on."""

    def callback(agent: Agent) -> bool:
        if agent.num_timesteps < step:
            return True
        agent.save(path)
        return False

    return callback


@pytest.mark.parametrize("name", NAMES)
def test_learning_saved_halfway_and_gone_on_with_equals_learning_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all that is learned, and in what is logged of it."""
    monkeypatch.setattr(descant.agents.sb3, "LOG_STEPS", 50)
    of_whole, of_parts = Recorder(), Recorder()
    whole = agent_on(name, env(), seed=3).learn(STEPS, tracker=of_whole)
    first = agent_on(name, env(), seed=3).learn(STEPS, stop_at(300, tmp_path / "half"), tracker=of_parts)
    assert 300 <= first.num_timesteps < 400
    np.random.rand(5), torch.rand(7)  # what happens in between must not matter
    resumed = load_agent(tmp_path / "half", env())
    resumed.save(tmp_path / "copy")
    assert_same(resumed.learn(STEPS, tracker=of_parts), whole)
    assert of_parts.records == of_whole.records
    assert len(of_whole.records) > 10
    assert_same(load_agent(tmp_path / "copy", env()).learn(STEPS), whole)
    assert any(
        not np.array_equal(a, b) for a, b in zip(parts(first).values(), parts(whole).values(), strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_that_never_learned_is_saved_and_learns_as_if_it_had_not_been(
    name: str, tmp_path: Path
) -> None:
    at_once = agent_on(name, env())
    at_once.save(tmp_path / "agent")
    at_once.learn(STEPS)
    loaded = load_agent(tmp_path / "agent", env())
    loaded.learn(STEPS)
    assert_same(loaded, at_once)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_agent_and_another_seed_another(name: str) -> None:
    one, again, other = (agent_on(name, env(), seed=seed).learn(200) for seed in (1, 1, 2))
    assert_same(one, again)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(*(x.model.policy.parameters() for x in (one, other)), strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_sb3s_own_form_is_saved(name: str, tmp_path: Path) -> None:
    agent_on(name, env()).learn(100).save(tmp_path / "last")
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [file.name for file in files] == ["manifest.json", "state.json", "weights.safetensors"]
    for file in files:
        assert not zipfile.is_zipfile(file)
        assert b"PK\x03\x04" not in file.read_bytes()[:4]
        assert not file.read_bytes().startswith(b"\x80")


@pytest.mark.parametrize("name", NAMES)
def test_without_an_environment_it_predicts_but_does_not_learn(name: str, tmp_path: Path) -> None:
    agent = agent_on(name, env()).learn(100)
    agent.save(tmp_path / "last")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_agent(tmp_path / "last")
    seen, _ = env().reset(seed=1)
    for deterministic in (True, False):
        for each in (agent, loaded):
            each.set_random_seed(7)
        found, wanted = (each.predict(seen, deterministic=deterministic)[0] for each in (loaded, agent))
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(loaded.log_probs(seen), agent.log_probs(seen))
    with pytest.raises(DescantError, match="loaded without an environment: pass env to learn on"):
        loaded.learn(1000)


@pytest.mark.parametrize("name", NAMES)
def test_log_probs_are_those_of_a_policy_and_predict_follows_them(name: str) -> None:
    agent = agent_on(name, env()).learn(200)
    seen, _ = env().reset(seed=2)
    log_probs = agent.log_probs(seen)
    assert log_probs.shape == (ROWS, 52)
    assert log_probs.dtype == np.float64
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-6)
    likeliest, _ = agent.act(seen, None, None, deterministic=True, masks=None)
    np.testing.assert_array_equal(likeliest, log_probs.argmax(axis=1))
    np.testing.assert_array_equal(likeliest, agent.model.predict(seen, deterministic=True)[0])


@pytest.mark.parametrize("name", ["sb3/ppo", "sb3/a2c", "sb3/maskable-ppo"])
def test_draws_follow_the_policy_and_leave_sb3s_generator_alone(name: str) -> None:
    agent = agent_on(name, TaskVectorEnv(Echo(symbols=4), ROWS))
    seen = np.full(20_000, 2)
    before = torch.get_rng_state()
    drawn, _ = agent.predict(seen)
    assert torch.equal(torch.get_rng_state(), before)
    shares = np.bincount(drawn, minlength=4) / len(seen)
    np.testing.assert_allclose(shares, np.exp(agent.log_probs(seen[:1])[0]), atol=0.02)


def test_masks_bind_maskable_ppo_and_no_other() -> None:
    mask = np.zeros((3, 4), bool)
    mask[:, [1, 3]] = True
    seen = np.arange(3)
    task = Echo(symbols=4)
    masked = agent_on("sb3/maskable-ppo", TaskVectorEnv(task, ROWS))
    log_probs = masked.log_probs(seen, action_masks=mask)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-6)
    assert (np.exp(log_probs[~mask]) < 1e-9).all()
    for deterministic in (True, False):
        many, masks = np.tile(seen, 300), np.tile(mask, (300, 1))
        assert set(masked.predict(many, deterministic=deterministic, action_masks=masks)[0].tolist()) <= {
            1,
            3,
        }
    plain = agent_on("sb3/ppo", TaskVectorEnv(task, ROWS))
    np.testing.assert_array_equal(plain.log_probs(seen, action_masks=mask), plain.log_probs(seen))


def test_maskable_ppo_takes_no_masked_action_while_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = env()
    agent = agent_on("sb3/maskable-ppo", vector)
    steps, wrong = [0], [0]
    step = TaskVectorEnv.step

    def watched(self: TaskVectorEnv, actions: Any) -> Any:
        steps[0] += len(actions)
        wrong[0] += int((~self.action_masks()[np.arange(len(actions)), actions]).sum())
        return step(self, actions)

    monkeypatch.setattr(TaskVectorEnv, "step", watched)
    agent.learn(300)
    assert (steps[0], wrong[0]) == (320, 0)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_made_and_learns_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent_on(name, env()).learn(100)


@pytest.mark.parametrize(("name", "steps"), [("sb3/ppo", 8_000), ("sb3/a2c", 6_000), ("sb3/dqn", 4_000)])
def test_it_learns_to_name_what_it_sees(name: str, steps: int) -> None:
    agent = agent_on(name, TaskVectorEnv(Echo(symbols=3), ROWS), learning_rate=5e-3)
    agent.learn(steps)
    np.testing.assert_array_equal(agent.predict(np.arange(3), deterministic=True)[0], np.arange(3))


def test_dict_observations_work() -> None:
    task = Dice(sides=4)
    agent = agent_on("sb3/maskable-ppo", TaskVectorEnv(task, ROWS)).learn(200)
    seen, _ = TaskVectorEnv(task, 3).reset(seed=0)
    assert agent.log_probs(seen).shape == (3, 5)
    action, _ = agent.predict({name: part[0] for name, part in seen.items()}, deterministic=True)
    assert np.shape(action) == ()


def test_dict_observations_are_resumed_exactly(tmp_path: Path) -> None:
    vector = [TaskVectorEnv(Dice(sides=4), ROWS) for _ in range(3)]
    whole = agent_on("sb3/ppo", vector[0]).learn(400)
    agent_on("sb3/ppo", vector[1]).learn(400, stop_at(200, tmp_path / "half"))
    assert_same(load_agent(tmp_path / "half", vector[2]).learn(400), whole)


def test_gymnasiums_environments_work(tmp_path: Path) -> None:
    agent = agent_on("sb3/ppo", "CartPole-v1").learn(200)
    agent.save(tmp_path / "last")
    resumed = load_agent(tmp_path / "last", "CartPole-v1").learn(400)
    assert resumed.env is not None
    assert resumed.env.num_envs == ROWS
    assert resumed.num_timesteps >= 400


def test_an_environment_is_made_to_reset_in_the_same_step() -> None:
    native = TaskVectorEnv(Echo(), 3, max_episode_steps=2)
    made = same_step(native)
    assert made.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert (made.task, made.num_envs, made.max_episode_steps) == (native.task, 3, 2)
    assert same_step(made) is made
    sync = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
    assert same_step(sync).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    own = gymnasium.make_vec("CartPole-v1", num_envs=2, max_episode_steps=7)
    remade = same_step(own)
    assert remade.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert (remade.num_envs, remade.envs[0].spec.max_episode_steps) == (2, 7)
    own.spec = None
    with pytest.raises(DescantError, match="resets in the same step: make it with autoreset_mode SAME_STEP"):
        same_step(own)


def test_it_logs_returns_and_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descant.agents.sb3, "LOG_STEPS", 100)
    run = RunFolder.create(tmp_path / "run", {})
    with make_tracker(run) as tracker:
        agent_on("sb3/ppo", TaskVectorEnv(Echo(symbols=4, steps=3), ROWS)).learn(500, tracker=tracker)
    records = read_metrics(run.metrics_path)
    assert [record["step"] // 100 for record in records] == [1, 2, 3, 4, 5]
    assert all(0 < record["return"] < 3 for record in records)
    assert "value_loss" in records[-1]


@pytest.mark.parametrize("name", NAMES)
def test_it_counts_steps_and_stops_where_it_is_told(name: str) -> None:
    agent = agent_on(name, env())
    asked: list[int] = []
    agent.learn(400, lambda agent: asked.append(agent.num_timesteps) is None and agent.num_timesteps < 150)
    assert asked[0] > 0
    assert asked[-1] == agent.num_timesteps
    assert 150 <= agent.num_timesteps < 250
    assert asked == sorted(asked)
    assert agent.learn(100).num_timesteps == asked[-1]  # it has learned so long already


@pytest.mark.parametrize("name", ["sb3/ppo", "sb3/maskable-ppo"])
def test_a_policy_that_is_no_number_stops_with_advice(name: str) -> None:
    with pytest.raises(DescantError, match=r"not finite at step .*: lower learning_rate"):
        agent_on(name, env(), learning_rate=1e30).learn(1000)


@pytest.mark.parametrize("name", ["sb3/a2c", "sb3/dqn"])
def test_weights_that_are_no_numbers_stop_it_before_it_is_saved(name: str, tmp_path: Path) -> None:
    agent = agent_on(name, env())

    def spoil(agent: Any) -> bool:
        agent.save(tmp_path / "last")
        if agent.num_timesteps >= 200:
            next(agent.model.policy.parameters()).data.fill_(np.nan)
        return True

    with pytest.raises(DescantError, match=r"not finite at step .*: lower learning_rate"):
        agent.learn(1000, spoil)
    kept = load_agent(tmp_path / "last")
    assert all(np.isfinite(part).all() for part in parts(kept).values())


BAD = {
    "sb3/ppo": {
        "n_steps": 0,
        "batch_size": 1,
        "n_epochs": 0,
        "clip_range": 0.0,
        "gae_lambda": 1.5,
        "num_envs": 0,
    },
    "sb3/a2c": {"n_steps": -1, "gamma": 1.1, "learning_rate": 0.0, "seed": -1},
    "sb3/dqn": {"buffer_size": 0, "train_freq": 0, "exploration_fraction": 2.0, "learning_starts": -1},
}


@pytest.mark.parametrize(
    ("name", "option", "value"), [(n, o, v) for n, bad in BAD.items() for o, v in bad.items()]
)
def test_what_sb3_can_not_work_with_is_refused_at_once(name: str, option: str, value: Any) -> None:
    with pytest.raises(DescantError, match=f"{option} must|SB3 does not take this configuration of '{name}'"):
        agent_on(name, env(), **{option: value})
