"""What commands share of runs on melodies: the task in a key, the prior beside a run, the tunes it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from descant.agent import Agent
from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.melody_states import Actions
from descant.pretraining import data_path, read_windows
from descant.priors import make_prior
from descant.runs.folders import RunFolder
from descant.shells import TaskVectorEnv, make_task
from descant.tasks import Task

ID = "descant/Melody-v0"


def melody_task(agent: Agent, options: dict[str, Any], key: Key | None = None) -> Task[Any]:
    """The task that an agent was trained on, in another key where one is given; DescantError where it sees another."""
    inside = {} if key is None else {"key": key.tonic, "mode": key.mode}
    task = make_task(ID, **options | inside)
    if (agent.observation_space, agent.action_space) != (task.observation_space, task.action_space):
        raise DescantError(
            "These melodies look otherwise than those that the agent was trained on: leave out --set steps and "
            "observe, or pass them as in its training."
        )
    return task


def own_key(options: dict[str, Any]) -> Key:
    """The key of an environment with these options."""
    return Key(options.get("key", "C"), options.get("mode", "major"))


def prior_beside(agent: Agent, wanted: str | None, task: Task[Any]) -> tuple[Any, str]:
    """The prior to measure an agent by, None where there is none, and what is to be said of that.

    The one that is `wanted`; else the one it was trained with; an agent that imitates is its own.
    """
    env = TaskVectorEnv(task)
    if wanted:
        return make_prior(wanted, env), ""
    if agent.name == "bc":
        return agent, ""
    named = getattr(agent.config, "prior", "")
    if not named:
        return None, "it was trained without a prior: --prior names one to compare with"
    try:
        return make_prior(named, env), ""
    except DescantError as error:
        return None, f"its prior is not at hand ({error}): --prior says where it is"


def tunes_beside(*places: str | None) -> dict[str, Actions]:
    """Training and test windows int8[m, T], "train" and "test", of the first pretrained run among the places.

    A place is a run, or a checkpoint in one; nothing where none has them.
    """
    for place in filter(None, places):
        path = Path(place).absolute()
        for folder in (path, path.parent.parent):
            run = RunFolder(folder, {}, {})
            if data_path(run, "train").is_file() and data_path(run, "test").is_file():
                return {split: read_windows(run, split) for split in ("train", "test")}
    return {}
