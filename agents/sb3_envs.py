"""Environments as SB3 needs them: reset in the same step, or only spaces for an agent that just predicts."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from descant.agent import Environment, env_record
from descant.errors import DescantError
from descant.shells import TaskVectorEnv


@dataclasses.dataclass
class Spaces:
    """Stands for an environment where only its spaces are known: an agent that predicts but can't learn."""

    observation_space: Any
    action_space: Any

    def as_vec_env(self, num_envs: int) -> Any:
        """An SB3 environment that has the spaces and can't be stepped."""
        from stable_baselines3.common.vec_env import VecEnv

        spaces = self

        class Unsteppable(VecEnv):
            """Spaces without dynamics."""

            def __init__(self) -> None:
                super().__init__(num_envs, spaces.observation_space, spaces.action_space)

            def reset(self) -> Any:
                raise DescantError("This agent was loaded without an environment: pass env to learn on.")

            def step_async(self, actions: Any) -> None:
                self.reset()

            def step_wait(self) -> Any:
                return self.reset()

            def close(self) -> None:
                """Nothing is open."""

            def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
                return [None]

            def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
                """There is nothing to set it on."""

            def env_method(
                self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
            ) -> list[Any]:
                return [None]

            def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
                return [False]

        return Unsteppable()


def same_step(env: Environment) -> Environment:
    """The environment itself, or one like it that resets in the same step, as SB3 needs."""
    if env.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP:
        return env
    if isinstance(env, TaskVectorEnv):
        return TaskVectorEnv(
            env.task,
            env.num_envs,
            autoreset_mode=AutoresetMode.SAME_STEP,
            max_episode_steps=env.max_episode_steps,
        )
    if isinstance(env, SyncVectorEnv):
        return SyncVectorEnv(list(env.env_fns), autoreset_mode=AutoresetMode.SAME_STEP)
    if (record := env_record(env)) is not None:  # one of Gymnasium's own vector environments
        return gymnasium.make_vec(
            record["id"],
            env.num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
            **record["kwargs"],
        )
    raise DescantError(
        "SB3 needs an environment that resets in the same step: make it with autoreset_mode SAME_STEP."
    )
