"""What every agent is: Stable-Baselines3's methods, our checkpoints, and log-probabilities of all actions."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from descant.errors import DescantError, did_you_mean
from descant.spaces import line_of, space_from_json, space_to_json
from descant.tasks import Bools, Floats, Ints

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker

Environment = VectorEnv[Any, Any, Any]


class Callback(Protocol):
    """Called by `learn` where a run may be saved or left; False stops the learning."""

    def __call__(self, agent: Agent) -> bool:
        """Whether to go on."""
        ...


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a checkpoint of an agent holds: arrays, and JSON for the rest."""

    weights: Mapping[str, Any]
    state: dict[str, Any]


class Agent(ABC):
    """An agent on a Gymnasium vector environment with discrete actions.

    `Config` is a frozen dataclass of what can be chosen. `num_timesteps` counts environment steps so far. `spaces` are
    given where the agent comes from a checkpoint, with an environment or without.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    supports_recurrence: ClassVar[bool] = False
    needs_prior: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __init__(self, env: Environment | None, config: Any, spaces: tuple[Any, Any] | None = None) -> None:
        if env is None and spaces is None:
            raise DescantError(f"Agent {self.name!r} needs an environment.")
        if getattr(config, "seed", 0) < 0:
            raise DescantError(f"seed must be 0 or more, not {config.seed}.")
        self.env = env
        self.config = config
        seen, acted = spaces or (
            env.single_observation_space,  # type: ignore[union-attr]
            env.single_action_space,  # type: ignore[union-attr]
        )
        if not isinstance(acted, gymnasium.spaces.Discrete):
            raise DescantError(f"Agent {self.name!r} needs discrete actions, the environment has {acted}.")
        self.observation_space: Any = seen
        self.action_space = acted
        self.num_timesteps = 0
        self._env_record: dict[str, Any] | None = env_record(env) if env is not None else None
        self._observation_mask: Callable[[Any], Bools | None] | None = None

    @abstractmethod
    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Train until `num_timesteps` reaches `total_timesteps` (counted from the very first step)."""

    @abstractmethod
    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action under the acting policy: float[n, A], -inf where masked."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Bools | None = None,
    ) -> tuple[Any, Any]:
        """Actions int[n] for observations with a leading axis n (or one action for one observation).

        `state` is the recurrent state (None where there is none), `episode_start` bool[n] resets it. Without
        `action_masks` (bool[n, A]) the mask is taken from the observation where the task can tell.
        """
        batch, single = as_batch(observation, self.observation_space)
        masks = self.masks_for(batch) if action_masks is None else np.atleast_2d(action_masks)
        actions, state = self.act(batch, state, episode_start, deterministic, masks)
        return (actions[0] if single else actions), state

    def act(
        self, batch: Any, state: Any, episode_start: Any, deterministic: bool, masks: Bools | None
    ) -> tuple[Ints, Any]:
        """Actions int64[n] of a batch; what `predict` is made of. Drawn with Gumbel noise from `self.noise`."""
        log_probs = self.log_probs(batch, state, masks)
        if not deterministic:
            log_probs = log_probs + self.noise.gumbel(size=log_probs.shape)
        return log_probs.argmax(axis=1), state

    @property
    def noise(self) -> np.random.Generator:
        """The generator that stochastic `predict` draws from."""
        if not hasattr(self, "_noise"):
            self._noise = np.random.default_rng(getattr(self.config, "seed", 0))
        return self._noise

    def set_random_seed(self, seed: int) -> None:
        """Begin anew what stochastic `predict` draws; training draws from elsewhere."""
        self._noise = np.random.default_rng(seed)

    def masks_for(self, batch: Any) -> Bools | None:
        """bool[n, A] read off the observations, or None where they don't tell."""
        if self._observation_mask is None:
            self._observation_mask = _mask_reader(self.env, self._env_record, self.observation_space)
        return self._observation_mask(batch)

    @abstractmethod
    def parts(self) -> Parts:
        """What a checkpoint must hold so that learning goes on exactly from here."""

    @abstractmethod
    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""

    def save(self, path: str | Path) -> None:
        """Write a checkpoint folder; what stood there before is replaced only once the new one is whole."""
        from descant.runs.checkpoints import save_checkpoint

        parts = self.parts()
        state = {**parts.state, "num_timesteps": self.num_timesteps}
        save_checkpoint(Path(path), parts.weights, state, self.manifest())

    def manifest(self) -> dict[str, Any]:
        """Who wrote a checkpoint, for which environment."""
        return {
            "agent": self.name,
            "config": dataclasses.asdict(self.config),
            "env": self._env_record,
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
        }

    @classmethod
    def load(cls, path: str | Path, env: Environment | None = None) -> Self:
        """The agent of a checkpoint folder or run; `env` must have the spaces it was trained on."""
        from descant.runs.checkpoints import load_checkpoint
        from descant.runs.folders import find_checkpoint

        checkpoint = load_checkpoint(find_checkpoint(Path(path)))
        if checkpoint.manifest.get("agent") != cls.name:
            raise DescantError(
                f"{path} holds agent {checkpoint.manifest.get('agent')!r}, not {cls.name!r}: "
                "use descant.load_agent, which picks the right one."
            )
        return cls.from_checkpoint(checkpoint, env)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, env: Environment | None = None) -> Self:
        """Build the agent a checkpoint describes; without `env` it can predict but not learn."""
        manifest = checkpoint.manifest
        spaces = (
            space_from_json(manifest["observation_space"]),
            space_from_json(manifest["action_space"]),
        )
        if env is not None and spaces != (env.single_observation_space, env.single_action_space):
            trained = (manifest.get("env") or {}).get("id", "another environment")
            raise DescantError(
                f"This checkpoint was trained on {trained} with {line_of(spaces[0])} and {spaces[1]}; the "
                f"environment given has {line_of(env.single_observation_space)} and {env.single_action_space}. "
                "Give the one it was trained on."
            )
        agent = cls(env, make_config(cls, manifest["config"]), spaces=spaces)
        agent._env_record = manifest.get("env")
        agent.num_timesteps = int(checkpoint.state.get("num_timesteps", 0))
        agent.restore(checkpoint)
        return agent


def make_config(agent: type[Agent], options: Mapping[str, Any]) -> Any:
    """The agent's `Config` with these options; DescantError for one it does not have."""
    known = [f.name for f in dataclasses.fields(agent.Config)]
    for option in options:
        if option not in known:
            raise DescantError(f"Agent {agent.name!r} has no option {option!r}.{did_you_mean(option, known)}")
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return agent.Config(**lists)


def as_vector_env(env: Any, num_envs: int = 1) -> Environment:
    """A vector environment from one, from a single environment, or from an id."""
    if isinstance(env, VectorEnv):
        return env
    if isinstance(env, str):
        return gymnasium.make_vec(env, num_envs=num_envs)
    if isinstance(env, gymnasium.Env):
        return SyncVectorEnv([lambda: env])
    raise DescantError(f"{type(env).__name__} is no environment: give an id, an Env or a VectorEnv.")


def env_record(env: Environment) -> dict[str, Any] | None:
    """Id and options of an environment that `make_vec` or `make` made; None for one made by hand."""
    singles = getattr(env.unwrapped, "envs", ())  # a SyncVectorEnv's, which knows no spec of its own
    spec = getattr(env, "spec", None) or next((single.spec for single in singles), None)
    if spec is None:
        return None
    own = {
        "task",
        "num_envs",
        "vectorization_mode",
        "vector_kwargs",
        "autoreset_mode",
        "render_mode",
        "infos",
    }
    if hasattr(env.unwrapped, "task"):
        own.add("max_episode_steps")  # the shell's, which the task does not take
    options = {k: v for k, v in spec.kwargs.items() if k not in own}
    plain = {
        k: v for k, v in options.items() if isinstance(v, str | int | float | dict | list | tuple | None)
    }
    return {"id": spec.id, "kwargs": plain}


def as_batch(observation: Any, space: Any) -> tuple[Any, bool]:
    """The observation with a leading axis, and whether it was a single one."""
    if isinstance(space, gymnasium.spaces.Dict):
        pairs = {k: as_batch(observation[k], s) for k, s in space.spaces.items()}
        return {k: b for k, (b, _) in pairs.items()}, any(single for _, single in pairs.values())
    array = np.asarray(observation)
    single = array.shape == space.shape
    return (array[None] if single else array), single


def _mask_reader(env: Any, record: dict[str, Any] | None, space: Any) -> Callable[[Any], Bools | None]:
    """A function from observations to masks: the task's own, where there is a task that can."""
    task: Any = getattr(getattr(env, "unwrapped", env), "task", None)
    if task is None and record is not None and record["id"].startswith("descant/"):
        from descant.shells import make_task

        task = make_task(record["id"], **record["kwargs"])
    reader = getattr(task, "observation_mask", None)
    if reader is None or task.observation_space != space:  # a wrapper may show something else
        return lambda batch: None
    return reader  # type: ignore[no-any-return]
