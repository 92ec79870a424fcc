"""The prior of `bench rl-tuner`: a run of `descant pretrain`, the user's own or made by the study."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descant.agent import Agent
from descant.commands.pretrain import Pretrain
from descant.errors import DescantError
from descant.makers import load_agent
from descant.pretraining import REPORT, read_windows
from descant.runs.digests import sha256
from descant.runs.folders import RunFolder, find_checkpoint
from descant.shells import make_task

ENV = "descant/Melody-v0"
WEIGHTS = "weights.safetensors"
OWN: dict[str, Any] = {"corpus": "essen,airds,oneills,ryans", "seed": 0}  # as `descant pretrain` makes it


@dataclass(frozen=True)
class Prior:
    """A finished run of `descant pretrain` with an LSTM."""

    run: RunFolder

    @property
    def path(self) -> str:
        """What the option `prior` of an agent takes."""
        return str(self.run.path)

    @property
    def options(self) -> dict[str, Any]:
        """Those of the environment that it was trained on."""
        found: dict[str, Any] = self.run.config["env_options"]
        return found

    @property
    def hidden(self) -> list[int]:
        """The widths of its network, which what begins as the prior must have too."""
        return list(self.run.config["config"]["hidden"])

    @cached_property
    def agent(self) -> Agent:
        """The policy."""
        return load_agent(self.path)

    @cached_property
    def task(self) -> Any:
        """Melodies under the reward `rl-tuner`, all weights 1."""
        return make_task(ENV, **self.options)

    @property
    def facts(self) -> dict[str, Any]:
        """What `descant pretrain` said of it: windows, likelihood on test tunes, steps."""
        found: dict[str, Any] = json.loads((self.run.path / REPORT).read_text())
        return found

    def windows(self, split: str) -> NDArray[np.int8]:
        """Windows of tunes that it learned from (train) or never saw (test): int8[n, T]."""
        return read_windows(self.run, split)


def given(path: Path) -> dict[str, str]:
    """What jobs are told of a prior that the user has: its place, and a digest of its weights.

    DescantError where it is no finished run of `descant pretrain`, or not of an LSTM.
    """
    prior = opened(path)
    return {"run": prior.path, "weights": sha256(find_checkpoint(prior.run.path) / WEIGHTS)}


def opened(path: Path) -> Prior:
    """The prior in a run folder; DescantError where it is not one that can be tuned."""
    run = RunFolder.open(path)
    if "corpus" not in run.config:
        raise DescantError(f"{path} was not pretrained on tunes: make a prior with descant pretrain {ENV}.")
    if not (run.path / REPORT).exists():
        raise DescantError(f"{path} is not finished: go on with descant pretrain --resume {path}.")
    if run.config["config"].get("trunk", "lstm") != "lstm":
        raise DescantError(f"{path} is no LSTM: this benchmark tunes one. Pretrain with --model lstm.")
    return Prior(run)


def prior_in(folder: str, said: dict[str, Any]) -> Prior:
    """The user's prior, or OUT/prior: made by whichever process comes first, while the others wait for it."""
    if "run" in said:
        return opened(Path(said["run"]))
    home = Path(folder).resolve()
    with _alone(home.with_name(f"{home.name}.lock")):
        if not (home / REPORT).exists():
            _pretrain(home, said)
    return opened(home)


def _pretrain(home: Path, settings: dict[str, Any]) -> None:
    """Train a prior in `home`, or go on with one that was stopped."""
    begun = (home / "config.json").exists()
    command = Pretrain(resume=home) if begun else Pretrain(out=home, **settings)
    command.progress = False
    with contextlib.redirect_stdout(sys.stderr):
        if command.run():
            raise DescantError(f"The training of the prior in {home} was stopped: run the benchmark again.")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock, which the kernel frees when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
