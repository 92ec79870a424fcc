"""The melody task: checkers, both shells, observations, metrics, options, pictures."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import descant
from descant.envs.melody import Melody
from descant.envs.melody_views import COLOURS, colours_of, score_of
from descant.errors import DescantError
from descant.tasks import Finding, replay, row_fields, take_rows

from ..melodies import melodies, score

ID = "descant/Melody-v0"
RNG = np.random.default_rng(0)
SCALE = [14, 16, 18, 1, 19, 21, 23, 25] * 2


@pytest.mark.parametrize("options", [{}, {"observe": "last", "steps": 4, "key": "Bb", "mode": "dorian"}])
def test_both_checkers_pass(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ID, render_mode="ansi", **options).unwrapped)
        sb3_check_env(gymnasium.make(ID, **options).unwrapped)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_single_and_vector_agree(mode: str) -> None:
    singles = [gymnasium.make(ID, steps=17) for _ in range(3)]
    vector = gymnasium.make_vec(ID, num_envs=3, steps=17, autoreset_mode=mode)
    np.testing.assert_array_equal(vector.reset(seed=0)[0], [env.reset()[0] for env in singles])
    compositions = melodies(3, 12, 17)
    for episode in range(4):
        actions = compositions[3 * episode : 3 * episode + 3].astype(np.int64)
        for t in range(17):
            one = [env.step(a) for env, a in zip(singles, actions[:, t], strict=True)]
            seen, reward, ended, _, infos = vector.step(actions[:, t])
            last = np.stack(infos["final_obs"]) if "final_obs" in infos else seen
            np.testing.assert_array_equal(last, [step[0] for step in one])
            np.testing.assert_array_equal(reward, [step[1] for step in one])
            assert ended.tolist() == [step[2] for step in one] == [t == 16] * 3
        rows, metrics = vector.unwrapped.metrics()  # type: ignore[attr-defined]
        assert rows.tolist() == [0, 1, 2]
        for row, step in enumerate(one):
            assert {name: values[row] for name, values in metrics.items()} == step[4]["metrics"]
        fresh = [env.reset()[0] for env in singles]
        seen = vector.step(np.zeros(3, np.int64))[0] if mode == "NextStep" else seen
        np.testing.assert_array_equal(seen, fresh)


def test_rows_at_different_steps_do_not_mix() -> None:
    """A row's rewards are the same whatever the others do, and wherever they stand."""
    sevens = np.resize(
        [14, 16, 18, 1, 19, 21, 23], (7, 32)
    )  # bars that would share a step with the ones before
    task, compositions = Melody(), np.concatenate([melodies(4, 60), sevens]).astype(np.int64)
    _, alone, _ = score(compositions)
    state = task.reset(RNG, len(compositions))
    delay = np.arange(len(compositions)) % 7
    for t in range(38):
        rows = np.flatnonzero((t >= delay) & (t - delay < 32))
        now = t - delay[rows]
        after, reward, ended = task.step(take_rows(state, rows), compositions[rows, now], RNG)
        np.testing.assert_array_equal(reward, alone[rows, now])
        np.testing.assert_array_equal(ended, now == 31)
        fields = {f: getattr(state, f).copy() for f in row_fields(state)}
        for name, values in fields.items():
            values[rows] = getattr(after, name)
        state = dataclasses.replace(state, **fields)
    assert (state.step == 32).all()


def test_a_step_changes_no_state_that_was_given() -> None:
    task = Melody(steps=16)
    state = task.reset(RNG, 2)
    for action in SCALE:
        before = {name: getattr(state, name).copy() for name in row_fields(state)}
        after, _, _ = task.step(state, np.array([action, 0]), RNG)
        for name, values in before.items():
            np.testing.assert_array_equal(getattr(state, name), values)
            assert not np.shares_memory(getattr(state, name), getattr(after, name))
        state = after


def test_observations_tell_the_last_action_and_the_step() -> None:
    task, last = Melody(steps=4), Melody(steps=4, observe="last")
    assert task.observation_space.nvec.tolist() == [39, 5]  # type: ignore[attr-defined]
    assert last.observation_space.nvec.tolist() == [39]  # type: ignore[attr-defined]
    states = replay(task, task.starts(), [0, 1, 37, 14]).states
    assert [task.observe(s)[0].tolist() for s in states] == [[0, 0], [1, 1], [2, 2], [38, 3], [15, 4]]
    assert [last.observe(s)[0].tolist() for s in states] == [[0], [1], [2], [38], [15]]
    assert task.observe(states[0]).dtype == task.observation_space.dtype == np.int64
    assert task.action_mask(states[0]).all()
    assert not task.enumerable


def test_a_complete_melody_stays_as_it_is() -> None:
    task = Melody(steps=4)
    state = replay(task, task.starts(), [14, 16, 18, 14]).states[-1]
    after, _, ended = task.step(state, np.array([3]), RNG)
    assert ended.all()
    for name in row_fields(state):
        np.testing.assert_array_equal(getattr(after, name), getattr(state, name))


def metrics_of(actions: list[int], **options: Any) -> dict[str, float]:
    task = Melody(steps=len(actions), **options)
    found = task.metrics(replay(task, task.starts(), actions).states[-1])
    return {name: float(values[0]) for name, values in found.items()}


def test_metrics_of_melodies_made_by_hand() -> None:
    clean = metrics_of(SCALE)
    assert (clean["legal"], clean["out_of_key"], clean["starts_on_tonic"]) == (1, 0, 1)
    assert (clean["unique_highest"], clean["unique_lowest"]) == (0, 0)
    assert clean["in_motif"] == 9 / 16
    assert clean["in_repeated_motif"] == 1 / 16
    faulty = metrics_of([15, 1, 1, 1, 1, 1, 1, 22, 30, 14, 1, 0])
    assert faulty["legal"] == 0
    assert faulty["out_of_key"] == 2 / 12
    assert faulty["repeated"] == 1 / 12
    assert (faulty["leaps_resolved"], faulty["leaps_doubled"]) == (0, 1)
    assert metrics_of([15, *SCALE])["legal"] == 0
    assert metrics_of([14, 21, 28, 14])["legal"] == 0
    assert metrics_of([16, 23, 14, 16], key="D", mode="dorian")["starts_on_tonic"] == 1
    even = metrics_of([1] * 8)
    assert [even[f"autocorrelation_{lag}"] for lag in (1, 2, 3)] == [0, 0, 0]
    assert all(np.isfinite(value) for value in even.values())


def test_ansi_names_notes_and_faults_in_the_key() -> None:
    task = Melody(steps=20, key="Eb")
    episode = replay(task, task.starts(), [17, 1, 0, 18, 1, 1, 1, 1, 1, 1])
    assert task.render(episode, "ansi") == (
        "melody | Eb4 -   x   E4  -   -   -   -   -   -   .   .   .   .   .   .\n"
        "       |             !                       !\n"
        "melody | .   .   .   .\n"
        "       |\n"
        "   4  key: E4 is not in Eb major\n"
        "  10  repetition: a hold comes too often without another note between"
    )


def test_the_note_is_coloured_that_sounds_at_the_fault() -> None:
    task = Melody(steps=8)
    score_now = score_of(replay(task, task.starts(), [14, 1, 0, 16, 17]))  # two notes about a rest, a third
    faults = [
        Finding("a", "warning", 2, 1.0, ""),
        Finding("a", "error", 4, 1.0, ""),
        Finding("b", "warning", 4, 1.0, ""),
    ]
    assert colours_of(score_now, faults) == {(0, 0): COLOURS["warning"], (0, 2): COLOURS["error"]}
    assert colours_of(score_now, [Finding("a", "error", 3, 1.0, "")]) == {(0, 1): COLOURS["error"]}


@pytest.mark.parametrize("actions", [[], [14], [0, 1, 14, 1, 1, 15], SCALE])
def test_every_mode_shows_a_melody_that_is_begun(actions: list[int]) -> None:
    task = Melody(steps=16)
    episode = replay(task, task.starts(), actions)
    assert isinstance(task.render(episode, "ansi"), str)
    image = task.render(episode, "rgb_array")
    assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    svg = task.render(episode, "svg")
    assert svg.startswith("<svg")
    assert ("#c0392b" in svg) == (15 in actions)


def test_another_reward_is_paid_and_a_plain_function_can_be_shown() -> None:
    task = Melody(steps=4, reward=lambda state, action, after: action / 37)
    _, reward, _ = task.step(task.starts(), np.array([37]), RNG)
    assert reward.tolist() == [1.0]
    assert task.render(replay(task, task.starts(), [15]), "ansi").startswith("melody | ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 3}, "steps must be 4 to 1024, not 3"),
        ({"steps": 1025}, "steps must be"),
        ({"key": "H"}, "is no key"),
        ({"mode": "majr"}, r"is no mode\. Did you mean 'major'"),
        ({"observe": "stat"}, r"Unknown observe 'stat'\. Did you mean 'state'"),
        ({"reward": "rl-tunr"}, "Did you mean 'rl-tuner'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DescantError, match=words):
        gymnasium.make_vec(ID, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": "D"}, "Unknown reset option 'key'"),
        ({"primr": "D4"}, "Did you mean 'primer'"),
        ({"primer": "D4 X4"}, "Primer note 2: 'X4' is not a pitch"),
        ({"primer": "D4:40"}, "takes 40 steps of a melody of 32"),
    ],
)
def test_reset_has_one_option(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DescantError, match=words):
        gymnasium.make(ID).reset(options=options)


def test_a_primer_is_written_whatever_is_done_and_paid_for() -> None:
    """The mask says so, and an action outside of it becomes the primer's."""
    env = gymnasium.make(ID, steps=8, render_mode="ansi")
    seen, info = env.reset(options={"primer": "D4:2 F4:1"})
    assert seen.tolist() == [0, 0]
    wanted, rest = [16, 1, 19], [18, 1, 1, 14, 1]
    expected = score([*wanted, *rest])[1][0]
    for t, action in enumerate([37, *wanted[1:], *rest]):
        allowed = np.flatnonzero(info["action_mask"]).tolist()
        assert allowed == ([wanted[t]] if t < 3 else list(range(38)))
        seen, reward, ended, _, info = env.step(action)
        assert seen.tolist() == [[*wanted, *rest][t] + 1, t + 1]
        assert reward == pytest.approx(expected[t])
    assert ended
    assert "D4  -   F4  E4" in str(env.render())  # not the 37 that was asked for
    _, info = env.reset()
    assert info["action_mask"].all()


def test_primers_of_a_batch_are_rows_of_their_own_and_last_an_episode() -> None:
    primer = np.array([[14, 1, 16], [19, -1, -1], [-1, -1, -1]])
    task = Melody(steps=4)
    state = task.reset(RNG, 3, {"primer": primer})
    before = {name: getattr(state, name).copy() for name in row_fields(state)}
    allowed = []
    for _ in range(4):
        allowed.append(task.action_mask(state).sum(axis=1).tolist())
        state, _, ended = task.step(state, np.array([30, 31, 32]), RNG)
    assert allowed == [[1, 1, 38], [1, 38, 38], [1, 38, 38], [38, 38, 38]]
    assert state.written.tolist() == [[14, 1, 16, 30], [19, 31, 31, 31], [32] * 4]
    assert ended.all()
    assert task.action_mask(state).all()
    fresh = task.reset(RNG, 3, {"primer": primer})
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(fresh, name), values)
    env = gymnasium.make_vec(ID, num_envs=3, steps=4, autoreset_mode="SameStep")
    env.reset(options={"primer": primer})
    shell: Any = env.unwrapped
    assert shell.action_masks().sum(axis=1).tolist() == [1, 1, 38]
    for _ in range(4):
        env.step(np.array([30, 31, 32]))
    assert shell.action_masks().all()


def test_a_primed_melody_is_worth_what_the_same_one_is_without() -> None:
    """What is to come is in the state, and counts for nothing before it is written."""
    task, rng = Melody(steps=24), np.random.default_rng(3)
    actions = melodies(5, 60, 24).astype(np.int64)
    free, primed = task.reset(rng, 60), task.reset(rng, 60, {"primer": actions[:, :20]})
    for t in range(24):
        free, reward, _ = task.step(free, actions[:, t], rng)
        primed, other, _ = task.step(primed, actions[:, t] if t >= 20 else np.zeros(60, int), rng)
        np.testing.assert_array_equal(reward, other)
        np.testing.assert_array_equal(task.observe(free), task.observe(primed))
    np.testing.assert_array_equal(free.written, primed.written)


@pytest.mark.parametrize("name", ["ppo", "reinforce"])
def test_agents_take_the_primer_by_its_mask(name: str) -> None:
    env = gymnasium.make_vec(ID, num_envs=4, steps=8)
    agent = descant.make_agent(name, env, hidden=(8,), recurrent=name == "ppo")
    shell: Any = env.unwrapped
    observation, _ = env.reset(options={"primer": "D4:2 F4:1"})
    memory, written = None, []
    for t in range(4):
        action, memory = agent.predict(
            observation, memory, np.full(4, t == 0), action_masks=shell.action_masks()
        )
        written.append(action.tolist())
        observation = env.step(action)[0]
    assert written[:3] == [[16] * 4, [1] * 4, [19] * 4]


def test_an_agent_learns_it() -> None:
    env = gymnasium.make_vec(ID, num_envs=64, steps=8)
    agent = descant.make_agent(
        "reinforce", env, hidden=(32,), critic_hidden=(32,), gamma=1.0, learning_rate=0.03
    )
    agent.learn(64 * 8 * 200)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    chance = score(RNG.integers(0, 38, (500, 8)))[1].sum(axis=1).mean()
    state, total = task.reset(RNG, 200), 0.0
    for _ in range(8):
        actions, _ = agent.predict(task.observe(state), deterministic=False)
        state, reward, _ = task.step(state, actions, RNG)
        total += float(reward.mean())
    assert total > chance + 15
