"""`descant evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from descant import make_agent
from descant.cli import main
from descant.commands.evaluate import problem_name
from descant.music.cantus_firmi import FUX
from descant.music.counterpoint import POSITIONS

ID = "descant/Counterpoint-v0"


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def agent(tmp_path: Path) -> str:
    """An untrained agent that was made for rules of its own."""
    env = gymnasium.make_vec(ID, num_envs=2, pool=8, mask="rules", max_episode_steps=9)
    path = tmp_path / "agent"
    make_agent("reinforce", env, hidden=(8,), critic_hidden=(8,)).save(path)
    return str(path)


def test_exact_is_perfect_on_the_twelve_problems_of_fux(capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "exact")
    assert found["mean_score"] == pytest.approx(1)
    assert (found["legal"], found["of"]) == (12, 12)
    names = {f"{name} {position}" for name in FUX for position in POSITIONS}
    assert {problem["problem"] for problem in found["problems"]} == names


def test_chance_breaks_rules(capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "random")
    assert abs(found["mean_score"]) < 0.3
    assert found["legal"] == 0
    assert {problem["legal"] for problem in found["problems"]} == {0.0}


def test_json_and_table_tell_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluated(capsys, "random", "--set", "cantus=dorian", "--seed", "3")
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["evaluate", "random", "--set", "cantus=dorian", "--seed", "3"]) == 0
    table = capsys.readouterr().out
    for problem in found["problems"]:
        (row,) = [line for line in table.splitlines() if problem["problem"] in line]
        cells = [cell.strip() for cell in row.split("│")[2:-1]]
        warnings = sum(finding["severity"] == "warning" for finding in problem["findings"])
        assert cells[:4] == [
            f"{problem['score']:.4f}", f"{problem['errors']:.0f}", str(warnings), f"{problem['return']:.4f}",
        ]  # fmt: skip
    assert table.endswith(f"mean score {found['mean_score']:.4f}; 0 of 2 without error\n")


def test_the_seed_decides_what_is_drawn(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [agent, "--set", "cantus=dorian", "--no-deterministic", "--seed"]
    one, other, again = (evaluated(capsys, *asked, seed) for seed in ("1", "2", "1"))
    assert one == again != other


def test_a_deterministic_agent_writes_the_same_line_whatever_the_seed(
    agent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [agent, "--set", "cantus=dorian", "--seed"]
    assert evaluated(capsys, *asked, "1") == evaluated(capsys, *asked, "2")


def test_an_agent_keeps_the_rules_it_was_trained_under(
    agent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mask="rules"` allows no error; and the time limit of its training is not the task's."""
    found = evaluated(capsys, agent)
    assert (found["legal"], found["of"]) == (12, 12)
    assert {len(problem["counterpoint"]) for problem in found["problems"]} >= {10, 14}
    free = evaluated(capsys, agent, "--set", "mask=range", "cantus=ionian", "position=below")
    assert (free["legal"], free["of"]) == (0, 1)
    assert free["problems"][0]["problem"] == "ionian below"


def test_a_cantus_of_ones_own_is_named_by_its_notes(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, agent, "--set", "cantus=D4 F4 E4 D4", "position=above")
    assert [problem["problem"] for problem in found["problems"]] == ["D4 F4 E4 D4 above"]
    assert problem_name(FUX["lydian"]) == "lydian"


def test_other_environments_are_told_by_their_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cartpole"
    make_agent("random", gymnasium.make_vec("CartPole-v1", num_envs=2)).save(path)
    found = evaluated(capsys, str(path), "--episodes", "50", "--seed", "2")
    assert set(found) == {"mean_return", "std_return", "episodes"}
    assert found["episodes"] == 50
    assert 15 < found["mean_return"] < 30
    assert found == evaluated(capsys, str(path), "--episodes", "50", "--seed", "2")
    assert found != evaluated(capsys, str(path), "--episodes", "50", "--seed", "3")
    assert main(["evaluate", str(path), "--episodes", "3"]) == 0
    assert "over 3 episodes" in capsys.readouterr().out


def test_returns_are_those_of_whole_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CartPole pays 1 a step: with a limit of 5 steps, every episode is worth 5."""
    path = tmp_path / "cartpole"
    make_agent("random", gymnasium.make_vec("CartPole-v1", num_envs=2)).save(path)
    found = evaluated(capsys, str(path), "--episodes", "7", "--set", "max_episode_steps=5")
    assert found == {"mean_return": 5.0, "std_return": 0.0, "episodes": 7}
