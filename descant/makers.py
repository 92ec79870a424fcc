"""Make and list what plugs in by name: agents and rewards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.errors import DescantError
from descant.registry import agents, build, rewards

if TYPE_CHECKING:
    from descant.agent import Agent
    from descant.tasks import Reward


def make_agent(name: str, env: Any, **config: Any) -> Agent:
    """An agent by name on a vector environment, a single one, or an environment id.

    >>> agent = make_agent("reinforce", "descant/Counterpoint-v0", seed=1)
    """
    from descant.agent import as_vector_env, make_config

    kind = agents.get(name)
    options = make_config(kind, config)
    made: Agent = kind(as_vector_env(env, getattr(options, "num_envs", 1)), options)
    return made


def load_agent(path: str | Path, env: Any = None, device: str | None = None) -> Agent:
    """The agent of a run folder or a checkpoint; with `env` it can go on learning there.

    Its networks are put on `device`, cpu or cuda; by default where they were trained, if this machine has that.
    """
    from descant.agent import as_vector_env
    from descant.runs.checkpoints import load_checkpoint
    from descant.runs.folders import find_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(Path(path)))
    name = checkpoint.manifest.get("agent")
    if not isinstance(name, str):
        raise DescantError(f"{path} holds no agent: give the folder of a run, or of an agent's checkpoint.")
    rows = checkpoint.manifest["config"].get("num_envs", 1)  # where `env` is an id
    vector_env = None if env is None else as_vector_env(env, rows)
    kind = agents.get(name)
    if device is not None and hasattr(kind.Config, "device"):
        from descant.devices import check_device

        check_device(device)
        checkpoint.manifest["config"]["device"] = device
    loaded: Agent = kind.from_checkpoint(checkpoint, vector_env)
    return loaded


def make_reward(spec: str | Mapping[str, Any] | Reward) -> Reward:
    """A reward by name ("fux"), by name and a file ("preference:models/taste"), or by name and options.

    Options are a dict with the name in it: {"name": "fux", "weights": {...}}.
    """
    if isinstance(spec, str):
        name, _, path = spec.partition(":")
        made: Reward = rewards.get(name)(path) if path and name in rewards else rewards.get(spec)()
        return made
    if isinstance(spec, Mapping):
        options = dict(spec)
        if "name" not in options:
            raise DescantError(f"A reward needs a 'name': one of {', '.join(rewards.names())}.")
        name = options.pop("name")
        made = build(f"Reward {name!r}", rewards.get(name), options)
        return made
    if not callable(spec):
        raise DescantError(f"{spec!r} is no reward: give a name, one of {', '.join(rewards.names())}.")
    return spec


def list_agents() -> list[str]:
    """Names of all agents, third parties' included."""
    return agents.names()


def list_rewards() -> list[str]:
    """Names of all rewards, third parties' included."""
    return rewards.names()


def register_agent(name: str, target: Any) -> None:
    """Add an agent: its class or a lazy "package.module:Class"."""
    agents.register(name, target)


def register_reward(name: str, target: Any) -> None:
    """Add a reward: its class or a lazy "package.module:Class"."""
    rewards.register(name, target)
