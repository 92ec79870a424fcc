"""Bad input, for every agent that it can be given to: exit 2, one line with the mend, and no good checkpoint lost."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

import descant
from descant.agent import Agent
from descant.catalogue import AGENTS
from descant.cli import main
from descant.registry import agents
from descant.runs.checkpoints import load_checkpoint

COUNTERPOINT, CARTPOLE, NAN = "descant/Counterpoint-v0", "CartPole-v1", "test/NaN-v0"
SMALL = ("--set", "pool=4")
FEW = {"num_envs": "2", "hidden": "8", "critic_hidden": "8", "group_size": "2", "n_steps": "4"}
SHORT = FEW | {"buffer_size": "4000", "learning_starts": "20", "episodes": "64", "updates": "1"}
TRANSLATING = {"mixer"}  # it trains on translations alone, and has such tests of its own
TRAINED = sorted(name for name in AGENTS if agents.get(name).trains and name not in TRANSLATING)


def options(name: str) -> set[str]:
    """Names of the options of an agent."""
    return {field.name for field in dataclasses.fields(agents.get(name).Config)}


def having(option: str) -> list[str]:
    """Agents that are trained and have an option."""
    return [name for name in TRAINED if option in options(name)]


COMPARED = set(having("comparisons"))  # they see no rewards, and have such tests of their own
NEURAL = sorted(set(having("hidden")) - COMPARED)
LATE = {"bc", "q-learning", "sarsa", "fitted-q"}  # they save nothing before the poison comes
PLANNERS = {
    "value-iteration",
    "policy-iteration",
    "exact-kl",
}  # they ask the task's model, not the environment
OWN = {"vine"}  # it copies states of descant's environments, and has such a test of its own
LEARNERS = sorted(set(TRAINED) - PLANNERS - COMPARED - OWN - {"sb3/maskable-ppo"})


class Poisoned(gymnasium.Env[Any, Any]):
    """Rewards are numbers up to so many steps in all; then there is one that is none."""

    after = 60
    observation_space = gymnasium.spaces.Discrete(3)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        reward = float("nan") if self.steps > self.after else float(action)
        return self.steps % 3, reward, self.steps % 4 == 0, False, {}


@pytest.fixture(scope="session", autouse=True)
def _poisoned() -> Iterator[None]:
    gymnasium.register(NAN, entry_point=Poisoned)
    yield
    del gymnasium.registry[NAN]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Train with arguments that must be refused before any work; the one line said."""
    monkeypatch.chdir(tmp_path)

    def run(env: str, agent: str, *arguments: str) -> str:
        small = SMALL if env == COUNTERPOINT else ()
        command = ["train", env, "--agent", agent, "--total-timesteps", "40", "--out", "run", *arguments]
        capsys.readouterr()
        assert main([*command, *few(agent), *small]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1), said.err
        assert not Path("run").exists()
        return said.err

    return run


def few(agent: str, wanted: dict[str, str] = FEW) -> list[str]:
    """Arguments that keep an agent small."""
    own = options(agent)
    chosen = {name: value for name, value in wanted.items() if name in own}
    return [part for name, value in chosen.items() for part in (f"--config.{name.replace('_', '-')}", value)]


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Policies that fit neither the vocabulary nor the observations of counterpoint, or the observations alone."""
    folder = tmp_path_factory.mktemp("elsewhere")
    found = {}
    for name, env, more in (("cartpole", CARTPOLE, ()), ("longer", COUNTERPOINT, (*SMALL, "max_notes=20"))):
        small = few("reinforce")
        command = ["train", env, *small, "--total-timesteps", "4", "--out", str(folder / name), *more]
        assert main([*command, "--no-progress"]) == 0
        found[name] = str(folder / name)
    return found


# Priors.


@pytest.mark.parametrize("name", [name for name in AGENTS if agents.get(name).needs_prior])
def test_an_agent_that_needs_a_prior_says_so(
    name: str, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    if not agents.get(name).trains:
        assert main(["evaluate", name]) == 2
        said = capsys.readouterr().err
    else:
        said = refused(COUNTERPOINT, name)
    assert "needs a prior" in said
    assert "run" in said


@pytest.mark.parametrize("name", having("kl_coef"))
def test_control_by_a_prior_needs_one(name: str, refused: Callable[..., str]) -> None:
    said = refused(COUNTERPOINT, name, "--config.kl-coef", "0.1")
    assert "kl_coef needs a prior to stay near: pass prior, such as uniform or a run." in said


@pytest.mark.parametrize("where", ["cartpole", "longer"])
@pytest.mark.parametrize("name", having("prior"))
def test_a_prior_that_does_not_fit_is_refused(
    name: str, where: str, elsewhere: dict[str, str], refused: Callable[..., str]
) -> None:
    coef = ["--config.kl-coef", "0.1"] if "kl_coef" in options(name) else []
    said = refused(COUNTERPOINT, name, "--config.prior", elsewhere[where], *coef)
    assert "was trained on" in said
    assert "train a prior on this environment" in said


@pytest.mark.parametrize("name", sorted(set(having("prior")) - PLANNERS))
def test_an_environment_without_a_prior_of_its_own_is_refused(name: str, refused: Callable[..., str]) -> None:
    coef = ["--config.kl-coef", "0.1"] if "kl_coef" in options(name) else []
    assert "pass a checkpoint as prior" in refused(CARTPOLE, name, "--config.prior", "task", *coef)


@pytest.mark.parametrize("where", ["cartpole", "longer"])
@pytest.mark.parametrize("name", having("init"))
def test_first_weights_that_do_not_fit_are_refused(
    name: str, where: str, elsewhere: dict[str, str], refused: Callable[..., str]
) -> None:
    said = refused(COUNTERPOINT, name, "--config.init", elsewhere[where])
    assert "has another network than this agent" in said
    assert "one trained on this environment" in said


@pytest.mark.parametrize("where", ["cartpole", "longer"])
@pytest.mark.parametrize("name", having("teacher"))
def test_a_teacher_that_does_not_fit_is_refused(
    name: str, where: str, elsewhere: dict[str, str], refused: Callable[..., str]
) -> None:
    assert "was trained on" in refused(COUNTERPOINT, name, "--config.teacher", elsewhere[where])


@pytest.mark.parametrize("option", ["prior", "init", "teacher"])
def test_a_policy_that_is_not_there_is_refused(option: str, refused: Callable[..., str]) -> None:
    for name in having(option):
        assert "absent" in refused(COUNTERPOINT, name, f"--config.{option}", "absent")


# Actions, temperatures, memory.


@pytest.mark.parametrize("name", TRAINED)
def test_continuous_actions_are_refused(name: str, refused: Callable[..., str]) -> None:
    prior = ["--config.prior", "uniform"] if agents.get(name).needs_prior else []
    assert "needs discrete actions, the environment has Box" in refused("Pendulum-v1", name, *prior)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_temperature_of_zero_is_refused(
    value: str, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in having("c"):
        assert "c must be above 0 and finite" in refused(COUNTERPOINT, name, f"--config.c={value}")
    for name in ("exact-kl",):
        with pytest.raises(descant.errors.DescantError, match="c must be above 0 and finite"):
            descant.make_agent(name, "descant/Tokens-v0", prior="task", c=float(value))
    assert "beta must be above 0" in refused(COUNTERPOINT, "em", f"--config.beta={value}")


@pytest.mark.parametrize("name", having("buffer_size"))
def test_replay_larger_than_the_memory_is_refused(name: str, refused: Callable[..., str]) -> None:
    prior = ["--config.prior", "uniform"] if agents.get(name).needs_prior else []
    said = refused(COUNTERPOINT, name, "--config.buffer-size", "1000000000000", *prior)
    assert "set buffer_size to" in said


# What turns out to be no number on the way.


@pytest.mark.parametrize("name", LEARNERS)
def test_a_reward_that_is_no_number_stops_the_training_and_spares_the_checkpoint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(descant.commands.train, "CHECKPOINT_SECONDS", 0.0)
    prior = ["--config.prior", "uniform"] if agents.get(name).needs_prior else []
    command = ["train", NAN, "--agent", name, "--total-timesteps", "4000", "--out", str(tmp_path / "run")]
    if "teacher" in options(name):
        teach = [
            "train",
            NAN,
            *few("reinforce"),
            "--total-timesteps",
            "4",
            "--out",
            str(tmp_path / "teacher"),
        ]
        assert main([*teach, "--no-progress"]) == 0
        command += ["--config.teacher", str(tmp_path / "teacher")]
    capsys.readouterr()
    assert main([*command, *few(name, SHORT), *prior, "--no-progress"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "reward" in said
    assert "nan" in said or "not finite" in said
    assert "mend the" in said
    found = re.search(r"at step (\d+)", said)
    assert found
    assert (
        name == "bc" or 60 < int(found[1]) <= 60 * 2 + 2
    )  # 2 rows; bc counts in each round of its teacher's
    if name not in LATE:
        kept(tmp_path / "run")


def kept(run: Path) -> None:
    """The checkpoint of a run is there, whole, and made of numbers."""
    weights = load_checkpoint(run / "checkpoints" / "last").weights
    assert weights
    for weight in weights.values():
        if torch.is_floating_point(weight):
            assert torch.isfinite(weight).all()
    assert isinstance(descant.load_agent(run), Agent)


@pytest.mark.parametrize("name", NEURAL)
def test_weights_that_are_no_numbers_are_never_saved(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that is far too long, with a checkpoint after each iteration."""
    monkeypatch.setattr(descant.commands.train, "CHECKPOINT_SECONDS", 0.0)
    prior = ["--config.prior", "uniform"] if agents.get(name).needs_prior else []
    command = [
        "train",
        COUNTERPOINT,
        "--agent",
        name,
        "--total-timesteps",
        "300",
        "--out",
        str(tmp_path / "run"),
    ]
    code = main(
        [*command, *few(name, SHORT), *prior, *SMALL, "--config.learning-rate", "1e30", "--no-progress"]
    )
    said = capsys.readouterr().err
    if code or name != "sb3/dqn":  # whose weights stay numbers, if large ones
        assert code == 2
        assert said.count("\n") == 1
        assert "not finite at step" in said
        assert "lower learning_rate" in said
    if (tmp_path / "run" / "checkpoints" / "last").exists():
        kept(tmp_path / "run")
