"""`descant train`: what a run leaves, and from what it follows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import descant
import descant.commands.train
from descant.agent import Agent
from descant.cli import main
from descant.commands.train import parse_options
from descant.errors import DescantError
from descant.runs import load_checkpoint, read_metrics

from ..runs.wandb_files import wandb_rows

SMALL = ["--config.num-envs", "8", "--config.hidden", "16", "--config.critic-hidden", "16", "--no-progress"]
TINY = ["train", *SMALL, "--set", "pool=16", "--total-timesteps", "500"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints/last/weights.safetensors")


def train(run: Path, *more: str) -> Path:
    assert main([*TINY, *more, "--out", str(run)]) == 0
    return run


def test_a_run_leaves_its_configuration_metrics_and_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "run", "--seed", "4", "--config.gamma", "0.5")
    said = capsys.readouterr()
    assert said.out == f"done: {run}/checkpoints/last\nnow: descant evaluate {run}\n"
    assert said.err == ""
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["env"], config["env_options"]) == ("descant/Counterpoint-v0", {"pool": 16})
    assert (config["agent"], config["total_timesteps"]) == ("reinforce", 500)
    wanted = {"seed": 4, "gamma": 0.5, "num_envs": 8, "hidden": [16], "baseline": "learned"}
    assert {name: config["config"][name] for name in wanted} == wanted
    records = read_metrics(run / "metrics.jsonl")
    steps = [record["step"] for record in records]
    assert steps == sorted(steps)
    assert steps[-1] >= 500
    assert all(np.isfinite(record["return"]) for record in records)
    checkpoint = load_checkpoint(run / "checkpoints/last")
    assert checkpoint.state["num_timesteps"] == steps[-1]
    assert checkpoint.manifest["agent"] == "reinforce"
    assert checkpoint.manifest["env"]["kwargs"] == {"pool": 16}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (
        weights(train(tmp_path / name, "--seed", seed)) for name, seed in (("a", "1"), ("b", "1"), ("c", "2"))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_folder_is_named_after_environment_agent_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "--seed", "3"]) == 0
    assert main(["train", "CartPole-v1", *SMALL, "--total-timesteps", "50"]) == 0
    runs = tmp_path / "runs"
    assert sorted(run.name for run in runs.iterdir()) == ["cartpole-reinforce-0", "counterpoint-reinforce-3"]


@pytest.mark.parametrize(
    "agent",
    [
        ["sb3/a2c", "--config.n-steps", "4"],
        ["sb3/dqn", "--config.buffer-size", "200", "--config.learning-starts", "20"],
        ["sb3/ppo", "--config.n-steps", "8", "--config.batch-size", "32"],
        ["sb3/maskable-ppo", "--config.n-steps", "8", "--config.batch-size", "32"],
    ],
    ids=lambda agent: agent[0],
)
def test_sb3_trains_and_is_evaluated_without_a_word(
    agent: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = agent
    small = ["--config.num-envs", "8", "--config.hidden", "8", "--no-progress", "--set", "pool=8"]
    run = tmp_path / "run"
    asked = ["train", "--agent", name, *small, *options, "--total-timesteps", "150", "--out", str(run)]
    assert main(asked) == 0
    assert main(["train", "--resume", str(run), "--total-timesteps", "300", "--no-progress"]) == 0
    capsys.readouterr()
    evaluate = ["evaluate", str(run), "--set", "cantus=dorian", "position=above", "--json"]
    assert main(evaluate) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out)["of"] == 1
    assert sorted(f.name for f in run.rglob("*") if f.is_file() and f.name != ".lock") == [
        "config.json", "manifest.json", "metrics.jsonl", "state.json", "weights.safetensors",
    ]  # fmt: skip


def test_a_learning_rate_that_is_too_large_stops_the_run_and_spares_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(descant.commands.train, "CHECKPOINT_SECONDS", 0.0)
    saved: list[dict[str, Any]] = []
    save = Agent.save

    def remember(agent: Agent, path: Any) -> None:
        save(agent, path)
        saved.append({name: torch.as_tensor(w).clone() for name, w in agent.parts().weights.items()})

    monkeypatch.setattr(Agent, "save", remember)
    run = tmp_path / "run"
    assert main([*TINY, "--config.learning-rate", "1e30", "--out", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not finite at step" in said
    assert "lower learning_rate" in said
    assert saved
    kept = weights(run)
    assert all(torch.equal(kept[name], saved[-1][name]) for name in kept)
    assert all(bool(w.isfinite().all()) for w in kept.values())
    assert isinstance(descant.load_agent(run), Agent)


@pytest.mark.parametrize(("seconds", "saves"), [(1000.0, 1), (0.0, None)])
def test_a_checkpoint_is_saved_when_its_time_has_come(
    seconds: float, saves: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descant.commands.train, "CHECKPOINT_SECONDS", seconds)
    steps: list[int] = []
    monkeypatch.setattr(Agent, "save", lambda agent, path: steps.append(agent.num_timesteps))
    run = train(tmp_path / "run")
    logged = [record["step"] for record in read_metrics(run / "metrics.jsonl")]
    assert steps == ([*logged, logged[-1]] if saves is None else logged[-1:])


def test_options_are_json_where_they_can_be() -> None:
    given = ["cantus=dorian", "max-notes=12", "a=0.5", "b=true", 'c={"d": [1]}', "e=D4 F4", "f=", "g=x=y"]
    assert parse_options(given) == {
        "cantus": "dorian", "max_notes": 12, "a": 0.5, "b": True, "c": {"d": [1]}, "e": "D4 F4", "f": "", "g": "x=y",
    }  # fmt: skip
    for bad in ("cantus", "=3", ""):
        with pytest.raises(DescantError, match="is no option: write NAME=VALUE"):
            parse_options([bad])


def test_options_decide_what_is_trained_on(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "--set", "cantus=D4 F4 E4 D4", "position=below", "max-notes=6")
    manifest = load_checkpoint(run / "checkpoints/last").manifest
    wanted = {"pool": 16, "cantus": "D4 F4 E4 D4", "position": "below", "max_notes": 6}  # of both --set
    assert manifest["env"]["kwargs"] == wanted
    assert {record["length"] for record in read_metrics(run / "metrics.jsonl")} == {4.0}


def test_dashboards_hold_the_numbers_of_the_metrics(tmp_path: Path) -> None:
    """Through the command line, in a process of its own: W&B starts another one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-m", "descant", *TINY, "--out", "run", "--track", "wandb", "tensorboard"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
        env=kept | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    rows = list(wandb_rows(file))
    assert len(rows) == len(records) > 3
    for record, row in zip(records, rows, strict=True):
        del record["time"]
        assert {name: value for name, value in row.items() if not name.startswith("_")} == record
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("return")]
    assert shown == [(record["step"], float(np.float32(record["return"]))) for record in records]
