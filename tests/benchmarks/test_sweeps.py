"""`descant bench sweep`: the file is YAML that W&B reads, and its command runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from descant.benchmarks.specs import Entry, Suite
from descant.benchmarks.sweeps import entry_of, sweep_yaml
from descant.cli import main
from descant.registry import suites
from descant.runs import RunFolder

SUITE = Suite(
    "swept",
    "descant/Counterpoint-v0",
    (
        Entry("random"),
        Entry("reinforce", 64, {"num_envs": 4, "hidden": (8, 8), "normalize_advantage": False, "gamma": 0.5}),
        Entry("sb3/ppo", 100),
    ),
    train_options={"cantus": "dorian", "pool": 16},
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suites._entries, "swept", SUITE)


def sweep(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    out = tmp_path / "sweep.yaml"
    assert main(["bench", "sweep", "swept", *arguments, "--out", str(out)]) == 0
    found: dict[str, Any] = yaml.safe_load(out.read_text())
    return found


def test_what_is_swept_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sweep(tmp_path)
    assert "now: wandb sweep" in capsys.readouterr().out
    assert (found["method"], found["metric"]) == ("random", {"name": "return", "goal": "maximize"})
    settings = found["parameters"]
    rate = settings["config.learning-rate"]
    assert rate == {"distribution": "log_uniform_values", "min": 0.0006, "max": 0.015}
    assert settings["config.gamma"] == {"values": [0.5, 0.9, 0.95, 0.98, 1.0]}
    assert min(settings["config.seed"]["values"]) >= 100


def test_a_grid_has_values_alone(tmp_path: Path) -> None:
    settings = sweep(tmp_path, "--agent", "sb3/ppo", "--method", "grid")["parameters"]
    assert all(list(values) == ["values"] for values in settings.values())
    assert len(settings["config.learning-rate"]["values"]) == 3


def test_the_command_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As W&B's agent would run it, but for the tracker."""
    env, group, program, *words = sweep(tmp_path)["command"]
    assert (env, group, program) == ("${env}", "WANDB_RUN_GROUP=sweep-swept", "descant")
    assert words[-4:] == ["--track", "wandb", "--no-progress", "${args}"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    chosen = [
        "--config.learning-rate=0.001",
        "--config.gamma=0.9",
        "--config.ent-coef=0.5",
        "--config.seed=100",
    ]
    for run in ("one", "two"):  # of one seed: each has a folder of its own
        monkeypatch.setenv("WANDB_RUN_ID", run)
        assert main([*words[:-4], "--no-progress", *chosen]) == 0
    runs = [RunFolder.open(tmp_path / f"runs/counterpoint-reinforce-100-{run}") for run in ("one", "two")]
    config = runs[0].config["config"]
    assert (config["learning_rate"], config["num_envs"], config["normalize_advantage"]) == (0.001, 4, False)
    assert config["hidden"] == [8, 8]
    assert runs[0].config["env_options"] == SUITE.train_options
    assert runs[0].config["total_timesteps"] == 64


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("regret",), "'regret' is no suite to sweep over"),
        (("sweptt",), "Did you mean 'swept'?"),
        (("swept", "--agent", "random"), "swept trains no 'random'"),
        (("swept", "--out", "/proc/nothing/a.yaml"), "Give another path"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "sweep", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_agents_that_a_suite_has_twice_are_told_apart() -> None:
    twice = Suite("twice", SUITE.env, (Entry("reinforce", 1), Entry("reinforce", 2, {"gamma": 1.0})))
    assert entry_of(twice, "reinforce 2").total_timesteps == 2
    texts = [sweep_yaml(twice, entry) for entry in twice.entries]
    assert all(a != b for a, b in itertools.pairwise(texts))


def test_a_suite_of_ones_own_is_swept(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "env: descant/Counterpoint-v0\nentries: [{agent: reinforce, total_timesteps: 64}]\n"
    )
    out = tmp_path / "sweep.yaml"
    assert main(["bench", "sweep", str(tmp_path / "mine.yaml"), "--out", str(out)]) == 0
    assert "--total-timesteps" in yaml.safe_load(out.read_text())["command"]
