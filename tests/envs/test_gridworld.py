"""GridWorld: moves by hand, slips by their frequencies, the shells, the planner's refusals."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import descant.planning
from descant.envs.gridworld import GridWorld, State
from descant.errors import DescantError
from descant.planning import enumerate_task
from descant.tasks import replay, take_rows

ID = "descant/GridWorld-v0"
SMALL = "S..\n.#X\n..G"
RNG = np.random.default_rng(0)


@pytest.mark.filterwarnings("error")
def test_both_checkers_pass() -> None:
    check_env(gymnasium.make(ID).unwrapped, skip_render_check=True)
    sb3_check_env(gymnasium.make(ID).unwrapped)


@pytest.mark.parametrize(
    ("cell", "action", "target", "reward"),
    [
        (0, 0, 0, -0.1),  # the edge
        (0, 1, 1, -0.1),
        (1, 2, 1, -0.1),  # a wall
        (3, 2, 6, -0.1),
        (6, 3, 6, -0.1),
        (2, 2, 5, -2.1),  # a pit
        (7, 1, 8, 2.9),  # the goal
    ],
)
def test_moves_by_hand(cell: int, action: int, target: int, reward: float) -> None:
    task = GridWorld(SMALL, slip=0, step_cost=0.1, goal_reward=3, pit_reward=-2)
    after, pays, ended = task.step(State(np.array([cell])), np.array([action]), RNG)
    assert after.cell.tolist() == [target]
    assert pays[0] == pytest.approx(reward)
    assert ended[0] == (target in (5, 8))
    assert len(task.branches(State(np.array([cell])), np.array([action]))) == 1


def test_slips_go_aside_as_often_as_branches_say() -> None:
    task, n = GridWorld("...\n.S.\n.G.", slip=0.4), 40_000
    state, action = State(np.full(n, 4)), np.zeros(n, np.int64)
    after, _, _ = task.step(state, action, np.random.default_rng(1))
    counts = np.bincount(after.cell, minlength=9) / n
    expected = np.zeros(9)
    branches = task.branches(take_rows(state, [0]), action[:1])
    for chance, there, _, _ in branches:
        expected[there.cell[0]] += chance[0]
    assert expected.tolist() == pytest.approx([0, 0.6, 0, 0.2, 0, 0.2, 0, 0, 0])
    assert counts == pytest.approx(expected, abs=0.01)  # four standard errors


def test_single_and_vector_truncate_alike() -> None:
    single = gymnasium.make(ID, map=SMALL, slip=0, max_episode_steps=3)
    vector = gymnasium.make_vec(ID, num_envs=2, map=SMALL, slip=0, max_episode_steps=3)
    single.reset()
    vector.reset()
    for t in range(3):
        seen, reward, ended, cut, _ = single.step(0)
        seens, rewards, ends, cuts, _ = vector.step(np.zeros(2, np.int64))
        assert (seens == seen).all()
        assert (rewards == reward).all()
        assert not ended
        assert not ends.any()
        assert cut == (t == 2)
        assert (cuts == cut).all()
    assert gymnasium.make(ID).spec.max_episode_steps == 100  # type: ignore[union-attr]
    assert gymnasium.make_vec(ID).unwrapped.max_episode_steps == 100  # type: ignore[attr-defined]


def test_every_start_is_drawn() -> None:
    task = GridWorld("SS\nSG")
    assert set(task.reset(RNG, 100).cell.tolist()) == {0, 1, 2} == set(task.starts().cell.tolist())


def test_what_is_told_of_an_episode() -> None:
    task = GridWorld(SMALL, slip=0)
    episode = replay(task, task.starts(), [2, 2, 1])
    assert task.render(episode, "ansi") == "S..\n.#X\n.@G\n(right)"
    episode = replay(task, task.starts(), [2, 2, 1, 1])
    assert task.metrics(episode.states[-1]) == {"goal": 1.0, "pit": 0.0}
    after, _, ended = task.step(episode.states[-1], np.array([0]), RNG)  # a row that awaits its reset
    assert ended.all()
    assert after.cell.tolist() == [8]


def test_the_exact_planner_refuses_what_never_ends() -> None:
    with pytest.raises(DescantError, match=r"stochastic: .* 'value-iteration'"):
        enumerate_task(GridWorld(SMALL))
    with pytest.raises(DescantError, match=r"for ever.* 'value-iteration'"):
        enumerate_task(GridWorld(SMALL, slip=0))


def test_the_exact_planner_counts_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descant.planning, "MAX_LAYERS", 2)
    with pytest.raises(DescantError, match="for ever"):
        enumerate_task(GridWorld(SMALL, slip=0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slip": 1.5}, "probability"),
        ({"step_cost": float("inf")}, "finite"),
        ({"map": "S.\nG"}, "equally long"),
        ({"map": ""}, "equally long"),
        ({"map": "S?G"}, "'\\?'"),
        ({"map": "..G"}, "no start"),
        ({"map": ["S.."]}, "no goal"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DescantError, match=words):
        gymnasium.make_vec(ID, **options)


def test_unknown_reset_options_are_refused() -> None:
    with pytest.raises(DescantError, match="Unknown reset option"):
        gymnasium.make(ID).reset(options={"cell": 1})
