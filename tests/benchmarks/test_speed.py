"""`bench speed`: rows that make sense, bars that can be missed."""

from __future__ import annotations

import json
from typing import Any

import pytest

import descant.benchmarks.bleu_speed as bleu_speed
import descant.benchmarks.speed as speed
import descant.benchmarks.training_speed as training_speed
from descant.benchmarks.speed import Row
from descant.cli import main


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(speed, "ROUNDS", 3)
    monkeypatch.setattr(bleu_speed, "ROUNDS", 1)
    monkeypatch.setattr(training_speed, "SETTINGS", ())  # tested by themselves


def test_every_row_has_a_sane_value(capsys: pytest.CaptureFixture[str]) -> None:
    """Wide bounds: this machine is busy. Whether the bars are cleared is for `descant bench speed` to say."""
    code = main(["bench", "speed", "--json"])
    rows = [Row(**row) for row in json.loads(capsys.readouterr().out)]
    assert code == (0 if all(row.met for row in rows) else 1)
    values = {row.name: row.value for row in rows}
    for n in ("256", "4,096"):
        assert 0.1 < values[f"Counterpoint / CartPole, {n} environments"] < 50
    throughput = [values[f"Counterpoint, {n} environments"] for n in ("1", "64", "1,024")]
    assert throughput == sorted(throughput)
    assert 0.001 < throughput[0] < throughput[-1] < 1000
    assert values["SB3 bridge / DummyVecEnv, 64 environments"] > 1
    assert 0 < values["solve, the slowest of twelve"] < 20
    assert 0 < values["check"] < 3
    assert values["BLEU / sacrebleu, 512 sentences"] > 1
    assert values["chrF / sacrebleu, 512 sentences"] > 1
    assert 0.1 < values["BLEU at every step / at the end"] < 50
    assert 0 < values["import descant"] < 10
    barred = {row.name: (row.bar, row.at_most) for row in rows if row.bar is not None}
    assert barred == {
        "Counterpoint / CartPole, 256 environments": (1.0, False),
        "Counterpoint / CartPole, 4,096 environments": (1.0, False),
        "solve, the slowest of twelve": (2.0, True),
        "check": (0.3, True),
        "import descant": (0.3, True),
        "BLEU / sacrebleu, 512 sentences": (10.0, False),
        "BLEU at every step / at the end": (3.0, True),
    }


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("a", 1.0, "x", bar=1.0), True),
        (Row("a", 0.99, "x", bar=1.0), False),
        (Row("a", 2.0, "s", bar=2.0, at_most=True), True),
        (Row("a", 2.01, "s", bar=2.0, at_most=True), False),
        (Row("a", 0.0, "x"), True),
    ],
)
def test_a_missed_bar_shows_and_counts(
    row: Row, met: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "measure", lambda imitation: [Row("fine", 3.0, "x", bar=1.0), row])
    assert row.met == met
    assert main(["bench", "speed"]) == (0 if met else 1)
    assert ("MISSED" in capsys.readouterr().out) == (not met)


def test_a_rate_counts_environment_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def step() -> int:
        now[0] += 0.25
        return 10

    monkeypatch.setattr(speed, "ROUND_SECONDS", 0.9)
    assert speed._rate(step, num_envs=7) == 7 * 40 / 1.0


def test_a_ratio_is_of_ours_over_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(step: Any, num_envs: int) -> float:
        return {"counterpoint": 6e6, "cartpole": 2e6}[step]

    def stepper(env: Any) -> str:
        return "counterpoint" if hasattr(env.unwrapped, "task") else "cartpole"

    monkeypatch.setattr(speed, "_rate", rate)
    monkeypatch.setattr(speed, "_stepper", stepper)
    row = speed.against_cartpole(4)
    assert row.value == pytest.approx(3)
    assert row.detail == "6.0 against 2.0 million steps/s"
    assert row.met
