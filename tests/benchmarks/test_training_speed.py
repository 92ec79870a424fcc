"""Training speed: equal networks and updates on both sides, ratios of ours over theirs, where the time goes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import descant.benchmarks.training_speed as speed
from descant.benchmarks.cartpole import SameStepCartPole
from descant.benchmarks.speed_rows import Row
from descant.benchmarks.training_speed import SETTINGS, Setting, Spent
from descant.makers import make_agent

PLAIN = [setting for setting in SETTINGS if not setting.recurrent]


def ours(setting: Setting, env: str) -> Any:
    return make_agent(setting.agent, env, num_envs=speed.NUM_ENVS, seed=0, **setting.ours)


def size(network: Any) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("env", speed.ENVS)
@pytest.mark.parametrize("setting", PLAIN, ids=lambda s: s.name)
def test_both_sides_learn_as_many_weights(setting: Setting, env: str) -> None:
    model = speed.sb3_model(setting, speed.bridge(env))
    theirs = size(model.q_net if setting.agent == "dqn" else model.policy)
    assert sum(size(net) for net in ours(setting, env).networks.values()) == theirs


def test_both_sides_of_dqn_update_as_often() -> None:
    setting, env, steps = PLAIN[2], speed.ENVS[1], speed.BEGINNING + 640
    agent, model = ours(setting, env), speed.sb3_model(setting, speed.bridge(env))
    speed.ours(agent)(steps)
    model.learn(steps)
    assert abs(agent.updates - model._n_updates) <= 2 * speed.REPLAY["gradient_steps"]
    assert agent.updates >= 160


@pytest.mark.parametrize("setting", [PLAIN[0], SETTINGS[-1]], ids=lambda s: s.name)
def test_rows_have_ratios_and_parts(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "pace", lambda train, chunk, warm_up: chunk)
    monkeypatch.setattr(speed, "ROUNDS", 1)
    rows = speed.measure(setting.name, speed.ENVS[1])
    title = f"{setting.name}, Counterpoint-v0: "
    assert [row.name.removeprefix(title) for row in rows] == [
        f"ours / {setting.algorithm}, DummyVecEnv",
        f"ours / {setting.algorithm}, bridge",
        "env",
        "act",
        "update",
    ]
    assert all(0 < row.value < 1e6 and row.bar is None for row in rows)
    shares = [float(row.detail.split("%")[0]) for row in rows[2:]]
    assert sum(shares) == pytest.approx(100, abs=2)


def test_a_ratio_is_ours_over_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([600.0, 200.0, 300.0] * 3)
    monkeypatch.setattr(speed, "theirs", lambda setting, env: env)
    monkeypatch.setattr(speed, "pace", lambda *_: 64)
    monkeypatch.setattr(speed, "rate", lambda train, steps: next(speeds))
    monkeypatch.setattr(speed, "ROUNDS", 3)
    monkeypatch.setattr(speed, "parts", lambda *_: [])
    dummy, bridge = speed.compare(PLAIN[0], speed.ENVS[0])
    assert (dummy.value, dummy.detail, dummy.sides) == (3.0, "600 against 200 steps/s", (600.0, 200.0))
    assert (bridge.value, bridge.detail) == (2.0, "600 against 300 steps/s")


def test_tables_have_a_line_for_each_training() -> None:
    rows = [
        Row(f"dqn MLP, X: ours / DQN, {way}", v, "x", sides=(6000.0, o))
        for way, v, o in (("D", 3, 2e3), ("b", 2, 3e3))
    ]
    rows += [
        Row(f"dqn MLP, X: {part}", 1.25, "us/step", detail="25% of the time")
        for part in ("env", "act", "update")
    ]
    speeds, shares = speed.training_tables([rows])
    assert speeds.rows == (("`dqn MLP`", "X", "6,000", "DQN", "2,000", "3,000", "3.00", "2.00"),)
    assert shares.rows == (("`dqn MLP`", "X", *["1.2 (25%)"] * 3),)
    assert len(speeds.columns) == 8
    assert speed.training_tables([]) == []


def test_a_pace_is_whole_chunks_of_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []

    def train(steps: int) -> int:
        trained.append(steps)
        return steps

    monkeypatch.setattr(speed, "rate", lambda train, steps: 1000.0)
    monkeypatch.setattr(speed, "ROUND_SECONDS", 0.25)
    assert speed.pace(train, 64, 0) == 256
    assert speed.pace(train, 1000, 300) == 1000
    assert trained == [64, 1300]


def test_a_rate_is_of_the_steps_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours makes a rollout more where some steps only reset rows: all of them count."""
    now = [0.0]
    monkeypatch.setattr(speed.time, "process_time", lambda: now[0])

    class Whole:
        num_timesteps = 100

        def learn(self, steps: int) -> None:
            self.num_timesteps += 2 * steps
            now[0] += 0.5

    agent = Whole()
    assert speed.rate(speed.trainer(agent, agent.learn), 300) == 600 / 0.5


def test_inner_time_is_taken_from_outer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(speed.time, "process_time", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    watch = Spent()
    with watch.on("outer"):
        wait(1.0)
        watch.watched("inner", wait)(2.0)
        with watch.on("middle"):
            wait(4.0)
            watch.watched("inner", wait)(8.0)
    assert watch.seconds == {"outer": 1.0, "middle": 4.0, "inner": 10.0}


def test_an_agent_is_left_as_it_was() -> None:
    agent = ours(PLAIN[1], speed.ENVS[0])
    made, seconds = speed.spent(agent, 256)
    assert made == agent.num_timesteps >= 256
    assert list(seconds) == ["env", "act", "update"]
    assert all(value > 0 for value in seconds.values())
    assert "step" not in vars(agent.collector.env)
    assert "_collect" not in vars(agent.collector)


def test_cartpole_that_resets_at_once_is_gymnasiums() -> None:
    same, own = (
        SameStepCartPole(6),
        gymnasium.make_vec("CartPole-v1", 6, vectorization_mode="vector_entry_point"),
    )
    first, _ = same.reset(seed=1)
    np.testing.assert_array_equal(first, own.reset(seed=1)[0])
    actions, ended = np.ones(6, np.int64), 0
    before = first
    for _ in range(12):  # all fall to one side; the first end is seen before any row begins anew
        seen, _, terminated, truncated, info = same.step(actions)
        theirs, _, fell, _, _ = own.step(actions)
        if not ended:
            np.testing.assert_array_equal(terminated, fell)
        done = terminated | truncated
        assert ("final_obs" in info) == bool(done.any())
        for row in np.flatnonzero(done):
            assert np.abs(seen[row]).max() <= 0.05
            assert np.abs(info["final_obs"][row]).max() > 0.2
            if not ended:
                np.testing.assert_array_equal(info["final_obs"][row], theirs[row])
        ended += int(done.sum())
        before = seen
    assert ended >= 6
    assert before.shape == (6, 4)
