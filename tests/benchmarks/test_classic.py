"""`bench classic`: what is measured, what is left off the clock, and what counts as met."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from descant.benchmarks import classic
from descant.benchmarks.classic import (
    FASTER,
    KEYS,
    PLAN,
    PROBLEMS,
    Entry,
    SameStepCartPole,
    Watch,
    cartpole_return,
    falling,
    fux_score,
    jobs,
    sb3_model,
    tables,
    train_one,
    vec_env,
)
from descant.benchmarks.jobs import Done, Job
from descant.makers import make_agent
from descant.registry import tasks
from descant.shells import TaskVectorEnv


class Balancer:
    """Keeps the pole up by hand, or does not."""

    def __init__(self, gains: tuple[float, ...] = (0.1, 0.2, 1.0, 0.5)) -> None:
        self.gains = np.array(gains)

    def predict(self, observation: Any, deterministic: bool = False) -> tuple[Any, None]:
        """1 pushes to the right."""
        assert deterministic
        return (observation @ self.gains > 0).astype(np.int64), None


def test_the_vector_cartpole_that_resets_at_once_steps_as_gymnasiums_own() -> None:
    ours, theirs = SameStepCartPole(4), gymnasium.make_vec("CartPole-v1", 4)
    seen, _ = ours.reset(seed=3)
    np.testing.assert_array_equal(seen, theirs.reset(seed=3)[0])
    for _ in range(100):
        actions = np.array([0, 1, 0, 1])
        seen, reward, terminated, truncated, info = ours.step(actions)
        own, _, ended, _, _ = theirs.step(actions)
        np.testing.assert_array_equal(terminated, ended)
        assert reward.tolist() == [1.0] * 4
        assert not truncated.any()
        if ended.any():
            break
        np.testing.assert_array_equal(seen, own)
    for row in range(4):
        if ended[row]:
            np.testing.assert_array_equal(info["final_obs"][row], own[row])
            assert (np.abs(seen[row]) <= 0.05).all()
        else:
            assert info["final_obs"][row] is None
            np.testing.assert_array_equal(seen[row], own[row])
    reward, terminated = ours.step(actions)[1:3]
    assert reward.tolist() == [1.0] * 4
    assert not terminated[ended].any()


def test_the_vector_cartpole_that_resets_at_once_truncates_at_500_steps_again_and_again() -> None:
    env, ends = SameStepCartPole(2), []
    observation, _ = env.reset(seed=0)
    for step in range(1, 1001):
        observation, _, terminated, truncated, _ = env.step(Balancer().predict(observation, True)[0])
        assert not terminated.any()
        if truncated.any():
            assert truncated.all()
            ends.append(step)
    assert ends == [500, 1000]


def test_cartpole_return_is_that_of_whole_episodes() -> None:
    assert cartpole_return(Balancer(), 0) == 500.0
    fallen = cartpole_return(Balancer((0.0, 0.0, 0.0, 0.0)), 0)
    env, total = gymnasium.make("CartPole-v1"), 0
    for seed in range(200):
        env.reset(seed=seed)
        while True:
            total += 1
            if env.step(0)[2]:
                break
    assert fallen == pytest.approx(total / 200, abs=0.2)  # each between 8 and 10


def test_the_score_on_fux_is_1_for_the_optimum_and_far_from_it_for_chance(monkeypatch: Any) -> None:
    task = tasks.get("descant/Counterpoint-v0")(cantus="phrygian", position="above")
    assert len(classic.fux_task().problems) == 12
    monkeypatch.setattr(classic, "fux_task", lambda: task)
    assert fux_score(make_agent("exact", TaskVectorEnv(task)), 0) == pytest.approx(1.0)
    assert fux_score(make_agent("random", "descant/Counterpoint-v0"), 0) < 0.6


def test_checks_stop_the_clock_and_the_first_at_the_bar_ends_the_run(monkeypatch: Any) -> None:
    now = {"wall": 0.0, "cpu": 0.0}
    clock = SimpleNamespace(perf_counter=lambda: now["wall"], process_time=lambda: now["cpu"])
    monkeypatch.setattr(classic, "time", clock)
    asked = []

    def score(model: Any, check: int) -> float:
        now["wall"] += 1000.0
        now["cpu"] += 1000.0
        asked.append((model, check))
        return [1.0, 5.0][check - 1]

    watch = Watch(score, 5.0, 100)
    with watch.clock.running():
        for steps in (60, 120, 180, 240):
            now["wall"] += 2.0
            now["cpu"] += 1.0
            goes_on = watch.goes_on(f"at {steps}", steps)
            assert goes_on == (steps < 240)
    assert asked == [("at 120", 1), ("at 240", 2)]
    assert (watch.clock.wall, watch.clock.cpu, watch.steps, watch.reached) == (8.0, 4.0, 240, True)
    watch.end("later", 300)
    assert watch.steps == 240
    assert len(asked) == 2


def test_what_the_last_update_came_to_is_checked_too() -> None:
    watch = Watch(lambda model, check: 1.0, 1.0, 100)
    assert watch.goes_on("model", 99)
    watch.end("model", 99)  # nothing new since
    assert not watch.reached
    watch.end("model", 150)
    assert watch.reached
    assert watch.steps == 150


TINY = {
    "ppo": {"num_envs": 4, "n_steps": 16, "hidden": [8], "critic_hidden": [8], "n_epochs": 1},
    "sb3/ppo": classic.ZOO_PPO | {"n_epochs": 1},
    "sb3/dqn": classic.CARTPOLE_DQN | {"learning_starts": 100, "gradient_steps": 2, "hidden": [8]},
}


@pytest.mark.parametrize(
    ("agent", "variant"), [("ppo", "ours"), ("sb3/ppo", "user"), ("sb3/ppo", "bridge"), ("sb3/dqn", "bridge")]
)
def test_training_says_when_the_bar_was_reached(agent: str, variant: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(classic, "WARM_UP", 256)
    unreachable = classic.Problem("CartPole-v1", 501.0, 300)
    monkeypatch.setitem(classic.PROBLEMS, "cartpole", unreachable)
    missed = train_one("cartpole", agent, variant, 768, TINY[agent], 0)
    assert [missed[f"{name}_to_bar"] for name in ("steps", "seconds", "cpu_seconds")] == [None] * 3
    assert 768 <= missed["steps"] < 768 + 256
    assert missed["seconds"] > 0
    assert missed["cpu_seconds"] > 0
    assert 8 <= missed["final"] <= 500
    monkeypatch.setitem(classic.PROBLEMS, "cartpole", classic.Problem("CartPole-v1", 1.0, 300))
    met = train_one("cartpole", agent, variant, 768, TINY[agent], 0)
    assert 300 <= met["steps_to_bar"] == met["steps"] < 600
    assert met["cpu_seconds_to_bar"] == met["cpu_seconds"]


def test_sb3_has_the_network_and_the_schedules_it_is_told() -> None:
    env = vec_env("CartPole-v1", "bridge", 8, 0)
    model = sb3_model("sb3/ppo", env, classic.ZOO_PPO, 0)
    assert [tuple(p.shape) for p in model.policy.mlp_extractor.policy_net.parameters()][::2] == [
        (64, 4),
        (64, 64),
    ]
    assert model.lr_schedule(1.0) == pytest.approx(3e-3)
    assert model.lr_schedule(0.25) == pytest.approx(7.5e-4)
    assert model.clip_range(0.5) == pytest.approx(0.1)
    assert falling(0.4)(0.5) == 0.2


def test_a_user_steps_single_environments_and_the_bridge_a_native_one() -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv

    from descant.shells import SB3VecEnv

    assert isinstance(vec_env("CartPole-v1", "user", 2, 0), DummyVecEnv)
    native: Any = vec_env("CartPole-v1", "bridge", 2, 0)
    assert isinstance(native, SB3VecEnv)
    assert isinstance(native.env, SameStepCartPole)
    melodic: Any = vec_env("descant/Counterpoint-v0", "bridge", 2, 0)
    assert isinstance(melodic, SB3VecEnv)
    assert isinstance(melodic.env.unwrapped, TaskVectorEnv)


def test_sb3_has_networks_as_wide_as_ours_and_both_variants() -> None:
    ours = {(e.problem, e.agent): e for e in PLAN if e.variant == "ours"}
    theirs = [e for e in PLAN if e.variant != "ours"]
    for entry in theirs:
        own = ours[entry.problem, entry.agent.removeprefix("sb3/")]
        assert list(entry.config["hidden"]) == list(own.config["hidden"])
        assert list(own.config.get("critic_hidden", own.config["hidden"])) == list(own.config["hidden"])
    assert {(e.problem, e.agent, e.variant) for e in theirs} == {
        (problem, agent, variant)
        for problem in PROBLEMS
        for agent in ("sb3/ppo", "sb3/dqn")
        for variant in FASTER
    } | {("cartpole", "sb3/ppo", f"{variant} tanh") for variant in FASTER}
    assert all(e.config["activation"] == "relu" for e in theirs if e.variant in FASTER)
    assert {agent for problem, agent in ours if problem == "cartpole"} == {
        "reinforce",
        "actor-critic",
        "ppo",
        "dqn",
    }


def run(steps: int, seconds: float, reached: bool = True) -> dict[str, Any]:
    """What `train_one` says."""
    used = {"steps": steps, "seconds": 2 * seconds, "cpu_seconds": seconds}
    return {f"{n}_to_bar": v if reached else None for n, v in used.items()} | used | {"final": 480.0}


def done_of(entry: Entry, *values: dict[str, Any], error: str = "") -> list[Done]:
    """A seed a value."""
    job = Job("a seed", "", {name: getattr(entry, name) for name in KEYS})
    return [Done(job, None if error else value, 1.0, error) for value in values]


OURS = Entry("cartpole", "ppo", "ours", 1000, {})
USER, BRIDGE = (Entry("cartpole", "sb3/ppo", variant, 1000, {}) for variant in ("user", "bridge"))


@pytest.fixture
def _plan(monkeypatch: Any) -> None:
    monkeypatch.setattr(classic, "PLAN", (USER, OURS, BRIDGE))


def missed(*done: list[Done]) -> list[str]:
    """Agents whose rows say that their bar is missed."""
    (table,) = tables([d for own in done for d in own], Path())
    found = [row[0] for row in table.rows if "MISSED" in row[-1]]
    assert table.met == (not found)
    assert [r["met"] for r in table.data].count(False) == len(found)
    return found


FINE = (
    done_of(OURS, run(90, 1.0), run(110, 3.0)),
    done_of(USER, run(100, 6.0), run(100, 6.0)),
    done_of(BRIDGE, run(100, 3.0), run(100, 3.0)),
)


@pytest.mark.usefixtures("_plan")
def test_bars_are_met_by_the_means() -> None:
    assert missed(*FINE) == []
    (table,) = tables([d for own in FINE for d in own], Path())
    assert table.rows[0] == ("ppo", "2 of 2", "100", "-27 to 227", "2.00", "4.00", "", "", "every seed")
    assert table.rows[1][0] == "sb3/ppo, as a user would run it"
    assert table.rows[1][6:8] == (
        "1.00 x",
        "3.00 x",
    )
    assert table.rows[2][0] == "sb3/ppo, native bridge"
    assert table.rows[2][6:8] == ("1.00 x", "1.50 x")


@pytest.mark.usefixtures("_plan")
def test_bars_are_missed_by_a_little() -> None:
    user, bridge = "sb3/ppo, as a user would run it", "sb3/ppo, native bridge"
    assert missed(FINE[0], done_of(USER, run(99, 9.0)), FINE[2]) == [user]
    assert missed(FINE[0], done_of(USER, run(100, 5.9)), FINE[2]) == [user]
    assert missed(FINE[0], FINE[1], done_of(BRIDGE, run(100, 2.9))) == [bridge]
    assert missed(done_of(OURS, run(90, 1.0), run(110, 1.0, reached=False)), *FINE[1:]) == ["ppo"]


@pytest.mark.usefixtures("_plan")
def test_failed_runs_are_counted_and_shown() -> None:
    (table,) = tables(
        [d for own in (FINE[0], done_of(USER, {}, error="broken"), FINE[2]) for d in own], Path()
    )
    assert not table.met
    assert table.failed == ("a seed: broken",)
    assert table.rows[1][1] == "0 of 0 + 1 failed"
    late = done_of(USER, run(100, 6.0), run(1000, 60.0, reached=False))
    (table,) = tables([d for own in (FINE[0], late, FINE[2]) for d in own], Path())
    assert table.rows[1][1:3] == ("1 of 2", "> 550")
    assert table.rows[1][4] == "> 33.00"
    assert table.rows[1][6:8] == ("5.50 x", "16.50 x")
    assert table.met


@pytest.mark.usefixtures("_plan")
def test_another_network_has_no_bar_and_may_not_fail(monkeypatch: Any) -> None:
    tanh = Entry("cartpole", "sb3/ppo", "user tanh", 1000, {})
    monkeypatch.setattr(classic, "PLAN", (USER, OURS, BRIDGE, tanh))
    early = done_of(tanh, run(10, 0.1))
    assert missed(*FINE, early) == []
    (table,) = tables([d for own in (*FINE, early) for d in own], Path())
    assert table.rows[3][0] == "sb3/ppo with tanh, as a user would run it"
    assert table.rows[3][6:] == ("0.10 x", "0.05 x", "none: another network")
    assert missed(*FINE, done_of(tanh, {}, error="broken")) == [table.rows[3][0]]


def test_there_is_a_job_for_every_seed_of_every_entry() -> None:
    made = jobs(range(3))
    assert len({job.key for job in made}) == len(made) == 3 * len(PLAN)
    assert {job.work for job in made} == {"descant.benchmarks.classic:train_one"}
    assert [job.arguments["seed"] for job in made] == sorted(job.arguments["seed"] for job in made)
