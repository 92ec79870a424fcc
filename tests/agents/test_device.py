"""Agents on a device, pretended: nothing is mixed up with the processor, and what is learned is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import descant
from descant import devices
from descant.agent import make_config
from descant.agents.sb3 import SB3Agent
from descant.catalogue import AGENTS
from descant.cli import main
from descant.errors import DescantError
from descant.neural import NeuralAgent
from descant.registry import agents

from .on_a_device import CASES, DRAWN_OTHERWISE, TOKENS, environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def found() -> dict[str, dict[str, Any]]:
    """What each case said, in one process of its own: a backend can't be taken back."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.agents.on_a_device"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {said.pop("case"): said for said in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_agents_learn_on_a_device_what_they_learn_on_the_processor(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    said = found[name]
    assert "error" not in said, said["error"]
    assert (said["devices"], said["loaded_on"]) == (["pretended:0"], "cpu")
    assert said["same_names"]
    assert said["went_on"]
    assert said["translates_alike"]
    assert said["loaded_apart"] < 1e-5
    assert said["apart"] < 1e-4 or name in DRAWN_OTHERWISE, said["where"]


WITH_DEVICE = sorted(name for name in AGENTS if hasattr(agents.get(name).Config, "device"))
UNPROVEN = "sb3/maskable-ppo"  # it makes tensors in a way that a pretended device can't follow


def test_every_agent_of_networks_is_among_them() -> None:
    networks = [name for name in AGENTS if issubclass(agents.get(name), NeuralAgent | SB3Agent)]
    assert sorted(networks) == WITH_DEVICE
    assert sorted({agent for agent, _, _ in CASES.values()} | {UNPROVEN}) == WITH_DEVICE


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU."""
    monkeypatch.setattr(devices, "has_cuda", lambda: False)


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize("name", WITH_DEVICE)
def test_cuda_is_refused_before_any_work_where_there_is_none(name: str) -> None:
    kind = agents.get(name)
    with pytest.raises(DescantError, match="no CUDA on this machine: pass device cpu"):
        kind(environment(TOKENS), make_config(kind, {"device": "cuda"}))


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(DescantError, match="device must be cpu or cuda, not 'tpu'"):
        descant.make_agent("reinforce", environment(TOKENS), device="tpu")
    with pytest.raises(DescantError, match="has no option 'device'"):
        descant.make_agent("q-learning", environment(TOKENS), device="cpu")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that was trained on a machine with a GPU, brought to one without."""
    folder = str(tmp_path / "run")
    with monkeypatch.context() as there:
        there.setattr(devices, "has_cuda", lambda: True)
        there.setattr(devices, "cuda", lambda: torch.device("cpu"))
        assert main(["train", *TRAIN, "--device", "cuda", "--total-timesteps", "20", "--out", folder]) == 0
    monkeypatch.setattr(devices, "has_cuda", lambda: False)
    return folder


TRAIN = ("descant/Tokens-v0", "--no-progress", "--config.num-envs", "2", "--config.hidden", "8")


def test_a_run_from_a_gpu_is_loaded_on_the_processor(elsewhere: str) -> None:
    agent: Any = descant.load_agent(elsewhere, "descant/Tokens-v0")
    assert (agent.config.device, agent.device.type, agent.num_timesteps) == ("cpu", "cpu", 20)
    assert agent.learn(40).manifest()["config"]["device"] == "cpu"
    with pytest.raises(DescantError, match="no CUDA"):
        descant.load_agent(elsewhere, device="cuda")


def test_a_run_from_a_gpu_goes_on_where_it_is_told_to(elsewhere: str, capsys: Any) -> None:
    on = ["train", "--resume", elsewhere, "--no-progress", "--total-timesteps"]
    capsys.readouterr()
    assert main([*on, "40"]) == 2
    assert capsys.readouterr().err.count("no CUDA on this machine: pass device cpu (--device cpu)") == 1
    assert main([*on, "40", "--device", "cpu"]) == 0
    assert main([*on, "60"]) == 0  # it is on the processor now
    assert descant.load_agent(elsewhere).num_timesteps == 60
    assert main(["evaluate", elsewhere, "--episodes", "2"]) == 0


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_commands_that_train_refuse_cuda_before_they_make_a_folder(
    command: str, tmp_path: Path, capsys: Any
) -> None:
    for env in ("descant/Translation-v0", "descant/Melody-v0"):
        assert main([command, env, "--device", "cuda", "--out", str(tmp_path / "run")]) == 2
        assert "no CUDA on this machine" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["evaluate", "compose", "translate"])
def test_commands_that_ask_a_network_refuse_cuda(command: str, elsewhere: str, capsys: Any) -> None:
    capsys.readouterr()
    assert main([command, elsewhere, "--device", "cuda"]) == 2
    assert "no CUDA on this machine" in capsys.readouterr().err
