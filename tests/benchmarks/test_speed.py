"""`bench speed`: a job a part, rows that make sense, bars that can be missed, tables made from what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import descant.benchmarks.jobs as jobs
import descant.benchmarks.speed as speed
import descant.benchmarks.speed_environments as environments
import descant.benchmarks.speed_memory as memory
import descant.benchmarks.speed_programs as programs
import descant.benchmarks.speed_workers as workers
from descant.benchmarks.speed_rows import Row, as_data, from_data
from descant.benchmarks.training_speed import ENVS, SETTINGS
from descant.benchmarks.work import Done, Job
from descant.cli import main
from descant.errors import DescantError

from .test_killed import in_here


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(environments, "ROUNDS", 3)


def test_it_measures_every_part_and_every_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[dict[str, Any]] = []
    at_once: list[int] = []

    def measured(part: str, **arguments: Any) -> list[dict[str, Any]]:
        told.append({"part": part, **arguments})
        if part == "training":
            title = f"{arguments['setting']}, {arguments['env']}"
            rows = [Row(f"{title}: ours / PPO, {way}", 2.0, "x", sides=(6.0, 3.0)) for way in "ab"]
            return as_data(
                rows + [Row(f"{title}: {part}", 1.0, "us/step", detail="30% of it") for part in "xyz"]
            )
        return as_data([Row(part, 3.0, "x", bar=1.0, detail="3 against 1")])

    def execute(jobs: Any, out: Path, workers: int, executor: Any) -> Any:
        at_once.append(workers)
        return in_here(jobs, out, workers, executor)

    monkeypatch.setattr(jobs, "execute", execute)
    monkeypatch.setattr(speed, "measured", measured)
    asked = ["bench", "speed", "--workers", "2", "--out", str(tmp_path)]
    assert main([*asked, "--json"]) == 0
    trainings = [("training", s.name, env) for s in SETTINGS for env in ENVS]
    assert [tuple(each.values()) for each in told if each["part"] == "training"] == trainings
    assert {each["part"] for each in told} == {*speed.PARTS, "training"}
    assert at_once == [1]  # what is timed runs alone
    tables = {table["title"]: table["data"] for table in json.loads(capsys.readouterr().out)}
    assert tables["speed: memory"][0]["value"] == 3.0
    assert len(tables["speed: training, steps a second"]) == len(trainings)
    assert main(asked) == 0
    assert len(told) == len(speed.PARTS) + len(trainings)  # kept
    capsys.readouterr()
    assert main(["report", str(tmp_path / "raw.jsonl.gz")]) == 0
    said = capsys.readouterr().out
    assert "30%" in said
    assert all(f"speed: {part}" in said for part in speed.PARTS)


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("a", 1.0, "x", bar=1.0), True),
        (Row("a", 0.99, "x", bar=1.0), False),
        (Row("a", 2.0, "s", bar=2.0, at_most=True), True),
        (Row("a", 2.01, "s", bar=2.0, at_most=True), False),
        (Row("a", 0.0, "x"), True),
        (Row("a", None, "x", bar=1.0), True),
    ],
)
def test_a_missed_bar_shows_and_counts(row: Row, met: bool) -> None:
    done = Done(Job("a", "", {"part": "a"}), as_data([Row("fine", 3.0, "x", bar=1.0), row]), 0.0)
    (table,) = speed.tables([done], Path())
    assert row.met == table.met == met
    assert ("MISSED" in table.rows[1][2]) == (not met)
    assert table.rows[0] == ("fine", "3.00 x", "at least 1", "")


def test_a_part_that_fails_hides_no_other() -> None:
    rows = as_data([Row("b", 123_456.7, "MB", sides=(1.0, 2.0))])
    done = [
        Done(Job("a", "", {"part": "a"}), None, 0.0, "OSError: no"),
        Done(Job("b", "", {"part": "b"}), rows, 0.0),
    ]
    fine, failed = speed.tables(done, Path())
    assert fine.rows == (("b", "123,457 MB", "", ""),)
    assert (failed.met, failed.failed) == (False, ("a: OSError: no",))
    assert from_data(json.loads(json.dumps(rows))) == [Row("b", 123_456.7, "MB", sides=(1.0, 2.0))]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.004567, "0.00457 x"), (0.5, "0.500 x"), (5.678, "5.68 x"), (56.78, "56.8 x"), (1e6, "1,000,000 x")],
)
def test_values_have_three_figures(value: float, shown: str) -> None:
    assert Row("a", value, "x").shown[1] == shown


def test_a_python_without_imitation_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="is no python that has imitation"):
        speed.jobs(range(1), tmp_path / "python")


# Environments.


@pytest.mark.usefixtures("quick")
def test_environments_are_measured_from_one_to_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide bounds: this machine is busy. Whether the bars are cleared is for `descant bench speed` to say."""
    monkeypatch.setattr(environments, "SIZES", (1, 64, 4096))
    rows = environments.measure()
    assert [row.name for row in rows] == [
        "Counterpoint / CartPole, 1 environment",
        "Counterpoint / CartPole, 64 environments",
        "Counterpoint / CartPole, 4,096 environments",
        *(f"{name} / CartPole, 256 environments" for name in environments.OTHERS),
        "SB3 bridge / DummyVecEnv, 64 environments",
    ]
    assert [row.bar for row in rows] == [None, None, 1.0, *[None] * 5]
    ours = [row.sides[0] for row in rows[:3]]
    assert ours == sorted(ours)
    assert 1e3 < ours[0] < ours[2] < 1e9
    assert rows[-1].value is not None
    assert rows[-1].value > 1


def test_a_rate_counts_environment_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(environments.time, "process_time", lambda: now[0])

    def step() -> int:
        now[0] += 0.25
        return 10

    monkeypatch.setattr(environments, "ROUND_SECONDS", 0.9)
    assert environments._rate(step, num_envs=7) == 7 * 40 / 1.0


def test_a_ratio_is_of_ours_over_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(step: Any, num_envs: int) -> float:
        return {"counterpoint": 6e6, "cartpole": 2e6}[step]

    def stepper(env: Any) -> str:
        return "counterpoint" if hasattr(env.unwrapped, "task") else "cartpole"

    monkeypatch.setattr(environments, "_rate", rate)
    monkeypatch.setattr(environments, "_stepper", stepper)
    row = environments.against_cartpole("Counterpoint", 4, bar=1.0)
    assert row.value == pytest.approx(3)
    assert (row.detail, row.sides) == ("6,000,000 against 2,000,000 steps/s", (6e6, 2e6))
    assert row.met


# Programs, memory, workers.


def test_programs_take_seconds() -> None:
    rows = programs.measure()
    assert [(row.name, row.bar) for row in rows] == [
        ("solve, the slowest of twelve", 2.0),
        ("check", 0.3),
        ("import descant", 0.3),
    ]
    assert all(row.at_most and row.value is not None and 0 < row.value < 20 for row in rows)


def test_memory_is_what_is_held_beyond_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        ("imports",): (240.0, 0.0),
        ("step", "CartPole"): (240.0, 3.0),
        ("step", "Counterpoint"): (240.0, 50.0),
    }
    monkeypatch.setattr(memory, "held", lambda *told: found.get(told, (240.0, 150.0 + len(told[-1]))))
    rows = memory.measure()
    assert [(row.value, row.unit) for row in rows[:2]] == [(240.0, "MB"), (50.0, "MB")]
    assert rows[1].sides == (50.0, 3.0)
    assert [row.name for row in rows[2:]] == ["ppo MLP trained", "dqn MLP trained", "ppo LSTM trained"]
    assert [row.sides for row in rows[2:]] == [(154.0, 156.0)] * 3  # ours, then theirs
    monkeypatch.setattr(memory, "STATUS", Path("/nowhere"))
    (missing,) = memory.measure()
    assert missing.value is None
    assert "Linux" in missing.detail


@pytest.mark.skipif(not memory.STATUS.exists(), reason="the kernel does not tell what a process holds")
def test_a_process_tells_what_it_held(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, more = memory.held("imports")
    assert 50 < before < 2000
    assert 0 <= more < 50
    monkeypatch.setattr(memory, "NUM_ENVS", 64)
    memory.main("step", "Counterpoint")
    held, most = json.loads(capsys.readouterr().out)
    assert most >= held > 50


@pytest.mark.parametrize("side", ["ours", "theirs"])
@pytest.mark.parametrize("index", memory.TRAINED[:2])
def test_both_sides_train_for_the_measure_of_memory(
    side: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(memory, "FILLED", 2000)
    monkeypatch.setattr(
        "descant.benchmarks.training_speed.trainer", lambda agent, learn: lambda n: taken.append(n) or n
    )
    memory.train(str(index), side)
    setting = SETTINGS[index]
    assert taken == [(2000 if setting.warm_up else 0) + 4 * setting.chunk]
    filled = memory._filled(SETTINGS[2])
    assert filled.ours["learning_starts"] == filled.theirs["learning_starts"] == 2000


def test_two_workers_are_beside_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "seconds", lambda count: 20.0 / count)
    (row,) = workers.measure()
    assert (row.value, row.bar, row.at_most, row.met) == (0.5, 0.6, True, True)
    assert row.sides == (10.0, 20.0)


def test_seconds_are_of_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "RUNS", 2)
    monkeypatch.setattr(workers, "STEPS", 64)
    assert workers.seconds(1) > 0
    monkeypatch.setattr(workers, "CONFIG", {"num_envs": 0})
    with pytest.raises(AssertionError):
        workers.seconds(1)
